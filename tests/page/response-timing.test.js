import assert from "node:assert/strict";
import { test } from "node:test";

import { ResponseTiming } from "../../src/chinwag/page/response-timing.js";
import { StreamClock } from "../../src/chinwag/page/stream-clock.js";

const TRACE = { speech_end_ms: 900, stages_ms: { first_audio: 300 } };

function timing() {
  const clock = new StreamClock();
  const timed = [];
  return { clock, timed, timing: new ResponseTiming({ timeOf: (ms) => clock.timeOf(ms), onTimed: (one) => timed.push(one) }) };
}

const SPOKEN = { id: "item", since: "speech", ms: 600, stages: { first_audio: 300 } };

test("a spoken turn is timed from its last sound, whichever part is known first", () => {
  for (const order of ["trace first", "sound first"]) {
    const { clock, timed, timing: times } = timing();
    clock.sent(1000, 5000); // the stream's millisecond 900 was captured at 4900
    times.begin("response", "item", null);
    if (order === "trace first") times.traced("response", TRACE);
    times.audible("item", 5500);
    if (order === "sound first") times.traced("response", TRACE);
    assert.deepEqual(timed, [SPOKEN], order);
  }
});

test("a response that sounded before the microphone's first frame is timed once that came", () => {
  const { clock, timed, timing: times } = timing();
  times.begin("response", "item", null);
  times.traced("response", TRACE);
  times.audible("item", 5500);
  assert.deepEqual(timed, []);
  clock.sent(1000, 5000);
  times.clockStarted();
  assert.deepEqual(timed, [SPOKEN]);
});

test("a typed message is timed from Send, and needs neither trace nor microphone", () => {
  const { timed, timing: times } = timing();
  times.begin("response", "item", 5000);
  times.audible("item", 5250);
  assert.deepEqual(timed, [{ id: "item", since: "send", ms: 250, stages: {} }]);
});

test("a response without a spoken turn before it, or that was cut off, has no time", () => {
  const { clock, timed, timing: times } = timing();
  clock.sent(1000, 5000);
  times.begin("greeting", "first", null);
  times.audible("first", 5500);
  times.traced("greeting", { speech_end_ms: null, stages_ms: {} });
  times.begin("response", "item", null);
  times.forget("response");
  times.audible("item", 5500);
  times.traced("response", TRACE);
  times.traced("unknown", TRACE);
  assert.deepEqual(timed, []);
});

test("a time is never negative", () => {
  const { clock, timed, timing: times } = timing();
  clock.sent(20, 5000);
  times.begin("response", "item", null);
  times.traced("response", TRACE);
  times.audible("item", 5100);
  assert.equal(timed[0].ms, 0);
});

test("the clock believes the frame that came with the least delay", () => {
  const clock = new StreamClock();
  assert.equal(clock.timeOf(0), null);
  clock.sent(20, 130);
  clock.sent(20, 145);
  clock.sent(20, 180);
  assert.equal(clock.timeOf(40), 145);
});
