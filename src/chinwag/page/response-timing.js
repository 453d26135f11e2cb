// How long responses took, as the user heard it: from the end of the user's speech, or the press of Send, to the first sound.
// The parts come in any order: the first sound may leave the speaker before the trace arrives, or before the microphone's clock runs.

/**
 * since: what the time is counted from. ms: until the first sound left the speaker. stages: of the server, in ms of the same clock.
 *
 * @typedef {{ id: string, since: "speech" | "send", ms: number, stages: Record<string, number | null> }} TimedResponse
 */

/** @typedef {{ speech_end_ms: number | null, stages_ms: Record<string, number | null> }} Trace */

/** @typedef {{ item: string, requestedAt: number | null, trace?: Trace, audibleAt?: number }} Pending */

const LONGEST_LIST = 20; // responses whose parts may still come

export class ResponseTiming {
  /** @type {Map<string, Pending>} by response id */
  #pending = new Map();
  /** @type {(ms: number) => number | null} */
  #timeOf;
  /** @type {(timed: TimedResponse) => void} */
  #onTimed;

  /**
   * @param {{ timeOf: (ms: number) => number | null, onTimed: (timed: TimedResponse) => void }} options
   * timeOf(ms): performance.now() at which that millisecond of the microphone's stream was captured; null before its first frame.
   * onTimed: gets a response once its time is known, and again when more stages are.
   */
  constructor({ timeOf, onTimed }) {
    this.#timeOf = timeOf;
    this.#onTimed = onTimed;
  }

  /**
   * A response began. requestedAt: performance.now() of the press of Send or of the button's release; null for a spoken turn.
   *
   * @param {string} response
   * @param {string} item
   * @param {number | null} requestedAt
   */
  begin(response, item, requestedAt) {
    this.#pending.set(response, { item, requestedAt });
    if (this.#pending.size > LONGEST_LIST) this.#pending.delete([...this.#pending.keys()][0]);
  }

  /** The response was cut off before it sounded, or its time no longer counts. @param {string} response */
  forget(response) {
    this.#pending.delete(response);
  }

  /** The first sound of an item left the speaker. @param {string} item @param {number} time performance.now() */
  audible(item, time) {
    for (const pending of this.#pending.values()) {
      if (pending.item !== item) continue;
      pending.audibleAt = time;
      this.#report(pending);
    }
  }

  /** The server measured its own stages. @param {string} response @param {Trace} trace */
  traced(response, trace) {
    const pending = this.#pending.get(response);
    if (!pending) return;
    pending.trace = trace;
    this.#report(pending);
  }

  /** The microphone's clock runs: times that waited for it can be computed. */
  clockStarted() {
    for (const pending of this.#pending.values()) this.#report(pending);
  }

  /** @param {Pending} pending */
  #report({ item, requestedAt, trace, audibleAt }) {
    if (audibleAt === undefined) return;
    if (requestedAt !== null) {
      this.#onTimed({ id: item, since: "send", ms: Math.max(0, audibleAt - requestedAt), stages: {} });
    } else if (trace && trace.speech_end_ms != null) {
      const spokenUntil = this.#timeOf(trace.speech_end_ms);
      if (spokenUntil === null) return;
      this.#onTimed({ id: item, since: "speech", ms: Math.max(0, audibleAt - spokenUntil), stages: trace.stages_ms });
    }
  }
}
