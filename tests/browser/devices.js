// Added to the page by a test: a desk's microphone and loudspeaker and a headset, which can be plugged in and out.
// Each microphone sounds a tone of its own, made by the page, as Chromium's own fakes are all alike.

{
  const TONES = { desk: 500, headset: 900 };
  const there = new Set(["desk", "headset"]);
  const labels = { desk: "Desk", headset: "Headset" };
  let usual = "desk";
  let forbidden = false;
  const tones = new AudioContext();
  const open = []; // {id, track}
  window.asked = [];
  window.sinks = [];
  window.elementSinks = [];

  const changed = () => navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
  const first = () => (there.has(usual) ? usual : [...there][0]);

  navigator.mediaDevices.getUserMedia = async ({ audio }) => {
    asked.push(audio.deviceId?.ideal ?? "");
    if (forbidden) throw new DOMException("Permission denied", "NotAllowedError");
    const id = there.has(audio.deviceId?.ideal) ? audio.deviceId.ideal : first();
    if (!id) throw new DOMException("Requested device not found", "NotFoundError");
    await tones.resume();
    const sine = new OscillatorNode(tones, { frequency: TONES[id] });
    const destination = new MediaStreamAudioDestinationNode(tones);
    sine.connect(new GainNode(tones, { gain: 0.3 })).connect(destination);
    sine.start();
    const [track] = destination.stream.getAudioTracks();
    track.getSettings = () => ({ deviceId: id });
    let muted = false;
    Object.defineProperty(track, "muted", { get: () => muted });
    open.push({ id, track, mute: (value) => (muted = value) });
    return destination.stream;
  };

  navigator.mediaDevices.enumerateDevices = async () => {
    const named = asked.length > 0;
    const list = [];
    for (const kind of ["audioinput", "audiooutput"]) {
      if (first()) list.push({ kind, deviceId: named ? "default" : "", groupId: first(), label: named ? `Default - ${labels[first()]}` : "" });
      for (const id of there) list.push({ kind, deviceId: named ? id : "", groupId: id, label: named ? labels[id] : "" });
    }
    return list;
  };

  AudioContext.prototype.setSinkId = async function (id) {
    sinks.push(id);
    Object.defineProperty(this, "sinkId", { value: id, configurable: true });
  };
  HTMLMediaElement.prototype.setSinkId = async (id) => void elementSinks.push(id);

  const end = (one) => {
    one.track.stop();
    one.track.dispatchEvent(new Event("ended"));
  };
  const live = () => open.filter(({ track }) => track.readyState === "live");

  window.plug = (label, present) => {
    const id = label.toLowerCase();
    if (present) there.add(id);
    else there.delete(id);
    if (!present) live().filter((one) => one.id === id).forEach(end);
    changed();
  };
  window.makeUsual = (label) => {
    usual = label.toLowerCase();
    changed();
  };
  window.forbid = () => {
    forbidden = true;
    live().forEach(end);
  };
  window.call = (takes) => {
    for (const { track, mute } of live()) {
      mute(takes);
      track.dispatchEvent(new Event(takes ? "mute" : "unmute"));
    }
  };
  window.stopped = () => open.filter(({ track }) => track.readyState === "ended").map(({ id }) => id);

  // A context that claims to run and hears nothing any more, as Safari's do behind a Bluetooth switch.
  const ports = [];
  const Node = AudioWorkletNode;
  window.AudioWorkletNode = class extends Node {
    constructor(context, name, options) {
      super(context, name, options);
      if (name === "chinwag-capture") ports.push(this);
    }
  };
  window.hang = () => ports.splice(0).forEach((node) => (node.port.onmessage = null));

  // iOS: "interrupted", and afterwards suspended.
  const contexts = [];
  const state = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, "state").get;
  let interrupted = false;
  Object.defineProperty(BaseAudioContext.prototype, "state", {
    get() {
      return interrupted && state.call(this) === "suspended" ? "interrupted" : state.call(this);
    },
  });
  const Context = AudioContext;
  window.AudioContext = class extends Context {
    constructor(options) {
      super(options);
      contexts.push(this);
    }
    resume() {
      return interrupted ? Promise.reject(new DOMException("interrupted", "InvalidStateError")) : super.resume();
    }
  };
  window.interrupt = async (on = true) => {
    interrupted = on;
    const alive = contexts.filter((context) => state.call(context) !== "closed");
    if (on) await Promise.all(alive.map((context) => context.suspend()));
    else for (const context of alive) context.dispatchEvent(new Event("statechange"));
  };
}
