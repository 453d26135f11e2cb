// Carries the OpenAI Realtime protocol over a WebSocket, its audio as binary PCM16 frames (subprotocol chinwag.pcm).

import { subprotocols } from "./api-key.js";

/** @import { TransportHandlers } from "./resumable-connection.js" */

const TIMEOUT_MS = 10_000; // until the first message of the server
const BACKLOG_BYTES = 3 * 48_000; // three seconds of unsent sound
const STUCK_MS = 3_000; // with that backlog for so long: sound that was buffered while reconnecting comes all at once
const BROKEN = 4000; // any code but 1000, which ends the session

export class WebSocketTransport {
  byTrack = false;

  #socket;
  #handlers;
  #timeout;
  /** @type {number | null} */
  #fullSince = null;

  /** @param {URL} url @param {TransportHandlers} handlers */
  constructor(url, handlers) {
    this.#handlers = handlers;
    this.#socket = new WebSocket(url, ["chinwag.pcm", ...subprotocols()]);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => {
      clearTimeout(this.#timeout);
      this.#handlers.onMessage(data);
    };
    this.#socket.onclose = () => this.#end(false);
    this.#timeout = setTimeout(() => this.#end(false), TIMEOUT_MS);
  }

  /** Sends a message, unless the connection has ended. @param {string | ArrayBuffer} data */
  send(data) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    this.#fullSince = this.#socket.bufferedAmount > BACKLOG_BYTES ? (this.#fullSince ?? now) : null;
    if (this.#fullSince !== null && now - this.#fullSince > STUCK_MS) this.#end(true);
    else this.#socket.send(data);
  }

  /** @param {boolean} stuck */
  #end(stuck) {
    this.close(false);
    this.#handlers.onDown({ stuck });
  }

  /** Closes the connection; no handler is called afterwards. @param {boolean} endsSession */
  close(endsSession) {
    clearTimeout(this.#timeout);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(endsSession ? 1000 : BROKEN);
  }
}
