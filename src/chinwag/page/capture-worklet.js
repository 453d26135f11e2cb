// Runs on the audio thread: microphone in, 20 ms frames of PCM16 at 24 kHz out.
//
// Out: {frame: ArrayBuffer, lost}; lost counts the samples that are missing, as the thread was late or had no input.

import { Resampler } from "./resampler.js";

const WIRE_RATE = 24_000;
const FRAME = 480;
const QUANTUM = 128; // samples of one call
const FIRST_CALLS = 4; // not counted: Chrome moves a context to this thread after its first call, and skips some

class Capture extends AudioWorkletProcessor {
  #resampler = sampleRate === WIRE_RATE ? null : new Resampler(sampleRate, WIRE_RATE);
  #frame = new Int16Array(FRAME);
  #filled = 0;
  #lost = 0;
  #calls = 0;
  /** @type {number | null} currentFrame of the next call, once the microphone has sent sound */
  #due = null;

  /** @param {Float32Array[][]} inputs */
  process([[channel]]) {
    if (this.#due !== null) this.#lost += Math.max(0, currentFrame - this.#due);
    if (channel) this.#calls++;
    if (this.#calls > FIRST_CALLS) this.#due = currentFrame + QUANTUM;
    if (!channel) {
      if (this.#due !== null) this.#lost += QUANTUM;
      return true;
    }
    for (const sample of this.#resampler ? this.#resampler.push(channel) : channel) {
      this.#frame[this.#filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.#filled === FRAME) {
        this.port.postMessage({ frame: this.#frame.buffer, lost: this.#lost }, [this.#frame.buffer]);
        this.#frame = new Int16Array(FRAME);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("chinwag-capture", Capture);
