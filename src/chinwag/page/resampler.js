// Changes the sample rate of a stream that comes in pieces: a polyphase windowed-sinc filter (Kaiser, about 80 dB down).
// Used if a browser gives the microphone or the loudspeaker only at the sound card's rate.

const ZERO_CROSSINGS = 24;
const KAISER_BETA = 8;
const PASSBAND = 0.92; // share of the lower Nyquist frequency that is kept; the filter falls off above it

export class Resampler {
  #step;
  #phases;
  #half;
  #history;
  #position = 0; // of the next output sample, in 1/phases of an input sample, counted from history[half - 1]

  /** Rates are whole samples a second. @param {number} fromRate @param {number} toRate */
  constructor(fromRate, toRate) {
    const divisor = gcd(fromRate, toRate);
    this.#step = fromRate / divisor;
    const cutoff = PASSBAND * Math.min(1, toRate / fromRate);
    this.#half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#phases = filterBank(toRate / divisor, this.#half, cutoff);
    this.#history = new Float32Array(2 * this.#half - 1);
  }

  /** Forgets the stream, as another one follows. */
  reset() {
    this.#history.fill(0);
    this.#position = 0;
  }

  /** Takes the next input samples, and returns the output samples that are ready. @param {Float32Array} input */
  push(input) {
    const samples = new Float32Array(this.#history.length + input.length);
    samples.set(this.#history);
    samples.set(input, this.#history.length);
    const phases = this.#phases.length;
    const taps = 2 * this.#half;
    const output = [];
    let position = this.#position;
    for (;;) {
      const first = Math.floor(position / phases);
      if (first + taps > samples.length) break;
      const filter = this.#phases[position % phases];
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) sum += samples[first + tap] * filter[tap];
      output.push(sum);
      position += this.#step;
    }
    const used = Math.min(Math.floor(position / phases), samples.length);
    this.#history = samples.slice(used);
    this.#position = position - used * phases;
    return Float32Array.from(output);
  }
}

/** @param {number} phases @param {number} half @param {number} cutoff */
function filterBank(phases, half, cutoff) {
  return Array.from({ length: phases }, (_, phase) => {
    const filter = new Float32Array(2 * half);
    let sum = 0;
    for (let tap = 0; tap < 2 * half; tap++) {
      const time = tap - half + 1 - phase / phases;
      filter[tap] = cutoff * sinc(cutoff * time) * kaiser(time / half);
      sum += filter[tap];
    }
    return filter.map((value) => value / sum); // every phase lets a constant through unchanged
  });
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** @param {number} x */
function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel(KAISER_BETA);
}

// The modified Bessel function I0, by its power series.
/** @param {number} x */
function bessel(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > sum * 1e-12; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** @param {number} a @param {number} b @returns {number} */
function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}
