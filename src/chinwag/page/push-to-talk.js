// How a turn ends: the server decides (hands-free), or the user does, with a button or the space bar (push to talk).
// The mode can change during a conversation: turn_detection goes to null and back, the session stays.

import { find, say } from "./dom.js";

/** @import { Conversation } from "./conversation.js" */
/** @import { ProtocolError, Send, ServerEvent } from "./protocol.js" */

/** @typedef {"hands-free" | "hold" | "press"} Mode */

/** @typedef {{ send: Send, conversation: Conversation, byTrack: boolean }} Session */

const KEY = "chinwag.push-to-talk";
/** @type {Mode[]} */
const MODES = ["hands-free", "hold", "press"];

const PRE_ROLL_FRAMES = 10; // 200 ms from before the press: people begin to speak as they press,
const TAIL_MS = 120; // and release the button before their last sound is out
const TRACK_MS = 240; // added if the sound goes by a track, as the commit overtakes it
const SHORTEST_MS = 250; // a shorter press was a slip
const LONGEST_MS = 5 * 60_000; // the server buffers ten minutes
const CLEAR_EVERY_MS = 10_000;

const OWN = "quiet_talk_"; // prefix of this module's event ids
const COMMIT = `${OWN}commit`;
const AUTOMATIC = { type: "semantic_vad" };

const NOTHING = "Nothing was heard. Speak while it says “Listening”.";
/** @type {Partial<Record<Mode, string>>} */
const TOO_SHORT = { hold: "That was short: keep it down while you speak.", press: "That was short: press, speak, press again." };
const TOO_LONG = "That was five minutes: it is answered now.";
/** @type {Partial<Record<Mode, string[]>> & { hold: string[] }} */
const LABELS = { hold: ["Hold to talk", "Listening: let go when done"], press: ["Press to talk", "Listening: press when done"] };

export class PushToTalk {
  #mode = read();
  #onChange;
  /** @type {Session | null} */
  #session = null;
  /** @type {{ type: string }} */
  #detection = AUTOMATIC; // the server's, for the return to hands-free
  #microphone = false; // whether it is open
  /** @type {number | null} performance.now() since when the button is down */
  #pressedAt = null;
  /** @type {ReturnType<typeof setTimeout> | null} from the release to the commit */
  #tail = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #limit;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #clearing;
  /** @type {ArrayBuffer[]} */
  #preRoll = []; // the last frames from before a press
  #committing = 0; // commits that the server has not answered
  #untranscribed = new Set(); // ids of committed items without a transcript
  #responseOwed = false; // the user said something that has no response yet
  #releasedAt = 0;

  /** @param {{ onChange: () => void }} handlers onChange: the mode, or whether the server hears the microphone, has changed */
  constructor({ onChange }) {
    this.#onChange = onChange;
    for (const mode of MODES) {
      const choice = find(`way-${mode}`);
      choice.checked = mode === this.#mode;
      choice.onchange = () => this.#choose(mode);
    }
    this.#bind(find("talk"));
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", (event) => this.#keyUp(event));
    // This page gets no event of a key or finger that is lifted elsewhere.
    addEventListener("blur", () => this.#mode === "hold" && this.#release());
    document.addEventListener("visibilitychange", () => document.hidden && this.#mode === "hold" && this.#release());
  }

  /** How the user ends a turn: "hands-free", "hold" or "press". */
  get mode() {
    return this.#mode;
  }

  get handsFree() {
    return this.#mode === "hands-free";
  }

  /** Whether the server hears the microphone now. */
  get open() {
    return this.handsFree || this.#pressedAt !== null || this.#tail !== null;
  }

  /** The frames to send, now that this one came from the microphone. @param {ArrayBuffer} frame */
  framesToSend(frame) {
    if (this.handsFree) return [frame];
    this.#preRoll.push(frame);
    if (this.open) return this.#preRoll.splice(0);
    if (this.#preRoll.length > PRE_ROLL_FRAMES) this.#preRoll.shift();
    return [];
  }

  /** A session began. detection: its turn_detection, if the server described it. @param {Session & { detection?: { type: string } | null }} session */
  begin({ send, conversation, byTrack, detection }) {
    this.end();
    this.#session = { send, conversation, byTrack };
    this.#detection = detection ?? AUTOMATIC;
    if (!this.handsFree || detection === null) this.#sendMode();
  }

  /** The session is over. */
  end() {
    this.#discard();
    this.#committing = 0;
    this.#untranscribed.clear();
    this.#responseOwed = false;
    this.#session = null;
    this.#clearRegularly();
  }

  /** Shows the button while the microphone is open. @param {boolean} microphone */
  show(microphone) {
    this.#microphone = microphone;
    if (!microphone && this.#pressedAt !== null) this.#discard();
    const button = find("talk");
    const [idle, talking] = LABELS[this.#mode] ?? LABELS.hold;
    button.hidden = this.handsFree || !microphone;
    button.setAttribute("aria-pressed", String(this.#pressedAt !== null));
    const words = this.#pressedAt === null ? idle : talking;
    say(button, words);
    if (this.handsFree) this.#hint("");
  }

  /** Takes an event of the server. @param {ServerEvent} event */
  onEvent(event) {
    switch (event.type) {
      case "session.updated":
        this.#detection = event.session?.audio?.input?.turn_detection ?? this.#detection;
        return;
      case "input_audio_buffer.committed":
        if (this.#committing === 0) return;
        this.#committing--;
        this.#untranscribed.add(event.item_id);
        return;
      case "conversation.item.input_audio_transcription.completed":
      case "conversation.item.input_audio_transcription.failed":
        if (this.#untranscribed.delete(event.item_id)) this.#transcribed(event.transcript ?? "");
    }
  }

  /** Handles an error of a commit; returns whether it was one. @param {ProtocolError} error */
  onError(error) {
    if (error.event_id !== COMMIT) return false;
    this.#committing = Math.max(0, this.#committing - 1);
    this.#transcribed("");
    return true;
  }

  // --- the mode -----------------------------------------------------------------------------------------

  /** @param {Mode} mode */
  #choose(mode) {
    if (mode === this.#mode) return;
    this.#discard();
    const changesDetection = this.handsFree !== (mode === "hands-free");
    this.#mode = mode;
    write(mode);
    if (changesDetection) this.#sendMode();
    this.#hint("");
    this.#onChange();
  }

  #sendMode() {
    this.#preRoll = [];
    this.#clearRegularly();
    if (!this.#session) return;
    const { send, conversation } = this.#session;
    conversation.buttonReleased();
    const detection = this.handsFree ? this.#detection : null;
    send("session.update", { session: { type: "realtime", audio: { input: { turn_detection: detection } } } });
  }

  // The server of a WebRTC session gets silence while the button is up, and would buffer ten minutes of it.
  #clearRegularly() {
    clearInterval(this.#clearing);
    if (this.handsFree || !this.#session?.byTrack) return;
    this.#clearing = setInterval(() => this.open || this.#clear(), CLEAR_EVERY_MS);
  }

  #clear() {
    this.#session?.send("input_audio_buffer.clear", { event_id: `${OWN}clear` });
  }

  // --- a turn -------------------------------------------------------------------------------------------

  #press() {
    if (this.handsFree || this.#pressedAt !== null || !this.#session || !this.#microphone) return;
    this.#hint("");
    if (this.#tail === null) {
      this.#session.conversation.interrupt();
      if (this.#session.byTrack) this.#clear();
    } else {
      clearTimeout(this.#tail ?? undefined); // the user goes on
      this.#tail = null;
    }
    this.#pressedAt = performance.now();
    this.#limit = setTimeout(() => {
      this.#release();
      this.#hint(TOO_LONG);
    }, LONGEST_MS);
    this.#session.conversation.buttonPressed();
    this.#onChange();
  }

  #release() {
    if (this.#pressedAt === null) return;
    clearTimeout(this.#limit);
    const now = performance.now();
    const ms = now - this.#pressedAt;
    this.#pressedAt = null;
    this.#releasedAt = now;
    if (ms < SHORTEST_MS) {
      this.#discard();
      this.#hint(TOO_SHORT[this.#mode]);
      this.#respondIfOwed();
    } else {
      this.#tail = setTimeout(() => this.#commit(), TAIL_MS + (this.#session?.byTrack ? TRACK_MS : 0));
    }
    this.#onChange();
  }

  #commit() {
    this.#tail = null;
    this.#committing++;
    this.#session?.conversation.buttonReleased(true);
    this.#session?.send("input_audio_buffer.commit", { event_id: COMMIT });
    this.#onChange();
  }

  // The response is requested after the transcript, so that silence gets none.
  /** @param {string} words */
  #transcribed(words) {
    if (words.trim()) this.#responseOwed = true;
    else if (this.#pressedAt === null) this.#hint(NOTHING);
    if (!words.trim() && this.#pressedAt !== null) this.#session?.conversation.buttonPressed();
    else if (!words.trim()) this.#session?.conversation.buttonReleased();
    this.#respondIfOwed();
  }

  #respondIfOwed() {
    if (!this.#session || !this.#responseOwed || this.open || this.#committing || this.#untranscribed.size) return;
    this.#responseOwed = false;
    this.#session.conversation.respond(this.#releasedAt);
  }

  /** Drops what the user is saying. */
  #discard() {
    clearTimeout(this.#tail ?? undefined);
    clearTimeout(this.#limit);
    this.#pressedAt = null;
    this.#tail = null;
    this.#preRoll = [];
    if (this.handsFree) return;
    this.#clear();
    this.#session?.conversation.buttonReleased();
  }

  /** @param {string | undefined} words */
  #hint(words = "") {
    say(find("talk-hint"), words);
  }

  // --- button and key -----------------------------------------------------------------------------------

  /** @param {HTMLElement} button */
  #bind(button) {
    button.onpointerdown = (event) => {
      if (this.#mode !== "hold" || event.button !== 0) return;
      button.setPointerCapture(event.pointerId); // a finger that slides off still holds the button
      this.#press();
    };
    // Capture is lost when the finger is lifted, and when the system takes over the gesture.
    button.onlostpointercapture = () => this.#mode === "hold" && this.#release();
    button.oncontextmenu = (event) => event.preventDefault(); // Android and iOS open one on a long press
    button.onclick = (event) => {
      // detail is 0 for Enter, switches and screen readers: they cannot hold, so that each press begins or ends
      if (this.#mode === "press" || event.detail === 0) this.#toggle();
    };
  }

  #toggle() {
    if (this.#pressedAt === null) this.#press();
    else this.#release();
  }

  /** @param {KeyboardEvent} event */
  #keyDown(event) {
    if (!this.#isPushToTalk(event)) return;
    event.preventDefault(); // it would scroll, or click the button
    if (event.repeat) return;
    if (this.#mode === "press") this.#toggle();
    else this.#press();
  }

  /** @param {KeyboardEvent} event */
  #keyUp(event) {
    if (event.code !== "Space" || this.handsFree) return;
    if (this.#isPushToTalk(event)) event.preventDefault(); // Firefox clicks a button on the way up
    if (this.#mode === "hold") this.#release();
  }

  /** Whether a key is the space bar, and no control of the page uses it. @param {KeyboardEvent} event */
  #isPushToTalk(event) {
    if (event.code !== "Space" || this.handsFree || !this.#microphone || event.ctrlKey || event.altKey || event.metaKey) return false;
    if (document.querySelector("dialog[open]")) return false;
    const control = /** @type {Element} */ (event.target).closest?.("input, textarea, select, button, a, summary, [contenteditable]");
    return !control || control.id === "talk";
  }
}

// Storage may be forbidden: then each visit begins in hands-free mode.
/** @returns {Mode} */
function read() {
  try {
    const { way } = JSON.parse(localStorage.getItem(KEY) ?? "null");
    return MODES.includes(way) ? way : MODES[0];
  } catch {
    return MODES[0];
  }
}

/** @param {Mode} mode */
function write(mode) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ way: mode }));
  } catch {}
}
