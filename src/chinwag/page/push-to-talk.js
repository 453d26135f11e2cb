// Who ends a turn: the server by itself (hands-free), or the person, by a button or the space bar (push to talk).
// Changes in the middle of a conversation: turn_detection goes to null and back, the session stays.

const KEY = "chinwag.push-to-talk";
const WAYS = ["hands-free", "hold", "press"];

const KEPT_FRAMES = 10; // 200 ms from before the press: people begin to speak as they press,
const TAIL_MS = 120; // and let go before the last sound is out
const TRACK_MS = 240; // longer where the sound goes by a track, as the commit overtakes it
const SHORTEST_MS = 250; // a shorter press was a slip
const LONGEST_MS = 5 * 60_000; // the server keeps ten minutes
const CLEAR_EVERY_MS = 10_000;

const OWN = "quiet_talk_"; // event ids of this module
const COMMIT = `${OWN}commit`;
const AUTOMATIC = { type: "semantic_vad" };

const NOTHING = "Nothing was heard. Speak while it says “Listening”.";
const TOO_SHORT = { hold: "That was short: keep it down while you speak.", press: "That was short: press, speak, press again." };
const TOO_LONG = "That was five minutes: it is answered now.";
const LABELS = { hold: ["Hold to talk", "Listening: let go when done"], press: ["Press to talk", "Listening: press when done"] };

const find = (id) => document.getElementById(id);

export class PushToTalk {
  #way = read();
  #onChange;
  #session = null; // {send, conversation, byTrack}
  #detection = AUTOMATIC; // the server's, for the way back
  #microphone = false; // there is one
  #held = null; // performance.now() since when a turn is being spoken
  #tail = null; // runs from the release to the commit
  #limit = null;
  #clearing = null;
  #kept = []; // the last frames from before a press
  #committing = 0; // commits that the server has not answered
  #unworded = new Set(); // items of ours whose words are not known yet
  #owed = false; // something was said that nobody has answered
  #releasedAt = 0;

  /** onChange(): the way, or whether the microphone is open to the server. */
  constructor({ onChange }) {
    this.#onChange = onChange;
    for (const way of WAYS) {
      const choice = find(`way-${way}`);
      choice.checked = way === this.#way;
      choice.onchange = () => this.#choose(way);
    }
    this.#bind(find("talk"));
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", (event) => this.#keyUp(event));
    // A key or finger that is lifted elsewhere is never told to this page.
    addEventListener("blur", () => this.#way === "hold" && this.#release());
    document.addEventListener("visibilitychange", () => document.hidden && this.#way === "hold" && this.#release());
  }

  get handsFree() {
    return this.#way === "hands-free";
  }

  /** Whether the server is to hear the microphone now. */
  get open() {
    return this.handsFree || this.#held !== null || this.#tail !== null;
  }

  /** Whether somebody holds the button. */
  get talking() {
    return !this.handsFree && this.open;
  }

  /** The state of a page that waits for a press. */
  get idle() {
    return this.#way === "hold" ? "held" : "pressed";
  }

  /** What goes to the server when this frame has come from the microphone. */
  frames(frame) {
    if (this.handsFree) return [frame];
    this.#kept.push(frame);
    if (this.open) return this.#kept.splice(0);
    if (this.#kept.length > KEPT_FRAMES) this.#kept.shift();
    return [];
  }

  /** A session has begun. detection: its turn_detection, where the server has told it. */
  begin({ send, conversation, byTrack, detection }) {
    this.end();
    this.#session = { send, conversation, byTrack };
    this.#detection = detection ?? AUTOMATIC;
    if (!this.handsFree || detection === null) this.#tell();
  }

  /** The session is over. */
  end() {
    this.#forget();
    this.#committing = 0;
    this.#unworded.clear();
    this.#owed = false;
    this.#session = null;
    this.#keepClear();
  }

  /** Shows the button while there is a microphone. */
  show(microphone) {
    this.#microphone = microphone;
    if (!microphone && this.#held !== null) this.#forget();
    const button = find("talk");
    const [idle, talking] = LABELS[this.#way] ?? LABELS.hold;
    button.hidden = this.handsFree || !microphone;
    button.setAttribute("aria-pressed", String(this.#held !== null));
    const words = this.#held === null ? idle : talking;
    if (button.textContent !== words) button.textContent = words;
    if (this.handsFree) this.#hint("");
  }

  /** Takes an event of the server. */
  take(event) {
    switch (event.type) {
      case "session.updated":
        this.#detection = event.session?.audio?.input?.turn_detection ?? this.#detection;
        return;
      case "input_audio_buffer.committed":
        if (this.#committing === 0) return;
        this.#committing--;
        this.#unworded.add(event.item_id);
        return;
      case "conversation.item.input_audio_transcription.completed":
      case "conversation.item.input_audio_transcription.failed":
        if (this.#unworded.delete(event.item_id)) this.#worded(event.transcript ?? "");
    }
  }

  /** Whether an error was about a commit of ours, and has been dealt with. */
  failed(error) {
    if (error.event_id !== COMMIT) return false;
    this.#committing = Math.max(0, this.#committing - 1);
    this.#worded("");
    return true;
  }

  // --- the way ------------------------------------------------------------------------------------------

  #choose(way) {
    if (way === this.#way) return;
    this.#forget();
    const told = this.handsFree !== (way === "hands-free");
    this.#way = way;
    write(way);
    if (told) this.#tell();
    this.#hint("");
    this.#onChange();
  }

  #tell() {
    const { send, conversation } = this.#session ?? {};
    this.#kept = [];
    this.#keepClear();
    if (!send) return;
    conversation.holds(false);
    const detection = this.handsFree ? this.#detection : null;
    send("session.update", { session: { type: "realtime", audio: { input: { turn_detection: detection } } } });
  }

  // A call's server hears silence while no sound comes, and would keep ten minutes of it.
  #keepClear() {
    clearInterval(this.#clearing);
    this.#clearing = null;
    if (this.handsFree || !this.#session?.byTrack) return;
    this.#clearing = setInterval(() => this.open || this.#clear(), CLEAR_EVERY_MS);
  }

  #clear() {
    this.#session?.send("input_audio_buffer.clear", { event_id: `${OWN}clear` });
  }

  // --- a turn -------------------------------------------------------------------------------------------

  #press() {
    if (this.handsFree || this.#held !== null || !this.#session || !this.#microphone) return;
    this.#hint("");
    if (this.#tail === null) {
      this.#session.conversation.interrupt();
      if (this.#session.byTrack) this.#clear();
    } else {
      clearTimeout(this.#tail); // they go on
      this.#tail = null;
    }
    this.#held = performance.now();
    this.#limit = setTimeout(() => {
      this.#release();
      this.#hint(TOO_LONG);
    }, LONGEST_MS);
    this.#session.conversation.holds(true);
    this.#onChange();
  }

  #release() {
    if (this.#held === null) return;
    clearTimeout(this.#limit);
    const now = performance.now();
    const ms = now - this.#held;
    this.#held = null;
    this.#releasedAt = now;
    if (ms < SHORTEST_MS) {
      this.#forget();
      this.#hint(TOO_SHORT[this.#way]);
      this.#answerOwed();
    } else {
      this.#tail = setTimeout(() => this.#commit(), TAIL_MS + (this.#session?.byTrack ? TRACK_MS : 0));
    }
    this.#onChange();
  }

  #commit() {
    this.#tail = null;
    this.#committing++;
    this.#session.conversation.holds(false, true);
    this.#session.send("input_audio_buffer.commit", { event_id: COMMIT });
    this.#onChange();
  }

  // The words are known before the answer is asked for, so that silence is not answered.
  #worded(words) {
    if (words.trim()) this.#owed = true;
    else if (this.#held === null) this.#hint(NOTHING);
    if (!words.trim()) this.#session?.conversation.holds(this.#held !== null);
    this.#answerOwed();
  }

  #answerOwed() {
    if (!this.#session || !this.#owed || this.open || this.#committing || this.#unworded.size) return;
    this.#owed = false;
    this.#session.conversation.respond(this.#releasedAt);
  }

  /** What is being said counts no more. */
  #forget() {
    clearTimeout(this.#tail);
    clearTimeout(this.#limit);
    this.#held = this.#tail = null;
    this.#kept = [];
    if (this.handsFree) return;
    this.#clear();
    this.#session?.conversation.holds(false);
  }

  #hint(words) {
    if (find("talk-hint").textContent !== words) find("talk-hint").textContent = words;
  }

  // --- button and key -----------------------------------------------------------------------------------

  #bind(button) {
    button.onpointerdown = (event) => {
      if (this.#way !== "hold" || event.button !== 0) return;
      button.setPointerCapture(event.pointerId); // a finger that slides off still holds
      this.#press();
    };
    // Capture is lost when the finger is lifted, and when the system takes the gesture for its own.
    button.onlostpointercapture = () => this.#way === "hold" && this.#release();
    button.oncontextmenu = (event) => event.preventDefault(); // Android and iOS open one on a long press
    button.onclick = (event) => {
      // detail is 0 for Enter, switches and screen readers: they cannot hold, so that each press begins or ends
      if (this.#way === "press" || event.detail === 0) this.#toggle();
    };
  }

  #toggle() {
    if (this.#held === null) this.#press();
    else this.#release();
  }

  #keyDown(event) {
    if (!this.#ours(event)) return;
    event.preventDefault(); // it would scroll, or click the button
    if (event.repeat) return;
    if (this.#way === "press") this.#toggle();
    else this.#press();
  }

  #keyUp(event) {
    if (event.code !== "Space" || this.handsFree) return;
    if (this.#ours(event)) event.preventDefault(); // Firefox clicks a button on the way up
    if (this.#way === "hold") this.#release();
  }

  #ours(event) {
    if (event.code !== "Space" || this.handsFree || !this.#microphone || event.ctrlKey || event.altKey || event.metaKey) return false;
    if (document.querySelector("dialog[open]")) return false;
    const control = event.target.closest?.("input, textarea, select, button, a, summary, [contenteditable]");
    return !control || control.id === "talk";
  }
}

// Storage may be forbidden: then each visit begins hands-free.
function read() {
  try {
    const { way } = JSON.parse(localStorage.getItem(KEY));
    return WAYS.includes(way) ? way : WAYS[0];
  } catch {
    return WAYS[0];
  }
}

function write(way) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ way }));
  } catch {}
}
