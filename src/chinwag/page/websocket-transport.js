// One WebSocket that carries the OpenAI Realtime protocol, its audio as binary PCM16 frames (subprotocol chinwag.pcm).

import { subprotocols } from "./api-key.js";

const PATIENCE_MS = 10_000; // until the server must have said something
const BACKLOG_BYTES = 3 * 48_000; // three seconds of sound that the network did not take,
const STUCK_MS = 3_000; // for so long: what was kept while the line was broken comes all at once
const BROKEN = 4000; // any code but 1000, which says goodbye

export class WebSocketTransport {
  byTrack = false;

  #socket;
  #handlers;
  #patience;
  #fullSince = null;

  /** onMessage(string or ArrayBuffer), onDown({stuck}) when it ended and close() had not been called. */
  constructor(url, handlers) {
    this.#handlers = handlers;
    this.#socket = new WebSocket(url, ["chinwag.pcm", ...subprotocols()]);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => {
      clearTimeout(this.#patience);
      this.#handlers.onMessage(data);
    };
    this.#socket.onclose = () => this.#end(false);
    this.#patience = setTimeout(() => this.#end(false), PATIENCE_MS);
  }

  /** Sends a message, unless the line is not there any more. */
  send(data) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    this.#fullSince = this.#socket.bufferedAmount > BACKLOG_BYTES ? (this.#fullSince ?? now) : null;
    if (this.#fullSince !== null && now - this.#fullSince > STUCK_MS) this.#end(true);
    else this.#socket.send(data);
  }

  #end(stuck) {
    this.close(false);
    this.#handlers.onDown({ stuck });
  }

  /** Ends it; nothing is called afterwards. goodbye: and the session with it. */
  close(goodbye) {
    clearTimeout(this.#patience);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(goodbye ? 1000 : BROKEN);
  }
}
