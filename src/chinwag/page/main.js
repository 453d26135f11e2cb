// Wires the parts: buttons, microphone, speaker, session, and what to do when one of them fails.

import { Conversation } from "./conversation.js";
import { ConversationsPanel } from "./conversations.js";
import { EnginePanel } from "./engines.js";
import { KeyCard } from "./key-card.js";
import { Meter } from "./meter.js";
import { Link } from "./link.js";
import { Realtime } from "./realtime.js";
import { Return } from "./return.js";
import { SettingsPanel } from "./settings.js";
import { Sound } from "./sound.js";
import { Status, backOff } from "./status.js";
import { StreamClock } from "./stream-clock.js";
import { TimingPanel } from "./timing.js";
import { ToolCalls } from "./tools.js";
import * as troubles from "./troubles.js";
import { View } from "./view.js";
import { WakeLock } from "./wake-lock.js";
import { Who } from "./who.js";
import { RealtimeCall } from "./webrtc.js";

const FRAME_MS = 20;
const LONGEST_WAIT_MS = 10_000;

// ?transport=webrtc: for networks that lose packets. The other is a little quicker, and tells what was heard to the sample.
const asked = new URLSearchParams(location.search).get("transport");
let transport = asked ?? "websocket";
let link = null; // the session's line, from the first attempt until it ended
let away = null; // performance.now() since when the line is broken
let conversation = null; // while the session lives
let starting = false; // the microphone is being asked for
let epoch = 0; // counts starts and stops, so that what was awaited too long is dropped
let attempts = 0;
let retryTimer = null;
let restarting = false; // the server has said that it will go, and has not come back
let ticket = null; // of our place in the queue of a full server
let wasAway = false; // the server was not ready at some time since the last attempt
let clock = new StreamClock();
let unsent = []; // typed before the session was there
let offered = null; // what could stand in for an engine that failed

const running = () => link !== null || retryTimer !== null;

const view = new View({
  start,
  stop,
  send,
  useKey,
  takeOffer,
  retry,
  mute: () => sound.mute(),
  hearAgain: () => sound.hearAgain(),
  resume: () => speaker.resume(),
  look: () => status.ask(),
});

const keyCard = new KeyCard((words) => view.askForKey(words));
const panel = new EnginePanel({ onNames: (names) => view.engines(names) });
const conversations = new ConversationsPanel({ onOpen: reopen });
const who = new Who((name) => settings.choose(name));
const settings = new SettingsPanel({
  onName: (name) => (view.assistant = name),
  onTransport: (name) => (transport = asked ?? name),
  onAssistants: (assistants, chosen) => who.show(assistants, chosen),
});
const timing = new TimingPanel();
const tools = new ToolCalls(document.getElementById("turns"));

const sound = new Sound({
  trouble: (slot, trouble) => view.trouble(slot, trouble),
  conversation: () => conversation,
  onFrame: (frame) => link.sendAudio(frame) && clock.sent(FRAME_MS),
  onTrack: (track) => link?.useMicrophone(track),
  onChange: show,
  wanted: running,
});
const { microphone, speaker, talk } = sound;

const wakeLock = new WakeLock();

const meter = new Meter(view.meter, () => ({ you: microphone.analyser, answer: speaker.analyser }));

const status = new Status({
  onStatus(answer) {
    view.server(answer);
    keyCard.told(answer.key_required);
    if (answer.stage === "ready") settings.meet();
    if (answer.stage !== "ready") wasAway = true;
    else if (wasAway && (retryTimer || away)) retry(); // it has just become ready: wait no longer
    if (!running()) view.trouble("server", answer.error && troubles.serverFailed(answer.error));
    show();
  },
  onUnreachable(wait) {
    wasAway = true;
    if (!running()) view.trouble("server", troubles.unreachable, wait);
    show();
  },
});

/** Start: speaker and microphone inside the click, then the session. A second press while it starts does nothing. */
async function start() {
  if (starting || microphone.isOpen) return;
  const missing = troubles.withoutMicrophone();
  view.trouble("microphone", missing);
  if (missing) return;
  const mine = ++epoch;
  starting = true;
  show();
  sound.openSpeaker("play-and-record"); // before anything is awaited: iOS and Android start sound only inside the click
  await sound.openMicrophone(() => mine === epoch);
  if (mine !== epoch) return; // stopped while the browser was asking
  starting = false;
  if (running()) sound.giveTrack();
  else if (microphone.isOpen) connect();
  if (!running()) speaker.close();
  show();
}

/** Takes a key that was typed, if the server does. */
async function useKey(value) {
  await keyCard.use(value);
  show();
}

function stop() {
  Return.forget();
  epoch++;
  starting = false;
  unsent = [];
  endSession();
  conversations.leave();
  clearTimeout(retryTimer);
  retryTimer = null;
  attempts = 0;
  ticket = null;
  sound.close();
  for (const slot of ["server", "microphone", "silenced", "audioinput", "audiooutput", "loudspeaker", "sound", "session"]) view.trouble(slot, null);
  status.ask();
  show();
}

function send(text) {
  if (conversation) {
    conversation.say(text);
    return;
  }
  unsent.push(text);
  sound.openSpeaker("playback");
  if (!running()) connect();
}

/** resume: the token of the session that this page had before it was loaded again. */
function connect(resume = null) {
  clearTimeout(retryTimer);
  retryTimer = null;
  wasAway = false;
  endSession();
  const handlers = {
    onReady: begin,
    onEvent: take,
    onAudio: (item, audio) => conversation?.hear(item, audio),
    onResumable: (token) => Return.remember({ token, transport }),
    onAway: lineBroke,
    onBack: lineBack,
    onClosed: lost,
  };
  link = new Link(dial, handlers, resume);
  show();
}

/** A line to the server, by the transport there is. */
function dial(query, { onMessage, onDown }) {
  const search = new URLSearchParams({ chinwag: "events", ...conversations.query, ticket: ticket ?? "new", ...query });
  if (transport === "webrtc" && window.RTCPeerConnection && Sound.canPlay) {
    return new RealtimeCall(`v1/realtime/calls?${search}`, sound.track, {
      onMessage,
      onDown,
      onTrack: (stream) => speaker.attach(stream),
      onUnconnected: () => (conversation ? onDown({}) : fallBack()),
      onPlayout: (ms) => link?.send("chinwag.playout", { delay_ms: ms }),
      outputLatency: () => speaker.latency,
    });
  }
  const url = new URL(`v1/realtime?${search}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new Realtime(url, { onMessage, onDown });
}

/** Waits no longer. */
function retry() {
  if (away !== null) link.retry();
  else connect();
}

function lineBroke({ since, wait }) {
  if (away === null) wasAway = false;
  away = since;
  const why = restarting ? troubles.restarting : wasAway ? troubles.unreachable : troubles.comingBack;
  view.trouble("server", why, wait / 1000, since);
  status.ask();
  show();
}

function lineBack() {
  away = null;
  view.trouble("server", null);
  show();
}

function take(event) {
  if (event.error?.code === "conversation_taken_over") return takenOver();
  if (event.type === "chinwag.restarting" || event.error?.code === "server_restarting") return void (restarting = true);
  if (event.type === "error") return panel.failed(event.error) || settings.failed(event.error) || failed(event.error);
  panel.take(event);
  if (conversations.take(event)) Return.remember({ conversation: conversations.next });
  settings.take(event);
  tools.take(event);
  talk.take(event);
  return conversation?.take(event);
}

// It goes on in another window or on another device; making it anew would take it back from there.
function takenOver() {
  stop();
  view.trouble("session", troubles.takenOver);
}

/** Shows a conversation that was kept; Start or a typed message goes on with it. */
function reopen({ title, updated_at, items }) {
  stop();
  view.clear();
  tools.clear();
  for (const item of items) {
    tools.kept(item);
    if (item.type !== "message" || item.role === "system") continue;
    view.words(item.role, item.id, item.text);
    if (!item.whole) view.cut(item.id, item.text);
  }
  view.divide(`“${title}”, ${new Date(updated_at * 1000).toLocaleString()}. Press Start or type to go on.`);
}

// No packets come through, or the server knows no calls: the WebSocket goes wherever the page came from.
function fallBack() {
  transport = "websocket";
  connect();
}

/** anew: it is the session there was, told from its beginning. */
function begin({ anew, session: described }) {
  attempts = 0;
  restarting = false;
  ticket = away = null;
  conversation?.cut();
  clock = new StreamClock();
  if (!anew && !conversations.next) {
    view.divide("A new conversation");
    timing.begin();
  }
  const session = link;
  conversation = new Conversation({
    send: (type, fields) => session.send(type, fields),
    speaker,
    view,
    clock,
    byTrack: session.byTrack,
    onState: show,
    onTrouble: failed,
    onTimed(answer) {
      view.timed(answer);
      timing.take(answer);
    },
  });
  if (!Sound.canPlay) session.send("session.update", { session: { type: "realtime", output_modalities: ["text"] } });
  for (const slot of ["server", "session"]) view.trouble(slot, null);
  const say = (type, fields) => session.send(type, fields);
  for (const part of [panel, settings, tools]) part.begin(say);
  talk.begin({ send: say, conversation, byTrack: session.byTrack, detection: described?.audio?.input?.turn_detection });
  for (const text of unsent.splice(0)) conversation.say(text);
  show();
}

function failed(error) {
  if (talk.failed(error) || Conversation.isQuiet(error)) return;
  offered = error.offer ?? offered;
  view.trouble("session", troubles.inSession(error));
}

// Another engine works here, and they want it.
function takeOffer() {
  view.trouble("session", null);
  panel.accept(offered);
}

function endSession() {
  talk.end();
  conversation?.cut();
  conversation = null;
  away = null;
  link?.close();
  link = null;
  panel.end();
  settings.end();
  tools.end();
  speaker.detach();
}

// The session ended and nobody asked for it: say why, and make a new one in a while.
async function lost({ greeted, refusal, stuck }) {
  endSession();
  Return.forget();
  if (refusal?.code === "conversation_taken_over") return takenOver();
  if (refusal) conversations.refused(refusal);
  if (!greeted && !refusal && status.latest?.key_required) {
    const mine = epoch;
    if ((await keyCard.check()) === false) return stop(); // a browser does not tell a 401 from a server that is away
    if (mine !== epoch || running()) return;
  }
  const forgotten = refusal?.code === "session_not_found";
  ticket = refusal?.ticket || null;
  const wait = forgotten ? 0 : ticket ? refusal.retry_after_s * 1000 : backOff(attempts++, LONGEST_WAIT_MS);
  retryTimer = setTimeout(() => connect(), wait);
  view.trouble("server", whyLost({ greeted, refusal, stuck, forgotten }), wait / 1000);
  status.ask();
  show();
}

function whyLost({ greeted, refusal, stuck, forgotten }) {
  if (restarting && !forgotten) return troubles.restarting;
  if (refusal && !forgotten) return troubles.refused(refusal);
  if (stuck) return troubles.stuck;
  if (!greeted && !forgotten) return troubles.unreachable;
  return conversations.next ? troubles.keptThere : troubles.dropped;
}

function show() {
  const stage = status.latest?.stage;
  panel.usable = !keyCard.wanted && stage === "ready";
  conversations.usable = !keyCard.wanted && Boolean(stage);
  view.controls({
    usable: !keyCard.wanted && (stage === "ready" || running()),
    running: running(),
    starting,
    microphone: microphone.isOpen,
    muted: microphone.muted,
    handsFree: talk.handsFree,
  });
  talk.show(microphone.isOpen);
  wakeLock.wanted = running() && microphone.isOpen;
  view.state(stateOf(stage));
  if (running()) meter.start();
  else meter.stop();
}

function stateOf(stage) {
  if (away !== null) return "away";
  if (conversation) {
    const state = conversation.state;
    if (state !== "listening") return state;
    if (!microphone.isOpen) return "typing";
    if (!talk.handsFree) return talk.idle;
    return microphone.muted ? "muted" : "listening";
  }
  if (running() || starting) return ticket ? "queued" : "connecting";
  if (!stage) return "unreachable";
  if (keyCard.wanted) return "keyless";
  return stage === "ready" ? "idle" : stage === "failed" ? "failed" : "preparing";
}

/** Where this page was loaded again in the middle of a conversation, go on with it. */
async function comeBack() {
  const before = Return.take();
  if (!before) return;
  transport = before.transport;
  conversations.next = before.conversation ?? null; // where the session is over by now
  const allowed = !troubles.withoutMicrophone() && (await microphoneIsAllowed());
  const mine = ++epoch;
  starting = allowed;
  sound.openSpeaker(allowed ? "play-and-record" : "playback");
  if (allowed) await sound.openMicrophone();
  if (mine !== epoch) return;
  starting = false;
  if (!running()) connect(before.token);
}

async function microphoneIsAllowed() {
  const permission = await navigator.permissions?.query({ name: "microphone" }).catch(() => null);
  return permission?.state === "granted";
}

// Refused where the browser warns of the certificate, and absent without a secure address: then only away.html is missing.
navigator.serviceWorker?.register("service-worker.js", { updateViaCache: "none" }).catch(() => {});

globalThis.__chinwag = { ...globalThis.__chinwag, counted: () => ({ ...microphone.counted, underruns: speaker.underruns }) };
show();
view.state("connecting");
status.ask();
comeBack();
