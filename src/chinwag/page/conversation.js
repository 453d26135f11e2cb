// One session's conversation: takes the server's events, and moves the speaker and the view. Knows no socket and no DOM.

import { Captions, heardText } from "./captions.js";
import { ResponseTiming } from "./response-timing.js";
import { FIRST_TURN, nextTurn, turnName } from "./turn-state.js";

/** @import { TextMark } from "./captions.js" */
/** @import { ProtocolError, Send, ServerEvent, Item } from "./protocol.js" */
/** @import { TimedResponse } from "./response-timing.js" */
/** @import { Speaker } from "./speaker.js" */
/** @import { StreamClock } from "./stream-clock.js" */
/** @import { TurnEvent } from "./turn-state.js" */
/** @import { View } from "./view.js" */

const QUIET = "quiet_"; // event ids of this page's own bookkeeping: the user can do nothing about an error of it

/**
 * A response that is generated or played. id: of its item. response: its own id. samples: how many have come.
 * marks: where in the sound its words begin. done: the server has sent all of it.
 *
 * @typedef {{ id: string, response: string, samples: number, marks: TextMark[], done: boolean }} Playing
 */

export class Conversation {
  #send;
  #speaker;
  #view;
  #onTurn;
  #onError;
  #byTrack;
  #timing;
  #captions;

  #turn = FIRST_TURN;
  /** @type {Playing | null} */
  #response = null;
  /** @type {number | null} performance.now() when the last typed message was sent, or the button released */
  #requestedAt = null;
  #requested = 0; // responses that were requested and have not begun
  /** @type {string | null} */
  #activeResponse = null; // id of the response that the server generates

  /**
   * @param {object} options
   * @param {Send} options.send sends a client event
   * @param {Speaker} options.speaker
   * @param {View} options.view
   * @param {StreamClock} options.clock of the microphone's sound
   * @param {boolean} [options.byTrack] the response's sound comes by a WebRTC track, so the server itself knows what was heard of it
   * @param {() => void} options.onTurn `turn` may have changed
   * @param {(error: ProtocolError) => void} options.onError
   * @param {(timed: TimedResponse) => void} options.onTimed a response's time is known
   */
  constructor({ send, speaker, view, clock, byTrack = false, onTurn, onError, onTimed }) {
    this.#byTrack = byTrack;
    this.#send = send;
    this.#speaker = speaker;
    this.#view = view;
    this.#onTurn = onTurn;
    this.#onError = onError;
    this.#timing = new ResponseTiming({ timeOf: (ms) => clock.timeOf(ms), onTimed });
    this.#captions = new Captions({ onPlace: (id, place) => view.mark(id, place), latency: () => speaker.latency });
  }

  /** Who speaks now: listening, hearing, thinking, speaking or ducked. */
  get turn() {
    // unfinished: the speaker has run dry, and more of the response will come
    return turnName(this.#turn, { playing: this.#speaker.busy, unfinished: this.#response !== null && !this.#response.done });
  }

  /** @param {TurnEvent} event */
  #change(event) {
    this.#turn = nextTurn(this.#turn, event);
    this.#onTurn();
  }

  /** Sends a typed message; it interrupts as speech does. @param {string} text */
  async sendText(text) {
    await this.interrupt(); // the history must end where the user stopped hearing before the next response is requested
    const id = `item_${crypto.getRandomValues(new Uint32Array(3)).join("")}`;
    this.#view.words("user", id, text);
    this.#send("conversation.item.create", {
      item: { id, type: "message", role: "user", content: [{ type: "input_text", text }] },
    });
    this.respond(performance.now());
  }

  /** Requests a response. @param {number} since performance.now() when the user sent the message or released the button */
  respond(since) {
    this.#requested++;
    this.#send("response.create");
    this.#requestedAt = since;
    this.#change({ type: "response_awaited" });
  }

  /** Ends the response that is generated or played. */
  interrupt() {
    const cutting = this.cut();
    if (this.#requested || this.#activeResponse) this.#send("response.cancel", { event_id: `${QUIET}cancel` });
    this.#requested = 0;
    return cutting;
  }

  /** The user pressed the push-to-talk button. */
  buttonPressed() {
    this.#change({ type: "button_pressed" });
  }

  /** The user released it. @param {boolean} awaited the user's words are being transcribed, and a response may follow */
  buttonReleased(awaited = false) {
    this.#change({ type: "button_released", awaited });
  }

  /** Stops the sound at once, then reports to server and view how much of the response was heard. */
  async cut() {
    const response = this.#response;
    const flushing = this.#speaker.flush();
    this.#turn = nextTurn(this.#turn, { type: "playback_cut" });
    this.#captions.stop();
    if (!response) return;
    this.#response = null; // the rest of it is dropped
    this.#timing.forget(response.response);
    if (this.#byTrack) return this.#send("output_audio_buffer.clear", { event_id: `${QUIET}clear` });
    const { item, ms } = await flushing;
    const heard = item === response.id ? ms : 0;
    if (response.samples > 0) {
      this.#send("chinwag.playback", { item_id: response.id, played_ms: heard });
      this.#send("conversation.item.truncate", {
        event_id: `${QUIET}truncate`,
        item_id: response.id,
        content_index: 0,
        audio_end_ms: heard,
      });
    }
    this.#view.cut(response.id, heardText(response.marks, response.samples, heard));
    if (heard > 0) this.#retrieve(response.id);
  }

  /** Plays sound of a response. @param {string | null} item @param {ArrayBuffer} audio PCM16 */
  playAudio(item, audio) {
    if (item === null || item !== this.#response?.id) return;
    this.#response.samples += audio.byteLength / 2;
    this.#speaker.play(item, audio);
    this.#change({ type: "response_settled" });
  }

  // --- what the speaker reports -------------------------------------------------------------------------

  /** @param {string} item @param {number} ms how much of the item was played */
  played(item, ms) {
    this.#captions.played(item, ms);
    this.#send("chinwag.playback", { item_id: item, played_ms: ms });
  }

  /** The speaker has played all it had. */
  drained() {
    if (this.#response?.done) this.#finish();
    this.#onTurn();
  }

  /** The first sound of an item left the speaker. @param {string} item @param {number} time performance.now() */
  audible(item, time) {
    if (item === this.#response?.id) {
      if (this.#byTrack) this.#captions.began(item, time);
      else this.#captions.played(item, 0, time);
    }
    this.#timing.audible(item, time);
  }

  /** The first frame of the microphone was sent. */
  clockStarted() {
    this.#timing.clockStarted();
  }

  // --- what the server sends ----------------------------------------------------------------------------

  /** Takes an event of the server; those that do not concern the conversation are ignored. @param {ServerEvent} event */
  onEvent(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#requestedAt = null;
        this.cut();
        return this.#change({ type: "speech_started" });
      case "chinwag.duck": // the user may be interrupting: speech_started follows if so, and resume if not
      case "chinwag.resume":
        return this.#duck(event.item_id, event.type === "chinwag.duck");
      case "input_audio_buffer.speech_stopped":
        return this.#change({ type: "speech_stopped" });
      case "chinwag.transcript.partial":
        return event.text && this.#view.partial(event.item_id, event.text);
      case "conversation.item.input_audio_transcription.completed":
        this.#view.words("user", event.item_id, event.transcript);
        return event.transcript.trim() ? undefined : this.#change({ type: "response_settled" });
      case "conversation.item.input_audio_transcription.failed":
        this.#onError(event.error);
        return this.#change({ type: "response_settled" });
      case "conversation.item.added":
        return this.#itemAdded(event.item);
      case "conversation.item.deleted":
        return this.#view.remove(event.item_id);
      case "conversation.item.retrieved": // the server's account of what was heard replaces this page's first guess
        return event.item.role === "assistant" ? this.#view.cut(event.item.id, wordsOf(event.item)) : undefined;
      case "response.created":
        this.#requested = Math.max(0, this.#requested - 1);
        this.#activeResponse = event.response?.id ?? null;
        return this.#change({ type: "response_awaited" });
      case "response.output_item.added":
        return this.#begin(event);
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        return this.#addWords(event);
      case "output_audio_buffer.started":
        if (this.#response) this.#speaker.begin(this.#response.id);
        return this.#change({ type: "response_settled" });
      case "output_audio_buffer.stopped":
        return this.#speaker.finish();
      case "conversation.item.truncated": // with a track the server itself decides what was heard
        return this.#byTrack && this.#retrieve(event.item_id);
      case "response.done":
        return this.#done(event.response);
      case "chinwag.trace":
        return this.#timing.traced(event.response_id, /** @type {any} */ (event));
    }
  }

  // It has words if the server describes a conversation that this page has not seen, or has lost.
  /** @param {Item} item */
  #itemAdded(item) {
    if (item.type !== "message" || (item.role !== "user" && item.role !== "assistant") || this.#view.wasCut(item.id)) return;
    const text = wordsOf(item);
    if (text) this.#view.words(item.role, item.id, text);
    else if (item.role === "user") this.#view.place(item.id);
  }

  /** @param {ServerEvent} event */
  #begin({ response_id, item }) {
    if (item.type !== "message" || this.#turn.user === "holding") return; // a response that begins meanwhile was cancelled
    this.#turn = nextTurn(this.#turn, { type: "response_began" });
    this.#timing.begin(response_id, item.id, this.#requestedAt);
    this.#requestedAt = null;
    this.#response = { id: item.id, response: response_id, samples: 0, marks: [], done: false };
  }

  /** @param {ServerEvent} event */
  #addWords({ type, item_id, delta }) {
    const response = this.#response;
    if (!response || item_id !== response.id) return;
    if (response.marks.length === 0 && type === "response.output_audio_transcript.delta") this.#captions.follow(response);
    const at = this.#byTrack ? this.#captions.next : response.samples;
    const last = response.marks.at(-1);
    if (last?.at === at) last.text += delta;
    else response.marks.push({ at, text: delta });
    this.#view.words("assistant", item_id, response.marks.map((mark) => mark.text).join(""));
  }

  /** @param {ServerEvent["response"]} response */
  #done({ id, status, status_details }) {
    if (this.#activeResponse === id) this.#activeResponse = null;
    if (status === "failed") this.#onError(status_details?.error ?? {});
    const response = this.#response;
    if (response && response.response === id) {
      response.done = true;
      if (!this.#speaker.busy) this.#finish();
    }
    this.#change({ type: "response_settled" });
  }

  // The response was heard to its end.
  #finish() {
    this.#response = null;
    this.#captions.finish();
  }

  /** @param {string} item @param {boolean} low */
  #duck(item, low) {
    if (!this.#byTrack) this.#speaker.duck(item, low); // the server lowers a track itself
    this.#change({ type: "ducked", low });
  }

  /** @param {string} item */
  #retrieve(item) {
    this.#send("conversation.item.retrieve", { event_id: `${QUIET}retrieve`, item_id: item });
  }

  /** Whether an error event is about this page's own bookkeeping. @param {ProtocolError} error */
  static isQuiet(error) {
    return Boolean(error.event_id?.startsWith(QUIET));
  }
}

/** @param {Item} item */
function wordsOf(item) {
  return (item.content ?? []).map((part) => part.transcript ?? part.text ?? "").join("");
}
