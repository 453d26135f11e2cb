// Starts the page: makes its modules and connects them with the session controller, which holds the state.

import { AssistantChoice } from "./assistant-choice.js";
import { ConversationsPanel } from "./conversations-panel.js";
import { find } from "./dom.js";
import { EnginePanel } from "./engine-panel.js";
import { KeyCard } from "./key-card.js";
import { Meter } from "./meter.js";
import { PageAudio } from "./page-audio.js";
import { ServerStatus } from "./server-status.js";
import { SessionController } from "./session-controller.js";
import { isRunning, serverAnswers, serverIsReady, stateName } from "./session-state.js";
import { SettingsPanel } from "./settings-panel.js";
import { TimingPanel } from "./timing-panel.js";
import { ToolCalls } from "./tool-calls.js";
import { View } from "./view.js";
import { WakeLock } from "./wake-lock.js";
import { WebRTCTransport } from "./webrtc-transport.js";
import { WebSocketTransport } from "./websocket-transport.js";

/** @import { OpenTransport } from "./resumable-connection.js" */
/** @import { PageState } from "./session-state.js" */

// ?transport=webrtc: for networks that lose packets. The other is a little quicker, and knows what was heard to the sample.
const requestedTransport = new URLSearchParams(location.search).get("transport");
let transport = requestedTransport ?? "websocket";

const view = new View({
  start: () => controller.start(),
  stop: () => controller.stop(),
  send: (text) => controller.send(text),
  useKey: (key) => controller.useKey(key),
  acceptOffer: () => controller.acceptOffer(),
  retry: () => controller.retry(),
  mute: () => audio.toggleMute(),
  reopenMicrophone: () => audio.reopenMicrophone(),
  resumeSound: () => audio.speaker.resume(),
  checkServer: () => status.check(),
});
const keyCard = new KeyCard((words) => view.askForKey(words));
const engines = new EnginePanel({ onNames: (names) => view.engines(names) });
const conversations = new ConversationsPanel({ onOpen: (conversation) => controller.reopen(conversation) });
const assistantChoice = new AssistantChoice((name) => settings.chooseAssistant(name));
const settings = new SettingsPanel({
  onName: (name) => (view.assistant = name),
  onTransport: (name) => (transport = requestedTransport ?? name),
  onAssistants: (assistants, chosen) => assistantChoice.show(assistants, chosen),
});
const timing = new TimingPanel();
const tools = new ToolCalls(find("turns"));
/** @type {PageAudio} */
const audio = new PageAudio({
  onProblem: (slot, problem) => view.problem(slot, problem),
  conversation: () => controller.conversation,
  onFrame: (frame) => controller.sendFrame(frame),
  onTrack: (track) => controller.connection?.useMicrophone(track),
  onChange: () => controller.refresh(),
  wanted: () => controller.running,
});
const wakeLock = new WakeLock();
const meter = new Meter(view.meter, () => ({ you: audio.microphone.analyser, answer: audio.speaker.analyser }));
const status = new ServerStatus({
  onStatus: (answer) => controller.serverStatus(answer),
  onUnreachable: (wait) => controller.serverStatus(null, wait),
});

/** @type {SessionController} */
const controller = new SessionController(
  {
    audio, conversations, engines, keyCard, settings, status, timing, tools, view,
    openTransport,
    useTransport: (name) => (transport = name),
    transportName: () => transport,
  },
  show,
);

/** Opens a connection to the server, by the transport in use. @type {OpenTransport} */
function openTransport(query, { onMessage, onDown }) {
  const search = new URLSearchParams({ chinwag: "events", ...conversations.query, .../** @type {Record<string, string>} */ (query) });
  if (transport === "webrtc" && window.RTCPeerConnection && audio.canPlay) {
    return new WebRTCTransport(`v1/realtime/calls?${search}`, audio.track, {
      onMessage,
      onDown,
      onTrack: (stream) => audio.speaker.attach(stream),
      onUnconnected: () => (controller.conversation ? onDown({}) : controller.fallBack()),
      onPlayout: (ms) => controller.connection?.send("chinwag.playout", { delay_ms: ms }),
      outputLatency: () => audio.speaker.latency,
    });
  }
  const url = new URL(`v1/realtime?${search}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocketTransport(url, { onMessage, onDown });
}

/** Shows the state of the page. @param {Readonly<PageState>} state */
function show(state) {
  const running = isRunning(state);
  const microphone = state.microphone === "on";
  engines.usable = serverIsReady(state);
  conversations.usable = serverAnswers(state);
  view.controls({
    usable: !state.keyWanted && (state.server === "ready" || running),
    running,
    starting: state.microphone === "opening",
    microphone,
    muted: state.muted,
    handsFree: state.turnTaking === "hands-free",
  });
  audio.pushToTalk.show(microphone);
  wakeLock.wanted = running && microphone;
  view.state(stateName(state));
  if (running) meter.start();
  else meter.stop();
}

// Browsers refuse a service worker if they warn of the certificate, or if the address is not secure: then offline.html is missing.
navigator.serviceWorker?.register("service-worker.js", { updateViaCache: "none" }).catch(() => {});

// For tests and for people who look into a problem.
const counted = () => ({ ...audio.microphone.counted, underruns: audio.speaker.underruns });
Object.assign(globalThis, { __chinwag: { .../** @type {any} */ (globalThis).__chinwag, counted } });
controller.refresh();
status.check();
controller.resume();
