import assert from "node:assert/strict";
import { test } from "node:test";

import { FIRST_STATE, isRunning, mayRetryNow, nextState, serverAnswers, serverIsReady, stateName } from "../../src/chinwag/page/session-state.js";

const READY = { type: "status", stage: "ready" };
const OPEN = { type: "audio", open: true, muted: false, turnTaking: "hands-free" };
const STARTED = [READY, { type: "start" }, OPEN, { type: "microphone_settled" }, { type: "connect" }];
const LIVE = [...STARTED, { type: "session_began" }];

const after = (...events) => events.reduce(nextState, FIRST_STATE);

test("the page shows that it connects until the server's status is known", () => {
  assert.equal(stateName(FIRST_STATE), "connecting");
  assert.equal(stateName(after(READY)), "idle");
  assert.equal(stateName(after({ type: "status", stage: "loading" })), "preparing");
  assert.equal(stateName(after({ type: "status", stage: "failed" })), "failed");
  assert.equal(stateName(after({ type: "status", stage: null })), "unreachable");
  assert.equal(stateName(after(READY, { type: "key", wanted: true })), "keyless");
});

test("a session is connecting, then live, and the turn decides what is shown", () => {
  assert.equal(stateName(after(READY, { type: "start" })), "connecting");
  assert.equal(stateName(after(...STARTED)), "connecting");
  assert.equal(stateName(after(...LIVE)), "listening");
  for (const turn of ["hearing", "thinking", "speaking", "ducked"]) assert.equal(stateName(after(...LIVE, { type: "turn", turn })), turn);
});

test("while nobody speaks, microphone and mode decide what is shown", () => {
  const show = (audio) => stateName(after(...LIVE, { ...OPEN, ...audio }));
  assert.equal(show({ muted: true }), "muted");
  assert.equal(show({ open: false }), "typing");
  assert.equal(show({ turnTaking: "hold" }), "held");
  assert.equal(show({ turnTaking: "press" }), "pressed");
});

test("a broken connection is shown before all else, and the restored one goes on with its turn", () => {
  const broken = after(...LIVE, { type: "turn", turn: "speaking" }, { type: "connection_broke" });
  assert.equal(stateName(broken), "away");
  assert.equal(stateName(nextState(broken, { type: "connection_restored" })), "speaking");
});

test("a place in the queue is kept until the session begins or the user stops", () => {
  const queued = after(...STARTED, { type: "session_ended" }, { type: "retry_later", ticket: "t", failed: false });
  assert.equal(stateName(queued), "queued");
  assert.equal(queued.attempts, 0);
  assert.equal(nextState(queued, { type: "connect" }).ticket, "t");
  assert.equal(nextState(queued, { type: "session_began" }).ticket, null);
  assert.equal(nextState(queued, { type: "stop" }).ticket, null);
});

test("failed attempts are counted in a row", () => {
  const failed = [{ type: "connect" }, { type: "session_ended" }, { type: "retry_later", ticket: null, failed: true }];
  assert.equal(after(...failed, ...failed).attempts, 2);
  assert.equal(after(...failed, ...failed, { type: "connect" }, { type: "session_began" }).attempts, 0);
  assert.ok(isRunning(after(...failed)));
});

test("the page connects at once when a server that was away has become ready", () => {
  const waiting = after(...LIVE, { type: "session_ended" }, { type: "retry_later", ticket: null, failed: true });
  assert.ok(!mayRetryNow(nextState(waiting, READY)), "it was not away");
  const away = nextState(waiting, { type: "status", stage: null });
  assert.ok(!mayRetryNow(away));
  assert.ok(mayRetryNow(nextState(away, READY)));
  assert.ok(!mayRetryNow(after({ type: "status", stage: null }, READY)), "no session is wanted");
});

test("each break of the connection asks anew whether the server was away, and its failed attempts do not", () => {
  const broken = after(READY, { type: "status", stage: null }, READY, ...LIVE, { type: "connection_broke" });
  assert.equal(broken.serverWasAway, false);
  const unreachable = nextState(broken, { type: "status", stage: null });
  assert.equal(nextState(unreachable, { type: "connection_broke" }).serverWasAway, true);
});

test("an announced restart is known until the next session begins", () => {
  const restarting = after(...LIVE, { type: "server_restarting" }, { type: "connection_broke" });
  assert.ok(restarting.restarting);
  assert.ok(!nextState(restarting, { type: "session_began" }).restarting);
});

test("a start and a stop begin a new run, so that older outcomes can be dropped", () => {
  const { run } = after({ type: "start" });
  assert.notEqual(after({ type: "start" }, { type: "stop" }).run, run);
  assert.equal(after({ type: "start" }, { type: "stop" }).microphone, "off");
  assert.equal(after({ type: "start" }, { type: "microphone_settled" }).microphone, "off");
  assert.equal(after({ type: "start" }, { ...OPEN, open: false }).microphone, "opening");
});

test("a server answers before it is ready, and a missing key comes first", () => {
  const loading = after({ type: "status", stage: "loading" });
  assert.ok(serverAnswers(loading) && !serverIsReady(loading));
  assert.ok(serverAnswers(after(READY)) && serverIsReady(after(READY)));
  const locked = after(READY, { type: "key", wanted: true });
  assert.ok(!serverAnswers(locked) && !serverIsReady(locked));
  assert.ok(!serverAnswers(FIRST_STATE) && !serverAnswers(after({ type: "status", stage: null })));
});

test("no event changes a state in place", () => {
  const before = Object.freeze(after(...LIVE));
  nextState(before, { type: "stop" });
  assert.equal(before.phase, "live");
});
