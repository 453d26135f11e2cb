// Asks the server how it is, often while it gets ready and seldom afterwards.

import { authorization } from "./api-key.js";

const OFTEN_MS = 700;
const SELDOM_MS = 5_000;
const LONGEST_WAIT_MS = 10_000;
const ANSWER_WITHIN_MS = 5_000;

export class ServerStatus {
  /** The last answer of /api/status, or null. */
  latest = null;

  #timer = null;
  #failures = 0;
  #onStatus;
  #onUnreachable;

  /** onStatus(status), onUnreachable(seconds until the next attempt). */
  constructor({ onStatus, onUnreachable }) {
    this.#onStatus = onStatus;
    this.#onUnreachable = onUnreachable;
  }

  /** Asks now, and from then on by itself. */
  async check() {
    clearTimeout(this.#timer);
    this.#timer = null;
    let wait;
    try {
      const answer = await fetch("api/status", { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.latest = await answer.json();
      this.#failures = 0;
      wait = this.latest.stage === "ready" ? SELDOM_MS : OFTEN_MS;
      this.#onStatus(this.latest);
    } catch {
      this.latest = null;
      wait = backOff(this.#failures++, LONGEST_WAIT_MS);
      this.#onUnreachable(wait / 1000);
    }
    clearTimeout(this.#timer); // asked again meanwhile
    this.#timer = setTimeout(() => this.check(), wait);
  }
}

/** Milliseconds to wait before attempt number `failures` + 1. */
export function backOff(failures, longest) {
  return Math.min(1000 * 2 ** failures, longest);
}
