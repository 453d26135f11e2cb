// Where in a response's words the playback is. There are no word times: a word's share of its clause's sound is its share of
// the characters, which is how the server estimates it, too.

/**
 * Words of a response, and the sample (at 24 kHz) of its sound at which they begin.
 *
 * @typedef {{ at: number, text: string }} TextMark
 */

/** The word that is spoken: it begins at `said` and ends at `until` in the text. @typedef {{ said: number, until: number }} Place */

/** A response that is followed; marks and samples grow. @typedef {{ id: string, marks: TextMark[], samples: number }} Followed */

const SAMPLES_PER_MS = 24;
const MS_PER_CHARACTER = 65; // of unhurried English; for a clause whose sound has not all come yet
const UPDATE_MS = 60;
const SILENT_MS = 500; // the speaker reports every 250 ms: after so long without a report it has run dry
const TRACK_AHEAD_MS = 150; // words come when their sound is queued on the server, before its way through the network

// A word with the space before it, or one character where a script has no spaces; marks go with what they follow.
const UNSPACED = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"].map((script) => `\\p{Script=${script}}`).join("");
const PIECE = new RegExp(`\\s*(?:[${UNSPACED}]|[^\\s${UNSPACED}]+)[^\\s\\p{L}\\p{N}]*`, "gu");

/**
 * The word that is spoken when `ms` of a response have been played. Between words, and behind the last, said equals until.
 *
 * @param {TextMark[]} marks
 * @param {number} samples how many have come, at 24 kHz
 * @param {number} ms
 * @returns {Place & { half: boolean }} half: whether more than half of the word was heard
 */
export function wordAt(marks, samples, ms) {
  const played = ms * SAMPLES_PER_MS;
  let begin = 0;
  for (const [index, { at, text }] of marks.entries()) {
    if (played <= at) break;
    const end = marks[index + 1]?.at ?? Math.max(samples, at + text.length * MS_PER_CHARACTER * SAMPLES_PER_MS);
    let left = ((played - at) / (end - at)) * text.length;
    let said = begin;
    for (const [word] of played < end ? text.matchAll(PIECE) : []) {
      if (left < word.length) return { said, until: said + word.length, half: left > word.length / 2 };
      left -= word.length;
      said += word.length;
    }
    begin += text.length;
  }
  return { said: begin, until: begin, half: false };
}

/**
 * The words that were heard by then; a word counts if more than half of it was.
 *
 * @param {TextMark[]} marks
 * @param {number} samples
 * @param {number} ms
 */
export function heardText(marks, samples, ms) {
  const { said, until, half } = wordAt(marks, samples, ms);
  const text = marks.map((mark) => mark.text).join("");
  return text.slice(0, half ? until : said).trimEnd();
}

/** Follows a response while it is played. */
export class Captions {
  #onPlace;
  #latency;
  /** @type {Followed | null} */
  #response = null;
  /** @type {{ ms: number, at: number, unreported?: boolean } | null} so much had been played at that performance.now() */
  #heard = null;
  #furthest = 0; // ms that were shown as heard: a late report never takes a word back
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /**
   * @param {object} options
   * @param {(id: string, place: Place | null) => void} options.onPlace the word that is spoken; null after the last one
   * @param {() => number} options.latency seconds from the player to the ear
   */
  constructor({ onPlace, latency }) {
    this.#onPlace = onPlace;
    this.#latency = latency;
  }

  /** Begins with a response. @param {Followed} response */
  follow(response) {
    this.stop();
    this.#response = response;
    this.#timer = setInterval(() => this.#update(), UPDATE_MS);
  }

  /** So much of an item had been played at that time. @param {string} id @param {number} ms @param {number} at performance.now() */
  played(id, ms, at = performance.now()) {
    if (id === this.#response?.id) this.#heard = { ms, at };
  }

  /** The sound of a WebRTC track began at that time; nothing is reported until its end. @param {string} id @param {number} at */
  began(id, at) {
    if (id === this.#response?.id) this.#heard = { ms: 0, at, unreported: true };
  }

  /** The sample at which words that come now begin, of a response by a WebRTC track. */
  get next() {
    return this.#heard ? (this.#ms + TRACK_AHEAD_MS) * SAMPLES_PER_MS : 0;
  }

  /** All of it was heard: no word is marked any more. */
  finish() {
    const id = this.#response?.id;
    this.stop();
    if (id) this.#onPlace(id, null);
  }

  /** Stops, and leaves the words marked as they are. */
  stop() {
    clearInterval(this.#timer);
    this.#response = null;
    this.#heard = null;
    this.#furthest = 0;
  }

  get #ms() {
    if (!this.#heard) return 0;
    const { ms, at, unreported } = this.#heard;
    const since = performance.now() - at;
    return Math.max(0, ms + (unreported ? since : Math.min(since, SILENT_MS)) - this.#latency() * 1000);
  }

  #update() {
    if (!this.#response) return;
    const { id, marks, samples } = this.#response;
    if (this.#heard) this.#furthest = Math.max(this.#furthest, this.#ms);
    this.#onPlace(id, wordAt(marks, samples, this.#furthest));
  }
}
