// Plays a response: its PCM16 at 24 kHz, and reports how much was played; or the track of a WebRTC connection.

import { openContext } from "./audio-context.js";

const WIRE_RATE = 24_000;
const FADE_S = 0.005;
const TRAILING_MS = 150; // a track's last sound is still on its way when the server reports that it was sent
const AUDIBLE = 0.003; // about -50 dB of full scale
const LOOK_MS = 5;

/** How much of which item was heard, and whether some of it was not. @typedef {{ item: string | null, ms: number, cut: boolean }} Flushed */

export class Speaker {
  /** @type {AnalyserNode | null} for level meters; null while closed */
  analyser = null;
  /** Whether sound is waiting or playing. */
  busy = false;
  /** How often the sound ran dry in the middle of a response. */
  underruns = 0;

  #device = ""; // deviceId of the loudspeaker; empty: the system's default
  /** @type {{ element: any, stream: MediaStreamAudioDestinationNode } | null} plays on a chosen loudspeaker if contexts cannot */
  #detour = null;
  /** @type {(AudioContext & { setSinkId?: (id: string) => Promise<void>, sinkId?: string }) | null} */
  #context = null;
  #state = "";
  /** @type {AudioWorkletNode | null} */
  #node = null;
  /** @type {Promise<void> | null} */
  #ready = null;
  /** @type {((flushed: Flushed) => void)[]} */
  #flushing = [];
  /** @type {{ audio: ArrayBuffer, item: string }[]} sound that came before the worklet was loaded */
  #early = [];
  /** @type {{ gain: GainNode, element: HTMLAudioElement, looking: ReturnType<typeof setInterval> | undefined } | null} a WebRTC track */
  #track = null;
  /** @type {string | null} the item that the track plays, or soon will */
  #trackItem = null;
  #handlers;

  /**
   * @param {object} handlers
   * @param {(item: string, ms: number) => void} handlers.onPlayed how much of an item was played, about every 250 ms
   * @param {(item: string, time: number) => void} handlers.onAudible an item's first sound left at that performance.now()
   * @param {() => void} handlers.onDrained all sound was played
   * @param {(paused: boolean) => void} handlers.onPaused the browser stopped or resumed all sound
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

  // iOS has its own state "interrupted" for calls and Siri; after it a context is suspended until it is resumed.
  /** @param {AudioContext} context */
  #changed(context) {
    if (context !== this.#context) return;
    if (this.#state === "interrupted" && context.state === "suspended") this.resume();
    this.#state = context.state;
    this.#handlers.onPaused(context.state !== "running");
  }

  /** Asks the browser to go on; it may wait for a click. */
  resume() {
    this.#context?.resume().catch(() => {}); // closed meanwhile, or still interrupted
    this.#detour?.element.play().catch(() => {});
  }

  /** Whether the page can choose the loudspeaker: Safari, and browsers on phones, leave that to the system. */
  static get canChoose() {
    return "setSinkId" in (globalThis.AudioContext?.prototype ?? {}) || "setSinkId" in HTMLMediaElement.prototype;
  }

  /** Plays on that loudspeaker from now on. Throws if it cannot be used. @param {string} device deviceId; empty: the system's default */
  async useDevice(device) {
    this.#device = device;
    await this.#route();
  }

  async #route() {
    const context = this.#context;
    if (!context || !this.analyser) return;
    if (context.setSinkId) {
      if (context.sinkId !== this.#device) await context.setSinkId(this.#device);
    } else if (this.#device || this.#detour) {
      await this.#takeDetour(context);
    }
  }

  // In Firefox only an element can choose its loudspeaker.
  /** @param {AudioContext} context */
  async #takeDetour(context) {
    if (!this.#detour) {
      const stream = new MediaStreamAudioDestinationNode(context);
      const element = new Audio();
      element.srcObject = stream.stream;
      this.#detour = { element, stream };
      this.analyser?.disconnect(context.destination);
      this.analyser?.connect(stream);
    }
    await this.#detour.element.setSinkId(this.#device);
    await this.#detour.element.play();
  }

  /** @param {AudioContext} context */
  async #load(context) {
    try {
      await context.audioWorklet.addModule("playback-worklet.js");
    } catch (error) {
      if (context !== this.#context) return;
      this.close(); // sound is not kept for a loudspeaker that cannot be opened
      throw error;
    }
    if (context !== this.#context) return; // closed meanwhile
    const node = new AudioWorkletNode(context, "chinwag-playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.#node = node;
    node.port.onmessage = ({ data }) => this.#onReport(data);
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    node.connect(this.analyser).connect(context.destination);
    // Tests connect to it to record exactly what goes to the loudspeaker.
    Object.assign(globalThis, { __chinwag: { .../** @type {any} */ (globalThis).__chinwag, output: this.analyser } });
    for (const sound of this.#early.splice(0)) node.port.postMessage(sound, [sound.audio]);
    await this.#route().catch(() => {}); // it was unplugged: the system's default plays
  }

  /** Queues sound of an item. @param {string} item @param {ArrayBuffer} audio PCM16; the speaker takes ownership */
  play(item, audio) {
    if (!this.#context || audio.byteLength === 0) return;
    this.busy = true;
    if (this.#node) this.#node.port.postMessage({ audio, item }, [audio]);
    else this.#early.push({ audio, item });
  }

  /** Plays the track of a WebRTC connection, silently until `begin`; the server ducks it. @param {MediaStream} stream */
  async attach(stream) {
    await this.#ready;
    this.detach();
    if (!this.#context || !this.analyser) return;
    const gain = new GainNode(this.#context, { gain: 0 });
    const element = new Audio(); // Chromium gives a remote track to Web Audio only while an element plays it
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => {});
    this.#context.createMediaStreamSource(stream).connect(gain).connect(this.analyser);
    this.#track = { gain, element, looking: undefined };
    if (this.busy && this.#trackItem !== null) this.begin(this.#trackItem);
  }

  /** The track begins with that item. @param {string} item */
  begin(item) {
    this.busy = true;
    this.#trackItem = item;
    if (!this.#track || !this.analyser) return; // it attaches in a moment
    this.#setVolume(1);
    clearInterval(this.#track.looking);
    const samples = new Float32Array(this.analyser.fftSize);
    this.#track.looking = setInterval(() => this.#listen(item, samples), LOOK_MS);
  }

  /** @param {string} item @param {Float32Array<ArrayBuffer>} samples */
  #listen(item, samples) {
    if (!this.analyser || !this.#context) return;
    this.analyser.getFloatTimeDomainData(samples);
    const first = samples.findIndex((value) => Math.abs(value) > AUDIBLE);
    if (first < 0) return;
    clearInterval(this.#track?.looking);
    this.#handlers.onAudible(item, performance.now() - ((samples.length - first) * 1000) / this.#context.sampleRate);
  }

  /** The server has sent all of the track's item. */
  finish() {
    const item = this.#trackItem;
    setTimeout(() => {
      if (!this.busy || this.#trackItem !== item) return;
      this.busy = false;
      this.#handlers.onDrained();
    }, TRAILING_MS);
  }

  detach() {
    clearInterval(this.#track?.looking);
    this.#track?.gain.disconnect();
    if (this.#track) this.#track.element.srcObject = null;
    this.#track = null;
  }

  /** Seconds from the track to the ear, as far as the browser knows. */
  get latency() {
    return (this.#context?.baseLatency ?? 0) + (this.#context?.outputLatency || 0);
  }

  /** @param {number} volume of the track */
  #setVolume(volume) {
    this.#track?.gain.gain.setTargetAtTime(volume, this.#context?.currentTime ?? 0, FADE_S / 3);
  }

  /** Plays that item at a fifth of its volume, or at full volume again. A flush forgets it. @param {string} item @param {boolean} low */
  duck(item, low) {
    this.#node?.port.postMessage({ duck: low, item });
  }

  /** Falls silent at once. @returns {Promise<Flushed>} */
  flush() {
    if (this.#track) {
      clearInterval(this.#track.looking);
      this.#setVolume(0);
    }
    if (!this.#node || this.#track) {
      this.#early = [];
      this.busy = false;
      return Promise.resolve({ item: null, ms: 0, cut: false });
    }
    this.busy = false;
    this.#node.port.postMessage({ flush: true });
    return new Promise((resolve) => this.#flushing.push(resolve));
  }

  /** @param {any} data as playback-worklet.js describes it */
  #onReport(data) {
    this.underruns = data.underruns;
    if (data.flushed) {
      this.#flushing.shift()?.({ item: data.item, ms: toMs(data.played), cut: data.cut });
    } else if (data.drained) {
      this.busy = false;
      this.#handlers.onDrained();
    } else if (data.audible !== undefined) {
      const ago = this.#context ? this.#context.currentTime - data.frame / this.#context.sampleRate : 0;
      this.#handlers.onAudible(data.audible, performance.now() - Math.max(0, ago) * 1000);
    } else {
      this.#handlers.onPlayed(data.item, toMs(data.played));
    }
  }

  /** Releases the sound device. */
  close() {
    this.detach();
    this.#context?.close();
    if (this.#detour) this.#detour.element.srcObject = null;
    for (const resolve of this.#flushing.splice(0)) resolve({ item: null, ms: 0, cut: false });
    this.#early = [];
    this.#context = null;
    this.#node = null;
    this.#ready = null;
    this.#detour = null;
    this.analyser = null;
    this.busy = false;
  }
}

/** @param {number} samples */
function toMs(samples) {
  return Math.floor((samples * 1000) / WIRE_RATE);
}
