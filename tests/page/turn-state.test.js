import assert from "node:assert/strict";
import { test } from "node:test";

import { FIRST_TURN, nextTurn, turnName } from "../../src/chinwag/page/turn-state.js";

const SILENT = { playing: false, unfinished: false };
const PLAYING = { playing: true, unfinished: true };

const after = (...types) => types.map((type) => (typeof type === "string" ? { type } : type)).reduce(nextTurn, FIRST_TURN);

test("a spoken turn: listening, hearing, thinking, speaking, listening", () => {
  assert.equal(turnName(FIRST_TURN, SILENT), "listening");
  assert.equal(turnName(after("speech_started"), SILENT), "hearing");
  assert.equal(turnName(after("speech_started", "speech_stopped"), SILENT), "thinking");
  assert.equal(turnName(after("speech_started", "speech_stopped", "response_awaited", "response_settled"), PLAYING), "speaking");
  assert.equal(turnName(after("response_awaited", "response_settled"), SILENT), "listening");
});

test("a response whose sound has run dry is being thought about", () => {
  assert.equal(turnName(FIRST_TURN, { playing: false, unfinished: true }), "thinking");
});

test("an overlap is spoken softly, until it ends, interrupts, or another response begins", () => {
  const ducked = { type: "ducked", low: true };
  assert.equal(turnName(after(ducked), PLAYING), "ducked");
  assert.equal(turnName(after(ducked), SILENT), "listening");
  for (const end of [{ type: "ducked", low: false }, "playback_cut", "response_began", "speech_started"]) {
    assert.equal(turnName(after(ducked, end), PLAYING), "speaking");
  }
});

test("a pressed button is heard whatever plays, and its release may await a response", () => {
  assert.equal(turnName(after("button_pressed"), PLAYING), "hearing");
  assert.equal(turnName(after("button_pressed", { type: "button_released", awaited: true }), SILENT), "thinking");
  assert.equal(turnName(after("button_pressed", { type: "button_released", awaited: false }), SILENT), "listening");
});
