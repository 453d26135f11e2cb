// Maps moments of the microphone's stream to this page's own clock.

const OFFSETS = 100; // of the last frames: two seconds

export class StreamClock {
  #ms = 0;
  /** @type {number[]} */
  #offsets = [];

  /**
   * A frame came from the microphone and was sent.
   *
   * @param {number} ms length of the frame
   * @param {number} now performance.now()
   */
  sent(ms, now = performance.now()) {
    this.#ms += ms;
    this.#offsets.push(now - this.#ms);
    if (this.#offsets.length > OFFSETS) this.#offsets.shift();
  }

  /** Whether any frame was sent. */
  get runs() {
    return this.#offsets.length > 0;
  }

  /**
   * performance.now() at which the stream's millisecond `ms` was captured; null before the first frame.
   *
   * @param {number} ms
   */
  timeOf(ms) {
    // Frames come late by varying amounts, never early: the least late one is right.
    return this.runs ? Math.min(...this.#offsets) + ms : null;
  }
}
