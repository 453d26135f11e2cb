// Keeps the screen on while somebody talks: a phone that locks itself takes the microphone away.

export class WakeLock {
  #wanted = false;
  #lock = null;
  #asking = false;

  constructor() {
    // Every browser drops the lock when the page is hidden, and gives it only to a visible one.
    document.addEventListener("visibilitychange", () => this.#hold());
  }

  /** Whether the screen is to stay on. */
  set wanted(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    if (wanted) this.#hold();
    else this.#drop();
  }

  async #hold() {
    if (!this.#wanted || this.#lock || this.#asking || document.visibilityState !== "visible") return;
    this.#asking = true;
    // refused on a low battery, and absent in older browsers: the talk goes on without
    const lock = await navigator.wakeLock?.request("screen").catch(() => null);
    this.#asking = false;
    if (!lock) return;
    this.#lock = lock;
    lock.addEventListener("release", () => {
      if (this.#lock === lock) this.#lock = null;
    });
    if (!this.#wanted) this.#drop();
  }

  #drop() {
    this.#lock?.release();
    this.#lock = null;
  }
}
