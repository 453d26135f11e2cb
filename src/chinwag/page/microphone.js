// Opens a microphone, and gives its sound as PCM16 frames of 20 ms at 24 kHz.

import { openContext } from "./audio-context.js";

const WIRE_RATE = 24_000;
const CONSTRAINTS = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

export class Microphone {
  /** @type {AnalyserNode | null} for level meters; null while closed */
  analyser = null;
  /** lost: samples that the audio thread did not get. frames: those given to onFrame. */
  counted = { lost: 0, frames: 0 };

  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AudioWorkletNode | null} */
  #capture = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  #onFrame;
  #onLost;
  #onSilenced;

  /**
   * @param {object} handlers
   * @param {(frame: ArrayBuffer) => void} handlers.onFrame
   * @param {() => void} handlers.onLost the microphone was taken away
   * @param {(silenced: boolean) => void} handlers.onSilenced the system muted or unmuted it
   */
  constructor({ onFrame, onLost, onSilenced }) {
    this.#onFrame = onFrame;
    this.#onLost = onLost;
    this.#onSilenced = onSilenced;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /** The track for a WebRTC connection; null while closed. */
  get track() {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  /** Its deviceId; empty if the browser does not reveal it. */
  get device() {
    return this.track?.getSettings().deviceId ?? "";
  }

  get muted() {
    return this.track !== null && !this.track.enabled;
  }

  /** While muted the frames go on, silent, so that the server still notices the end of the turn. @param {boolean} value */
  set muted(value) {
    if (this.track) this.track.enabled = !value;
  }

  /** Whether the system or the browser withholds its sound. */
  get suspended() {
    return this.track !== null && (this.track.muted || this.#context?.state !== "running");
  }

  /**
   * Opens the microphone of that deviceId, or the default one; an open one is replaced without a gap in the frames.
   * Throws what getUserMedia throws, and keeps the one that was open.
   *
   * @param {string} device
   */
  async open(device = "") {
    const before = this.#stream;
    listenTo(before, null, null); // iOS ends a track when another microphone is opened: that is no loss
    let stream;
    try {
      // "ideal": if the device is gone, the browser opens the default one without an error
      stream = await navigator.mediaDevices.getUserMedia({ audio: { ...CONSTRAINTS, ...(device ? { deviceId: { ideal: device } } : {}) } });
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

  /** @param {MediaStream} stream */
  #follow(stream) {
    const lost = () => {
      if (this.#stream !== stream) return;
      this.close();
      this.#onLost();
    };
    // A phone call, Siri, or another page takes the microphone: iOS and Android mute the track, and unmute it afterwards.
    listenTo(stream, lost, (silenced) => this.#stream === stream && this.#onSilenced(silenced));
  }

  /** @param {MediaStream} stream */
  async #listen(stream) {
    let context = this.#context;
    let source = context && sourceOf(context, stream);
    if (!context || !source) {
      context?.close();
      context = this.#context = openContext(WIRE_RATE);
      source = sourceOf(context, stream);
    }
    if (!source) {
      // Firefox connects a microphone only to a context of the sound card's own rate; the worklet then resamples.
      context.close();
      context = this.#context = openContext();
      source = context.createMediaStreamSource(stream);
    }
    if (this.#capture?.context !== context) await this.#begin(context);
    if (context !== this.#context || stream !== this.#stream || !this.analyser || !this.#capture) return; // closed meanwhile
    this.#source?.disconnect();
    this.#source = source;
    source.connect(this.analyser);
    source.connect(this.#capture);
  }

  /** @param {AudioContext} context */
  async #begin(context) {
    // iOS: an "interrupted" context (a call, Siri, another app) returns as suspended, and has to be resumed.
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

  /** Asks the browser to go on; it may refuse as long as something else uses the microphone. */
  resume() {
    this.#context?.resume().catch(() => {});
  }

  /** Releases the microphone. */
  close() {
    listenTo(this.#stream, null, null);
    stop(this.#stream);
    this.#context?.close();
    this.#stream = this.#context = this.#capture = this.#source = this.analyser = null;
  }
}

/** @param {MediaStream | null} stream @param {(() => void) | null} ended @param {((silenced: boolean) => void) | null} silenced */
function listenTo(stream, ended, silenced) {
  for (const track of stream?.getAudioTracks() ?? []) {
    track.onended = ended;
    track.onmute = silenced && (() => silenced(true));
    track.onunmute = silenced && (() => silenced(false));
  }
}

/** @param {MediaStream | null} stream */
function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** Null if the browser does not connect a microphone of that rate to this context. @param {AudioContext} context @param {MediaStream} stream */
function sourceOf(context, stream) {
  try {
    return context.createMediaStreamSource(stream);
  } catch (error) {
    if (/** @type {Error} */ (error).name !== "NotSupportedError") throw error;
    return null;
  }
}
