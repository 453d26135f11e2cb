// One WebRTC call that speaks the OpenAI Realtime protocol: sound in media tracks, events in the channel oai-events.

import { authorization } from "./api-key.js";

const PATIENCE_MS = 4_000; // until the server must have greeted; then packets do not come through
const GATHERING_MS = 1_500; // for what STUN and TURN servers tell
const LOST_MS = 5_000; // a network that is away for longer is gone
const REPORT_MS = 1_000;

export class WebRTCTransport {
  byTrack = true;

  #peer = null;
  #channel = null;
  #sender = null;
  #handlers;
  #greeted = false;
  #over = false;
  #timers = [];
  #lost = null;
  #location = null; // where the call is hung up
  #buffered = { delay: 0, count: 0 };

  /**
   * track: the microphone's, or null. outputLatency(): seconds from the track to the ear. onTrack(MediaStream) the answer's
   * sound, onMessage(string), onPlayout(ms) how long the sound is on its way, onDown({refusal}) when it ended and close() had not been called, onUnconnected() where it
   * never began; refusal is the server's error.
   */
  constructor(url, track, handlers) {
    this.#handlers = handlers;
    this.#timers.push(setTimeout(() => this.#giveUp(), PATIENCE_MS));
    this.#dial(url, track).catch(() => this.#giveUp());
  }

  async #dial(url, track) {
    const settings = await fetch("v1/realtime/ice_servers", {
      headers: authorization(),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!settings.ok) return this.#giveUp();
    const { iceServers } = await settings.json();
    if (this.#over) return;
    const peer = (this.#peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" }));
    peer.ontrack = (event) => this.#handlers.onTrack(event.streams[0] ?? new MediaStream([event.track]));
    peer.onconnectionstatechange = () => this.#look();
    this.#sender = peer.addTransceiver(track ?? "audio", { direction: "sendrecv" }).sender;
    this.#channel = peer.createDataChannel("oai-events");
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#channel.onclose = () => this.#end();
    await peer.setLocalDescription();
    if (iceServers.length > 0) await gathered(peer); // else the server's own addresses are enough
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", ...authorization() },
      body: peer.localDescription.sdp,
    });
    if (this.#over) return hangUp(answer.headers.get("Location"));
    if (!answer.ok) {
      const error = (await answer.json().catch(() => ({}))).error;
      return answer.status === 503 || /^(session|conversation)_/.test(error?.code) ? this.#end(error) : this.#giveUp();
    }
    this.#location = answer.headers.get("Location");
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  }

  #receive(data) {
    if (!this.#greeted) {
      this.#greeted = true;
      this.#clearTimers();
      this.#timers.push(setInterval(() => this.#report(), REPORT_MS));
    }
    this.#handlers.onMessage(data);
  }

  // How long the answer's sound is on its way, so that the server knows what was heard.
  async #report() {
    for (const stats of (await this.#peer.getStats()).values()) {
      if (this.#over) return;
      if (stats.type !== "inbound-rtp" || !stats.jitterBufferEmittedCount) continue;
      const { jitterBufferDelay: delay, jitterBufferEmittedCount: count } = stats;
      const held = (delay - this.#buffered.delay) / Math.max(1, count - this.#buffered.count);
      this.#buffered = { delay, count };
      const ms = Math.round((held + this.#handlers.outputLatency()) * 1000);
      this.#handlers.onPlayout(ms);
    }
  }

  #look() {
    const state = this.#peer.connectionState;
    clearTimeout(this.#lost);
    if (state === "failed") this.#greeted ? this.#end() : this.#giveUp();
    else if (state === "disconnected") this.#lost = setTimeout(() => this.#end(), LOST_MS);
  }

  /** Sends a message, unless the line is not there any more. */
  send(data) {
    if (this.#channel?.readyState === "open") this.#channel.send(data);
  }

  /** Speaks with that microphone from now on. */
  useMicrophone(track) {
    this.#sender?.replaceTrack(track).catch(() => {}); // closed meanwhile
  }

  #giveUp() {
    if (this.#over) return;
    if (this.#greeted) return this.#end();
    this.#shut();
    // its place is free again before the WebSocket asks for one
    hangUp(this.#location).finally(() => this.#handlers?.onUnconnected());
  }

  #end(refusal = null) {
    if (this.#over) return;
    this.#shut();
    this.#handlers.onDown({ refusal: refusal ?? undefined, stuck: false });
  }

  #clearTimers() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer); // clears intervals as well
    clearTimeout(this.#lost);
  }

  /** Ends the call; nothing is called afterwards. goodbye: and the session with it. */
  close(goodbye) {
    if (goodbye) hangUp(this.#location);
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

async function hangUp(call) {
  if (!call) return;
  const signal = AbortSignal.timeout(PATIENCE_MS);
  await fetch(`${call}/hangup`, { method: "POST", headers: authorization(), keepalive: true, signal }).catch(() => {});
}

function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
    setTimeout(resolve, GATHERING_MS);
  });
}
