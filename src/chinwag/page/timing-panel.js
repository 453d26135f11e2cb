// The panel that tells where the time went, over all answers of the conversation.

import { download, find, make, seconds } from "./dom.js";
import { STAGES, moments } from "./latency-stages.js";

const SHARES = [0.5, 0.95];

export class TimingPanel {
  #turns = new Map(); // by item: what an answer took, as Conversation tells it

  constructor() {
    find("timing").onclick = () => this.open();
    find("timing-close").onclick = () => find("timing-panel").close();
    find("timing-json").onclick = () => download("chinwag-timing.json", "application/json", JSON.stringify(this.told, null, 2));
    find("timing-csv").onclick = () => download("chinwag-timing.csv", "text/csv", table([...this.#turns.values()]));
  }

  open() {
    this.#show();
    find("timing-panel").showModal();
  }

  /** Another conversation has begun. */
  clear() {
    this.#turns.clear();
  }

  /** An answer was timed, or more is known of one that was: {id, since, ms, stages}. */
  add(turn) {
    this.#turns.set(turn.id, turn);
    if (find("timing-panel").open) this.#show();
  }

  /** All there is, as the JSON file has it. */
  get told() {
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

/** [{stage, turns, p50, p95}] in ms, in the order of the medians, the whole last. */
export function summary(turns) {
  const times = new Map();
  for (const turn of turns) {
    for (const { name, ms } of moments(turn)) times.set(name, [...(times.get(name) ?? []), ms]);
  }
  const rows = [...times].map(([stage, values]) => {
    const [p50, p95] = SHARES.map((share) => percentile(values, share));
    return { stage, turns: values.length, p50, p95 };
  });
  const last = ({ stage }) => (stage === "heard" ? 1 : 0);
  return rows.sort((one, other) => last(one) - last(other) || one.p50 - other.p50);
}

/** With a straight line between the two nearest, as numpy has it. */
export function percentile(values, share) {
  const sorted = values.toSorted((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return Math.round((below + (above - below) * (place % 1)) * 10) / 10;
}

function table(turns) {
  const names = Object.keys(STAGES).filter((name) => name !== "heard");
  const rows = turns.map(({ id, since, ms, stages }) => [id, since, ...names.map((name) => stages[name] ?? ""), Math.round(ms)]);
  return [["item", "since", ...names, "heard"], ...rows].map((row) => row.join(",")).join("\r\n");
}
