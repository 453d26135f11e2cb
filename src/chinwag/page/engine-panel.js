// The panel that chooses the engines. It changes the engines of a live conversation.

/** @import { EngineOffer, ProtocolError, Send, ServerEvent } from "./protocol.js" */

/** @typedef {"stt" | "llm" | "tts"} Task */

/** models: the default first. voices: by language; "" for any. @typedef {{ name: string, task: string, chosen: boolean, state: string, size: number, summary: string, fix?: string, licence: string, languages: string[], models: { name: string, here: boolean, size: number }[], voices?: Record<string, string[]> | null }} Engine as /api/engines lists it */

/** @typedef {{ engine: string, model?: string, voice?: string }} Use */

/** @typedef {Partial<Record<Task, Use>>} Changes */

/** @typedef {{ row: HTMLElement, field: HTMLSelectElement }} Choice */

import { authorization } from "./api-key.js";
import { find, make, option, say } from "./dom.js";

/** @type {Record<Task, string>} */
const TASKS = { stt: "Hearing", llm: "Thinking", tts: "Speaking" };
const TASK_NAMES = /** @type {Task[]} */ (Object.keys(TASKS));
const EVENT_PREFIX = "engines_"; // of this panel's event ids
const TIMEOUT_MS = 15_000; // a server that lists its models may take its time

const languageNames = new Intl.DisplayNames(["en"], { type: "language" });

export class EnginePanel {
  #onNames;
  /** @type {Send | null} while there is a session */
  #send = null;
  /** @type {Engine[]} */
  #listed = [];
  /** @type {Changes} the server's default for a conversation */
  #defaults = {};
  /** @type {Changes} the engines of the live conversation */
  #inUse = {};
  /** @type {Changes | null} all that the user chose: the next conversation gets it as well */
  #wanted = null;
  /** @type {Changes | null} the same before the requested change */
  #before = null;
  /** @type {Changes} the requested change */
  #requested = {};
  /** @type {string | null} event id of the requested change */
  #awaited = null;
  #sent = 0;
  #closes = false; // the panel was opened to show a change, and closes after it
  /** @type {Record<string, { engine: Choice, model: Choice, voice: Choice, about: HTMLElement }>} by task */
  #fields = {};

  /** @param {{ onNames: (names: string[] | null) => void }} handlers onNames: engines that differ from the server's default; null: none */
  constructor({ onNames }) {
    this.#onNames = onNames;
    for (const task of TASK_NAMES) find("choices").append(this.#choice(task));
    find("choose").onclick = () => this.open();
    find("engines-close").onclick = () => find("engine-panel").close();
    find("engines-use").onclick = () => this.#use(this.#differences());
  }

  /** Whether the server can be asked. @param {boolean} usable */
  set usable(usable) {
    find("choose").hidden = !usable;
  }

  async open() {
    this.#closes = false;
    find("engines-trouble").hidden = true;
    find("engine-panel").showModal();
    this.#say("Looking what there is…");
    try {
      const answer = await fetch("api/engines", { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      const list = await answer.json();
      if (!answer.ok) throw new Error(list.error.message);
      this.#list(list);
    } catch (error) {
      this.#say("");
      this.#trouble(`What there is cannot be asked for: ${/** @type {Error} */ (error).message} Close this and try again in a moment.`);
    }
  }

  /** A session began: it gets what was chosen before. @param {Send} send */
  begin(send) {
    this.#send = send;
    this.#inUse = {};
    this.#onNames(null);
    const wanted = this.#wanted;
    this.#wanted = null;
    if (wanted) this.#use(wanted);
  }

  end() {
    if (this.#awaited) this.#ended();
    this.#send = null;
  }

  /** Changes to the engine that the server offered. @param {EngineOffer} offer */
  accept(offer) {
    if (!find("engine-panel").open) {
      this.open();
      this.#closes = true;
    }
    this.#use(offer.engines);
  }

  /** Takes an event of the server. @param {ServerEvent} event */
  onEvent(event) {
    if (event.type === "chinwag.engines.updating") this.#progress(event);
    else if (event.type === "chinwag.engines.updated") this.#updated(event.engines);
  }

  /** Handles an error of a change of this panel; returns whether the panel shows it. @param {ProtocolError} error */
  onError(error) {
    if (!error.event_id?.startsWith(EVENT_PREFIX)) return false;
    if (error.event_id !== this.#awaited) return true; // a newer change is under way
    this.#ended();
    this.#wanted = this.#before;
    this.#trouble(error.message ?? "", error.offer);
    return find("engine-panel").open;
  }

  // --- what is shown

  /** @param {Task} task */
  #choice(task) {
    const group = make("fieldset");
    const engine = select(`${task}-engine`, "Engine");
    const model = select(`${task}-model`, "Model");
    const voice = select(`${task}-voice`, "Voice");
    const about = make("p", "numbers");
    about.id = `${task}-about`;
    engine.field.setAttribute("aria-describedby", about.id);
    group.append(make("legend", "", TASKS[task]), engine.row, model.row, voice.row, about);
    engine.field.onchange = () => this.#fill(task, {});
    model.field.onchange = voice.field.onchange = () => this.#describe(task);
    this.#fields[task] = { engine, model, voice, about };
    return group;
  }

  /** @param {{ engines: Engine[], switching: boolean }} list */
  #list({ engines, switching }) {
    this.#listed = engines;
    for (const task of TASK_NAMES) {
      const own = engines.find((engine) => engine.task === task && engine.chosen);
      this.#defaults[task] = { engine: own?.name ?? "", model: "", voice: "" };
      const field = this.#fields[task].engine.field;
      field.replaceChildren(...engines.filter((engine) => engine.task === task).map((engine) => option(engine.name, label(engine))));
      const now = { ...this.#defaults[task], ...this.#inUse[task], ...this.#wanted?.[task] };
      field.value = now.engine;
      this.#fill(task, now);
    }
    find("engines-use").disabled = !switching;
    if (!this.#awaited) this.#say(switching ? "" : "This server does not let its engines be changed here.");
  }

  /** Fills in models and voices of the engine that is chosen in the panel. @param {Task} task @param {Partial<Use>} use */
  #fill(task, { model = "", voice = "" }) {
    const { model: models, voice: voices } = this.#fields[task];
    const engine = this.#chosen(task);
    const listed = engine?.models ?? [];
    models.field.replaceChildren(option("", listed[0] ? `Its own choice (${listed[0].name})` : "Its own choice"), ...listed.map(({ name, here, size }) => option(name, here ? name : `${name}, fetches ${megabytes(size)}`)));
    models.field.value = listed.some(({ name }) => name === model) ? model : "";
    models.row.hidden = listed.length < 2;
    const spoken = Object.entries(engine?.voices ?? {});
    voices.field.replaceChildren(option("", "Its own"), ...spoken.map(([language, names]) => group(language, names)));
    voices.field.value = spoken.some(([, names]) => names.includes(voice)) ? voice : "";
    voices.row.hidden = task !== "tts" || !spoken.length;
    this.#describe(task);
  }

  /** @param {Task} task */
  #describe(task) {
    const engine = this.#chosen(task);
    if (!engine) return;
    const model = engine.models.find(({ name }) => name === this.#fields[task].model.field.value) ?? engine.models[0];
    const here = model?.size ? model.here : engine.state !== "no weights";
    const size = model?.size || engine.size;
    const words = [engine.summary, languagesOf(engine), engine.licence];
    if (!here && size) words.push(`fetches ${megabytes(size)}`);
    if (engine.fix && engine.state !== "no weights") words.push(engine.state === "not installed" ? `Not installed. On the server's machine: ${engine.fix}` : engine.fix);
    if (task === "tts" && !engine.voices) words.push("its voices are listed once it is in use");
    this.#fields[task].about.textContent = words.filter(Boolean).join(" · ");
  }

  /** @param {Task} task */
  #chosen(task) {
    return this.#listed.find((engine) => engine.task === task && engine.name === this.#fields[task].engine.field.value);
  }

  /** Choices of the panel that the conversation does not have, for chinwag.engines.update. @returns {Changes} */
  #differences() {
    /** @type {Changes} */
    const changes = {};
    for (const task of TASK_NAMES) {
      const { engine, model, voice } = this.#fields[task];
      /** @type {Record<string, string | undefined>} */
      const now = { ...this.#defaults[task], ...this.#inUse[task] };
      const chosen = { engine: engine.field.value, model: model.field.value, ...(task === "tts" ? { voice: voice.field.value } : {}) };
      if (Object.entries(chosen).some(([key, value]) => value !== (now[key] ?? ""))) changes[task] = chosen;
    }
    return changes;
  }

  /** @param {Changes} changes */
  #use(changes) {
    find("engines-trouble").hidden = true;
    if (!Object.keys(changes).length) return this.#say("These are in use.");
    this.#before = this.#wanted;
    this.#requested = changes;
    this.#wanted = { ...this.#wanted, ...changes };
    if (!this.#send) return this.#say("They are taken when you press Start.");
    this.#awaited = `${EVENT_PREFIX}${++this.#sent}`;
    find("engines-use").setAttribute("aria-disabled", "true");
    this.#say("One moment…");
    this.#send("chinwag.engines.update", { event_id: this.#awaited, engines: changes });
  }

  /** @param {ServerEvent} event */
  #progress({ task, engine, stage, bytes }) {
    const bar = find("engines-progress");
    bar.hidden = false;
    const fetching = stage === "fetching" && bytes.total > 0;
    if (fetching) bar.value = bytes.done / bytes.total;
    else bar.removeAttribute("value"); // the time to load is not known
    find("engines-bytes").textContent = fetching ? `${megabytes(bytes.done)} of ${megabytes(bytes.total)}` : "";
    this.#say(`${TASKS[/** @type {Task} */ (task)]}: ${stage} ${engine}…`);
  }

  /** @param {Record<string, any>} engines by task */
  #updated(engines) {
    const changed = Object.keys(this.#requested);
    for (const task of TASK_NAMES) {
      const { model = "" } = this.#requested[task] ?? this.#inUse[task] ?? {};
      this.#inUse[task] = { engine: engines[task].engine, model, voice: engines[task].voice ?? "" };
    }
    const speaks = this.#listed.find((engine) => engine.task === "tts" && engine.name === engines.tts.engine);
    if (speaks) {
      const named = new Set(Object.values(engines.tts.languages).flat());
      const free = engines.tts.voices.filter((/** @type {string} */ name) => !named.has(name));
      speaks.voices = { ...engines.tts.languages, ...(free.length ? { "": free } : {}) };
      speaks.state = "ready";
      if (this.#chosen("tts") === speaks) this.#fill("tts", this.#inUse.tts ?? {});
    }
    this.#ended();
    this.#onNames(Object.values(engines).map(({ engine, model }) => model || engine));
    this.#say(`In use from ${changed.every((task) => task === "stt") ? "the next thing you say" : "the next answer"} on.`);
    if (this.#closes) find("engine-panel").close();
    this.#closes = false;
  }

  #ended() {
    this.#awaited = null;
    find("engines-use").removeAttribute("aria-disabled");
    find("engines-progress").hidden = true;
    find("engines-bytes").textContent = "";
    this.#say("");
  }

  /** @param {string} words */
  #say(words) {
    say(find("engines-words"), words);
  }

  /** @param {string} words @param {EngineOffer | null} [offer] */
  #trouble(words, offer = null) {
    find("engines-trouble").hidden = false;
    find("engines-trouble-words").textContent = words;
    find("engines-offer").hidden = !offer;
    if (!offer) return;
    find("engines-offer").textContent = offer.label;
    find("engines-offer").onclick = () => this.accept(offer);
  }
}

/** @param {Engine} engine */
function label({ name, state, size, chosen }) {
  /** @type {Record<string, string>} */
  const notes = { "no weights": `fetches ${megabytes(size)}`, "not installed": "not installed", "not reached": "does not answer", broken: "does not work" };
  return [name, notes[state] ?? (chosen && "as usual")].filter(Boolean).join(", ");
}

/** @param {Engine} engine */
function languagesOf({ languages }) {
  if (languages.length === 1 && languages[0] === "*") return "any language";
  const names = languages.map((tag) => languageNames.of(tag));
  return names.length > 9 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ");
}

/** @param {string} language @param {string[]} names */
function group(language, names) {
  const element = make("optgroup");
  element.label = language ? (languageNames.of(language) ?? language) : "Any language";
  element.append(...names.map((name) => option(name, name)));
  return element;
}

/** @param {string} id @param {string} words @returns {Choice} */
function select(id, words) {
  const row = make("label", "choice");
  const field = make("select");
  field.id = id;
  row.append(make("span", "", words), field);
  return { row, field };
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
