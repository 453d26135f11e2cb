// Tells when a moment of the microphone's stream was captured, on this page's own clock.

const KEPT = 100;

export class StreamClock {
  #ms = 0;
  #offsets = [];

  /** A frame of so many ms has just come from the microphone, and went out. */
  sent(ms, now = performance.now()) {
    this.#ms += ms;
    this.#offsets.push(now - this.#ms);
    if (this.#offsets.length > KEPT) this.#offsets.shift();
  }

  /** performance.now() at which the stream's millisecond `ms` was captured; null before any frame. */
  timeOf(ms) {
    // Frames come late by varying amounts, never early: the least late one tells the truth.
    return this.#offsets.length ? Math.min(...this.#offsets) + ms : null;
  }
}
