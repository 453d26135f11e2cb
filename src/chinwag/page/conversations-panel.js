// The panel of saved conversations: lists, searches, opens, renames, exports and deletes them.

/** @import { ServerEvent } from "./protocol.js" */

/** found: where a search matched. @typedef {{ id: string, title: string, updated_at: number, items: number, audio_seconds: number, found?: { words: string } }} Listed */

/** keep: which conversations the server saves. audio: with sound. @typedef {{ keep: "off" | "all" | "asked", audio: boolean }} Policy */

import { button, find, make, say } from "./dom.js";
import { authorization } from "./api-key.js";

const PATH = "api/conversations";
const SETTINGS = "chinwag.conversations"; // {keep}: whether this browser asks the server to save its conversations
const TIMEOUT_MS = 15_000;
const TYPING_MS = 250; // a search begins when nothing has been typed for so long
const FORMS = { md: "Text", json: "JSON", wav: "Sound" };

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class ConversationsPanel {
  #onOpen;
  /** @type {{ id: string, title: string, kept: boolean } | null} the live conversation */
  #now = null;
  /** @type {string | null} id of the one that the next session continues */
  #next = null;
  #keep = storedChoice();
  /** @type {string | null} id of the last one in the list, for the next page */
  #last = null;
  #requests = 0; // counts requested lists: only the newest is shown
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** @type {Policy} */
  #policy = { keep: "asked", audio: false };

  /** @param {{ onOpen: (conversation: any) => void }} handlers onOpen: the user opened this conversation, with its items, to continue it */
  constructor({ onOpen }) {
    this.#onOpen = onOpen;
    find("conversations").onclick = () => this.open();
    find("conversations-close").onclick = () => find("conversations-panel").close();
    find("conversations-more").onclick = () => this.#list(this.#last);
    find("conversations-delete-all").onclick = () => this.#confirm(find("conversations-all"), "Delete all of them, for good?", () => this.#deleteAll());
    find("conversations-keep").onchange = () => this.#choose(find("conversations-keep").checked);
    find("conversations-search").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
    find("conversations-query").oninput = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#list(), TYPING_MS);
    };
  }

  /** Whether the server can be asked. @param {boolean} usable */
  set usable(usable) {
    find("conversations").hidden = !usable;
  }

  /** Query parameters of a new session: the conversation that it continues, a new one to be saved, or none. @returns {Record<string, string>} */
  get query() {
    const id = this.#next ?? (this.#keep ? "new" : null);
    return id ? { conversation: id } : {};
  }

  /** Id of the saved conversation that the next session continues, or null. */
  get next() {
    return this.#next;
  }

  set next(id) {
    this.#next = id;
  }

  /** Takes an event of the server; returns whether it was for this panel. @param {ServerEvent} event */
  onEvent(event) {
    if (event.type !== "chinwag.conversation") return false;
    const { conversation } = event;
    this.#now = conversation;
    // from its first words on it can be continued; one that is not saved ends with its session
    if (conversation.kept && conversation.title) this.#next = conversation.id;
    else if (!conversation.kept) this.#next = null;
    this.#showSaved();
    return true;
  }

  /** The server refused a session: if the conversation was the reason, the next one is new. @param {{ code?: string }} refusal */
  onRefused({ code }) {
    if (code?.startsWith("conversation_")) this.#next = null;
  }

  /** The user stopped: the next session is a new conversation. */
  leave() {
    this.#next = null;
    this.#now = null;
    this.#showSaved();
  }

  open() {
    find("conversations-query").value = "";
    find("conversations-all").replaceChildren();
    find("conversations-panel").showModal();
    return this.#list();
  }

  // --- what is shown

  #showSaved() {
    const words = this.#now ? (this.#now.kept ? "Kept on the server" : "Not kept") : "";
    if (find("kept").textContent !== words) find("kept").textContent = words;
  }

  /** @param {string | null} after id of the last one that is shown */
  async #list(after = null) {
    const mine = ++this.#requests;
    const query = find("conversations-query").value.trim();
    if (!after) this.#say("Looking…");
    const parameters = new URLSearchParams({ limit: "20", ...(query && { q: query }), ...(after && { after }) });
    const answer = await this.#ask(`?${parameters}`);
    if (mine !== this.#requests || !answer) return;
    const rows = answer.data.map((/** @type {Listed} */ listed) => this.#row(listed));
    if (after) find("conversations-list").append(...rows);
    else find("conversations-list").replaceChildren(...rows);
    this.#last = answer.last_id;
    find("conversations-more").hidden = !answer.has_more;
    find("conversations-delete-all").hidden = !find("conversations-list").children.length || Boolean(query);
    this.#explain(answer);
    const none = query ? "Nothing was found." : answer.keep === "off" ? "" : "There are none yet.";
    this.#say(find("conversations-list").children.length ? "" : none);
    if (after) rows[0]?.querySelector("button").focus();
  }

  /** @param {Policy} policy */
  #explain({ keep, audio }) {
    const what = audio ? "words and sound" : "words, and no sound";
    const who = "Whoever may use that server can read them.";
    find("conversations-keep").checked = keep === "all" || (keep === "asked" && this.#keep);
    find("conversations-keep").disabled = keep !== "asked";
    find("conversations-about").textContent = {
      off: "This server keeps nothing of what is said.",
      all: `This server keeps every conversation: ${what}. ${who}`,
      asked: this.#keep ? `Kept on the server: ${what}. ${who}` : "Nothing of what you say on this page is kept.",
    }[keep];
    this.#policy = { keep, audio };
  }

  /** @param {boolean} keep */
  #choose(keep) {
    this.#keep = keep;
    try {
      localStorage.setItem(SETTINGS, JSON.stringify({ keep }));
    } catch {
      // without storage the choice is forgotten with the page
    }
    this.#explain(this.#policy);
    if (this.#now) this.#say("It counts from the next conversation on. Delete this one here if it is not to stay.");
  }

  /** @param {Listed} listed */
  #row(listed) {
    const row = make("li", "conversation");
    const title = listed.title || "Without words";
    const open = button(title, () => this.#read(listed.id), "open");
    open.setAttribute("aria-label", `Open ${title}`);
    const about = [date.format(listed.updated_at * 1000), listed.items === 1 ? "1 item" : `${listed.items} items`];
    if (listed.id === this.#now?.id) about.push("now");
    const found = make("p", "found", listed.found?.words ?? "");
    found.hidden = !listed.found;
    const actions = make("details", "actions");
    const below = make("div", "below");
    const forms = Object.entries(FORMS).filter(([form]) => form !== "wav" || listed.audio_seconds > 0);
    const buttons = make("div", "buttons");
    buttons.append(
      button("Rename", () => this.#askName(listed, title, below)),
      ...forms.map(([form, words]) => button(`Save as ${words}`, () => this.#save(listed.id, title, form))),
      button("Delete", () => this.#confirm(below, `Delete “${title}” for good?`, () => this.#delete(listed.id, row))),
    );
    const summary = make("summary", "", "More");
    summary.setAttribute("aria-label", `More of ${title}`);
    actions.append(summary, buttons, below);
    row.append(open, make("p", "numbers", about.join(" · ")), found, actions);
    return row;
  }

  /** Asks in place, as a second dialog would hide the row. @param {HTMLElement} place @param {string} words @param {() => unknown} act */
  #confirm(place, words, act) {
    const asked = make("div", "confirm");
    asked.setAttribute("role", "group");
    asked.setAttribute("aria-label", words);
    const no = button("Keep", () => place.replaceChildren());
    asked.append(make("p", "", words), button("Delete", () => (place.replaceChildren(), act()), "danger"), no);
    place.replaceChildren(asked);
    no.focus();
  }

  /** @param {Listed} listed @param {string} title @param {HTMLElement} place */
  #askName(listed, title, place) {
    const form = make("form", "rename");
    const field = make("input");
    field.value = listed.title;
    field.maxLength = 200;
    field.required = true;
    field.setAttribute("aria-label", `New name of ${title}`);
    const save = make("button", "primary", "Rename");
    form.append(field, save);
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      const changed = await this.#ask(`/${listed.id}`, { method: "PATCH", body: JSON.stringify({ title: field.value }), headers: { "Content-Type": "application/json" } });
      if (!changed) return;
      await this.#list();
      this.#say(`It is called “${changed.title}” now.`);
    };
    place.replaceChildren(form);
    field.focus();
    field.select();
  }

  // --- what is done

  /** @param {string} id */
  async #read(id) {
    this.#say("Opening…");
    const conversation = await this.#ask(`/${id}`);
    if (!conversation) return;
    this.#say("");
    find("conversations-panel").close();
    this.#onOpen(conversation);
    this.#next = id; // after the one before was left
  }

  /** @param {string} id @param {HTMLElement} row */
  async #delete(id, row) {
    if (!(await this.#ask(`/${id}`, { method: "DELETE" }))) return;
    if (this.#next === id) this.#next = null;
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (neighbour?.querySelector("button") ?? find("conversations-close")).focus();
    this.#say(neighbour ? "It is deleted." : "It is deleted. There are none left.");
  }

  async #deleteAll() {
    if (!(await this.#ask("", { method: "DELETE" }))) return;
    this.#next = null;
    await this.#list();
    find("conversations-close").focus();
    this.#say("All of them are deleted.");
  }

  /** @param {string} id @param {string} title @param {string} form */
  async #save(id, title, form) {
    this.#say("One moment…");
    const answer = await this.#fetch(`/${id}/export?format=${form}`);
    if (!answer) return;
    const link = make("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `${title.replace(/[^\p{L}\p{N} ._-]+/gu, " ").trim() || "conversation"}.${form}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT_MS);
    this.#say("It is saved.");
  }

  /** @param {string} path @param {RequestInit} request */
  async #ask(path, request = {}) {
    return (await this.#fetch(path, { ...request, signal: AbortSignal.timeout(TIMEOUT_MS) }))?.json();
  }

  /** The server's answer; null if there is none, which the panel shows. @param {string} path @param {RequestInit} request */
  async #fetch(path, { headers = {}, ...request } = {}) {
    try {
      const answer = await fetch(PATH + path, { ...request, headers: { ...headers, ...authorization() }, cache: "no-store" });
      if (!answer.ok) throw new Error((await answer.json()).error.message);
      return answer;
    } catch (error) {
      this.#say(`That did not work: ${/** @type {Error} */ (error).message} Try again in a moment.`);
      return null;
    }
  }

  /** @param {string} words */
  #say(words) {
    say(find("conversations-words"), words);
  }
}

function storedChoice() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS) ?? "null")?.keep ?? true;
  } catch {
    return true;
  }
}
