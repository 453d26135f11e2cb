// The panel of settings. A change counts at once, is stored in this browser, and is sent to each new session.

/** @import { Assistant } from "./assistant-choice.js" */
/** @import { ProtocolError, Send, ServerEvent } from "./protocol.js" */

/** @typedef {Record<string, any>} Settings by field */

import { find, make, option, say } from "./dom.js";
import { authorization } from "./api-key.js";

const STORAGE_KEY = "chinwag.settings";
const EVENT_PREFIX = "settings_"; // of this panel's event ids: settings_FIELD_NUMBER
const TIMEOUT_MS = 15_000;

// null: as the server, or the assistant, has it.
/** @type {Settings} */
const UNTOUCHED = { assistant: null, name: null, instructions: null, voice: null, speed: null, language: null, patience: null, interruption: null, captions: 1, transport: "websocket" };
const OF_AN_ASSISTANT = ["name", "instructions", "voice", "speed", "language"]; // another assistant comes with its own
const BY_CHINWAG = ["assistant", "language", "patience", "interruption"]; // sent by chinwag.session.update

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
  #stored = read();
  /** @type {Send | null} while there is a session */
  #send = null;
  /** @type {Settings} the session's own, for fields without a stored value */
  #own = {};
  /** @type {boolean | null} whether the server supports chinwag.session.update; null: not known */
  #supported = null;
  #sent = 0;
  #requested = false; // the session's own settings were requested
  /** @type {string | null} the instructions that were last sent */
  #sentInstructions = null;
  /** @type {Assistant[]} */
  #assistants = [];
  #assistantsLoaded = false;
  /** @type {string | null} the name of the server's default assistant */
  #default = null;
  /** @type {Record<string, string[]> | null} of the engine in use, by language; null: not known */
  #voices = null;
  /** @type {string[]} tags of languages */
  #spoken = [];

  /**
   * @param {object} handlers
   * @param {(name: string) => void} handlers.onName the assistant's name
   * @param {(name: string) => void} handlers.onTransport the transport of the next session
   * @param {(assistants: Assistant[], chosen: string | null) => void} handlers.onAssistants the assistants and the current one
   */
  constructor(handlers) {
    this.#handlers = handlers;
    for (const [field, choices] of Object.entries(SEGMENTS)) find(`setting-${field}`).append(...choices.map(([value, words]) => segment(field, value, words)));
    for (const field of Object.keys(UNTOUCHED)) find(`setting-${field}`).onchange = (/** @type {{ target: HTMLInputElement }} */ { target }) => this.#change(field, target.value);
    find("setting-speed").oninput = find("setting-patience").oninput = () => this.#showSliders();
    find("settings").onclick = () => this.open();
    find("settings-close").onclick = () => find("settings-panel").close();
    find("settings-reset").onclick = () => this.#reset();
    this.#applyToPage();
  }

  async open() {
    this.#trouble("");
    say(find("settings-words"), this.#send ? "" : "They are taken when you press Start.");
    this.#requestOwn();
    this.#fill();
    find("settings-panel").showModal();
    const [, engines] = await Promise.all([this.#loadAssistants(), fetched("api/engines")]);
    if (engines) this.#list(engines.engines);
    this.#fill();
  }

  /** Loads the list of assistants once, as the server is ready. */
  async loadAssistants() {
    if (this.#assistantsLoaded) return;
    this.#assistantsLoaded = true;
    await this.#loadAssistants();
  }

  async #loadAssistants() {
    const list = await fetched("api/assistants");
    this.#assistantsLoaded = list !== null;
    this.#assistants = list?.assistants ?? [];
    this.#default = list?.default ?? null;
    this.#applyToPage();
  }

  /** The user chose that assistant. @param {string} name */
  chooseAssistant(name) {
    this.#change("assistant", name === this.#default ? "" : name);
  }

  /** A session began: it gets the stored settings. @param {Send} send */
  begin(send) {
    this.#send = send;
    this.#own = {};
    this.#supported = null;
    this.#sentInstructions = null;
    this.#requested = false;
    this.#voices = null;
    const wanted = Object.keys(UNTOUCHED).filter((field) => this.#stored[field] !== null && !["captions", "transport", "name", "instructions"].includes(field));
    if (wanted.length || this.#names) this.#requestOwn();
    for (const field of wanted) this.#sendField(field);
    if (this.#stored.instructions !== null) this.#sendField("instructions");
  }

  end() {
    this.#send = null;
  }

  /** Takes an event of the server. @param {ServerEvent} event */
  onEvent(event) {
    if (event.type === "session.updated") this.#onSession(event.session);
    else if (event.type === "chinwag.session.updated") this.#onChinwagSession(event.session);
    else if (event.type === "chinwag.engines.updated") this.#voicesOf(event.engines.tts);
  }

  /** Handles an error of a change of this panel; returns whether the panel shows it. @param {ProtocolError} error */
  onError({ event_id, message }) {
    if (!event_id?.startsWith(EVENT_PREFIX)) return false;
    const field = event_id.split("_")[1];
    if (field === "own") this.#supported = false;
    if (field === "own" || (this.#supported === false && BY_CHINWAG.includes(field))) {
      if (field === "language") this.#sendField(field); // the OpenAI protocol has this field, too
      this.#fill();
      return true;
    }
    this.#store({ [field]: UNTOUCHED[field] });
    this.#fill();
    this.#trouble(message ?? "");
    return find("settings-panel").open;
  }

  // --- what the server has

  // Once a session: requests its own settings. The answers come before those to any change.
  #requestOwn() {
    if (!this.#send || this.#requested) return;
    this.#requested = true;
    this.#post("session", "session.update", { type: "realtime" });
    this.#post("own", "chinwag.session.update", {});
  }

  /** @param {any} session */
  #onSession({ instructions, audio }) {
    const { voice, speed } = audio?.output ?? {};
    /** @type {Settings} */
    const settings = { voice: voice?.id ?? voice, speed, language: audio?.input?.transcription?.language };
    if (instructions !== this.#sentInstructions) settings.instructions = instructions;
    for (const [field, value] of Object.entries(settings)) if (this.#own[field] === undefined || this.#stored[field] === null) this.#own[field] = value;
    if (this.#names && this.#sentInstructions !== this.#instructions && this.#own.instructions !== undefined) this.#sendField("instructions");
    if (find("settings-panel").open) this.#fill();
  }

  /** @param {Settings} settings */
  #onChinwagSession(settings) {
    this.#supported = true;
    for (const field of BY_CHINWAG) if (this.#own[field] === undefined || this.#stored[field] === null) this.#own[field] = settings[field];
    if (find("settings-panel").open) this.#fill();
  }

  /** @param {any[]} engines as /api/engines lists them */
  #list(engines) {
    const [stt, tts] = ["stt", "tts"].map((task) => engines.find((engine) => engine.task === task && engine.chosen));
    const voices = (this.#voices ??= tts?.voices ?? {});
    const both = [...(stt?.languages ?? []), ...(tts?.languages ?? []), ...Object.keys(voices)];
    this.#spoken = [...new Set(both)].filter((tag) => tag && tag !== "*");
  }

  /** @param {{ voices: string[], languages: Record<string, string[]> }} engine */
  #voicesOf({ voices, languages: byLanguage }) {
    const named = new Set(Object.values(byLanguage).flat());
    const free = voices.filter((name) => !named.has(name));
    this.#voices = { ...byLanguage, ...(free.length ? { "": free } : {}) };
    if (this.#stored.voice !== null && !voices.includes(this.#stored.voice)) this.#store({ voice: null });
    if (find("settings-panel").open) this.#fill();
  }

  // --- what the user wants

  get #names() {
    return this.#stored.name !== null;
  }

  get #instructions() {
    const base = this.#stored.instructions ?? this.#own.instructions ?? "";
    return this.#names ? `Your name is ${this.#stored.name}. ${base}`.trim() : base;
  }

  /** @param {string} field @param {string} value */
  #change(field, value) {
    const typed = typeof UNTOUCHED[field] === "number" || ["speed", "patience"].includes(field) ? Number(value) : value.trim();
    this.#store(field === "assistant" ? Object.fromEntries(OF_AN_ASSISTANT.map((name) => [name, UNTOUCHED[name]])) : {});
    this.#store({ [field]: typed === "" ? null : typed });
    this.#trouble("");
    this.#applyToPage();
    this.#sendField(field);
    this.#fill();
    if (field !== "captions") say(find("settings-words"), this.#send && field !== "transport" ? "Taken." : "Kept: it is taken when you press Start.");
  }

  #reset() {
    const before = this.#stored;
    this.#store(UNTOUCHED);
    this.#trouble("");
    this.#applyToPage();
    for (const field of Object.keys(UNTOUCHED)) if (before[field] !== this.#stored[field]) this.#sendField(field);
    this.#fill();
    say(find("settings-words"), "All is as the server has it.");
  }

  // Sends a field to the session; a setting that was reset is what it was before.
  /** @param {string} field */
  #sendField(field) {
    if (!this.#send) return;
    const value = this.#stored[field] ?? this.#own[field];
    if (BY_CHINWAG.includes(field) && this.#supported !== false) {
      if (value !== undefined) this.#post(field, "chinwag.session.update", { [field]: value });
      if (field === "assistant") this.#post("session", "session.update", { type: "realtime" }); // to receive its settings
    } else if (field === "voice" || field === "speed") {
      if (value !== undefined) this.#post(field, "session.update", { type: "realtime", audio: { output: { [field]: value } } });
    } else if (field === "language") {
      this.#post(field, "session.update", { type: "realtime", audio: { input: { transcription: { language: value } } } });
    } else if (field === "name" || field === "instructions") {
      this.#sentInstructions = this.#instructions;
      this.#post("instructions", "session.update", { type: "realtime", instructions: this.#sentInstructions });
    }
  }

  /** @param {string} field @param {string} type @param {Record<string, unknown>} session */
  #post(field, type, session) {
    this.#send?.(type, { event_id: `${EVENT_PREFIX}${field}_${++this.#sent}`, session });
  }

  /** @param {Settings} changes */
  #store(changes) {
    this.#stored = { ...this.#stored, ...changes };
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify(this.#stored));
    } catch {
      // without storage the settings are forgotten with the page
    }
  }

  // --- what is shown

  #applyToPage() {
    const { captions, name, transport } = this.#stored;
    const assistant = this.#stored.assistant ?? this.#default;
    document.documentElement.style.setProperty("--captions", captions);
    this.#handlers.onName(name ?? this.#assistants.find(({ name: other }) => other === assistant)?.title ?? "Chinwag");
    this.#handlers.onTransport(transport);
    this.#handlers.onAssistants(this.#assistants, assistant);
  }

  #fill() {
    const stored = this.#stored;
    const now = (/** @type {string} */ field) => stored[field] ?? this.#own[field];
    find("assistant-row").hidden = this.#assistants.length === 0;
    const assistants = this.#assistants.map(({ name, title }) => option(name, title));
    choose("assistant", stored.assistant, [option("", "As the server has it"), ...assistants]);
    const summary = this.#assistants.find(({ name }) => name === now("assistant"))?.summary ?? "";
    find("assistant-summary").textContent = summary;
    for (const field of ["name", "instructions"]) {
      const input = find(`setting-${field}`);
      if (input !== document.activeElement) input.value = stored[field] ?? ""; // otherwise the user is writing
    }
    const own = typeof this.#own.voice === "string" && stored.voice === null ? ` (${this.#own.voice})` : "";
    choose("voice", stored.voice, [option("", `Its own${own}`), ...Object.entries(this.#voices ?? {}).map(([tag, names]) => group(tag, names))]);
    const spoken = this.#spoken.map((tag) => [tag, languages.of(tag) ?? tag]).sort(([, one], [, other]) => one.localeCompare(other));
    choose("language", stored.language, [option("", "As the server has it"), option("auto", "Heard: it follows you"), ...spoken.map(([tag, words]) => option(tag, words))]);
    find("setting-speed").value = now("speed") ?? 1;
    find("setting-patience").value = now("patience") ?? 0;
    for (const field of Object.keys(SEGMENTS)) {
      for (const input of find(`setting-${field}`).querySelectorAll("input")) input.checked = input.value === String(now(field));
    }
    for (const field of [find("setting-patience"), find("setting-interruption")]) field.disabled = this.#supported === false;
    find("turns-words").textContent = this.#supported === false ? OLDER : "";
    this.#showSliders();
  }

  #showSliders() {
    const [speed, patience] = ["speed", "patience"].map((field) => Number(find(`setting-${field}`).value));
    find("speed-words").textContent = `${speed.toFixed(2)}×`;
    const words = patience === 0 ? "Normal" : patience < 0 ? "Quick" : "Patient";
    find("patience-words").textContent = words;
    find("setting-patience").setAttribute("aria-valuetext", `${words} (${patience})`);
  }

  /** @param {string} words */
  #trouble(words) {
    find("settings-trouble").hidden = !words;
    find("settings-trouble-words").textContent = words;
  }
}

/** Fills a select; a value of another engine or server is added to the list. @param {string} field @param {string | null} value @param {HTMLElement[]} options */
function choose(field, value, options) {
  const select = find(`setting-${field}`);
  select.replaceChildren(...options);
  select.value = value ?? "";
  if (select.value === (value ?? "")) return;
  select.append(option(value ?? "", value ?? ""));
  select.value = value;
}

/** @param {string} tag @param {string[]} names */
function group(tag, names) {
  const element = make("optgroup");
  element.label = tag ? (languages.of(tag) ?? tag) : "Any language";
  element.append(...names.map((name) => option(name, name)));
  return element;
}

/** @param {string} field @param {string | number} value @param {string} words */
function segment(field, value, words) {
  const label = make("label");
  const input = make("input");
  Object.assign(input, { type: "radio", name: `setting-${field}`, value });
  label.append(input, make("span", "", words));
  return label;
}

/** The server's answer to a GET request; null if it fails. @param {string} path */
async function fetched(path) {
  try {
    const answer = await fetch(path, { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** @returns {Settings} */
function read() {
  try {
    return { ...UNTOUCHED, ...JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "null") };
  } catch {
    return { ...UNTOUCHED };
  }
}
