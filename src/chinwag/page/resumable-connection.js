// One session with the server, whatever carries it. Messages are numbered both ways; when the line breaks it is dialled
// again, and each side sends what the other has not got: nothing is lost, and nothing comes twice.

const PING_MS = 2_000;
const SILENT_MS = 5_000; // nothing came for so long after a ping: the line is dead
const KEPT_BYTES = 15 * 48_000; // of microphone sound that waits for the line: 15 seconds
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 4_000;

export class ResumableConnection {
  #dial;
  #handlers;
  #carrier = null;
  #leg = 0; // counts the lines, so that a late word of an old one is dropped
  #greeted = false; // there has been a session
  #up = false; // this line is the session's
  #refusal = null;
  #speaking = null; // the item that binary frames belong to
  #token; // with which to come back
  #within = 0;
  #received = 0;
  #sent = 0;
  #unsure = []; // {number, data} that the server may not have got
  #awaySince = null;
  #attempts = 0;
  #pingedAt = null; // the first ping that nothing has come after
  #pinging = null;
  #retrying = null;
  #online = () => this.retry();

  /**
   * dial(query, {onMessage(data), onDown({refusal, stuck})}) -> {send(data), close(), byTrack}: a line. resume: the token of a
   * session that another page has begun. onReady({anew, session}) at session.created: of a session that is new, or was told anew.
   * onEvent(event), onAudio(item, ArrayBuffer), onAway({since, wait}) when the line broke, and at each vain attempt,
   * onBack() when it is there again, onResumable(token), onClosed({greeted, refusal, stuck}) when the session is over.
   */
  constructor(dial, handlers, resume = null) {
    this.#dial = dial;
    this.#handlers = handlers;
    this.#token = resume;
    addEventListener("online", this.#online);
    this.#open();
  }

  /** The sound goes and comes by tracks, not by messages. */
  get byTrack() {
    return Boolean(this.#carrier?.byTrack);
  }

  /** Sends a client event, now or when the line is there again. */
  send(type, fields = {}) {
    if (this.#greeted) this.#post(JSON.stringify({ type, ...fields }));
  }

  /** Sends microphone sound; false where there is no session yet. */
  sendAudio(frame) {
    if (!this.#greeted) return false;
    if (!this.byTrack) this.#post(frame);
    return true;
  }

  /** Speaks with that microphone from now on. */
  useMicrophone(track) {
    this.#carrier?.useMicrophone?.(track);
  }

  /** Waits no longer. */
  retry() {
    if (this.#retrying) this.#open();
  }

  /** Says goodbye; nothing is called afterwards. */
  close() {
    this.#drop()?.close(true);
    this.#end();
  }

  #open() {
    clearTimeout(this.#retrying);
    this.#retrying = null;
    const leg = ++this.#leg;
    const mine = (act) => (what) => leg === this.#leg && act(what);
    const query = this.#token ? { resume: this.#token, ...(this.#greeted ? { after: this.#received } : {}) } : {};
    const lines = { onMessage: mine((data) => this.#receive(data)), onDown: mine((why) => this.#down(why)) };
    this.#carrier = this.#dial(query, lines);
  }

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
        return this.#got(event.received);
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

  // The server has got so many of our messages: the others follow, under the numbers it will give them.
  #resumed({ received, anew }) {
    this.#got(received);
    this.#sent = received;
    for (const one of this.#unsure) one.number = ++this.#sent;
    if (anew) this.#received = 0;
    this.#begin();
    for (const { data } of this.#unsure) this.#carrier?.send(data);
    if (!anew) this.#handlers.onBack();
  }

  #got(number) {
    this.#unsure = this.#unsure.filter((one) => one.number > number);
  }

  #post(data) {
    this.#sent++;
    if (this.#token) this.#unsure.push({ number: this.#sent, data });
    if (this.#up) this.#carrier?.send(data);
    let bytes = this.#unsure.reduce((sum, { data: kept }) => sum + (kept.byteLength ?? 0), 0);
    while (bytes > KEPT_BYTES) {
      const oldest = this.#unsure.findIndex(({ data: kept }) => typeof kept !== "string");
      bytes -= this.#unsure.splice(oldest, 1)[0].data.byteLength;
    }
  }

  #ping() {
    if (!this.#up) return;
    const now = performance.now();
    // Counted from a ping, not from the last word: Chrome lets the timers of a hidden page run once a minute, and phones freeze it.
    this.#pingedAt ??= now;
    if (now - this.#pingedAt > SILENT_MS) this.#down({ stuck: false });
    else this.#post(JSON.stringify({ type: "chinwag.ping", received: this.#received }));
  }

  #down({ refusal = this.#refusal, stuck = false } = {}) {
    this.#drop()?.close(false);
    this.#refusal = null;
    const now = performance.now();
    this.#awaySince ??= now;
    const gone = refusal || now - this.#awaySince > this.#within;
    if (!this.#greeted || !this.#token || gone) {
      const { onClosed } = this.#handlers;
      this.#end();
      return onClosed({ greeted: this.#greeted, refusal, stuck });
    }
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.#attempts++, LONGEST_WAIT_MS);
    this.#retrying = setTimeout(() => this.#open(), wait);
    this.#handlers.onAway({ since: this.#awaySince, wait });
  }

  #drop() {
    const carrier = this.#carrier;
    this.#leg++;
    this.#up = false;
    this.#carrier = null;
    return carrier;
  }

  #end() {
    clearTimeout(this.#retrying);
    clearInterval(this.#pinging);
    removeEventListener("online", this.#online);
    this.#retrying = null;
    this.#unsure = [];
  }
}
