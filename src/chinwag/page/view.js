// Everything that is shown. Holds the elements and nothing else; index.html names them.

import { button, find, make, say, seconds } from "./dom.js";
import { mark } from "./assistant-mark.js";
import { picture } from "./latency-stages.js";

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
  #turns = new Map();
  #name = "Chinwag";
  #problems = new Map();
  #countdowns = new Map();
  #engines = null; // names of what this conversation has, where they are not the server's own
  #home = new Set(["idle", "connecting", "queued"]);
  #run;

  /** actions: {start, stop, mute, send(text), useKey(value), and those that problems.js names}. */
  constructor(actions) {
    this.#run = actions;
    find("start").onclick = () => actions.start();
    find("stop").onclick = () => actions.stop();
    find("mute").onclick = () => actions.mute();
    find("typing").onsubmit = (event) => {
      event.preventDefault();
      const text = find("text").value.trim();
      if (!text || find("send").disabled) return;
      find("text").value = "";
      actions.send(text);
    };
    find("key-form").onsubmit = (event) => {
      event.preventDefault();
      const value = find("key").value.trim();
      if (value) actions.useKey(value);
    };
  }

  /** Asks for the server's key, with a word on the last one; null: it is not asked for. */
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

  /** Which buttons there are. usable: the server can take a conversation. */
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
    if (focused?.hidden) find(!microphone ? "start" : handsFree ? "mute" : "talk").focus(); // a button that goes hands its focus on
  }

  /** What the assistant is called from now on. */
  set assistant(name) {
    this.#name = name;
    say(find("voice-answer"), name);
  }

  /** One of STATES. */
  state(name) {
    const words = STATES[name];
    find("state").dataset.state = name;
    say(find("state-words"), words);
    document.title = this.#home.has(name) ? "Chinwag" : `${words} · Chinwag`; // for who looks at another tab
  }

  /** Words of an utterance that is still being spoken. */
  partial(id, text) {
    const turn = this.#turn("user", id);
    turn.element.classList.add("partial");
    this.#write(turn, text);
  }

  /** All words so far, of role "user" or "assistant"; none takes the turn away. */
  words(role, id, text) {
    if (!text.trim()) return this.remove(id);
    const turn = this.#turn(role, id);
    turn.element.classList.remove("partial");
    this.#write(turn, text);
  }

  /** Keeps the place of an utterance whose words are still to come. */
  place(id) {
    this.#turn("user", id);
  }

  /** The answer was heard so far, and no further; nothing heard takes the turn away. */
  cut(id, heard) {
    const turn = this.#turns.get(id);
    if (!turn) return;
    if (!heard) return this.remove(id);
    turn.element.classList.add("cut");
    turn.text.replaceChildren(heard.replace(/[\s,.;:!?—–-]+$/, ""), make("span", "cut-mark", " —"));
    turn.note.textContent = "You cut in here";
    turn.time.hidden = true;
  }

  /** Whether that turn is marked as cut off. */
  wasCut(id) {
    return Boolean(this.#turns.get(id)?.element.classList.contains("cut"));
  }

  /** Takes all turns away. */
  clear() {
    this.#turns.clear();
    find("turns").replaceChildren();
  }

  remove(id) {
    this.#turns.get(id)?.element.remove();
    this.#turns.delete(id);
  }

  /** A line across the conversation, where there is anything above it. */
  divide(words) {
    if (find("turns").lastElementChild?.classList.contains("turn")) find("turns").append(make("li", "divider", words));
    this.#toEnd();
  }

  /** Where the ear is in an answer that is being spoken: {said, until} in its text; null: all of it was heard. */
  mark(id, place) {
    const turn = this.#turns.get(id);
    if (!turn || (turn.place?.until === place?.until && turn.place?.said === place?.said)) return;
    turn.place = place;
    this.#write(turn, turn.all);
  }

  /** How long an answer took: {id, ms, stages}, as Conversation tells it. */
  timed(answer) {
    const words = seconds(answer.ms);
    const turn = this.#turns.get(answer.id);
    if (turn && !turn.note.textContent) {
      turn.time.hidden = false;
      turn.time.firstElementChild.textContent = `after ${words}`;
      turn.time.lastElementChild.replaceChildren(...picture(answer));
    }
    find("latency").hidden = false;
    find("latency-words").textContent = `Last answer: ${words}`;
    find("latency-stages").replaceChildren(...picture(answer));
  }

  /**
   * Shows a problem in its slot, or clears the slot with null. wait: seconds until it is tried again.
   * since: performance.now() when it began.
   */
  problem(slot, problem, wait = null, since = null) {
    const shown = this.#problems.get(slot);
    if (shown && shown.problem.title === problem?.title && shown.problem.help === problem?.help) {
      this.#countDown(slot, shown.count, wait, since);
      return; // said once is enough for a screen reader
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
    words.append(make("h2", "", problem.title), make("p", "", problem.help)); // after it is in the page, so that it is read out
    this.#problems.set(slot, { element, problem, count });
    this.#countDown(slot, count, wait, since);
    element.scrollIntoView({ block: "nearest" });
  }

  #countDown(slot, element, wait, since = null) {
    clearInterval(this.#countdowns.get(slot));
    if (!element) return;
    const until = performance.now() + wait * 1000;
    const tell = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      const tried = since === null ? "" : ` · for ${Math.round((performance.now() - since) / 1000)} s now`;
      element.textContent = wait === null ? "" : (left > 0 ? `Trying again in ${left} s` : "Trying again…") + tried;
    };
    tell();
    if (wait !== null) this.#countdowns.set(slot, setInterval(tell, 250));
  }

  /** What this conversation hears, thinks and speaks with; null: the server's own. */
  engines(names) {
    this.#engines = names;
    if (names) find("engines").textContent = names.join(" · ");
  }

  /** The server as /api/status tells it. */
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

  #turn(role, id) {
    const known = this.#turns.get(id);
    if (known) return known;
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
    const turn = { element, text, note, time };
    this.#turns.set(id, turn);
    this.#write(turn, "…");
    return turn;
  }

  #write(turn, words) {
    const { text, place } = turn;
    turn.all = words;
    if (place) {
      const begin = place.said + words.slice(place.said).search(/\S|$/); // the space before a word is not marked
      const toCome = words.slice(Math.max(begin, place.until));
      text.replaceChildren(words.slice(0, begin), make("span", "saying", words.slice(begin, place.until)), make("span", "to-come", toCome));
    } else text.textContent = words;
    this.#toEnd();
  }

  #toEnd() {
    const scroller = document.querySelector("main");
    const away = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    if (away < 200) scroller.scrollTop = scroller.scrollHeight; // unless they are reading further up
  }
}

const TASKS = { vad: "Hears speech", turn: "Knows when you are done", stt: "Writes down", llm: "Answers", tts: "Speaks" };

function engineWords({ state, detail, load_ms }) {
  if (state === "ready") return load_ms == null ? "ready" : `ready in ${seconds(load_ms)}`;
  return [state, detail].filter(Boolean).join(": ");
}

function row(label, words, bar = null) {
  const element = make("li");
  element.append(make("span", "", label), ...(bar ? [bar] : []), make("span", "numbers", words));
  return element;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function duration(secondsLeft) {
  if (secondsLeft < 90) return `${Math.ceil(secondsLeft)} s`;
  return `${Math.round(secondsLeft / 60)} min`;
}
