// What happens in one session: takes the server's events, and moves the speaker and the view. Knows no socket and no DOM.

import { Captions, heardText } from "./captions.js";

const QUIET = "quiet_"; // our own bookkeeping: an error about it is nothing the user can act on

export class Conversation {
  #send;
  #speaker;
  #view;
  #onState;
  #onTrouble;
  #clock;
  #byTrack;
  #onTimed;
  #captions;

  #answer = null; // the answer that is being made or played
  #hearing = false;
  #waiting = false; // for the answer's first sound
  #ducked = false; // it speaks softly, as somebody may be cutting in
  #held = false; // they hold the button of push to talk
  #askedAt = null; // when the last typed message was sent, or the button let go
  #asked = 0; // answers that were asked for and have not begun
  #responding = null; // id of the one that is being given

  /**
   * send(type, fields); clock: the StreamClock of the microphone's sound; onState(state), onTrouble(error).
   * onTimed({id, since, ms, stages}) when an answer was heard: ms after the last sound ("speech") or the press of Send ("send").
   * byTrack: the answer's sound comes by a WebRTC track, so the server itself knows what was heard of it.
   */
  constructor({ send, speaker, view, clock, byTrack = false, onState, onTrouble, onTimed }) {
    this.#byTrack = byTrack;
    this.#send = send;
    this.#speaker = speaker;
    this.#view = view;
    this.#clock = clock;
    this.#onState = onState;
    this.#onTrouble = onTrouble;
    this.#onTimed = onTimed;
    this.#captions = new Captions({ onPlace: (id, place) => view.mark(id, place), latency: () => speaker.latency });
  }

  /** listening, hearing (words are coming in), thinking, speaking or ducked (speaking softly). */
  get state() {
    if (this.#held) return "hearing";
    if (this.#speaker.busy) return this.#ducked ? "ducked" : "speaking";
    if (this.#hearing) return "hearing";
    const more = this.#answer && !this.#answer.done; // the speaker has run dry, and the answer goes on
    return this.#waiting || more ? "thinking" : "listening";
  }

  /** Sends a typed message; it cuts in like a spoken one. */
  async say(text) {
    await this.interrupt(); // the history must end where the ear did before the next answer is asked for
    const id = `item_${crypto.getRandomValues(new Uint32Array(3)).join("")}`;
    this.#view.words("user", id, text);
    this.#send("conversation.item.create", {
      item: { id, type: "message", role: "user", content: [{ type: "input_text", text }] },
    });
    this.respond(performance.now());
  }

  /** Asks for an answer to what was said until `since`, performance.now(). */
  respond(since) {
    this.#asked++;
    this.#send("response.create");
    this.#askedAt = since;
    this.#wait(true);
  }

  /** The answer that is being given ends where the ear is now. */
  interrupt() {
    const cutting = this.cut();
    if (this.#asked || this.#responding) this.#send("response.cancel", { event_id: `${QUIET}cancel` });
    this.#asked = 0;
    return cutting;
  }

  /** Somebody holds the button of push to talk, or has let it go; waits: for the words of what was said. */
  holds(held, waits = false) {
    this.#held = held;
    this.#hearing = false;
    this.#wait(waits);
  }

  /** Silence first: stops the answer's sound, and tells server and reader how far it was heard. */
  async cut() {
    const answer = this.#answer;
    const flushing = this.#speaker.flush();
    this.#ducked = false;
    this.#captions.stop();
    if (!answer) return;
    this.#answer = null; // what still comes of it is dropped
    if (this.#byTrack) return this.#send("output_audio_buffer.clear", { event_id: `${QUIET}clear` });
    const { item, ms } = await flushing;
    const heard = item === answer.id ? ms : 0;
    if (answer.samples > 0) {
      this.#send("chinwag.playback", { item_id: answer.id, played_ms: heard });
      this.#send("conversation.item.truncate", {
        event_id: `${QUIET}truncate`,
        item_id: answer.id,
        content_index: 0,
        audio_end_ms: heard,
      });
    }
    this.#view.cut(answer.id, heardText(answer.marks, answer.samples, heard));
    if (heard > 0) this.#send("conversation.item.retrieve", { event_id: `${QUIET}retrieve`, item_id: answer.id });
  }

  /** Sound of the answer (ArrayBuffer of PCM16). */
  hear(item, audio) {
    if (item !== this.#answer?.id) return;
    this.#answer.samples += audio.byteLength / 2;
    this.#speaker.play(item, audio);
    this.#wait(false);
  }

  /** The speaker has played so much of an item. */
  played(item, ms) {
    this.#captions.played(item, ms);
    this.#send("chinwag.playback", { item_id: item, played_ms: ms });
  }

  /** The speaker has played all it had. */
  drained() {
    if (this.#answer?.done) this.#forget();
    this.#onState(this.state);
  }

  #duck(item, low) {
    if (!this.#byTrack) this.#speaker.duck(item, low); // else it comes low
    this.#ducked = low;
    this.#onState(this.state);
  }

  // It was heard to its end.
  #forget() {
    this.#answer = null;
    this.#captions.finish();
  }

  /** The first sound of an item left the speaker, at performance.now() time. */
  audible(item, time) {
    if (item !== this.#answer?.id) return;
    this.#answer.audibleAt = time;
    if (this.#byTrack) this.#captions.began(item, time);
    else this.#captions.played(item, 0, time);
    this.#tellLatency(this.#answer);
  }

  /** Takes one event of the server; those it has no use for pass by. */
  take(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#hearing = true;
        this.#askedAt = null;
        this.cut();
        return this.#wait(false);
      case "chinwag.duck": // somebody speaks: an interruption, which will be speech_started, or nothing, which is resume
      case "chinwag.resume":
        return this.#duck(event.item_id, event.type === "chinwag.duck");
      case "input_audio_buffer.speech_stopped":
        this.#hearing = false;
        return this.#wait(true);
      case "chinwag.transcript.partial":
        return event.text && this.#view.partial(event.item_id, event.text);
      case "conversation.item.input_audio_transcription.completed":
        this.#view.words("user", event.item_id, event.transcript);
        return event.transcript.trim() ? undefined : this.#wait(false);
      case "conversation.item.input_audio_transcription.failed":
        this.#onTrouble(event.error);
        return this.#wait(false);
      case "conversation.item.added":
        return this.#itemAdded(event.item);
      case "conversation.item.deleted":
        return this.#view.remove(event.item_id);
      case "conversation.item.retrieved":
        return this.#itemRetrieved(event.item);
      case "response.created":
        this.#asked = Math.max(0, this.#asked - 1);
        this.#responding = event.response?.id ?? null;
        return this.#wait(true);
      case "response.output_item.added":
        return this.#begin(event);
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        return this.#say(event);
      case "output_audio_buffer.started":
        if (this.#answer) this.#speaker.begin(this.#answer.id);
        return this.#wait(false);
      case "output_audio_buffer.stopped":
        return this.#speaker.finish();
      case "conversation.item.truncated": // over a track the server says so by itself
        return this.#byTrack && this.#send("conversation.item.retrieve", { event_id: `${QUIET}retrieve`, item_id: event.item_id });
      case "response.done":
        return this.#done(event.response);
      case "chinwag.trace":
        return this.#traced(event);
    }
  }

  // With words where the server tells a conversation that this page has not seen, or has lost.
  #itemAdded(item) {
    if (item.type !== "message" || !["user", "assistant"].includes(item.role) || this.#view.wasCut(item.id)) return;
    const text = wordsOf(item);
    if (text) this.#view.words(item.role, item.id, text);
    else if (item.role === "user") this.#view.place(item.id);
  }

  // The server's account of what was heard counts; ours was a first guess.
  #itemRetrieved(item) {
    if (item.role !== "assistant") return;
    this.#view.cut(item.id, wordsOf(item));
  }

  #begin({ response_id, item }) {
    if (item.type !== "message" || this.#held) return; // what begins meanwhile has been cancelled
    const askedAt = this.#askedAt;
    this.#askedAt = null;
    this.#ducked = false;
    this.#answer = { id: item.id, response: response_id, samples: 0, marks: [], done: false, askedAt };
  }

  #say({ type, item_id, delta }) {
    const answer = this.#answer;
    if (item_id !== answer?.id) return;
    if (answer.marks.length === 0 && type === "response.output_audio_transcript.delta") this.#captions.follow(answer);
    const at = this.#byTrack ? this.#captions.next : answer.samples;
    const last = answer.marks.at(-1);
    if (last?.at === at) last.text += delta;
    else answer.marks.push({ at, text: delta });
    this.#view.words("assistant", item_id, answer.marks.map((mark) => mark.text).join(""));
  }

  #done({ id, status, status_details }) {
    this.#waiting = false;
    if (this.#responding === id) this.#responding = null;
    if (status === "failed") this.#onTrouble(status_details?.error ?? {});
    if (this.#answer?.response === id) {
      this.#answer.done = true;
      if (!this.#speaker.busy) this.#forget();
    }
    this.#onState(this.state);
  }

  #traced(trace) {
    const answer = this.#answer;
    if (answer?.response !== trace.response_id) return;
    answer.trace = trace;
    this.#tellLatency(answer);
  }

  // From the end of the person's speech, or the press of Send, to the first sound: all on this page's clock.
  #tellLatency(answer) {
    if (answer.audibleAt === undefined) return;
    const spokenAt = answer.trace?.speech_end_ms == null ? null : this.#clock.timeOf(answer.trace.speech_end_ms);
    const from = answer.askedAt ?? spokenAt;
    if (from === null) return;
    const stages = answer.askedAt === null ? answer.trace.stages_ms : {};
    const since = answer.askedAt === null ? "speech" : "send";
    this.#onTimed({ id: answer.id, since, ms: Math.max(0, answer.audibleAt - from), stages });
  }

  #wait(waiting) {
    this.#waiting = waiting;
    this.#onState(this.state);
  }

  /** Whether an error event is about our own bookkeeping. */
  static isQuiet(error) {
    return Boolean(error.event_id?.startsWith(QUIET));
  }
}

function wordsOf(item) {
  return (item.content ?? []).map((part) => part.transcript ?? part.text ?? "").join("");
}
