// The panel that chooses what hears, thinks and speaks. It changes this conversation's engines while it goes on.

import { authorization } from "./api-key.js";
import { find, make, option, say } from "./dom.js";

const TASKS = { stt: "Hearing", llm: "Thinking", tts: "Speaking" };
const OURS = "engines_"; // event ids of this panel
const PATIENCE_MS = 15_000; // a server that lists its models may take its time

const languageNames = new Intl.DisplayNames(["en"], { type: "language" });

export class EnginePanel {
  #onNames;
  #send = null; // while a conversation is there
  #listed = []; // engines, as /api/engines tells them
  #own = {}; // what the server begins a conversation with, by task
  #inUse = {}; // what this one has, by task: {engine, model, voice}
  #wanted = null; // all that was chosen: the next conversation gets it as well
  #before = null; // the same before the change that is under way
  #asked = {}; // that change
  #awaited = null; // and its event id
  #sent = 0;
  #closes = false; // the panel was opened to show a change, and goes with it
  #fields = {};

  /** onNames(names): what is in use differs from the server's own; null: it does not. */
  constructor({ onNames }) {
    this.#onNames = onNames;
    for (const task of Object.keys(TASKS)) find("choices").append(this.#choice(task));
    find("choose").onclick = () => this.open();
    find("engines-close").onclick = () => find("engine-panel").close();
    find("engines-use").onclick = () => this.#use(this.#differences());
  }

  /** Whether there is a server to choose from. */
  set usable(usable) {
    find("choose").hidden = !usable;
  }

  async open() {
    this.#closes = false;
    find("engines-trouble").hidden = true;
    find("engine-panel").showModal();
    this.#say("Looking what there is…");
    try {
      const answer = await fetch("api/engines", { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error.message);
      this.#list(told);
    } catch (error) {
      this.#say("");
      this.#trouble(`What there is cannot be asked for: ${error.message} Close this and try again in a moment.`);
    }
  }

  /** A conversation has begun: it gets what was chosen before. send(type, fields). */
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

  /** Takes what another engine was offered for, and goes on with it. */
  accept(offer) {
    if (!find("engine-panel").open) {
      this.open();
      this.#closes = true;
    }
    this.#use(offer.engines);
  }

  /** Takes an event of the server, where it is one for this panel. */
  onEvent(event) {
    if (event.type === "chinwag.engines.updating") this.#progress(event);
    else if (event.type === "chinwag.engines.updated") this.#updated(event.engines);
  }

  /** Whether an error is about a change that was asked for here. Where the panel is closed, the page is to tell of it. */
  onError(error) {
    if (!error.event_id?.startsWith(OURS)) return false;
    if (error.event_id !== this.#awaited) return true; // a newer one is under way
    this.#ended();
    this.#wanted = this.#before;
    this.#trouble(error.message, error.offer);
    return find("engine-panel").open;
  }

  // --- what is shown

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
    model.field.onchange = voice.field.onchange = () => this.#tell(task);
    this.#fields[task] = { engine, model, voice, about };
    return group;
  }

  #list({ engines, switching }) {
    this.#listed = engines;
    for (const task of Object.keys(TASKS)) {
      const own = engines.find((engine) => engine.task === task && engine.chosen);
      this.#own[task] = { engine: own?.name ?? "", model: "", voice: "" };
      const field = this.#fields[task].engine.field;
      field.replaceChildren(...engines.filter((engine) => engine.task === task).map((engine) => option(engine.name, label(engine))));
      const now = { ...this.#own[task], ...this.#inUse[task], ...this.#wanted?.[task] };
      field.value = now.engine;
      this.#fill(task, now);
    }
    find("engines-use").disabled = !switching;
    if (!this.#awaited) this.#say(switching ? "" : "This server does not let its engines be changed here.");
  }

  /** Models and voices of the engine that is chosen in the panel. */
  #fill(task, { model = "", voice = "" }) {
    const { model: models, voice: voices } = this.#fields[task];
    const engine = this.#chosen(task);
    const known = engine?.models ?? [];
    models.field.replaceChildren(option("", known[0] ? `Its own choice (${known[0].name})` : "Its own choice"), ...known.map((one) => option(one.name, one.here ? one.name : `${one.name}, fetches ${megabytes(one.size)}`)));
    models.field.value = known.some((one) => one.name === model) ? model : "";
    models.row.hidden = known.length < 2;
    const spoken = Object.entries(engine?.voices ?? {});
    voices.field.replaceChildren(option("", "Its own"), ...spoken.map(([language, names]) => group(language, names)));
    voices.field.value = spoken.some(([, names]) => names.includes(voice)) ? voice : "";
    voices.row.hidden = task !== "tts" || !spoken.length;
    this.#tell(task);
  }

  #tell(task) {
    const engine = this.#chosen(task);
    if (!engine) return;
    const model = engine.models.find((one) => one.name === this.#fields[task].model.field.value) ?? engine.models[0];
    const here = model?.size ? model.here : engine.state !== "no weights";
    const size = model?.size || engine.size;
    const words = [engine.summary, languagesOf(engine), engine.licence];
    if (!here && size) words.push(`fetches ${megabytes(size)}`);
    if (engine.fix && engine.state !== "no weights") words.push(engine.state === "not installed" ? `Not installed. On the server's machine: ${engine.fix}` : engine.fix);
    if (task === "tts" && !engine.voices) words.push("its voices are listed once it is in use");
    this.#fields[task].about.textContent = words.filter(Boolean).join(" · ");
  }

  #chosen(task) {
    return this.#listed.find((engine) => engine.task === task && engine.name === this.#fields[task].engine.field.value);
  }

  /** What the panel has that the conversation has not, as chinwag.engines.update takes it. */
  #differences() {
    const changes = {};
    for (const [task, { engine, model, voice }] of Object.entries(this.#fields)) {
      const now = { ...this.#own[task], ...this.#inUse[task] };
      const chosen = { engine: engine.field.value, model: model.field.value, ...(task === "tts" ? { voice: voice.field.value } : {}) };
      if (Object.entries(chosen).some(([key, value]) => value !== (now[key] ?? ""))) changes[task] = chosen;
    }
    return changes;
  }

  #use(changes) {
    find("engines-trouble").hidden = true;
    if (!Object.keys(changes).length) return this.#say("These are in use.");
    this.#before = this.#wanted;
    this.#asked = changes;
    this.#wanted = { ...this.#wanted, ...changes };
    if (!this.#send) return this.#say("They are taken when you press Start.");
    this.#awaited = `${OURS}${++this.#sent}`;
    find("engines-use").setAttribute("aria-disabled", "true");
    this.#say("One moment…");
    this.#send("chinwag.engines.update", { event_id: this.#awaited, engines: changes });
  }

  #progress({ task, engine, stage, bytes }) {
    const bar = find("engines-progress");
    bar.hidden = false;
    const fetching = stage === "fetching" && bytes.total > 0;
    if (fetching) bar.value = bytes.done / bytes.total;
    else bar.removeAttribute("value"); // how long it will load, nobody knows
    find("engines-bytes").textContent = fetching ? `${megabytes(bytes.done)} of ${megabytes(bytes.total)}` : "";
    this.#say(`${TASKS[task]}: ${stage} ${engine}…`);
  }

  #updated(engines) {
    const changed = Object.keys(this.#asked);
    for (const task of Object.keys(TASKS)) {
      const { model = "" } = this.#asked[task] ?? this.#inUse[task] ?? {};
      this.#inUse[task] = { engine: engines[task].engine, model, voice: engines[task].voice ?? "" };
    }
    const speaks = this.#listed.find((one) => one.task === "tts" && one.name === engines.tts.engine);
    if (speaks) {
      const named = new Set(Object.values(engines.tts.languages).flat());
      const free = engines.tts.voices.filter((name) => !named.has(name));
      speaks.voices = { ...engines.tts.languages, ...(free.length ? { "": free } : {}) };
      speaks.state = "ready";
      if (this.#chosen("tts") === speaks) this.#fill("tts", this.#inUse.tts);
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

  #say(words) {
    say(find("engines-words"), words);
  }

  #trouble(words, offer = null) {
    find("engines-trouble").hidden = false;
    find("engines-trouble-words").textContent = words;
    find("engines-offer").hidden = !offer;
    if (!offer) return;
    find("engines-offer").textContent = offer.label;
    find("engines-offer").onclick = () => this.accept(offer);
  }
}

function label({ name, state, size, chosen }) {
  const notes = { "no weights": `fetches ${megabytes(size)}`, "not installed": "not installed", "not reached": "does not answer", broken: "does not work" };
  return [name, notes[state] ?? (chosen && "as usual")].filter(Boolean).join(", ");
}

function languagesOf({ languages }) {
  if (languages.length === 1 && languages[0] === "*") return "any language";
  const names = languages.map((tag) => languageNames.of(tag));
  return names.length > 9 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ");
}

function group(language, names) {
  const element = make("optgroup");
  element.label = language ? languageNames.of(language) : "Any language";
  element.append(...names.map((name) => option(name, name)));
  return element;
}

function select(id, words) {
  const row = make("label", "choice");
  const field = make("select");
  field.id = id;
  row.append(make("span", "", words), field);
  return { row, field };
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
