// The state of this page, as one value, and how events change it. Pure functions, without DOM, timers or network.

/** @import { TurnName } from "./turn-state.js" */

/**
 * idle: no session is wanted. connecting: a session was requested. live: the session is connected.
 * reconnecting: its connection broke, and the server still has the session. waiting: the next attempt follows.
 *
 * @typedef {"idle" | "connecting" | "live" | "reconnecting" | "waiting"} Phase
 */

/**
 * phase: of the session. microphone: "opening" while the user or the browser decides. run: counts starts and stops, so that
 * the outcome of something awaited is dropped if the user started or stopped meanwhile.
 * server: the stage of /api/status; "unknown" until it was asked, null if it does not answer. keyWanted: a key is missing.
 * serverWasAway: the server was not ready at some time since the last attempt. restarting: it announced a restart.
 * ticket: the place in the queue of a full server. attempts: failed ones in a row. turnTaking: how the user ends a turn.
 *
 * @typedef {{ phase: Phase, run: number, microphone: "off" | "opening" | "on", muted: boolean,
 *   turnTaking: "hands-free" | "hold" | "press", turn: TurnName, server: string | null, keyWanted: boolean,
 *   serverWasAway: boolean, restarting: boolean, ticket: string | null, attempts: number }} PageState
 */

/**
 * start: the user asked for the microphone. microphone_settled: the browser answered. stop: the user ended all.
 * connect: an attempt begins. session_began, connection_broke, connection_restored, session_ended: of the session.
 * retry_later: the next attempt was scheduled; failed: it counts as a failed one. server_restarting: announced by the server.
 * status: of /api/status. audio: of the microphone and the way to end turns.
 *
 * @typedef {{ type: "start" | "microphone_settled" | "stop" | "connect" | "session_began" | "connection_broke" | "connection_restored"
 *     | "session_ended" | "server_restarting" }
 *   | { type: "retry_later", ticket: string | null, failed: boolean }
 *   | { type: "status", stage: string | null }
 *   | { type: "key", wanted: boolean }
 *   | { type: "turn", turn: TurnName }
 *   | { type: "audio", open: boolean, muted: boolean, turnTaking: PageState["turnTaking"] }} PageEvent
 */

/**
 * The name of the state that the page shows; view.js has its words.
 *
 * @typedef {"connecting" | "queued" | "away" | "unreachable" | "preparing" | "failed" | "keyless" | "idle" | "typing" | "held"
 *   | "pressed" | "muted" | TurnName} StateName
 */

/** @type {Readonly<PageState>} */
export const FIRST_STATE = Object.freeze({
  phase: "idle",
  run: 0,
  microphone: "off",
  muted: false,
  turnTaking: "hands-free",
  turn: "listening",
  server: "unknown",
  keyWanted: false,
  serverWasAway: false,
  restarting: false,
  ticket: null,
  attempts: 0,
});

/**
 * The state after an event.
 *
 * @param {Readonly<PageState>} state
 * @param {PageEvent} event
 * @returns {Readonly<PageState>}
 */
export function nextState(state, event) {
  switch (event.type) {
    case "start":
      return { ...state, run: state.run + 1, microphone: "opening" };
    case "microphone_settled":
      return { ...state, microphone: state.microphone === "opening" ? "off" : state.microphone };
    case "stop":
      return { ...state, run: state.run + 1, phase: "idle", microphone: "off", turn: "listening", ticket: null, attempts: 0 };
    case "connect":
      return { ...state, phase: "connecting", turn: "listening", serverWasAway: false };
    case "session_began":
      return { ...state, phase: "live", turn: "listening", restarting: false, ticket: null, attempts: 0 };
    case "connection_broke": // each failed attempt to restore the connection comes here again
      return { ...state, phase: "reconnecting", serverWasAway: state.phase === "reconnecting" && state.serverWasAway };
    case "connection_restored":
      return { ...state, phase: "live" };
    case "session_ended":
      return { ...state, phase: "idle", turn: "listening" };
    case "retry_later":
      return { ...state, phase: "waiting", ticket: event.ticket, attempts: state.attempts + Number(event.failed) };
    case "server_restarting":
      return { ...state, restarting: true };
    case "status":
      return { ...state, server: event.stage, serverWasAway: state.serverWasAway || event.stage !== "ready" };
    case "key":
      return { ...state, keyWanted: event.wanted };
    case "turn":
      return { ...state, turn: event.turn };
    case "audio": {
      const closed = state.microphone === "opening" ? "opening" : "off";
      return { ...state, microphone: event.open ? "on" : closed, muted: event.muted, turnTaking: event.turnTaking };
    }
  }
}

/** Whether a session is wanted: there is one, or the page tries to get one. @param {Readonly<PageState>} state */
export function isRunning(state) {
  return state.phase !== "idle";
}

/** Whether the server can be asked for conversations. @param {Readonly<PageState>} state */
export function serverAnswers({ server, keyWanted }) {
  return !keyWanted && server !== null && server !== "unknown";
}

/** Whether the server can begin a session. @param {Readonly<PageState>} state */
export function serverIsReady({ server, keyWanted }) {
  return !keyWanted && server === "ready";
}

/** Whether the page may connect before its time: the server became ready while the page waited. @param {Readonly<PageState>} state */
export function mayRetryNow({ phase, server, serverWasAway }) {
  return server === "ready" && serverWasAway && (phase === "waiting" || phase === "reconnecting");
}

/**
 * The name of the state that the page shows.
 *
 * @param {Readonly<PageState>} state
 * @returns {StateName}
 */
export function stateName(state) {
  const { phase, microphone, server } = state;
  if (phase === "reconnecting") return "away";
  if (phase === "live") {
    if (state.turn !== "listening") return state.turn;
    if (microphone !== "on") return "typing";
    if (state.turnTaking !== "hands-free") return state.turnTaking === "hold" ? "held" : "pressed";
    return state.muted ? "muted" : "listening";
  }
  if (phase !== "idle" || microphone === "opening") return state.ticket ? "queued" : "connecting";
  if (server === "unknown") return "connecting";
  if (server === null) return "unreachable";
  if (state.keyWanted) return "keyless";
  return server === "ready" ? "idle" : server === "failed" ? "failed" : "preparing";
}
