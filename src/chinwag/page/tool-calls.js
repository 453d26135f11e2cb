// Calls of tools, shown in the conversation where they happen. One that needs leave is asked about, and waits.

import { button, make, say } from "./dom.js";

const STATES = { runs: "…", done: "done", failed: "failed", asks: "wants to be allowed", allowed: "allowed", refused: "not allowed" };

export class ToolCalls {
  #list;
  #send = null; // while there is a session
  #cards = new Map(); // by the id of the call's item, or of the item that asks

  /** list: the element that holds the conversation's turns, as <li>. */
  constructor(list) {
    this.#list = list;
  }

  /** A session begins; send(type, fields). */
  begin(send) {
    this.#send = send;
  }

  /** The session is over: nobody waits for leave any more. */
  end() {
    this.#send = null;
    for (const { buttons } of this.#cards.values()) buttons.hidden = true;
  }

  /** Takes an event of the server, where it is about a call. */
  onEvent({ type, item, item_id }) {
    if (type === "conversation.item.added" || type === "conversation.item.done") return this.#told(item);
    if (type === "conversation.item.deleted") {
      this.#cards.get(item_id)?.element.remove();
      this.#cards.delete(item_id);
    }
  }

  /** Shows a call of a conversation that was kept, as /api/conversations tells it. */
  showSaved({ type, server, ...item }) {
    if (type === "function_call" && server) this.#told({ ...item, type: "mcp_call", server_label: server });
  }

  /** Takes all calls away. */
  clear() {
    for (const { element } of this.#cards.values()) element.remove();
    this.#cards.clear();
  }

  #told(item) {
    switch (item.type) {
      case "mcp_call": {
        const card = this.#card(item.approval_request_id ?? item.id, item);
        this.#cards.set(item.id, card);
        return this.#show(card, item.error ? "failed" : item.output === null ? "runs" : "done", item.error?.message ?? item.output);
      }
      case "mcp_approval_request":
        if (!this.#cards.has(item.id)) this.#ask(item);
        return;
      case "mcp_approval_response":
        return this.#answered(item.approval_request_id, item.approve);
    }
  }

  #ask(item) {
    const card = this.#card(item.id, item);
    this.#show(card, "asks");
    card.group.setAttribute("role", "group");
    card.group.setAttribute("aria-label", `${nameOf(item)} wants to be allowed`);
    card.details.open = true; // what is allowed is to be seen first
    card.buttons.hidden = this.#send === null;
    const answer = (approve) => {
      this.#send?.("conversation.item.create", {
        item: { type: "mcp_approval_response", approval_request_id: item.id, approve },
      });
      this.#answered(item.id, approve);
    };
    card.buttons.append(button("Allow", () => answer(true), "primary"), button("Do not allow", () => answer(false)));
  }

  #answered(id, approve) {
    const card = this.#cards.get(id);
    if (!card) return;
    card.buttons.replaceChildren();
    card.buttons.hidden = true;
    card.group.removeAttribute("role");
    card.group.removeAttribute("aria-label");
    if (["asks", "allowed", "refused"].includes(card.state)) this.#show(card, approve ? "allowed" : "refused");
  }

  #show(card, state, outcome = "") {
    card.state = card.element.dataset.state = state;
    say(card.words, STATES[state]);
    card.outcome.textContent = outcome ?? "";
    card.outcome.hidden = !outcome;
  }

  #card(id, item) {
    const known = this.#cards.get(id);
    if (known) known.given.textContent = written(item.arguments);
    return known ?? this.#make(id, item);
  }

  #make(id, item) {
    const element = make("li", "tool");
    const details = make("details");
    const summary = make("summary");
    const words = make("span", "tool-state");
    words.setAttribute("role", "status");
    const given = make("pre", "", written(item.arguments));
    const outcome = make("pre", "outcome");
    const buttons = make("div", "buttons");
    buttons.hidden = true;
    summary.append(make("span", "tool-name", nameOf(item)), " ", words);
    details.append(summary, given, outcome);
    const group = make("div");
    group.append(details, buttons);
    element.append(group);
    this.#list.append(element);
    element.scrollIntoView({ block: "nearest" });
    const card = { element, group, details, words, given, outcome, buttons, state: "" };
    this.#cards.set(id, card);
    return card;
  }
}

function nameOf({ server_label: server, name }) {
  return server === "chinwag" ? name : `${server}: ${name}`;
}

/** Arguments for a person; what is no JSON, as the model wrote it. */
function written(json) {
  try {
    const given = Object.entries(JSON.parse(json));
    return given.map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
  } catch {
    return json;
  }
}
