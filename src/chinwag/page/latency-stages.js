// The parts of a turn's latency, and a picture of when each came.

import { make, seconds } from "./dom.js";

/** What the server tells in `stages_ms`, in words; the last is measured here. */
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

/** [{name, ms}] of a turn {since, ms, stages}, in the order in which they came: an answer may be begun before it is wanted. */
export function moments({ ms, stages }) {
  const known = Object.entries(stages).filter(([name, value]) => STAGES[name] && value != null);
  known.sort(([, one], [, other]) => one - other);
  return [...known.map(([name, value]) => ({ name, ms: value })), { name: "heard", ms }];
}

/** Children for a <dl class="stages">: each part with its moment, and a bar from the part before to it. */
export function picture(turn) {
  const all = moments(turn);
  const first = Math.min(0, ...all.map(({ ms }) => ms));
  const last = Math.max(1, ...all.map(({ ms }) => ms));
  const place = (ms) => (ms - first) / (last - first);
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

function moment(ms) {
  return ms <= -5 ? `${seconds(-ms)} before` : seconds(Math.max(0, ms));
}
