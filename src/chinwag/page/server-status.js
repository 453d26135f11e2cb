// Polls /api/status: often while the server gets ready, and seldom afterwards.

import { authorization } from "./api-key.js";

const GETTING_READY_MS = 700;
const READY_MS = 5_000;
const LONGEST_WAIT_MS = 10_000;
const TIMEOUT_MS = 5_000;

/**
 * The answer of /api/status.
 *
 * @typedef {{ stage: string, key_required: boolean, error?: { message: string, fix: string } | null,
 *   engines: Record<string, { name: string, state: string, detail?: string, load_ms?: number | null }>, weights: any }} StatusAnswer
 */

export class ServerStatus {
  /** @type {StatusAnswer | null} the last answer; null if the last request failed */
  latest = null;

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #failures = 0;
  #onStatus;
  #onUnreachable;

  /** @param {{ onStatus: (status: StatusAnswer) => void, onUnreachable: (seconds: number) => void }} handlers seconds: until the next attempt */
  constructor({ onStatus, onUnreachable }) {
    this.#onStatus = onStatus;
    this.#onUnreachable = onUnreachable;
  }

  /** Requests the status now, and from then on regularly. */
  async check() {
    clearTimeout(this.#timer);
    let wait;
    try {
      const response = await fetch("api/status", { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      /** @type {StatusAnswer} */
      const answer = await response.json();
      this.latest = answer;
      this.#failures = 0;
      wait = answer.stage === "ready" ? READY_MS : GETTING_READY_MS;
      this.#onStatus(answer);
    } catch {
      this.latest = null;
      wait = backOff(this.#failures++, LONGEST_WAIT_MS);
      this.#onUnreachable(wait / 1000);
    }
    clearTimeout(this.#timer); // of a check that began meanwhile
    this.#timer = setTimeout(() => this.check(), wait);
  }
}

/** Milliseconds to wait before attempt number `failures` + 1. @param {number} failures @param {number} longest */
export function backOff(failures, longest) {
  return Math.min(1000 * 2 ** failures, longest);
}
