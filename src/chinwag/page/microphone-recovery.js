// Keeps the microphone: opens the chosen one, and gets it back when it was unplugged, or taken by a call or another app.

const PATIENCE_MS = 2_000; // until a microphone that the system has muted is asked for anew
const STALLED_MS = 4_000; // no frame for so long, though nothing says why

export class MicrophoneRecovery {
  #microphone;
  #devices;
  #handlers;
  #epoch = 0; // counts opens and closes, so that what was awaited too long is dropped
  #working = Promise.resolve();
  #taken = false; // it was taken away, and is wanted back
  #silenced = false;
  #framesBefore = -1;
  #watching = null;

  /**
   * onTrack(): it hears by another track. onTaken(error): it was taken away, and did not come back. onSilenced(bool): the
   * system has muted it. onBack(): it is there again.
   */
  constructor(microphone, devices, handlers) {
    this.#microphone = microphone;
    this.#devices = devices;
    this.#handlers = handlers;
    // iOS and Android hold a hidden page's sound back; most of it comes back by itself, the rest when it is asked for.
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake());
  }

  /** Opens the chosen microphone; false where it was closed meanwhile. Throws what getUserMedia throws. */
  async open() {
    const mine = ++this.#epoch;
    await this.#microphone.open(this.#devices.microphone);
    if (mine !== this.#epoch) {
      if (!this.#wanted) this.#microphone.close();
      return false;
    }
    this.#begin();
    await this.#devices.look();
    return mine === this.#epoch;
  }

  close() {
    this.#epoch++;
    this.#taken = this.#silenced = false;
    clearInterval(this.#watching);
    this.#watching = null;
    this.#microphone.close();
  }

  get #wanted() {
    return this.#watching !== null;
  }

  #begin() {
    this.#taken = this.#silenced = false;
    this.#framesBefore = -1;
    // A Bluetooth switch can leave Safari with a context that runs and hears nothing, and no event.
    this.#watching ??= setInterval(() => this.#watch(), STALLED_MS);
  }

  /** Opens it anew; what was open is let go first, so that a dead context is not kept. */
  again() {
    return this.#one(async () => {
      this.#microphone.close();
      await this.#reopen();
    });
  }

  /** Goes over to another one, as the devices have changed. */
  change() {
    if (!this.#wanted || (this.#microphone.isOpen && this.#microphone.device === this.#devices.microphone)) return;
    this.#one(() => this.#reopen());
  }

  /** The microphone was taken away: the system's own may be there. */
  async lost() {
    this.#taken = true;
    await this.#devices.look();
    this.#one(() => this.#taken && this.#reopen());
  }

  /** Something was plugged in or out. */
  pluggedIn() {
    if (this.#taken) this.change();
  }

  /** The system has muted the microphone, or lets it be heard again. */
  silenced(silenced) {
    this.#silenced = silenced;
    if (!silenced) this.#microphone.resume();
    this.#handlers.onSilenced(silenced);
  }

  async #reopen() {
    const mine = this.#epoch;
    const muted = this.#microphone.muted;
    try {
      await this.#microphone.open(this.#devices.microphone);
    } catch (error) {
      if (mine !== this.#epoch || this.#microphone.isOpen) return; // the one there was goes on
      this.#taken = true;
      this.#handlers.onTaken(error);
      return;
    }
    if (mine !== this.#epoch) return this.#wanted || this.#microphone.close();
    this.#microphone.muted = muted;
    this.#begin();
    this.#handlers.onSilenced(false);
    this.#handlers.onTrack();
    this.#handlers.onBack();
    this.#devices.look();
  }

  // One after the other: two that ask at once would each close the other's.
  #one(work) {
    const mine = this.#epoch;
    this.#working = this.#working.then(() => (mine === this.#epoch ? work() : undefined));
    return this.#working;
  }

  #wake() {
    if (!this.#wanted) return;
    this.#microphone.resume();
    if (this.#taken) return void this.change();
    if (!this.#microphone.held) return;
    const mine = this.#epoch;
    setTimeout(() => mine === this.#epoch && !document.hidden && this.#microphone.held && this.again(), PATIENCE_MS);
  }

  #watch() {
    const { frames } = this.#microphone.counted;
    const stalled = this.#microphone.isOpen && frames === this.#framesBefore && !this.#silenced && !document.hidden;
    this.#framesBefore = stalled || document.hidden ? -1 : frames; // a hidden page's clock is slow: begin to count anew
    if (!stalled) return;
    if (this.#microphone.held) this.#microphone.resume();
    else this.again();
  }
}
