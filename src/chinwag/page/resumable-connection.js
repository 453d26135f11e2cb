// One session with the server, over any transport. Messages are numbered in both directions. If the transport breaks, another
// one is opened, and each side sends what the other has not received: nothing is lost, and nothing comes twice.

/** @import { ProtocolError, ServerEvent } from "./protocol.js" */

const PING_MS = 2_000;
const SILENT_MS = 5_000; // nothing came for so long after a ping: the connection is dead
const BUFFERED_BYTES = 15 * 48_000; // of microphone sound while there is no connection: 15 seconds
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 4_000;

/**
 * refusal: the server's error, if it refused the session. stuck: the network did not accept the sound fast enough.
 *
 * @typedef {{ refusal?: ProtocolError | null, stuck?: boolean }} Ending
 */

/** onDown: the transport ended, and close() had not been called. @typedef {{ onMessage: (data: string | ArrayBuffer) => void, onDown: (ending: Ending) => void }} TransportHandlers */

/**
 * One WebSocket or peer connection. byTrack: sound goes by media tracks, not by messages.
 *
 * @typedef {{ byTrack: boolean, send(data: string | ArrayBuffer): void, close(endsSession: boolean): void,
 *   useMicrophone?(track: MediaStreamTrack | null): void }} Transport
 */

/** @typedef {(query: Record<string, string | number>, handlers: TransportHandlers) => Transport} OpenTransport */

/**
 * onReady: session.created came; anew: the server described the existing session again.
 * onAudio: sound of an item, PCM16. onAway: the connection broke, and again after each failed attempt; since: performance.now()
 * of the break. onBack: it is restored. onResumable: the token with which another page resumes. onClosed: the session is over;
 * greeted: it had begun.
 *
 * @typedef {object} ConnectionHandlers
 * @property {(ready: { anew: boolean, session: any }) => void} onReady
 * @property {(event: ServerEvent) => void} onEvent
 * @property {(item: string | null, audio: ArrayBuffer) => void} onAudio
 * @property {(token: string) => void} onResumable
 * @property {(away: { since: number, wait: number }) => void} onAway
 * @property {() => void} onBack
 * @property {(ending: Ending & { greeted: boolean }) => void} onClosed
 */

export class ResumableConnection {
  /** @type {OpenTransport} */
  #openTransport;
  /** @type {ConnectionHandlers} */
  #handlers;
  /** @type {Transport | null} */
  #transport = null;
  #generation = 0; // counts transports, so that late messages of an old one are dropped
  #greeted = false; // the session had begun
  #up = false; // this transport carries the session
  /** @type {ProtocolError | null} */
  #refusal = null;
  /** @type {string | null} the item that binary frames belong to */
  #speaking = null;
  /** @type {string | null} resumes the session */
  #token;
  #within = 0; // ms in which the session can be resumed
  #received = 0;
  #sent = 0;
  /** @type {{ number: number, data: string | ArrayBuffer }[]} sent, and not yet acknowledged */
  #unacknowledged = [];
  /** @type {number | null} */
  #awaySince = null;
  #attempts = 0;
  /** @type {number | null} performance.now() of the first ping without an answer */
  #pingedAt = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinging;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #retrying = null;
  #online = () => this.retry();

  /**
   * @param {OpenTransport} openTransport
   * @param {ConnectionHandlers} handlers
   * @param {string | null} resume the token of a session that another page began
   */
  constructor(openTransport, handlers, resume = null) {
    this.#openTransport = openTransport;
    this.#handlers = handlers;
    this.#token = resume;
    addEventListener("online", this.#online);
    this.#open();
  }

  /** Whether sound goes by media tracks, not by messages. */
  get byTrack() {
    return Boolean(this.#transport?.byTrack);
  }

  /** Sends a client event, now or when the connection is restored. @param {string} type @param {Record<string, unknown>} fields */
  send(type, fields = {}) {
    if (this.#greeted) this.#post(JSON.stringify({ type, ...fields }));
  }

  /** Sends microphone sound; false if there is no session yet. @param {ArrayBuffer} frame */
  sendAudio(frame) {
    if (!this.#greeted) return false;
    if (!this.byTrack) this.#post(frame);
    return true;
  }

  /** Uses that microphone from now on. @param {MediaStreamTrack | null} track */
  useMicrophone(track) {
    this.#transport?.useMicrophone?.(track);
  }

  /** Reconnects at once instead of at the scheduled time. */
  retry() {
    if (this.#retrying) this.#open();
  }

  /** Ends the session; no handler is called afterwards. */
  close() {
    this.#drop()?.close(true);
    this.#end();
  }

  #open() {
    clearTimeout(this.#retrying ?? undefined);
    this.#retrying = null;
    const generation = ++this.#generation;
    const current = () => generation === this.#generation;
    const query = this.#token ? { resume: this.#token, ...(this.#greeted ? { after: this.#received } : {}) } : {};
    this.#transport = this.#openTransport(query, {
      onMessage: (data) => current() && this.#receive(data),
      onDown: (ending) => current() && this.#down(ending),
    });
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    this.#pingedAt = null;
    if (typeof data !== "string") {
      this.#received++;
      return this.#handlers.onAudio(this.#speaking, data);
    }
    const event = JSON.parse(data);
    if (event.type === "chinwag.session.resumed") return this.#resumed(event);
    if (event.type === "error" && !this.#up) {
      this.#refusal = event.error;
      return;
    }
    this.#received++;
    switch (event.type) {
      case "session.created": {
        const anew = this.#up;
        this.#greeted = true;
        this.#begin();
        return this.#handlers.onReady({ anew, session: event.session });
      }
      case "chinwag.session.resumable":
        this.#token = event.resume;
        this.#within = event.within_ms;
        this.#pinging ??= setInterval(() => this.#ping(), PING_MS);
        return this.#handlers.onResumable(event.resume);
      case "chinwag.pong":
        return this.#acknowledge(event.received);
      case "response.content_part.added":
        this.#speaking = event.item_id;
    }
    this.#handlers.onEvent(event);
  }

  #begin() {
    this.#up = true;
    this.#pingedAt = null;
    this.#awaySince = null;
    this.#attempts = 0;
  }

  // The server has received so many messages: the others follow, with the numbers that it will give them.
  /** @param {ServerEvent} event */
  #resumed({ received, anew }) {
    this.#acknowledge(received);
    this.#sent = received;
    for (const message of this.#unacknowledged) message.number = ++this.#sent;
    if (anew) this.#received = 0;
    this.#begin();
    for (const { data } of this.#unacknowledged) this.#transport?.send(data);
    if (!anew) this.#handlers.onBack();
  }

  /** @param {number} number of the last message that the server received */
  #acknowledge(number) {
    this.#unacknowledged = this.#unacknowledged.filter((message) => message.number > number);
  }

  /** @param {string | ArrayBuffer} data */
  #post(data) {
    this.#sent++;
    if (this.#token) this.#unacknowledged.push({ number: this.#sent, data });
    if (this.#up) this.#transport?.send(data);
    let bytes = this.#unacknowledged.reduce((sum, message) => sum + soundBytes(message.data), 0);
    while (bytes > BUFFERED_BYTES) {
      const oldest = this.#unacknowledged.findIndex((message) => soundBytes(message.data) > 0);
      bytes -= soundBytes(this.#unacknowledged.splice(oldest, 1)[0].data);
    }
  }

  #ping() {
    if (!this.#up) return;
    const now = performance.now();
    // Counted from a ping, not from the last message: Chrome lets the timers of a hidden page run once a minute, and phones freeze it.
    this.#pingedAt ??= now;
    if (now - this.#pingedAt > SILENT_MS) this.#down({ stuck: false });
    else this.#post(JSON.stringify({ type: "chinwag.ping", received: this.#received }));
  }

  /** @param {Ending} ending */
  #down({ refusal = this.#refusal, stuck = false } = {}) {
    this.#drop()?.close(false);
    this.#refusal = null;
    const now = performance.now();
    this.#awaySince ??= now;
    const over = refusal || now - this.#awaySince > this.#within;
    if (!this.#greeted || !this.#token || over) {
      const { onClosed } = this.#handlers;
      this.#end();
      return onClosed({ greeted: this.#greeted, refusal, stuck });
    }
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.#attempts++, LONGEST_WAIT_MS);
    this.#retrying = setTimeout(() => this.#open(), wait);
    this.#handlers.onAway({ since: this.#awaySince, wait });
  }

  #drop() {
    const transport = this.#transport;
    this.#generation++;
    this.#up = false;
    this.#transport = null;
    return transport;
  }

  #end() {
    clearTimeout(this.#retrying ?? undefined);
    clearInterval(this.#pinging);
    removeEventListener("online", this.#online);
    this.#retrying = null;
    this.#unacknowledged = [];
  }
}

/** @param {string | ArrayBuffer} data */
function soundBytes(data) {
  return typeof data === "string" ? 0 : data.byteLength;
}
