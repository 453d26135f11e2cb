// The stages of a response's latency, and a chart of them.

/** @import { TimedResponse } from "./response-timing.js" */

/** What the functions need of a TimedResponse. @typedef {Pick<TimedResponse, "ms" | "stages">} Times */

import { make, seconds } from "./dom.js";

/** Stages of the server's `stages_ms`, in words; the last is measured by this page. @type {Record<string, string>} */
export const STAGES = {
  last_words: "Your last word was heard",
  draft_started: "An answer was begun",
  transcript_final: "Your words were clear",
  turn_decided: "Your turn was over",
  first_token: "First word of the answer",
  first_clause: "First few words",
  first_audio: "First sound sent",
  heard: "First sound from the speaker",
};

/**
 * The stages with their times, in the order in which they came. A draft response may begin before the turn ends.
 *
 * @param {Times} response
 * @returns {{ name: string, ms: number }[]}
 */
export function moments({ ms, stages }) {
  const known = Object.entries(stages).flatMap(([name, value]) => (STAGES[name] && value != null ? [{ name, ms: value }] : []));
  return [...known.sort((one, other) => one.ms - other.ms), { name: "heard", ms }];
}

/** Children for a <dl class="stages">: each stage with its time, and a bar from the stage before. @param {Times} response */
export function picture(response) {
  const all = moments(response);
  const first = Math.min(0, ...all.map(({ ms }) => ms));
  const last = Math.max(1, ...all.map(({ ms }) => ms));
  const place = (/** @type {number} */ ms) => (ms - first) / (last - first);
  let before = Math.min(0, all[0].ms);
  return all.map(({ name, ms }) => {
    const row = make("div", name === "heard" ? "last" : "");
    const bar = make("span", "bar");
    bar.setAttribute("aria-hidden", "true");
    bar.style.setProperty("--from", String(place(Math.min(before, ms))));
    bar.style.setProperty("--to", String(place(ms)));
    before = ms;
    const time = make("dd", "", moment(ms));
    time.append(bar);
    row.append(make("dt", "", STAGES[name]), time);
    return row;
  });
}

/** @param {number} ms */
function moment(ms) {
  return ms <= -5 ? `${seconds(-ms)} before` : seconds(Math.max(0, ms));
}
