// The panel of conversations that the server keeps: found, opened to go on, renamed, taken away, deleted.

import { button, find, make } from "./dom.js";
import { authorization } from "./api-key.js";

const HERE = "api/conversations";
const SETTINGS = "chinwag.conversations"; // {keep}: whether this browser asks for its talks to be kept
const PATIENCE_MS = 15_000;
const TYPING_MS = 250; // a search begins when nothing has been typed for so long
const FORMS = { md: "Text", json: "JSON", wav: "Sound" };

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class ConversationsPanel {
  #onOpen;
  #now = null; // the conversation that is being held, as chinwag.conversation tells it
  #next = null; // id of the one that the next session goes on with
  #keep = wanted();
  #last = null; // id behind which the list goes on
  #asked = 0; // counts lists that were asked for: only the newest is shown
  #typing = null;
  #told = { keep: "asked", audio: false }; // what the server keeps

  /** onOpen(conversation): it was opened, with its items, and goes on when they press Start or type. */
  constructor({ onOpen }) {
    this.#onOpen = onOpen;
    find("conversations").onclick = () => this.open();
    find("conversations-close").onclick = () => find("conversations-panel").close();
    find("conversations-more").onclick = () => this.#list(this.#last);
    find("conversations-delete-all").onclick = () => this.#confirm(find("conversations-all"), "Delete all of them, for good?", () => this.#deleteAll());
    find("conversations-keep").onchange = () => this.#choose(find("conversations-keep").checked);
    find("conversations-search").onsubmit = (event) => event.preventDefault();
    find("conversations-query").oninput = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#list(), TYPING_MS);
    };
  }

  /** Whether there is a server to ask. */
  set usable(usable) {
    find("conversations").hidden = !usable;
  }

  /** What the address of a new session has to say of it: the one that goes on, a new one to be kept, or nothing. */
  get query() {
    const id = this.#next ?? (this.#keep ? "new" : null);
    return id ? { conversation: id } : {};
  }

  /** Id of the kept one that the next session goes on with, or null. */
  get next() {
    return this.#next;
  }

  set next(id) {
    this.#next = id;
  }

  /** Takes an event of the server; whether it is one for this panel. */
  onEvent(event) {
    if (event.type !== "chinwag.conversation") return false;
    this.#now = event.conversation;
    // from its first words on it can be gone on with; one that is not kept ends with its session
    if (this.#now.kept && this.#now.title) this.#next = this.#now.id;
    else if (!this.#now.kept) this.#next = null;
    this.#tell();
    return true;
  }

  /** The server refused a session: where the conversation was the reason, the next one is new. */
  onRefused({ code }) {
    if (code?.startsWith("conversation_")) this.#next = null;
  }

  /** They stopped: the next session is a new conversation. */
  leave() {
    this.#next = this.#now = null;
    this.#tell();
  }

  open() {
    find("conversations-query").value = "";
    find("conversations-all").replaceChildren();
    find("conversations-panel").showModal();
    return this.#list();
  }

  // --- what is shown

  #tell() {
    const words = this.#now ? (this.#now.kept ? "Kept on the server" : "Not kept") : "";
    if (find("kept").textContent !== words) find("kept").textContent = words;
  }

  async #list(after = null) {
    const mine = ++this.#asked;
    const query = find("conversations-query").value.trim();
    if (!after) this.#say("Looking…");
    const parameters = new URLSearchParams({ limit: "20", ...(query && { q: query }), ...(after && { after }) });
    const told = await this.#ask(`?${parameters}`);
    if (mine !== this.#asked || !told) return;
    const rows = told.data.map((one) => this.#row(one));
    if (after) find("conversations-list").append(...rows);
    else find("conversations-list").replaceChildren(...rows);
    this.#last = told.last_id;
    find("conversations-more").hidden = !told.has_more;
    find("conversations-delete-all").hidden = !find("conversations-list").children.length || Boolean(query);
    this.#explain(told);
    const none = query ? "Nothing was found." : told.keep === "off" ? "" : "There are none yet.";
    this.#say(find("conversations-list").children.length ? "" : none);
    if (after) rows[0]?.querySelector("button").focus();
  }

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
    this.#told = { keep, audio };
  }

  #choose(keep) {
    this.#keep = keep;
    try {
      localStorage.setItem(SETTINGS, JSON.stringify({ keep }));
    } catch {
      // a browser that keeps nothing forgets it with the page
    }
    this.#explain(this.#told);
    if (this.#now) this.#say("It counts from the next conversation on. Delete this one here if it is not to stay.");
  }

  #row(one) {
    const row = make("li", "conversation");
    const title = one.title || "Without words";
    const open = button(title, () => this.#read(one.id), "open");
    open.setAttribute("aria-label", `Open ${title}`);
    const about = [date.format(one.updated_at * 1000), one.items === 1 ? "1 item" : `${one.items} items`];
    if (one.id === this.#now?.id) about.push("now");
    const found = make("p", "found", one.found?.words ?? "");
    found.hidden = !one.found;
    const actions = make("details", "actions");
    const below = make("div", "below");
    const forms = Object.entries(FORMS).filter(([form]) => form !== "wav" || one.audio_seconds > 0);
    const buttons = make("div", "buttons");
    buttons.append(
      button("Rename", () => this.#askName(one, title, below)),
      ...forms.map(([form, words]) => button(`Save as ${words}`, () => this.#save(one.id, title, form))),
      button("Delete", () => this.#confirm(below, `Delete “${title}” for good?`, () => this.#delete(one.id, row))),
    );
    const summary = make("summary", "", "More");
    summary.setAttribute("aria-label", `More of ${title}`);
    actions.append(summary, buttons, below);
    row.append(open, make("p", "numbers", about.join(" · ")), found, actions);
    return row;
  }

  /** Asks in place, as a second dialog would hide what it is about. */
  #confirm(place, words, act) {
    const asked = make("div", "confirm");
    asked.setAttribute("role", "group");
    asked.setAttribute("aria-label", words);
    const no = button("Keep", () => place.replaceChildren());
    asked.append(make("p", "", words), button("Delete", () => (place.replaceChildren(), act()), "danger"), no);
    place.replaceChildren(asked);
    no.focus();
  }

  #askName(one, title, place) {
    const form = make("form", "rename");
    const field = make("input");
    field.value = one.title;
    field.maxLength = 200;
    field.required = true;
    field.setAttribute("aria-label", `New name of ${title}`);
    const save = make("button", "primary", "Rename");
    form.append(field, save);
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      const changed = await this.#ask(`/${one.id}`, { method: "PATCH", body: JSON.stringify({ title: field.value }), headers: { "Content-Type": "application/json" } });
      if (!changed) return;
      await this.#list();
      this.#say(`It is called “${changed.title}” now.`);
    };
    place.replaceChildren(form);
    field.focus();
    field.select();
  }

  // --- what is done

  async #read(id) {
    this.#say("Opening…");
    const whole = await this.#ask(`/${id}`);
    if (!whole) return;
    this.#say("");
    find("conversations-panel").close();
    this.#onOpen(whole);
    this.#next = id; // after they have left the one before
  }

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

  async #save(id, title, form) {
    this.#say("One moment…");
    const answer = await this.#fetch(`/${id}/export?format=${form}`);
    if (!answer) return;
    const link = make("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `${title.replace(/[^\p{L}\p{N} ._-]+/gu, " ").trim() || "conversation"}.${form}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), PATIENCE_MS);
    this.#say("It is saved.");
  }

  /** @param {string} path @param {RequestInit} request */
  async #ask(path, request = {}) {
    return (await this.#fetch(path, { ...request, signal: AbortSignal.timeout(PATIENCE_MS) }))?.json();
  }

  /** The server's answer; null if there is none, which the panel shows. @param {string} path @param {RequestInit} request */
  async #fetch(path, { headers = {}, ...request } = {}) {
    try {
      const answer = await fetch(HERE + path, { ...request, headers: { ...headers, ...authorization() }, cache: "no-store" });
      if (!answer.ok) throw new Error((await answer.json()).error.message);
      return answer;
    } catch (error) {
      this.#say(`That did not work: ${error.message} Try again in a moment.`);
      return null;
    }
  }

  #say(words) {
    if (find("conversations-words").textContent !== words) find("conversations-words").textContent = words;
  }
}

function wanted() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS))?.keep ?? true;
  } catch {
    return true;
  }
}
