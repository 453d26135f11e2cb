// Carries the OpenAI Realtime protocol over WebRTC: sound in media tracks, events in the data channel oai-events.

import { authorization } from "./api-key.js";

/** @import { ProtocolError } from "./protocol.js" */
/** @import { TransportHandlers } from "./resumable-connection.js" */

/**
 * onTrack: the response's sound. onUnconnected: no connection could be made. onPlayout: ms that sound takes from the server to
 * the ear. outputLatency: seconds from the track to the ear.
 *
 * @typedef {TransportHandlers & { onTrack: (stream: MediaStream) => void, onUnconnected: () => void, onPlayout: (ms: number) => void,
 *   outputLatency: () => number }} WebRTCHandlers
 */

const TIMEOUT_MS = 4_000; // until the first event of the server; after that packets seem to be blocked
const GATHERING_MS = 1_500; // for the candidates of STUN and TURN servers
const LOST_MS = 5_000; // a connection that is disconnected for longer is lost
const REPORT_MS = 1_000;

export class WebRTCTransport {
  byTrack = true;

  /** @type {RTCPeerConnection | null} */
  #peer = null;
  /** @type {RTCDataChannel | null} */
  #channel = null;
  /** @type {RTCRtpSender | null} */
  #sender = null;
  /** @type {WebRTCHandlers | null} null once close() was called */
  #handlers;
  #greeted = false;
  #over = false;
  /** @type {ReturnType<typeof setTimeout>[]} */
  #timers = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #lost;
  /** @type {string | null} address of the call on the server */
  #location = null;
  #buffered = { delay: 0, count: 0 };

  /** @param {string} url @param {MediaStreamTrack | null} track of the microphone @param {WebRTCHandlers} handlers */
  constructor(url, track, handlers) {
    this.#handlers = handlers;
    this.#timers.push(setTimeout(() => this.#giveUp(), TIMEOUT_MS));
    this.#connect(url, track).catch(() => this.#giveUp());
  }

  /** @param {string} url @param {MediaStreamTrack | null} track */
  async #connect(url, track) {
    const settings = await fetch("v1/realtime/ice_servers", {
      headers: authorization(),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!settings.ok) return this.#giveUp();
    const { iceServers } = await settings.json();
    if (this.#over) return;
    const peer = (this.#peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" }));
    peer.ontrack = (event) => this.#handlers?.onTrack(event.streams[0] ?? new MediaStream([event.track]));
    peer.onconnectionstatechange = () => this.#onConnectionState();
    this.#sender = peer.addTransceiver(track ?? "audio", { direction: "sendrecv" }).sender;
    this.#channel = peer.createDataChannel("oai-events");
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#channel.onclose = () => this.#end();
    await peer.setLocalDescription();
    if (iceServers.length > 0) await gathered(peer); // otherwise the server's own addresses are enough
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", ...authorization() },
      body: peer.localDescription?.sdp,
    });
    if (this.#over) return hangUp(response.headers.get("Location"));
    if (!response.ok) {
      const error = (await response.json().catch(() => ({}))).error;
      return response.status === 503 || /^(session|conversation)_/.test(error?.code) ? this.#end(error) : this.#giveUp();
    }
    this.#location = response.headers.get("Location");
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  }

  /** @param {string} data */
  #receive(data) {
    if (!this.#greeted) {
      this.#greeted = true;
      this.#clearTimers();
      this.#timers.push(setInterval(() => this.#report(), REPORT_MS));
    }
    this.#handlers?.onMessage(data);
  }

  // Reports how long the sound takes to the ear, so that the server knows what was heard.
  async #report() {
    const report = await this.#peer?.getStats();
    for (const stats of report?.values() ?? []) {
      if (this.#over || !this.#handlers) return;
      if (stats.type !== "inbound-rtp" || !stats.jitterBufferEmittedCount) continue;
      const { jitterBufferDelay: delay, jitterBufferEmittedCount: count } = stats;
      const buffered = (delay - this.#buffered.delay) / Math.max(1, count - this.#buffered.count);
      this.#buffered = { delay, count };
      const ms = Math.round((buffered + this.#handlers.outputLatency()) * 1000);
      this.#handlers.onPlayout(ms);
    }
  }

  #onConnectionState() {
    const state = this.#peer?.connectionState;
    clearTimeout(this.#lost);
    if (state === "failed") this.#greeted ? this.#end() : this.#giveUp();
    else if (state === "disconnected") this.#lost = setTimeout(() => this.#end(), LOST_MS);
  }

  /** Sends an event, unless the connection has ended. @param {string | ArrayBuffer} data */
  send(data) {
    if (this.#channel?.readyState === "open") this.#channel.send(/** @type {string} */ (data));
  }

  /** Uses that microphone from now on. @param {MediaStreamTrack | null} track */
  useMicrophone(track) {
    this.#sender?.replaceTrack(track).catch(() => {}); // closed meanwhile
  }

  #giveUp() {
    if (this.#over) return;
    if (this.#greeted) return this.#end();
    this.#shut();
    // the session's place must be free again before the WebSocket asks for one
    hangUp(this.#location).finally(() => this.#handlers?.onUnconnected());
  }

  /** @param {ProtocolError | null} refusal */
  #end(refusal = null) {
    if (this.#over) return;
    this.#shut();
    this.#handlers?.onDown({ refusal: refusal ?? undefined, stuck: false });
  }

  #clearTimers() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer); // clears intervals as well
    clearTimeout(this.#lost);
  }

  /** Closes the connection; no handler is called afterwards. @param {boolean} endsSession */
  close(endsSession) {
    if (endsSession) hangUp(this.#location);
    this.#handlers = null;
    this.#shut();
  }

  #shut() {
    this.#over = true;
    this.#clearTimers();
    if (this.#channel) this.#channel.onmessage = this.#channel.onclose = null;
    if (this.#peer) this.#peer.onconnectionstatechange = this.#peer.ontrack = null;
    this.#peer?.close();
  }
}

/** @param {string | null} call its address */
async function hangUp(call) {
  if (!call) return;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  await fetch(`${call}/hangup`, { method: "POST", headers: authorization(), keepalive: true, signal }).catch(() => {});
}

/** Resolves when all ICE candidates are there, or enough time has passed. @param {RTCPeerConnection} peer @returns {Promise<void>} */
function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
    setTimeout(resolve, GATHERING_MS);
  });
}
