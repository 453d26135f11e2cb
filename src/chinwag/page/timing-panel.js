// The panel of response times, over all responses of the conversation.

import { download, find, make, seconds } from "./dom.js";
import { STAGES, moments } from "./latency-stages.js";

/** @import { Times } from "./latency-stages.js" */
/** @import { TimedResponse } from "./response-timing.js" */

const SHARES = [0.5, 0.95];

export class TimingPanel {
  /** @type {Map<string, TimedResponse>} by item */
  #turns = new Map();

  constructor() {
    find("timing").onclick = () => this.open();
    find("timing-close").onclick = () => find("timing-panel").close();
    find("timing-json").onclick = () => download("chinwag-timing.json", "application/json", JSON.stringify(this.report, null, 2));
    find("timing-csv").onclick = () => download("chinwag-timing.csv", "text/csv", table([...this.#turns.values()]));
  }

  open() {
    this.#show();
    find("timing-panel").showModal();
  }

  /** Forgets all, as another conversation begins. */
  clear() {
    this.#turns.clear();
  }

  /** Adds a response, or what became known of it later. @param {TimedResponse} turn */
  add(turn) {
    this.#turns.set(turn.id, turn);
    if (find("timing-panel").open) this.#show();
  }

  /** The content of the JSON file. */
  get report() {
    const turns = [...this.#turns.values()];
    return { unit: "ms after the person's last sound, or the press of Send", summary: summary(turns), turns };
  }

  #show() {
    const rows = summary([...this.#turns.values()]);
    const count = this.#turns.size;
    const some = count > 0;
    find("timing-about").textContent = some
      ? `${count === 1 ? "One answer" : `${count} answers`} of this conversation, from the end of what you said, or the press of Send. Each answer can be opened, too.`
      : "Nothing was answered yet. Once it has, this shows how long answers took, and with what.";
    find("timing-table").hidden = find("timing-json").hidden = find("timing-csv").hidden = !some;
    find("timing-rows").replaceChildren(
      ...rows.map(({ stage, ...values }) => {
        const row = make("tr", stage === "heard" ? "whole" : "");
        const name = make("th", "", STAGES[stage]);
        name.scope = "row";
        row.append(name, make("td", "", seconds(values.p50)), make("td", "", seconds(values.p95)));
        return row;
      }),
    );
  }
}

/**
 * Percentiles of each stage in ms, in the order of the medians, the whole last.
 *
 * @param {Times[]} turns
 * @returns {{ stage: string, turns: number, p50: number, p95: number }[]}
 */
export function summary(turns) {
  /** @type {Map<string, number[]>} */
  const times = new Map();
  for (const turn of turns) {
    for (const { name, ms } of moments(turn)) times.set(name, [...(times.get(name) ?? []), ms]);
  }
  const rows = [...times].map(([stage, values]) => {
    const [p50, p95] = SHARES.map((share) => percentile(values, share));
    return { stage, turns: values.length, p50, p95 };
  });
  const last = (/** @type {{ stage: string }} */ { stage }) => (stage === "heard" ? 1 : 0);
  return rows.sort((one, other) => last(one) - last(other) || one.p50 - other.p50);
}

/** Interpolates between the two nearest values, as numpy does by default. @param {number[]} values @param {number} share */
export function percentile(values, share) {
  const sorted = values.toSorted((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return Math.round((below + (above - below) * (place % 1)) * 10) / 10;
}

/** The content of the CSV file. @param {TimedResponse[]} turns */
function table(turns) {
  const names = Object.keys(STAGES).filter((name) => name !== "heard");
  const rows = turns.map(({ id, since, ms, stages }) => [id, since, ...names.map((name) => stages[name] ?? ""), Math.round(ms)]);
  return [["item", "since", ...names, "heard"], ...rows].map((row) => row.join(",")).join("\r\n");
}
