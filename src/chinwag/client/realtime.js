// One WebSocket that speaks the OpenAI Realtime protocol, its audio as binary PCM16 frames (subprotocol chinwag.pcm).

import { subprotocols } from "./key.js";

const PATIENCE_MS = 10_000; // until the server must have greeted
const BACKLOG_BYTES = 3 * 48_000; // three seconds of sound that the network did not take

export class Realtime {
  #socket;
  #handlers;
  #speaking = null; // the item that binary frames belong to
  #refusal = null;
  #greeted = false;
  #patience;

  /**
   * onReady() at session.created, onEvent(event), onAudio(item, ArrayBuffer),
   * onClosed({greeted, refusal, stuck}) when it ended and close() had not been called; refusal is the server's error.
   */
  constructor(url, handlers) {
    this.#handlers = handlers;
    this.#socket = new WebSocket(url, ["chinwag.pcm", ...subprotocols()]);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = () => this.#end();
    this.#patience = setTimeout(() => this.#end(), PATIENCE_MS);
  }

  #receive(data) {
    if (typeof data !== "string") {
      this.#handlers.onAudio(this.#speaking, data);
      return;
    }
    const event = JSON.parse(data);
    if (event.type === "session.created") {
      this.#greeted = true;
      clearTimeout(this.#patience);
      this.#handlers.onReady();
    } else if (event.type === "error" && !this.#greeted) {
      this.#refusal = event.error;
    } else {
      if (event.type === "response.content_part.added") this.#speaking = event.item_id;
      this.#handlers.onEvent(event);
    }
  }

  /** Sends a client event. */
  send(type, fields = {}) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type, ...fields }));
  }

  /** Sends microphone sound; false where it could not be taken. */
  sendAudio(frame) {
    if (!this.#greeted || this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.#socket.bufferedAmount > BACKLOG_BYTES) {
      this.#end(true);
      return false;
    }
    this.#socket.send(frame);
    return true;
  }

  #end(stuck = false) {
    this.close();
    this.#handlers.onClosed({ greeted: this.#greeted, refusal: this.#refusal, stuck });
  }

  /** Ends the session; nothing is called afterwards. */
  close() {
    clearTimeout(this.#patience);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
  }
}
