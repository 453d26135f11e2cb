// Holds the page's one state (session-state.js), and does what its changes ask for: connects, reconnects, and ends sessions.

import { Conversation } from "./conversation.js";
import * as problems from "./problems.js";
import { ResumableConnection } from "./resumable-connection.js";
import { ResumeStore } from "./resume-store.js";
import { backOff } from "./server-status.js";
import { FIRST_STATE, isRunning, mayRetryNow, nextState } from "./session-state.js";
import { StreamClock } from "./stream-clock.js";

/** @import { ProtocolError, Send, ServerEvent } from "./protocol.js" */
/** @import { Ending, OpenTransport } from "./resumable-connection.js" */
/** @import { StatusAnswer } from "./server-status.js" */
/** @import { PageEvent, PageState } from "./session-state.js" */

/**
 * The page's other modules, and its transports.
 *
 * @typedef {{ audio: import("./page-audio.js").PageAudio, conversations: import("./conversations-panel.js").ConversationsPanel,
 *   engines: import("./engine-panel.js").EnginePanel, keyCard: import("./key-card.js").KeyCard,
 *   settings: import("./settings-panel.js").SettingsPanel, status: import("./server-status.js").ServerStatus,
 *   timing: import("./timing-panel.js").TimingPanel, tools: import("./tool-calls.js").ToolCalls, view: import("./view.js").View,
 *   openTransport: OpenTransport, useTransport: (name: string) => void, transportName: () => string }} Parts
 */

const FRAME_MS = 20;
const LONGEST_WAIT_MS = 10_000;
const PROBLEM_SLOTS = ["server", "microphone", "silenced", "audioinput", "audiooutput", "loudspeaker", "sound", "session"];

export class SessionController {
  /** @type {Readonly<PageState>} */
  #state = FIRST_STATE;
  #parts;
  #onState;
  /** @type {ResumableConnection | null} of the session, from the first attempt until the session ended */
  #connection = null;
  /** @type {Conversation | null} while there is a session */
  #conversation = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  #clock = new StreamClock();
  /** @type {string[]} typed before there was a session */
  #unsent = [];
  /** @type {ProtocolError["offer"]} another engine instead of one that failed */
  #offer;

  /**
   * @param {Parts} parts
   * @param {(state: Readonly<PageState>) => void} onState shows the state; it is called after each change
   */
  constructor(parts, onState) {
    this.#parts = parts;
    this.#onState = onState;
  }

  get state() {
    return this.#state;
  }

  get running() {
    return isRunning(this.#state);
  }

  get conversation() {
    return this.#conversation;
  }

  get connection() {
    return this.#connection;
  }

  /** Changes the state and shows it. @param {PageEvent} event */
  dispatch(event) {
    this.#change(event);
    this.refresh();
  }

  /** Shows the state, after reading what the other modules know of it. */
  refresh() {
    const { audio, keyCard } = this.#parts;
    const { microphone, pushToTalk } = audio;
    this.#change({ type: "audio", open: microphone.isOpen, muted: microphone.muted, turnTaking: pushToTalk.mode });
    this.#change({ type: "key", wanted: keyCard.wanted });
    if (this.#conversation) this.#change({ type: "turn", turn: this.#conversation.turn });
    this.#onState(this.#state);
  }

  /** @param {PageEvent} event */
  #change(event) {
    this.#state = nextState(this.#state, event);
  }

  // --- what the user does -------------------------------------------------------------------------------

  /** Open speaker and microphone inside the click, then the session. A second press meanwhile does nothing. */
  async start() {
    const { audio, view } = this.#parts;
    if (this.#state.microphone === "opening" || audio.microphone.isOpen) return;
    const missing = problems.withoutMicrophone();
    view.problem("microphone", missing);
    if (missing) return;
    this.dispatch({ type: "start" });
    const { run } = this.#state;
    audio.openSpeaker("play-and-record"); // before anything is awaited: iOS and Android start sound only inside the click
    await audio.openMicrophone(() => run === this.#state.run);
    if (run !== this.#state.run) return; // stopped while the browser asked the user
    this.#change({ type: "microphone_settled" });
    if (this.running) audio.sendTrack();
    else if (audio.microphone.isOpen) this.#connect();
    if (!this.running) audio.speaker.close();
    this.refresh();
  }

  stop() {
    const { audio, conversations, status, view } = this.#parts;
    ResumeStore.forget();
    this.#unsent = [];
    this.#endSession();
    this.#change({ type: "stop" });
    conversations.leave();
    clearTimeout(this.#retryTimer);
    audio.close();
    for (const slot of PROBLEM_SLOTS) view.problem(slot, null);
    status.check();
    this.refresh();
  }

  /** Sends a typed message, and starts a session for it if there is none. @param {string} text */
  send(text) {
    if (this.#conversation) {
      this.#conversation.sendText(text);
      return;
    }
    this.#unsent.push(text);
    this.#parts.audio.openSpeaker("playback");
    if (!this.running) this.#connect();
  }

  /** Connects at once instead of at the scheduled time. */
  retry() {
    if (this.#state.phase === "reconnecting") this.#connection?.retry();
    else this.#connect();
  }

  /** Sends a key that the user typed to the server, and keeps it if the server accepts it. @param {string} key */
  async useKey(key) {
    await this.#parts.keyCard.use(key);
    this.refresh();
  }

  /** Goes on with the engine that the server offered instead of one that failed. */
  acceptOffer() {
    this.#parts.view.problem("session", null);
    if (this.#offer) this.#parts.engines.accept(this.#offer);
  }

  /** Shows a saved conversation; Start or a typed message continues it. @param {any} conversation as /api/conversations has it */
  reopen({ title, updated_at, items }) {
    const { tools, view } = this.#parts;
    this.stop();
    view.clear();
    tools.clear();
    for (const item of items) {
      tools.showSaved(item);
      if (item.type !== "message" || item.role === "system") continue;
      view.words(item.role, item.id, item.text);
      if (!item.whole) view.cut(item.id, item.text);
    }
    view.divide(`“${title}”, ${new Date(updated_at * 1000).toLocaleString()}. Press Start or type to go on.`);
  }

  /** Resumes the session that this tab had before the page was loaded again. */
  async resume() {
    const { audio, conversations, useTransport } = this.#parts;
    const before = ResumeStore.take();
    if (!before) return;
    useTransport(before.transport);
    conversations.next = before.conversation ?? null; // if the session is over by now
    const allowed = !problems.withoutMicrophone() && (await microphoneIsAllowed());
    this.#change({ type: "start" });
    if (!allowed) this.#change({ type: "microphone_settled" });
    const { run } = this.#state;
    audio.openSpeaker(allowed ? "play-and-record" : "playback");
    if (allowed) await audio.openMicrophone();
    if (run !== this.#state.run) return;
    this.#change({ type: "microphone_settled" });
    if (!this.running) this.#connect(before.token);
  }

  // --- microphone and server status ---------------------------------------------------------------------

  /** Sends 20 ms of microphone sound. @param {ArrayBuffer} frame */
  sendFrame(frame) {
    if (!this.#connection?.sendAudio(frame)) return;
    const first = !this.#clock.runs;
    this.#clock.sent(FRAME_MS);
    if (first) this.#conversation?.clockStarted();
  }

  /**
   * @param {StatusAnswer | null} status null if the server cannot be reached
   * @param {number | null} wait seconds until the next attempt
   */
  serverStatus(status, wait = null) {
    const { keyCard, settings, view } = this.#parts;
    if (status) {
      view.server(status);
      keyCard.required(status.key_required);
      if (status.stage === "ready") settings.loadAssistants();
    }
    this.#change({ type: "status", stage: status?.stage ?? null });
    if (mayRetryNow(this.#state)) this.retry();
    if (!this.running) {
      const problem = status ? status.error && problems.serverFailed(status.error) : problems.unreachable;
      view.problem("server", problem, wait);
    }
    this.refresh();
  }

  // --- the session --------------------------------------------------------------------------------------

  /** @param {string | null} resume the token of a session that this page had before it was loaded again */
  #connect(resume = null) {
    const { openTransport, transportName } = this.#parts;
    clearTimeout(this.#retryTimer);
    this.#endSession();
    this.#change({ type: "connect" });
    /** @type {import("./resumable-connection.js").ConnectionHandlers} */
    const handlers = {
      onReady: (ready) => this.#begin(ready),
      onEvent: (event) => this.#onEvent(event),
      onAudio: (item, audio) => this.#conversation?.playAudio(item, audio),
      onResumable: (token) => ResumeStore.remember({ token, transport: transportName() }),
      onAway: (away) => this.#onBroken(away),
      onBack: () => this.#onRestored(),
      onClosed: (outcome) => this.#onEnded(outcome),
    };
    /** @type {OpenTransport} */
    const open = (query, transportHandlers) => openTransport({ ticket: this.#state.ticket ?? "new", ...query }, transportHandlers);
    this.#connection = new ResumableConnection(open, handlers, resume);
    this.refresh();
  }

  /** A transport could not connect before the session began: the WebSocket goes wherever the page came from. */
  fallBack() {
    this.#parts.useTransport("websocket");
    this.#connect();
  }

  /** @param {{ anew: boolean, session: any }} ready anew: the server described the existing session again */
  #begin({ anew, session }) {
    const { audio, conversations, engines, settings, timing, tools, view } = this.#parts;
    this.#conversation?.cut();
    this.#change({ type: "session_began" });
    this.#clock = new StreamClock();
    if (!anew && !conversations.next) {
      view.divide("A new conversation");
      timing.clear();
    }
    const connection = /** @type {ResumableConnection} */ (this.#connection);
    /** @type {Send} */
    const send = (type, fields) => connection.send(type, fields);
    this.#conversation = new Conversation({
      send,
      speaker: audio.speaker,
      view,
      clock: this.#clock,
      byTrack: connection.byTrack,
      onTurn: () => this.refresh(),
      onError: (error) => this.#onError(error),
      onTimed(response) {
        view.timed(response);
        timing.add(response);
      },
    });
    if (!audio.canPlay) send("session.update", { session: { type: "realtime", output_modalities: ["text"] } });
    for (const slot of ["server", "session"]) view.problem(slot, null);
    for (const part of [engines, settings, tools]) part.begin(send);
    const detection = session?.audio?.input?.turn_detection;
    audio.pushToTalk.begin({ send, conversation: this.#conversation, byTrack: connection.byTrack, detection });
    for (const text of this.#unsent.splice(0)) this.#conversation.sendText(text);
    this.refresh();
  }

  /** @param {ServerEvent} event */
  #onEvent(event) {
    const { audio, conversations, engines, settings, tools } = this.#parts;
    if (event.error?.code === "conversation_taken_over") return this.#onTakenOver();
    if (event.type === "chinwag.restarting" || event.error?.code === "server_restarting") return this.#change({ type: "server_restarting" });
    if (event.type === "error") return engines.onError(event.error) || settings.onError(event.error) || this.#onError(event.error);
    engines.onEvent(event);
    if (conversations.onEvent(event)) ResumeStore.remember({ conversation: conversations.next });
    settings.onEvent(event);
    tools.onEvent(event);
    audio.pushToTalk.onEvent(event);
    return this.#conversation?.onEvent(event);
  }

  /** @param {ProtocolError} error */
  #onError(error) {
    const { audio, view } = this.#parts;
    if (audio.pushToTalk.onError(error) || Conversation.isQuiet(error)) return;
    this.#offer = error.offer ?? this.#offer;
    view.problem("session", problems.inSession(error));
  }

  // The conversation goes on in another window or on another device; a new session would take it away from there.
  #onTakenOver() {
    this.stop();
    this.#parts.view.problem("session", problems.takenOver);
  }

  /** @param {{ since: number, wait: number }} away */
  #onBroken({ since, wait }) {
    const { status, view } = this.#parts;
    this.#change({ type: "connection_broke" });
    const { restarting, serverWasAway } = this.#state;
    const problem = restarting ? problems.restarting : serverWasAway ? problems.unreachable : problems.comingBack;
    view.problem("server", problem, wait / 1000, since);
    status.check();
    this.refresh();
  }

  #onRestored() {
    this.#parts.view.problem("server", null);
    this.dispatch({ type: "connection_restored" });
  }

  #endSession() {
    const { audio, engines, settings, tools } = this.#parts;
    audio.pushToTalk.end();
    this.#conversation?.cut();
    this.#conversation = null;
    this.#connection?.close();
    this.#connection = null;
    this.#change({ type: "session_ended" });
    engines.end();
    settings.end();
    tools.end();
    audio.speaker.detach();
  }

  // The session ended, and the user did not end it: show why, and begin a new one in a while.
  /** @param {Ending & { greeted: boolean }} ending */
  async #onEnded({ greeted, refusal, stuck }) {
    const { conversations, keyCard, status, view } = this.#parts;
    this.#endSession();
    ResumeStore.forget();
    if (refusal?.code === "conversation_taken_over") return this.#onTakenOver();
    if (refusal) conversations.onRefused(refusal);
    if (!greeted && !refusal && status.latest?.key_required) {
      const { run } = this.#state;
      if ((await keyCard.check()) === false) return this.stop(); // a browser cannot distinguish a 401 from an unreachable server
      if (run !== this.#state.run || this.running) return;
    }
    const forgotten = refusal?.code === "session_not_found";
    const ticket = refusal?.ticket || null;
    const failed = !forgotten && !ticket;
    const wait = failed ? backOff(this.#state.attempts, LONGEST_WAIT_MS) : ticket ? (refusal?.retry_after_s ?? 0) * 1000 : 0;
    this.#change({ type: "retry_later", ticket, failed });
    this.#retryTimer = setTimeout(() => this.#connect(), wait);
    view.problem("server", this.#whyEnded({ greeted, refusal, stuck, forgotten }), wait / 1000);
    status.check();
    this.refresh();
  }

  /** @param {Ending & { greeted: boolean, forgotten: boolean }} ending */
  #whyEnded({ greeted, refusal, stuck, forgotten }) {
    if (this.#state.restarting && !forgotten) return problems.restarting;
    if (refusal && !forgotten) return problems.refused(refusal);
    if (stuck) return problems.stuck;
    if (!greeted && !forgotten) return problems.unreachable;
    return this.#parts.conversations.next ? problems.savedOnServer : problems.dropped;
  }
}

async function microphoneIsAllowed() {
  const name = /** @type {PermissionName} */ ("microphone");
  const permission = await navigator.permissions?.query({ name }).catch(() => /** @type {null} */ (null));
  return permission?.state === "granted";
}
