// Opens the chosen microphone, and opens it again after it was unplugged, or taken by a call or another app.

/** @import { Devices } from "./devices.js" */
/** @import { Microphone } from "./microphone.js" */

const MUTED_MS = 2_000; // until a microphone that the system has muted is opened again
const STALLED_MS = 4_000; // without a frame, and without an event that explains it

export class MicrophoneRecovery {
  #microphone;
  #devices;
  #handlers;
  #epoch = 0; // counts opens and closes, so that an outdated outcome is dropped
  #working = Promise.resolve();
  #taken = false; // it was taken away, and is still wanted
  #silenced = false;
  #framesBefore = -1;
  /** @type {ReturnType<typeof setInterval> | null} */
  #watching = null;

  /**
   * @param {Microphone} microphone
   * @param {Devices} devices
   * @param {object} handlers
   * @param {() => void} handlers.onTrack the microphone has another track
   * @param {(error: Error) => void} handlers.onTaken it was taken away, and could not be opened again
   * @param {(silenced: boolean) => void} handlers.onSilenced the system muted or unmuted it
   * @param {() => void} handlers.onBack it works again
   */
  constructor(microphone, devices, handlers) {
    this.#microphone = microphone;
    this.#devices = devices;
    this.#handlers = handlers;
    // iOS and Android suspend a hidden page's sound; most of it resumes by itself, the rest on request.
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake());
  }

  /** Opens the chosen microphone; false if it was closed meanwhile. Throws what getUserMedia throws. */
  async open() {
    const mine = ++this.#epoch;
    await this.#microphone.open(this.#devices.microphone);
    if (mine !== this.#epoch) {
      if (!this.#wanted) this.#microphone.close();
      return false;
    }
    this.#begin();
    await this.#devices.list();
    return mine === this.#epoch;
  }

  close() {
    this.#epoch++;
    this.#taken = this.#silenced = false;
    clearInterval(this.#watching ?? undefined);
    this.#watching = null;
    this.#microphone.close();
  }

  get #wanted() {
    return this.#watching !== null;
  }

  #begin() {
    this.#taken = this.#silenced = false;
    this.#framesBefore = -1;
    // A Bluetooth switch can leave Safari with a context that runs without input, and without an event.
    this.#watching ??= setInterval(() => this.#watch(), STALLED_MS);
  }

  /** Opens it again; the open one is closed first, so that a dead context is not kept. */
  again() {
    return this.#queue(async () => {
      this.#microphone.close();
      await this.#reopen();
    });
  }

  /** Changes to another microphone, as the choice or the devices have changed. */
  change() {
    if (!this.#wanted || (this.#microphone.isOpen && this.#microphone.device === this.#devices.microphone)) return;
    this.#queue(() => this.#reopen());
  }

  /** The microphone was taken away: the system's default may be there. */
  async lost() {
    this.#taken = true;
    await this.#devices.list();
    this.#queue(() => this.#taken && this.#reopen());
  }

  /** Something was plugged in or out. */
  pluggedIn() {
    if (this.#taken) this.change();
  }

  /** The system has muted or unmuted the microphone. @param {boolean} silenced */
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
      if (mine !== this.#epoch || this.#microphone.isOpen) return; // the one that was open goes on
      this.#taken = true;
      this.#handlers.onTaken(/** @type {Error} */ (error));
      return;
    }
    if (mine !== this.#epoch) return this.#wanted || this.#microphone.close();
    this.#microphone.muted = muted;
    this.#begin();
    this.#handlers.onSilenced(false);
    this.#handlers.onTrack();
    this.#handlers.onBack();
    this.#devices.list();
  }

  // One after the other: two at once would each close the other's microphone.
  /** @param {() => unknown} work */
  #queue(work) {
    const mine = this.#epoch;
    this.#working = this.#working.then(async () => {
      if (mine === this.#epoch) await work();
    });
    return this.#working;
  }

  #wake() {
    if (!this.#wanted) return;
    this.#microphone.resume();
    if (this.#taken) return this.change();
    if (!this.#microphone.suspended) return;
    const mine = this.#epoch;
    setTimeout(() => mine === this.#epoch && !document.hidden && this.#microphone.suspended && this.again(), MUTED_MS);
  }

  #watch() {
    const { frames } = this.#microphone.counted;
    const stalled = this.#microphone.isOpen && frames === this.#framesBefore && !this.#silenced && !document.hidden;
    this.#framesBefore = stalled || document.hidden ? -1 : frames; // a hidden page's timers are slow: begin to count again
    if (!stalled) return;
    if (this.#microphone.suspended) this.#microphone.resume();
    else this.again();
  }
}
