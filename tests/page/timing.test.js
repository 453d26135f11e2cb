import assert from "node:assert/strict";
import { test } from "node:test";

import { moments } from "../../src/chinwag/page/latency-stages.js";
import { percentile, summary } from "../../src/chinwag/page/timing-panel.js";

test("percentiles lie on a straight line between the two nearest values, as in numpy", () => {
  assert.equal(percentile([3, 1, 2], 0.5), 2);
  assert.equal(percentile([200, 400, 600], 0.95), 580);
  assert.equal(percentile([7], 0.95), 7);
});

test("the moments of a response are in the order in which they came, with what was heard last", () => {
  const stages = { first_audio: 300, draft_started: -50, unknown: 1, first_token: null };
  assert.deepEqual(moments({ ms: 420, stages }), [
    { name: "draft_started", ms: -50 },
    { name: "first_audio", ms: 300 },
    { name: "heard", ms: 420 },
  ]);
});

test("the summary has each stage with its percentiles, by their medians, and the whole last", () => {
  const turns = [1, 2, 3].map((number) => ({ ms: 100, stages: { first_token: 200 * number, turn_decided: 100 * number } }));
  assert.deepEqual(summary(turns), [
    { stage: "turn_decided", turns: 3, p50: 200, p95: 290 },
    { stage: "first_token", turns: 3, p50: 400, p95: 580 },
    { stage: "heard", turns: 3, p50: 100, p95: 100 },
  ]);
});
