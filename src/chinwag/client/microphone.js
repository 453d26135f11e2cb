// The microphone: asks for it, and hands on PCM16 frames of 20 ms at 24 kHz.

const WIRE_RATE = 24_000;
const WANTED = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
};

export class Microphone {
  /** For level meters; null while closed. */
  analyser = null;

  #stream = null;
  #context = null;
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

  get muted() {
    return this.isOpen && !this.#stream.getAudioTracks()[0].enabled;
  }

  /** While muted the frames go on, silent, so that the server still hears the turn end. */
  set muted(value) {
    if (this.isOpen) this.#stream.getAudioTracks()[0].enabled = !value;
  }

  /** Asks for the microphone. Throws what getUserMedia throws. */
  async open() {
    const stream = await navigator.mediaDevices.getUserMedia(WANTED);
    const [track] = stream.getAudioTracks();
    track.onended = () => {
      this.close();
      this.#onLost();
    };
    track.onmute = () => this.#onSilenced(true);
    track.onunmute = () => this.#onSilenced(false);
    this.#stream = stream;
    try {
      await this.#listen(stream);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async #listen(stream) {
    const source = this.#connectable(stream);
    const context = this.#context;
    await Promise.all([context.resume(), context.audioWorklet.addModule("capture-worklet.js")]);
    if (context !== this.#context) return; // closed meanwhile
    const capture = new AudioWorkletNode(context, "chinwag-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    capture.port.onmessage = ({ data }) => this.#onFrame(data);
    this.analyser = new AnalyserNode(context, { fftSize: 1024 });
    source.connect(this.analyser);
    source.connect(capture);
  }

  // Firefox connects a microphone only to a context of the sound card's own rate; the worklet then resamples.
  #connectable(stream) {
    this.#context = new AudioContext({ sampleRate: WIRE_RATE, latencyHint: "interactive" });
    try {
      return this.#context.createMediaStreamSource(stream);
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      this.#context.close();
      this.#context = new AudioContext({ latencyHint: "interactive" });
      return this.#context.createMediaStreamSource(stream);
    }
  }

  /** Gives the microphone back. */
  close() {
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#context?.close();
    this.#stream = this.#context = this.analyser = null;
  }
}
