// Tool calls, shown in the conversation where they happen. A call that needs the user's approval waits for it.

/** @import { Item, Send, ServerEvent } from "./protocol.js" */

/** @typedef {"runs" | "done" | "failed" | "asks" | "allowed" | "refused"} State */

/**
 * @typedef {{ element: HTMLElement, group: HTMLElement, details: HTMLDetailsElement, words: HTMLElement, given: HTMLElement,
 *   outcome: HTMLElement, buttons: HTMLElement, state: State | "" }} Card
 */

import { button, make, say } from "./dom.js";

/** @type {Record<State, string>} */
const STATES = { runs: "…", done: "done", failed: "failed", asks: "wants to be allowed", allowed: "allowed", refused: "not allowed" };

export class ToolCalls {
  #list;
  /** @type {Send | null} while there is a session */
  #send = null;
  /** @type {Map<string, Card>} by the id of the call's item, or of the approval request */
  #cards = new Map();

  /** @param {HTMLElement} list holds the conversation's turns, as <li> */
  constructor(list) {
    this.#list = list;
  }

  /** A session begins. @param {Send} send */
  begin(send) {
    this.#send = send;
  }

  /** The session is over: no call waits for approval any more. */
  end() {
    this.#send = null;
    for (const { buttons } of this.#cards.values()) buttons.hidden = true;
  }

  /** Takes an event of the server. @param {ServerEvent} event */
  onEvent({ type, item, item_id }) {
    if (type === "conversation.item.added" || type === "conversation.item.done") return this.#onItem(item);
    if (type === "conversation.item.deleted") {
      this.#cards.get(item_id)?.element.remove();
      this.#cards.delete(item_id);
    }
  }

  /** Shows a call of a saved conversation. @param {Item & { server?: string }} item as /api/conversations has it */
  showSaved({ type, server, ...item }) {
    if (type === "function_call" && server) this.#onItem({ ...item, type: "mcp_call", server_label: server });
  }

  /** Removes all calls. */
  clear() {
    for (const { element } of this.#cards.values()) element.remove();
    this.#cards.clear();
  }

  /** @param {Item} item */
  #onItem(item) {
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
        return this.#answered(item.approval_request_id ?? "", item.approve ?? false);
    }
  }

  /** @param {Item} item */
  #ask(item) {
    const card = this.#card(item.id, item);
    this.#show(card, "asks");
    card.group.setAttribute("role", "group");
    card.group.setAttribute("aria-label", `${nameOf(item)} wants to be allowed`);
    card.details.open = true; // the user should see what to approve
    card.buttons.hidden = this.#send === null;
    const answer = (/** @type {boolean} */ approve) => {
      this.#send?.("conversation.item.create", {
        item: { type: "mcp_approval_response", approval_request_id: item.id, approve },
      });
      this.#answered(item.id, approve);
    };
    card.buttons.append(button("Allow", () => answer(true), "primary"), button("Do not allow", () => answer(false)));
  }

  /** @param {string} id @param {boolean} approve */
  #answered(id, approve) {
    const card = this.#cards.get(id);
    if (!card) return;
    card.buttons.replaceChildren();
    card.buttons.hidden = true;
    card.group.removeAttribute("role");
    card.group.removeAttribute("aria-label");
    if (["asks", "allowed", "refused"].includes(card.state)) this.#show(card, approve ? "allowed" : "refused");
  }

  /** @param {Card} card @param {State} state @param {string | null} [outcome] */
  #show(card, state, outcome = "") {
    card.state = card.element.dataset.state = state;
    say(card.words, STATES[state]);
    card.outcome.textContent = outcome ?? "";
    card.outcome.hidden = !outcome;
  }

  /** @param {string} id @param {Item} item */
  #card(id, item) {
    const known = this.#cards.get(id);
    if (known) known.given.textContent = written(item.arguments);
    return known ?? this.#make(id, item);
  }

  /** @param {string} id @param {Item} item @returns {Card} */
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
    /** @type {Card} */
    const card = { element, group, details, words, given, outcome, buttons, state: "" };
    this.#cards.set(id, card);
    return card;
  }
}

/** @param {Item} item */
function nameOf({ server_label: server, name }) {
  return server === "chinwag" ? name : `${server}: ${name}`;
}

/** Arguments in readable form; unchanged if they are not JSON. @param {string | undefined} json */
function written(json = "") {
  try {
    const given = Object.entries(JSON.parse(json));
    return given.map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
  } catch {
    return json;
  }
}
