// Runs on the audio thread: microphone in, 20 ms frames of PCM16 at 24 kHz out.

import { Resampler } from "./resampler.js";

const WIRE_RATE = 24_000;
const FRAME = 480;

class Capture extends AudioWorkletProcessor {
  #resampler = sampleRate === WIRE_RATE ? null : new Resampler(sampleRate, WIRE_RATE);
  #frame = new Int16Array(FRAME);
  #filled = 0;

  process([[channel]]) {
    if (!channel) return true;
    for (const sample of this.#resampler ? this.#resampler.push(channel) : channel) {
      this.#frame[this.#filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.#filled === FRAME) {
        this.port.postMessage(this.#frame.buffer, [this.#frame.buffer]);
        this.#frame = new Int16Array(FRAME);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("chinwag-capture", Capture);
