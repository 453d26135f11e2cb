// The state of the turn in a session: who speaks, and whether a response is expected. A pure function, without DOM or network.

/**
 * What is known of the turn.
 * user: "silent", "speaking" (the server hears speech) or "holding" (the push-to-talk button is down).
 * awaited: a response was requested, or is expected, and has no sound yet.
 * ducked: the response plays at a lower volume while the server judges an overlap.
 *
 * @typedef {{ user: "silent" | "speaking" | "holding", awaited: boolean, ducked: boolean }} Turn
 */

/**
 * speech_started, speech_stopped: the server heard the user begin or end.
 * button_pressed, button_released: of push to talk; awaited: the user's words are being transcribed.
 * response_awaited: a response was requested or created. response_settled: there is nothing to wait for: it sounds, or has ended.
 * playback_cut: playback was flushed. ducked: the server lowered or restored the volume. response_began: an item of a response was added.
 *
 * @typedef {{ type: "speech_started" | "speech_stopped" | "button_pressed" | "response_awaited" | "response_settled" | "playback_cut" | "response_began" }
 *   | { type: "button_released", awaited: boolean }
 *   | { type: "ducked", low: boolean }} TurnEvent
 */

/** @typedef {"listening" | "hearing" | "thinking" | "speaking" | "ducked"} TurnName */

/** @type {Readonly<Turn>} */
export const FIRST_TURN = Object.freeze({ user: "silent", awaited: false, ducked: false });

/**
 * The turn after an event.
 *
 * @param {Readonly<Turn>} turn
 * @param {TurnEvent} event
 * @returns {Readonly<Turn>}
 */
export function nextTurn(turn, event) {
  const holding = turn.user === "holding";
  switch (event.type) {
    case "speech_started":
      return { user: holding ? "holding" : "speaking", awaited: false, ducked: false };
    case "speech_stopped":
      return { ...turn, user: holding ? "holding" : "silent", awaited: true };
    case "button_pressed":
      return { ...turn, user: "holding", awaited: false };
    case "button_released":
      return { ...turn, user: "silent", awaited: event.awaited };
    case "response_awaited":
      return { ...turn, awaited: true };
    case "response_settled":
      return { ...turn, awaited: false };
    case "response_began":
    case "playback_cut":
      return { ...turn, ducked: false };
    case "ducked":
      return { ...turn, ducked: event.low };
  }
}

/**
 * The turn as the page shows it.
 *
 * @param {Readonly<Turn>} turn
 * @param {{ playing: boolean, unfinished: boolean }} playback playing: the speaker has sound. unfinished: more of the response will come.
 * @returns {TurnName}
 */
export function turnName(turn, { playing, unfinished }) {
  if (turn.user === "holding") return "hearing";
  if (playing) return turn.ducked ? "ducked" : "speaking";
  if (turn.user === "speaking") return "hearing";
  return turn.awaited || unfinished ? "thinking" : "listening";
}
