// Shows the state and the conversation. Knows the elements of index.html, and nothing else.

/** @import { Place } from "./captions.js" */
/** @import { Problem } from "./problems.js" */
/** @import { TimedResponse } from "./response-timing.js" */
/** @import { StatusAnswer } from "./server-status.js" */
/** @import { StateName } from "./session-state.js" */

/**
 * One turn of the conversation. all: its words. place: of the word that is spoken.
 *
 * @typedef {{ element: HTMLElement, text: HTMLElement, note: HTMLElement, time: HTMLElement, all: string, place?: Place | null }} Turn
 */

/** @typedef {{ send(text: string): void, useKey(key: string): void, [name: string]: (value?: any) => unknown }} Actions */

import { button, find, make, say, seconds } from "./dom.js";
import { mark } from "./assistant-mark.js";
import { picture } from "./latency-stages.js";

/** @type {Record<StateName, string>} */
const STATES = {
  connecting: "Connecting",
  queued: "Waiting for a place",
  away: "Reconnecting",
  unreachable: "No server",
  preparing: "Getting ready",
  failed: "Not working",
  keyless: "It wants a key",
  idle: "Ready",
  typing: "Ready for what you type",
  listening: "Listening",
  hearing: "Hearing you",
  held: "Ready: hold to talk",
  pressed: "Ready: press to talk",
  muted: "Muted: it cannot hear you",
  thinking: "Thinking",
  speaking: "Speaking",
  ducked: "Speaking softly",
};

export class View {
  /** @type {Map<string, Turn>} by item */
  #turns = new Map();
  #name = "Chinwag";
  /** @type {Map<string, { element: HTMLElement, problem: Problem, count: HTMLElement }>} by slot */
  #problems = new Map();
  /** @type {Map<string, ReturnType<typeof setInterval>>} by slot */
  #countdowns = new Map();
  /** @type {string[] | null} names of this conversation's engines, if they are not the server's default */
  #engines = null;
  #withoutTitle = new Set(["idle", "connecting", "queued"]);
  #run;

  /** @param {Actions} actions start, stop, mute, send, useKey, and those that problems.js names */
  constructor(actions) {
    this.#run = actions;
    find("start").onclick = () => actions.start();
    find("stop").onclick = () => actions.stop();
    find("mute").onclick = () => actions.mute();
    find("typing").onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const text = find("text").value.trim();
      if (!text || find("send").disabled) return;
      find("text").value = "";
      actions.send(text);
    };
    find("key-form").onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const value = find("key").value.trim();
      if (value) actions.useKey(value);
    };
  }

  /** Shows the field for the server's key. @param {string | null} words on the last key; null: hide the field */
  askForKey(words) {
    const asks = words !== null;
    const opens = asks && find("key-card").hidden;
    find("key-card").hidden = !asks;
    say(find("key-words"), words ?? "");
    if (!asks) find("key").value = "";
    if (opens) find("key").focus();
  }

  get meter() {
    return find("meter");
  }

  /**
   * Shows the buttons that can be used. usable: the server can begin a session.
   *
   * @param {{ usable: boolean, running: boolean, starting: boolean, microphone: boolean, muted: boolean, handsFree?: boolean }} state
   */
  controls({ usable, running, starting, microphone, muted, handsFree = true }) {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    find("start").hidden = microphone;
    find("start").disabled = !usable;
    find("start").setAttribute("aria-disabled", String(!usable || starting)); // not `disabled`, which would lose the focus
    say(find("start-words"), starting ? "Starting…" : running ? "Use the microphone" : "Start");
    find("stop").hidden = !running;
    find("mute").hidden = !microphone || !handsFree;
    find("mute").setAttribute("aria-pressed", String(muted));
    find("mute").textContent = muted ? "Unmute" : "Mute";
    find("send").disabled = !usable;
    if (focused?.hidden) find(!microphone ? "start" : handsFree ? "mute" : "talk").focus(); // a button that disappears hands its focus on
  }

  /** The assistant's name from now on. @param {string} name */
  set assistant(name) {
    this.#name = name;
    say(find("voice-answer"), name);
  }

  /** Shows the state. @param {StateName} name */
  state(name) {
    const words = STATES[name];
    find("state").dataset.state = name;
    say(find("state-words"), words);
    document.title = this.#withoutTitle.has(name) ? "Chinwag" : `${words} · Chinwag`; // seen from another tab
  }

  /** Words so far of an utterance that has not ended. @param {string} id @param {string} text */
  partial(id, text) {
    const turn = this.#turn("user", id);
    turn.element.classList.add("partial");
    this.#write(turn, text);
  }

  /** All words of a turn; without words the turn is removed. @param {"user" | "assistant"} role @param {string} id @param {string} text */
  words(role, id, text) {
    if (!text.trim()) return this.remove(id);
    const turn = this.#turn(role, id);
    turn.element.classList.remove("partial");
    this.#write(turn, text);
  }

  /** Adds an utterance whose words are still to come. @param {string} id */
  place(id) {
    this.#turn("user", id);
  }

  /** Marks a response as interrupted; it is removed if nothing was heard. @param {string} id @param {string} heard its words that were heard */
  cut(id, heard) {
    const turn = this.#turns.get(id);
    if (!turn) return;
    if (!heard) return this.remove(id);
    turn.element.classList.add("cut");
    turn.text.replaceChildren(heard.replace(/[\s,.;:!?—–-]+$/, ""), make("span", "cut-mark", " —"));
    turn.note.textContent = "You cut in here";
    turn.time.hidden = true;
  }

  /** Whether that turn is marked as interrupted. @param {string} id */
  wasCut(id) {
    return Boolean(this.#turns.get(id)?.element.classList.contains("cut"));
  }

  /** Removes all turns. */
  clear() {
    this.#turns.clear();
    find("turns").replaceChildren();
  }

  /** @param {string} id */
  remove(id) {
    this.#turns.get(id)?.element.remove();
    this.#turns.delete(id);
  }

  /** Draws a line across the conversation, if there is anything above it. @param {string} words */
  divide(words) {
    if (find("turns").lastElementChild?.classList.contains("turn")) find("turns").append(make("li", "divider", words));
    this.#toEnd();
  }

  /** Marks the word that is spoken. @param {string} id @param {Place | null} place null: all of it was heard */
  mark(id, place) {
    const turn = this.#turns.get(id);
    if (!turn || (turn.place?.until === place?.until && turn.place?.said === place?.said)) return;
    turn.place = place;
    this.#write(turn, turn.all);
  }

  /** Shows how long a response took. @param {TimedResponse} response */
  timed(response) {
    const words = seconds(response.ms);
    const turn = this.#turns.get(response.id);
    if (turn && !turn.note.textContent) {
      turn.time.hidden = false;
      /** @type {Element} */ (turn.time.firstElementChild).textContent = `after ${words}`;
      turn.time.lastElementChild?.replaceChildren(...picture(response));
    }
    find("latency").hidden = false;
    find("latency-words").textContent = `Last answer: ${words}`;
    find("latency-stages").replaceChildren(...picture(response));
  }

  /**
   * Shows a problem in its slot, or clears the slot with null.
   *
   * @param {string} slot
   * @param {Problem | null | undefined} problem
   * @param {number | null} wait seconds until the next attempt
   * @param {number | null} since performance.now() when the problem began
   */
  problem(slot, problem, wait = null, since = null) {
    const shown = this.#problems.get(slot);
    if (shown && shown.problem.title === problem?.title && shown.problem.help === problem?.help) {
      this.#countDown(slot, shown.count, wait, since);
      return; // a screen reader should read it only once
    }
    this.#countDown(slot, null, null);
    shown?.element.remove();
    this.#problems.delete(slot);
    if (!problem) return;
    const element = make("section", "trouble");
    const words = make("div");
    words.setAttribute("role", "alert");
    const count = make("p", "numbers");
    const buttons = make("div", "buttons");
    if (problem.action) {
      const [label, name] = problem.action;
      buttons.append(button(label, () => this.#run[name]()));
    }
    buttons.append(button("Close", () => this.problem(slot, null), "quiet"));
    element.append(words, count, buttons);
    element.dataset.slot = slot;
    find("troubles").append(element);
    words.append(make("h2", "", problem.title), make("p", "", problem.help)); // added to the page first, so that it is read out
    this.#problems.set(slot, { element, problem, count });
    this.#countDown(slot, count, wait, since);
    element.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} slot @param {HTMLElement | null} element @param {number | null} wait @param {number | null} since */
  #countDown(slot, element, wait, since = null) {
    clearInterval(this.#countdowns.get(slot));
    if (!element) return;
    const until = performance.now() + (wait ?? 0) * 1000;
    const update = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      const tried = since === null ? "" : ` · for ${Math.round((performance.now() - since) / 1000)} s now`;
      element.textContent = wait === null ? "" : (left > 0 ? `Trying again in ${left} s` : "Trying again…") + tried;
    };
    update();
    if (wait !== null) this.#countdowns.set(slot, setInterval(update, 250));
  }

  /** Names this conversation's engines. @param {string[] | null} names null: the server's default */
  engines(names) {
    this.#engines = names;
    if (names) find("engines").textContent = names.join(" · ");
  }

  /** Shows the server's status. @param {StatusAnswer} status */
  server(status) {
    const names = Object.values(status.engines).map((engine) => (engine.state === "ready" && engine.detail) || engine.name);
    find("engines").textContent = (this.#engines ?? names).join(" · ");
    const preparing = status.stage !== "ready";
    find("getting-ready").hidden = !preparing;
    find("invitation").hidden = preparing;
    if (!preparing) return;
    const fetching = status.stage === "fetching";
    find("getting-ready-title").textContent = fetching ? "Fetching the models" : status.stage === "failed" ? "Stopped" : "Loading the engines";
    find("getting-ready-help").textContent = fetching
      ? "Only the first start needs the network. This page goes on by itself."
      : status.stage === "failed" ? "" : "A few seconds. This page goes on by itself.";
    find("download").hidden = !fetching;
    if (fetching) this.#download(status.weights);
    find("engine-list").hidden = fetching;
    find("engine-list").replaceChildren(
      ...Object.entries(status.engines).map(([task, engine]) => row(`${TASKS[task] ?? task}: ${engine.name}`, engineWords(engine))),
    );
  }

  /** @param {{ done: number, total: number, bytes_per_s: number, seconds_left: number | null, files: { name: string, done: number, total: number }[] }} weights */
  #download({ done, total, bytes_per_s, seconds_left, files }) {
    find("download-total").value = total ? done / total : 0;
    const parts = [`${megabytes(done)} of ${megabytes(total)}`];
    if (bytes_per_s > 0) parts.push(`${megabytes(bytes_per_s)}/s`);
    if (seconds_left != null) parts.push(`${duration(seconds_left)} left`);
    find("download-words").textContent = parts.join(" · ");
    find("download-files").replaceChildren(
      ...files.map((file) => {
        const bar = make("progress");
        bar.value = file.total ? file.done / file.total : 0;
        bar.setAttribute("aria-label", file.name);
        return row(file.name, file.done >= file.total ? "done" : `${Math.floor(bar.value * 100)} %`, bar);
      }),
    );
  }

  /** @param {"user" | "assistant"} role @param {string} id @returns {Turn} */
  #turn(role, id) {
    const existing = this.#turns.get(id);
    if (existing) return existing;
    find("welcome").hidden = true;
    const element = make("li", `turn ${role}`);
    const text = make("p", "words");
    const note = make("p", "note");
    const time = make("details", "time");
    time.append(make("summary"), make("dl", "stages"));
    time.hidden = true;
    if (role === "assistant") element.append(mark(this.#name));
    element.append(make("span", "hidden-words", role === "user" ? "You: " : `${this.#name}: `), text, note, time);
    element.dataset.item = id;
    find("turns").append(element);
    const turn = { element, text, note, time, all: "" };
    this.#turns.set(id, turn);
    this.#write(turn, "…");
    return turn;
  }

  /** @param {Turn} turn @param {string} words */
  #write(turn, words) {
    const { text, place } = turn;
    turn.all = words;
    if (place) {
      const begin = place.said + words.slice(place.said).search(/\S|$/); // without the space before the word
      const toCome = words.slice(Math.max(begin, place.until));
      text.replaceChildren(words.slice(0, begin), make("span", "saying", words.slice(begin, place.until)), make("span", "to-come", toCome));
    } else text.textContent = words;
    this.#toEnd();
  }

  #toEnd() {
    const scroller = /** @type {HTMLElement} */ (document.querySelector("main"));
    const away = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    if (away < 200) scroller.scrollTop = scroller.scrollHeight; // unless the user reads further up
  }
}

/** @type {Record<string, string>} */
const TASKS = { vad: "Hears speech", turn: "Knows when you are done", stt: "Writes down", llm: "Answers", tts: "Speaks" };

/** @param {{ state: string, detail?: string, load_ms?: number | null }} engine */
function engineWords({ state, detail, load_ms }) {
  if (state === "ready") return load_ms == null ? "ready" : `ready in ${seconds(load_ms)}`;
  return [state, detail].filter(Boolean).join(": ");
}

/** @param {string} label @param {string} words @param {HTMLElement | null} bar */
function row(label, words, bar = null) {
  const element = make("li");
  element.append(make("span", "", label), ...(bar ? [bar] : []), make("span", "numbers", words));
  return element;
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** @param {number} secondsLeft */
function duration(secondsLeft) {
  if (secondsLeft < 90) return `${Math.ceil(secondsLeft)} s`;
  return `${Math.round(secondsLeft / 60)} min`;
}
