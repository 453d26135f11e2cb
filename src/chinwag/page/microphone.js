// The microphone: asks for it, and hands on PCM16 frames of 20 ms at 24 kHz.

import { openContext } from "./audio-context.js";

const WIRE_RATE = 24_000;
const WANTED = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

export class Microphone {
  /** For level meters; null while closed. */
  analyser = null;
  /** lost: samples of its context that the audio thread never got. frames: those handed on. */
  counted = { lost: 0, frames: 0 };

  #stream = null;
  #context = null;
  #capture = null;
  #source = null;
  #onFrame;
  #onLost;
  #onSilenced;

  /** onFrame(ArrayBuffer), onLost() when it is taken away, onSilenced(bool) when the system mutes or unmutes it. */
  constructor({ onFrame, onLost, onSilenced }) {
    this.#onFrame = onFrame;
    this.#onLost = onLost;
    this.#onSilenced = onSilenced;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /** What it hears, as a WebRTC call takes it; null while closed. */
  get track() {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  /** Its deviceId; empty where the browser does not tell. */
  get device() {
    return this.track?.getSettings().deviceId ?? "";
  }

  get muted() {
    return this.isOpen && !this.track.enabled;
  }

  /** While muted the frames go on, silent, so that the server still hears the turn end. */
  set muted(value) {
    if (this.isOpen) this.track.enabled = !value;
  }

  /** Whether the system or the browser holds its sound back. */
  get held() {
    return this.isOpen && (this.track.muted || this.#context?.state !== "running");
  }

  /**
   * Asks for the microphone of that deviceId, or for the default one; if one is open, goes over to it without a gap in the frames.
   * Throws what getUserMedia throws, and keeps the one it had.
   */
  async open(device = "") {
    const before = this.#stream;
    listenTo(before, null, null); // iOS ends a track when another microphone is asked for: that is no loss
    let stream;
    try {
      // "ideal": one that is not there any more is no error, and the default is taken
      stream = await navigator.mediaDevices.getUserMedia({ audio: { ...WANTED, ...(device ? { deviceId: { ideal: device } } : {}) } });
    } catch (error) {
      if (before?.active) this.#follow(before);
      else this.close();
      throw error;
    }
    if (this.#stream !== before) return stop(stream); // closed meanwhile
    stream.getAudioTracks()[0].enabled = !this.muted;
    this.#stream = stream;
    this.#follow(stream);
    try {
      await this.#listen(stream);
    } catch (error) {
      if (this.#stream === stream) this.close();
      throw error;
    } finally {
      stop(before);
    }
  }

  #follow(stream) {
    const lost = () => {
      if (this.#stream !== stream) return;
      this.close();
      this.#onLost();
    };
    // A phone call, Siri, or another page takes the microphone: iOS and Android mute the track, and unmute it afterwards.
    listenTo(stream, lost, (silenced) => this.#stream === stream && this.#onSilenced(silenced));
  }

  async #listen(stream) {
    let source = this.#context && sourceOf(this.#context, stream);
    if (!source) {
      this.#context?.close();
      this.#context = openContext(WIRE_RATE);
      source = sourceOf(this.#context, stream);
    }
    if (!source) {
      // Firefox connects a microphone only to a context of the sound card's own rate; the worklet then resamples.
      this.#context.close();
      this.#context = openContext();
      source = this.#context.createMediaStreamSource(stream);
    }
    const context = this.#context;
    if (this.#capture?.context !== context) await this.#begin(context);
    if (context !== this.#context || stream !== this.#stream) return; // closed meanwhile
    this.#source?.disconnect();
    this.#source = source;
    source.connect(this.analyser);
    source.connect(this.#capture);
  }

  async #begin(context) {
    // iOS: an "interrupted" context (a call, Siri, another app) comes back suspended, and has to be woken.
    context.onstatechange = () => context.state === "suspended" && this.resume();
    // Safari starts a context without a click while the page hears a microphone, and so does every other browser.
    await Promise.all([context.resume(), context.audioWorklet.addModule("capture-worklet.js")]);
    if (context !== this.#context) return;
    const capture = new AudioWorkletNode(context, "chinwag-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    capture.port.onmessage = ({ data: { frame, lost } }) => {
      this.counted = { lost, frames: this.counted.frames + 1 };
      this.#onFrame(frame);
    };
    this.#capture = capture;
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
  }

  /** Asks the browser to go on; it may refuse until whatever took the microphone is over. */
  resume() {
    this.#context?.resume().catch(() => {});
  }

  /** Gives the microphone back. */
  close() {
    listenTo(this.#stream, null, null);
    stop(this.#stream);
    this.#context?.close();
    this.#stream = this.#context = this.#capture = this.#source = this.analyser = null;
  }
}

function listenTo(stream, ended, silenced) {
  for (const track of stream?.getAudioTracks() ?? []) {
    track.onended = ended;
    track.onmute = silenced && (() => silenced(true));
    track.onunmute = silenced && (() => silenced(false));
  }
}

function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** Null where the browser does not connect a microphone of that rate to this context. */
function sourceOf(context, stream) {
  try {
    return context.createMediaStreamSource(stream);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw error;
    return null;
  }
}
