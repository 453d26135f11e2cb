// The panel of settings. What is changed here counts at once, is kept in this browser, and is asked of each new session.

import { find, make, option, say } from "./dom.js";
import { authorization } from "./api-key.js";

const KEPT = "chinwag.settings";
const OURS = "settings_"; // event ids of this panel: settings_FIELD_NUMBER
const PATIENCE_MS = 15_000;

// null: as the server, or the assistant, has it.
const UNTOUCHED = { assistant: null, name: null, instructions: null, voice: null, speed: null, language: null, patience: null, interruption: null, captions: 1, transport: "websocket" };
const OF_AN_ASSISTANT = ["name", "instructions", "voice", "speed", "language"]; // another assistant comes with its own
const BY_CHINWAG = ["assistant", "language", "patience", "interruption"]; // go by chinwag.session.update

/** @type {Record<string, [string | number, string][]>} by field: its values and their words */
const SEGMENTS = {
  interruption: [["words", "Your words"], ["speech", "Any speech"], ["off", "Nothing"]],
  captions: [[0.85, "Small"], [1, "Normal"], [1.4, "Large"], [2, "Very large"]],
  transport: [["websocket", "WebSocket"], ["webrtc", "WebRTC"]],
};
const OLDER = "This server does not take these: it may be older than this page.";

const languages = new Intl.DisplayNames(["en"], { type: "language" });

export class SettingsPanel {
  #handlers;
  #kept = read();
  #send = null; // while a session is there
  #own = {}; // what the session has where nothing is kept
  #takes = null; // whether the server knows chinwag.session.update; null: not known
  #sent = 0;
  #asked = false;
  #naming = null; // the instructions that were last sent
  #assistants = [];
  #met = false; // the server has told them
  #default = null; // the name of the server's own
  #voices = null; // of the engine in use, by language; null: not told
  #spoken = []; // tags of languages

  /** onName(name) what the assistant is called, onTransport(name) how the next session is to travel, onAssistants(assistants, name) who there is and who answers. */
  constructor(handlers) {
    this.#handlers = handlers;
    for (const [field, choices] of Object.entries(SEGMENTS)) find(`setting-${field}`).append(...choices.map(([value, words]) => segment(field, value, words)));
    for (const field of Object.keys(UNTOUCHED)) find(`setting-${field}`).onchange = ({ target }) => this.#change(field, target.value);
    find("setting-speed").oninput = find("setting-patience").oninput = () => this.#tellSliders();
    find("settings").onclick = () => this.open();
    find("settings-close").onclick = () => find("settings-panel").close();
    find("settings-reset").onclick = () => this.#reset();
    this.#applyHere();
  }

  async open() {
    this.#trouble("");
    say(find("settings-words"), this.#send ? "" : "They are taken when you press Start.");
    this.#ask();
    this.#fill();
    find("settings-panel").showModal();
    const [, engines] = await Promise.all([this.#look(), fetched("api/engines")]);
    if (engines) this.#list(engines.engines);
    this.#fill();
  }

  /** The server is ready: it is asked once who can answer. */
  async loadAssistants() {
    if (this.#met) return;
    this.#met = true;
    await this.#look();
  }

  async #look() {
    const told = await fetched("api/assistants");
    this.#met = told !== null;
    this.#assistants = told?.assistants ?? [];
    this.#default = told?.default ?? null;
    this.#applyHere();
  }

  /** They want that assistant. */
  chooseAssistant(name) {
    this.#change("assistant", name === this.#default ? "" : name);
  }

  /** A session has begun: it gets what is kept. send(type, fields). */
  begin(send) {
    this.#send = send;
    this.#own = {};
    this.#takes = this.#naming = null;
    this.#asked = false;
    this.#voices = null;
    const wanted = Object.keys(UNTOUCHED).filter((field) => this.#kept[field] !== null && !["captions", "transport", "name", "instructions"].includes(field));
    if (wanted.length || this.#names) this.#ask();
    for (const field of wanted) this.#tell(field);
    if (this.#kept.instructions !== null) this.#tell("instructions");
  }

  end() {
    this.#send = null;
  }

  /** Takes an event of the server, where it is one for this panel. */
  onEvent(event) {
    if (event.type === "session.updated") this.#learn(event.session);
    else if (event.type === "chinwag.session.updated") this.#learnMore(event.session);
    else if (event.type === "chinwag.engines.updated") this.#voicesOf(event.engines.tts);
  }

  /** Whether an error is about a change of ours. Where the panel is closed, the page is to tell of it. */
  onError({ event_id, message }) {
    if (!event_id?.startsWith(OURS)) return false;
    const field = event_id.split("_")[1];
    if (field === "own") this.#takes = false;
    if (field === "own" || (this.#takes === false && BY_CHINWAG.includes(field))) {
      if (field === "language") this.#tell(field); // the protocol has a place for it, too
      this.#fill();
      return true;
    }
    this.#keep({ [field]: UNTOUCHED[field] });
    this.#fill();
    this.#trouble(message);
    return find("settings-panel").open;
  }

  // --- what the server has

  // Once a session: what it is like by itself. The answers come before those to any change.
  #ask() {
    if (!this.#send || this.#asked) return;
    this.#asked = true;
    this.#post("session", "session.update", { type: "realtime" });
    this.#post("own", "chinwag.session.update", {});
  }

  #learn({ instructions, audio }) {
    const { voice, speed } = audio?.output ?? {};
    const told = { voice: voice?.id ?? voice, speed, language: audio?.input?.transcription?.language };
    if (instructions !== this.#naming) told.instructions = instructions;
    for (const [field, value] of Object.entries(told)) if (this.#own[field] === undefined || this.#kept[field] === null) this.#own[field] = value;
    if (this.#names && this.#naming !== this.#instructions && this.#own.instructions !== undefined) this.#tell("instructions");
    if (find("settings-panel").open) this.#fill();
  }

  #learnMore(told) {
    this.#takes = true;
    for (const field of BY_CHINWAG) if (this.#own[field] === undefined || this.#kept[field] === null) this.#own[field] = told[field];
    if (find("settings-panel").open) this.#fill();
  }

  #list(engines) {
    const [stt, tts] = ["stt", "tts"].map((task) => engines.find((engine) => engine.task === task && engine.chosen));
    this.#voices ??= tts?.voices ?? {};
    const both = [...(stt?.languages ?? []), ...(tts?.languages ?? []), ...Object.keys(this.#voices)];
    this.#spoken = [...new Set(both)].filter((tag) => tag && tag !== "*");
  }

  #voicesOf({ voices, languages: byLanguage }) {
    const named = new Set(Object.values(byLanguage).flat());
    const free = voices.filter((name) => !named.has(name));
    this.#voices = { ...byLanguage, ...(free.length ? { "": free } : {}) };
    if (this.#kept.voice !== null && !voices.includes(this.#kept.voice)) this.#keep({ voice: null });
    if (find("settings-panel").open) this.#fill();
  }

  // --- what they want

  get #names() {
    return this.#kept.name !== null;
  }

  get #instructions() {
    const base = this.#kept.instructions ?? this.#own.instructions ?? "";
    return this.#names ? `Your name is ${this.#kept.name}. ${base}`.trim() : base;
  }

  #change(field, value) {
    const typed = typeof UNTOUCHED[field] === "number" || ["speed", "patience"].includes(field) ? Number(value) : value.trim();
    this.#keep(field === "assistant" ? Object.fromEntries(OF_AN_ASSISTANT.map((one) => [one, null])) : {});
    this.#keep({ [field]: typed === "" ? null : typed });
    this.#trouble("");
    this.#applyHere();
    this.#tell(field);
    this.#fill();
    if (field !== "captions") say(find("settings-words"), this.#send && field !== "transport" ? "Taken." : "Kept: it is taken when you press Start.");
  }

  #reset() {
    const before = this.#kept;
    this.#keep(UNTOUCHED);
    this.#trouble("");
    this.#applyHere();
    for (const field of Object.keys(UNTOUCHED)) if (before[field] !== this.#kept[field]) this.#tell(field);
    this.#fill();
    say(find("settings-words"), "All is as the server has it.");
  }

  /** Asks it of the session; a setting that was taken back is what it was before. */
  #tell(field) {
    if (!this.#send) return;
    const value = this.#kept[field] ?? this.#own[field];
    if (BY_CHINWAG.includes(field) && this.#takes !== false) {
      if (value !== undefined) this.#post(field, "chinwag.session.update", { [field]: value });
      if (field === "assistant") this.#post("session", "session.update", { type: "realtime" }); // to be told what it is like
    } else if (field === "voice" || field === "speed") {
      if (value !== undefined) this.#post(field, "session.update", { type: "realtime", audio: { output: { [field]: value } } });
    } else if (field === "language") {
      this.#post(field, "session.update", { type: "realtime", audio: { input: { transcription: { language: value } } } });
    } else if (field === "name" || field === "instructions") {
      this.#naming = this.#instructions;
      this.#post("instructions", "session.update", { type: "realtime", instructions: this.#naming });
    }
  }

  #post(field, type, session) {
    this.#send(type, { event_id: `${OURS}${field}_${++this.#sent}`, session });
  }

  #keep(changes) {
    this.#kept = { ...this.#kept, ...changes };
    try {
      localStorage.setItem(KEPT, JSON.stringify(this.#kept));
    } catch {
      // a browser that keeps nothing forgets it with the page
    }
  }

  // --- what is shown

  #applyHere() {
    const { captions, name, transport } = this.#kept;
    const assistant = this.#kept.assistant ?? this.#default;
    document.documentElement.style.setProperty("--captions", captions);
    this.#handlers.onName(name ?? this.#assistants.find((one) => one.name === assistant)?.title ?? "Chinwag");
    this.#handlers.onTransport(transport);
    this.#handlers.onAssistants(this.#assistants, assistant);
  }

  #fill() {
    const kept = this.#kept;
    const now = (field) => kept[field] ?? this.#own[field];
    find("assistant-row").hidden = this.#assistants.length === 0;
    const who = this.#assistants.map(({ name, title }) => option(name, title));
    choose("assistant", kept.assistant, [option("", "As the server has it"), ...who]);
    const summary = this.#assistants.find(({ name }) => name === now("assistant"))?.summary ?? "";
    find("assistant-summary").textContent = summary;
    for (const field of ["name", "instructions"]) {
      const input = find(`setting-${field}`);
      if (input !== document.activeElement) input.value = kept[field] ?? ""; // else they are writing
    }
    const own = typeof this.#own.voice === "string" && kept.voice === null ? ` (${this.#own.voice})` : "";
    choose("voice", kept.voice, [option("", `Its own${own}`), ...Object.entries(this.#voices ?? {}).map(([tag, names]) => group(tag, names))]);
    const spoken = this.#spoken.map((tag) => [tag, languages.of(tag)]).sort(([, one], [, other]) => one.localeCompare(other));
    choose("language", kept.language, [option("", "As the server has it"), option("auto", "Heard: it follows you"), ...spoken.map(([tag, words]) => option(tag, words))]);
    find("setting-speed").value = now("speed") ?? 1;
    find("setting-patience").value = now("patience") ?? 0;
    for (const field of Object.keys(SEGMENTS)) {
      for (const input of find(`setting-${field}`).querySelectorAll("input")) input.checked = input.value === String(now(field));
    }
    for (const one of [find("setting-patience"), find("setting-interruption")]) one.disabled = this.#takes === false;
    find("turns-words").textContent = this.#takes === false ? OLDER : "";
    this.#tellSliders();
  }

  #tellSliders() {
    const [speed, patience] = ["speed", "patience"].map((field) => Number(find(`setting-${field}`).value));
    find("speed-words").textContent = `${speed.toFixed(2)}×`;
    const words = patience === 0 ? "Normal" : patience < 0 ? "Quick" : "Patient";
    find("patience-words").textContent = words;
    find("setting-patience").setAttribute("aria-valuetext", `${words} (${patience})`);
  }

  #trouble(words) {
    find("settings-trouble").hidden = !words;
    find("settings-trouble-words").textContent = words;
  }
}

/** Fills a select; a value that it does not list, from another engine or server, is listed as well. */
function choose(field, value, options) {
  const select = find(`setting-${field}`);
  select.replaceChildren(...options);
  select.value = value ?? "";
  if (select.value === (value ?? "")) return;
  select.append(option(value, value));
  select.value = value;
}

function group(tag, names) {
  const element = make("optgroup");
  element.label = tag ? languages.of(tag) : "Any language";
  element.append(...names.map((name) => option(name, name)));
  return element;
}

function segment(field, value, words) {
  const label = make("label");
  const input = make("input");
  Object.assign(input, { type: "radio", name: `setting-${field}`, value });
  label.append(input, make("span", "", words));
  return label;
}

/** What the server tells there; null where it has no such thing. */
async function fetched(path) {
  try {
    const answer = await fetch(path, { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function read() {
  try {
    return { ...UNTOUCHED, ...JSON.parse(localStorage.getItem(KEPT)) };
  } catch {
    return { ...UNTOUCHED };
  }
}
