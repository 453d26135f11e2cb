// Where in the words of an answer the ear is. There are no word times: a word's share of its clause's sound is its share
// of the characters, as the server reckons too.

const SAMPLES_PER_MS = 24;
const MS_PER_CHARACTER = 65; // of unhurried English; for a clause whose sound has not all come yet
const LOOK_MS = 60;
const SILENT_MS = 500; // the speaker tells every 250 ms where it is: one that tells nothing for so long has run dry
const TRACK_AHEAD_MS = 150; // a call's words are told when their sound is queued, before its way through the network

// A word with the space before it, or one character where a script has no spaces; marks go with what they follow.
const UNSPACED = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"].map((script) => `\\p{Script=${script}}`).join("");
const PIECE = new RegExp(`\\s*(?:[${UNSPACED}]|[^\\s${UNSPACED}]+)[^\\s\\p{L}\\p{N}]*`, "gu");

/**
 * The word at the ear when `ms` of an answer had been played: {said, until, half}, where it begins and ends in the text, and
 * whether more than half of it was heard. Between words, and behind the last, said is until.
 * marks: [{at, text}], each text beginning at that sample (24 kHz) of the answer; samples: how many have come.
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

/** The words that were heard by then: one counts once more than half of it was. The arguments are wordAt's. */
export function heardText(marks, samples, ms) {
  const { said, until, half } = wordAt(marks, samples, ms);
  const text = marks.map((mark) => mark.text).join("");
  return text.slice(0, half ? until : said).trimEnd();
}

/** Follows the ear through an answer while it is played. */
export class Captions {
  #onPlace;
  #latency;
  #answer = null;
  #heard = null; // {ms, at}: so much had been played at that performance.now()
  #furthest = 0; // ms of it that were shown as heard: a report later than the clock never takes a word back
  #timer = null;

  /** onPlace(id, {said, until}) where the ear is; onPlace(id, null) behind the last word. latency(): seconds from player to ear. */
  constructor({ onPlace, latency }) {
    this.#onPlace = onPlace;
    this.#latency = latency;
  }

  /** Begins with an answer: {id, marks, samples}, of which the last two grow. */
  follow(answer) {
    this.stop();
    this.#answer = answer;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** So much of an item had been played at that time. */
  played(id, ms, at = performance.now()) {
    if (id === this.#answer?.id) this.#heard = { ms, at };
  }

  /** Sound of a call came to be heard at that time: it says no more of itself until its end. */
  began(id, at) {
    if (id === this.#answer?.id) this.#heard = { ms: 0, at, alone: true };
  }

  /** The place, in samples, of words of a call's answer that are told now. */
  get next() {
    return this.#heard ? (this.#ms + TRACK_AHEAD_MS) * SAMPLES_PER_MS : 0;
  }

  /** All of it was heard: nothing is marked any more. */
  finish() {
    const id = this.#answer?.id;
    this.stop();
    if (id) this.#onPlace(id, null);
  }

  /** Follows no longer, and leaves the marks as they are. */
  stop() {
    clearInterval(this.#timer);
    this.#answer = this.#heard = null;
    this.#furthest = 0;
  }

  get #ms() {
    const { ms, at, alone } = this.#heard;
    const since = performance.now() - at;
    return Math.max(0, ms + (alone ? since : Math.min(since, SILENT_MS)) - this.#latency() * 1000);
  }

  #look() {
    const { id, marks, samples } = this.#answer;
    if (this.#heard) this.#furthest = Math.max(this.#furthest, this.#ms);
    this.#onPlace(id, wordAt(marks, samples, this.#furthest));
  }
}
