// Keeps the screen on during a session: a phone that locks itself takes the microphone away.

export class WakeLock {
  #wanted = false;
  /** @type {WakeLockSentinel | null} */
  #lock = null;
  #asking = false;

  constructor() {
    // Every browser drops the lock when the page is hidden, and gives it only to a visible one.
    document.addEventListener("visibilitychange", () => this.#acquire());
  }

  /** Whether the screen should stay on. @param {boolean} wanted */
  set wanted(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    if (wanted) this.#acquire();
    else this.#release();
  }

  async #acquire() {
    if (!this.#wanted || this.#lock || this.#asking || document.visibilityState !== "visible") return;
    this.#asking = true;
    // refused on a low battery, and absent in older browsers: the session goes on without
    const lock = await navigator.wakeLock?.request("screen").catch(() => /** @type {null} */ (null));
    this.#asking = false;
    if (!lock) return;
    this.#lock = lock;
    lock.addEventListener("release", () => {
      if (this.#lock === lock) this.#lock = null;
    });
    if (!this.#wanted) this.#release();
  }

  #release() {
    this.#lock?.release();
    this.#lock = null;
  }
}
