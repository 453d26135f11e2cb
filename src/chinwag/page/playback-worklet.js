// Runs on the audio thread: plays PCM16 as it comes, and counts how much of each item was played.
//
// In:  {audio: ArrayBuffer, item}, {duck: bool, item}, {flush: true}
// Out: {item, played} (samples, about every 250 ms), {audible: item, frame}, {drained: true},
//      {flushed: true, item, played, cut} where cut says that some sound had not been played;
//      each with underruns: how often the queue ran dry in the middle of an item.
// `played` is counted at 24 kHz, `frame` at the context's own rate; if they differ, the sound is resampled.

import { Resampler } from "./resampler.js";

const WIRE_RATE = 24_000;
const JITTER = sampleRate * 0.06; // jitter buffer, filled before the first sound
const FADE = Math.round(sampleRate * 0.005); // one render quantum at 24 kHz is longer
const DUCKED = 0.2; // -14 dB
const RAMP = (1 - DUCKED) / (sampleRate * 0.01); // of the volume, per sample: 10 ms from one to the other
const REPORT = sampleRate * 0.25;
const AUDIBLE = 0.003; // about -50 dB of full scale

class Playback extends AudioWorkletProcessor {
  /** @type {{ samples: Float32Array, item: string, next: number }[]} */
  #queue = [];
  #queued = 0;
  #waited = 0;
  #playing = false;
  /** @type {Float32Array | null} the fade-out after a flush */
  #tail = null;
  /** @type {string | null} */
  #item = null;
  #played = 0;
  #reported = 0;
  #audible = false;
  /** @type {string | null} the item that plays at a lower volume */
  #ducked = null;
  #volume = 1;
  #resampler = sampleRate === WIRE_RATE ? null : new Resampler(WIRE_RATE, sampleRate);
  #underruns = 0;
  #dry = false; // all that had come of the item was played

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.flush) this.#flush();
      else if (data.audio) this.#add(data);
      else this.#duck(data);
    };
  }

  /** @param {{ audio: ArrayBuffer, item: string }} message */
  #add({ audio, item }) {
    const sound = Float32Array.from(new Int16Array(audio), (value) => value / 32768);
    const samples = this.#resampler ? this.#resampler.push(sound) : sound;
    this.#queue.push({ samples, item, next: 0 });
    this.#queued += samples.length;
  }

  /** @param {{ duck: boolean, item: string }} message */
  #duck({ duck, item }) {
    if (duck) this.#ducked = item;
    else if (this.#ducked === item) this.#ducked = null;
  }

  // A short fade instead of a hard stop, which would click. Works while the context is suspended, too.
  #flush() {
    const cut = this.#queued > 0;
    if (this.#playing && cut) {
      const tail = new Float32Array(FADE);
      const length = this.#take(tail);
      for (let i = 0; i < length; i++) tail[i] *= 1 - (i + 1) / FADE;
      this.#tail = tail;
    }
    const item = this.#item ?? this.#queue[0]?.item ?? null;
    this.#post({ flushed: true, cut, item, played: this.#item === item ? toWire(this.#played) : 0 });
    this.#queue = [];
    this.#dry = false;
    this.#resampler?.reset();
    this.#queued = 0;
    this.#ducked = null;
    this.#volume = 1;
    this.#stop();
  }

  #stop() {
    this.#playing = false;
    this.#waited = 0;
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs */
  process(_inputs, [[output]]) {
    if (this.#tail) {
      output.set(this.#tail.subarray(0, output.length));
      this.#tail = this.#tail.length > output.length ? this.#tail.subarray(output.length) : null;
      return true;
    }
    if (!this.#playing && this.#queued > 0) {
      this.#playing = this.#queued >= JITTER || this.#waited >= JITTER;
      this.#waited += output.length;
    }
    if (!this.#playing) return true;
    this.#take(output);
    if (this.#queued === 0) {
      this.#stop();
      this.#report();
      this.#dry = true;
      this.#post({ drained: true });
    } else if (this.#played - this.#reported >= REPORT) {
      this.#report();
    }
    return true;
  }

  /** Fills `output` from the queue; returns the number of samples. @param {Float32Array} output */
  #take(output) {
    let filled = 0;
    while (filled < output.length && this.#queue.length > 0) {
      const head = this.#queue[0];
      if (head.item !== this.#item) this.#begin(head.item);
      else if (this.#dry) this.#underruns++;
      this.#dry = false;
      const piece = head.samples.subarray(head.next, head.next + output.length - filled);
      output.set(piece, filled);
      this.#detectSound(piece, filled);
      this.#applyVolume(output, filled, filled + piece.length);
      filled += piece.length;
      head.next += piece.length;
      this.#played += piece.length;
      this.#queued -= piece.length;
      if (head.next === head.samples.length) this.#queue.shift();
    }
    return filled;
  }

  /** @param {string} item */
  #begin(item) {
    this.#report();
    this.#item = item;
    this.#played = this.#reported = 0;
    this.#audible = false;
    this.#volume = this.#wanted;
  }

  get #wanted() {
    return this.#item === this.#ducked ? DUCKED : 1;
  }

  /** @param {Float32Array} output @param {number} from @param {number} to */
  #applyVolume(output, from, to) {
    const wanted = this.#wanted;
    if (this.#volume === 1 && wanted === 1) return;
    for (let i = from; i < to; i++) {
      this.#volume += Math.max(-RAMP, Math.min(RAMP, wanted - this.#volume));
      output[i] *= this.#volume;
    }
  }

  /** @param {Float32Array} piece @param {number} offset */
  #detectSound(piece, offset) {
    if (this.#audible) return;
    const first = piece.findIndex((value) => Math.abs(value) > AUDIBLE);
    if (first < 0) return;
    this.#audible = true;
    this.#post({ audible: this.#item, frame: currentFrame + offset + first });
  }

  #report() {
    if (this.#item === null || this.#played === this.#reported) return;
    this.#reported = this.#played;
    this.#post({ item: this.#item, played: toWire(this.#played) });
  }

  /** @param {Record<string, unknown>} message */
  #post(message) {
    this.port.postMessage({ ...message, underruns: this.#underruns });
  }
}

/** @param {number} samples of the context's rate */
function toWire(samples) {
  return Math.round((samples * WIRE_RATE) / sampleRate);
}

registerProcessor("chinwag-playback", Playback);
