// The loudspeaker: plays the answer's PCM16 at 24 kHz and tells what was heard of it, or plays a call's track.

import { openContext } from "./audio-context.js";

const WIRE_RATE = 24_000;
const FADE_S = 0.005;
const TRAILING_MS = 150; // a track's last sound is still on its way when the server says that it has left
const AUDIBLE = 0.003; // about -50 dB of full scale
const LOOK_MS = 5;

export class Speaker {
  /** For level meters; null while closed. */
  analyser = null;
  /** Whether sound is waiting or playing. */
  busy = false;
  /** How often the sound ran dry in the middle of an answer. */
  underruns = 0;

  #device = ""; // deviceId of the loudspeaker; empty: the system's
  #away = null; // {element, stream}: the way to another loudspeaker where contexts know only one
  #context = null;
  #state = "";
  #node = null;
  #ready = null;
  #flushing = [];
  #early = []; // sound that came before the worklet was loaded
  #call = null; // a call's track: {gain, element, looking}
  #beginning = null; // the item that the track plays, or soon will
  #handlers;

  /**
   * onPlayed(item, ms) about every 250 ms, onAudible(item, time) at an item's first sound (performance.now() time),
   * onDrained() when all has been played, onPaused(bool) when the browser stops or resumes all sound.
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** Call it inside a click: browsers start sound only then. Resolves when it can play. */
  open() {
    if (!this.#ready) {
      const context = (this.#context = openContext(WIRE_RATE));
      context.onstatechange = () => this.#changed(context);
      this.#ready = this.#load(context);
    }
    this.resume();
    return this.#ready;
  }

  // iOS has a state of its own, "interrupted", for calls and Siri; behind it a context is suspended until it is asked to go on.
  #changed(context) {
    if (context !== this.#context) return;
    if (this.#state === "interrupted" && context.state === "suspended") this.resume();
    this.#state = context.state;
    this.#handlers.onPaused(context.state !== "running");
  }

  /** Asks the browser to go on; it may wait for a click. */
  resume() {
    this.#context?.resume().catch(() => {}); // closed meanwhile, or still interrupted
    this.#away?.element.play().catch(() => {});
  }

  /** Whether a loudspeaker can be chosen here: Safari, and a browser on a phone, leave that to the system. */
  static get chooses() {
    return "setSinkId" in (globalThis.AudioContext?.prototype ?? {}) || "setSinkId" in HTMLMediaElement.prototype;
  }

  /** Plays on that loudspeaker (deviceId; empty: the system's) from now on. Throws where it cannot be used. */
  async useDevice(device) {
    this.#device = device;
    await this.#route();
  }

  async #route() {
    const context = this.#context;
    if (!context || !this.analyser) return;
    if (context.setSinkId) {
      if (context.sinkId !== this.#device) await context.setSinkId(this.#device);
    } else if (this.#device || this.#away) {
      await this.#lead(context);
    }
  }

  // Firefox lets only an element choose its loudspeaker.
  async #lead(context) {
    if (!this.#away) {
      const stream = new MediaStreamAudioDestinationNode(context);
      const element = new Audio();
      element.srcObject = stream.stream;
      this.#away = { element, stream };
      this.analyser.disconnect(context.destination);
      this.analyser.connect(stream);
    }
    await this.#away.element.setSinkId(this.#device);
    await this.#away.element.play();
  }

  async #load(context) {
    try {
      await context.audioWorklet.addModule("playback-worklet.js");
    } catch (error) {
      if (context !== this.#context) return;
      this.close(); // what comes is not kept for a loudspeaker that never will be
      throw error;
    }
    if (context !== this.#context) return; // closed meanwhile
    this.#node = new AudioWorkletNode(context, "chinwag-playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.#node.port.onmessage = ({ data }) => this.#hear(data);
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#node.connect(this.analyser).connect(context.destination);
    // The tap: recorders and tests connect to it to get exactly what goes to the loudspeaker.
    globalThis.__chinwag = { ...globalThis.__chinwag, output: this.analyser };
    for (const sound of this.#early.splice(0)) this.#node.port.postMessage(sound, [sound.audio]);
    await this.#route().catch(() => {}); // it was unplugged: the system's loudspeaker plays
  }

  /** Queues sound (ArrayBuffer of PCM16, given away) of a conversation item. */
  play(item, audio) {
    if (!this.#context || audio.byteLength === 0) return;
    this.busy = true;
    if (this.#node) this.#node.port.postMessage({ audio, item }, [audio]);
    else this.#early.push({ audio, item });
  }

  /** Plays the track of a WebRTC call; its server lowers it. Nothing is heard of it until `begin`. */
  async attach(stream) {
    await this.#ready;
    this.detach();
    if (!this.#context) return;
    const gain = new GainNode(this.#context, { gain: 0 });
    const element = new Audio(); // Chromium gives a remote track to Web Audio only while an element plays it
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => {});
    this.#context.createMediaStreamSource(stream).connect(gain).connect(this.analyser);
    this.#call = { gain, element, looking: null };
    if (this.busy) this.begin(this.#beginning);
  }

  /** The track has come to that item. */
  begin(item) {
    this.busy = true;
    this.#beginning = item;
    if (!this.#call) return; // it attaches in a moment
    this.#turn(1);
    clearInterval(this.#call.looking);
    const samples = new Float32Array(this.analyser.fftSize);
    this.#call.looking = setInterval(() => this.#listen(item, samples), LOOK_MS);
  }

  #listen(item, samples) {
    this.analyser.getFloatTimeDomainData(samples);
    const first = samples.findIndex((value) => Math.abs(value) > AUDIBLE);
    if (first < 0) return;
    clearInterval(this.#call.looking);
    this.#handlers.onAudible(item, performance.now() - ((samples.length - first) * 1000) / this.#context.sampleRate);
  }

  /** All of the track's item has left the server. */
  finish() {
    const item = this.#beginning;
    setTimeout(() => {
      if (!this.busy || this.#beginning !== item) return;
      this.busy = false;
      this.#handlers.onDrained();
    }, TRAILING_MS);
  }

  detach() {
    clearInterval(this.#call?.looking);
    this.#call?.gain.disconnect();
    if (this.#call) this.#call.element.srcObject = null;
    this.#call = null;
  }

  /** Seconds from the track to the ear, as far as the browser knows. */
  get latency() {
    return (this.#context?.baseLatency ?? 0) + (this.#context?.outputLatency || 0);
  }

  #turn(volume) {
    this.#call.gain.gain.setTargetAtTime(volume, this.#context.currentTime, FADE_S / 3);
  }

  /** Plays that item on at a fifth of its volume, or at full volume again. A flush forgets it. */
  duck(item, low) {
    this.#node?.port.postMessage({ duck: low, item });
  }

  /** Falls silent at once. Resolves to {item, ms, cut}: how much of which item was heard, and whether any was not. */
  flush() {
    if (this.#call) {
      clearInterval(this.#call.looking);
      this.#turn(0);
    }
    if (!this.#node || this.#call) {
      this.#early = [];
      this.busy = false;
      return Promise.resolve({ item: null, ms: 0, cut: false });
    }
    this.busy = false;
    this.#node.port.postMessage({ flush: true });
    return new Promise((resolve) => this.#flushing.push(resolve));
  }

  #hear(data) {
    this.underruns = data.underruns;
    if (data.flushed) {
      this.#flushing.shift()?.({ item: data.item, ms: toMs(data.played), cut: data.cut });
    } else if (data.drained) {
      this.busy = false;
      this.#handlers.onDrained();
    } else if (data.audible !== undefined) {
      const ago = this.#context.currentTime - data.frame / this.#context.sampleRate;
      this.#handlers.onAudible(data.audible, performance.now() - Math.max(0, ago) * 1000);
    } else {
      this.#handlers.onPlayed(data.item, toMs(data.played));
    }
  }

  /** Gives the sound device back. */
  close() {
    this.detach();
    this.#context?.close();
    if (this.#away) this.#away.element.srcObject = null;
    for (const resolve of this.#flushing.splice(0)) resolve({ item: null, ms: 0, cut: false });
    this.#early = [];
    this.#context = this.#node = this.#ready = this.#away = this.analyser = null;
    this.busy = false;
  }
}

function toMs(samples) {
  return Math.floor((samples * 1000) / WIRE_RATE);
}
