// The loudspeaker: plays the answer's PCM16 at 24 kHz and tells what was heard of it.

const WIRE_RATE = 24_000;

export class Speaker {
  /** For level meters; null while closed. */
  analyser = null;
  /** Whether sound is waiting or playing. */
  busy = false;

  #context = null;
  #node = null;
  #ready = null;
  #flushing = [];
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
      this.#context = new AudioContext({ sampleRate: WIRE_RATE, latencyHint: "interactive" });
      this.#context.onstatechange = () => this.#handlers.onPaused(this.#context?.state !== "running");
      this.#ready = this.#load(this.#context);
    }
    this.resume();
    return this.#ready;
  }

  /** Asks the browser to go on; it may wait for a click. */
  resume() {
    this.#context?.resume().catch(() => {}); // closed meanwhile
  }

  async #load(context) {
    try {
      await context.audioWorklet.addModule("playback-worklet.js");
    } catch (error) {
      if (context === this.#context) throw error;
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
    globalThis.__chinwag = { output: this.analyser };
  }

  /** Queues sound (ArrayBuffer of PCM16, given away) of a conversation item. */
  play(item, audio) {
    if (!this.#node || audio.byteLength === 0) return;
    this.busy = true;
    this.#node.port.postMessage({ audio, item }, [audio]);
  }

  /** Plays that item on at a fifth of its volume, or at full volume again. A flush forgets it. */
  duck(item, low) {
    this.#node?.port.postMessage({ duck: low, item });
  }

  /** Falls silent at once. Resolves to {item, ms, cut}: how much of which item was heard, and whether any was not. */
  flush() {
    if (!this.#node) return Promise.resolve({ item: null, ms: 0, cut: false });
    this.busy = false;
    this.#node.port.postMessage({ flush: true });
    return new Promise((resolve) => this.#flushing.push(resolve));
  }

  #hear(data) {
    if (data.flushed) {
      this.#flushing.shift()?.({ item: data.item, ms: toMs(data.played), cut: data.cut });
    } else if (data.drained) {
      this.busy = false;
      this.#handlers.onDrained();
    } else if (data.audible !== undefined) {
      const ago = this.#context.currentTime - data.frame / WIRE_RATE;
      this.#handlers.onAudible(data.audible, performance.now() - Math.max(0, ago) * 1000);
    } else {
      this.#handlers.onPlayed(data.item, toMs(data.played));
    }
  }

  /** Gives the sound device back. */
  close() {
    this.#context?.close();
    for (const resolve of this.#flushing.splice(0)) resolve({ item: null, ms: 0, cut: false });
    this.#context = this.#node = this.#ready = this.analyser = null;
    this.busy = false;
  }
}

function toMs(samples) {
  return Math.floor((samples * 1000) / WIRE_RATE);
}
