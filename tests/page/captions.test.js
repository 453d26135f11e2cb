import assert from "node:assert/strict";
import { test } from "node:test";

import { heardText, wordAt } from "../../src/chinwag/page/captions.js";

const SECOND = 24_000;
const CLAUSES = [
  { at: 0, text: "one two " },
  { at: SECOND, text: "three" },
];

test("a word's share of its clause's sound is its share of the characters", () => {
  assert.deepEqual(wordAt(CLAUSES, 2 * SECOND, 0), { said: 0, until: 0, half: false });
  assert.deepEqual(wordAt(CLAUSES, 2 * SECOND, 100), { said: 0, until: 3, half: false });
  assert.deepEqual(wordAt(CLAUSES, 2 * SECOND, 300), { said: 0, until: 3, half: true });
  assert.deepEqual(wordAt(CLAUSES, 2 * SECOND, 1_500), { said: 8, until: 13, half: false });
  assert.deepEqual(wordAt(CLAUSES, 2 * SECOND, 2_500), { said: 13, until: 13, half: false });
});

test("a word counts as heard once more than half of it was", () => {
  assert.equal(heardText(CLAUSES, 2 * SECOND, 150), "");
  assert.equal(heardText(CLAUSES, 2 * SECOND, 300), "one");
  assert.equal(heardText(CLAUSES, 2 * SECOND, 1_800), "one two three");
});

test("scripts without spaces are marked by the character", () => {
  assert.deepEqual(wordAt([{ at: 0, text: "你好。" }], SECOND, 100), { said: 0, until: 1, half: false });
  assert.deepEqual(wordAt([{ at: 0, text: "你好。" }], SECOND, 900), { said: 1, until: 3, half: true });
});

test("a clause whose sound has not all come is reckoned at an unhurried pace", () => {
  const { said, until } = wordAt([{ at: 0, text: "hello there" }], 2_400, 200);
  assert.deepEqual([said, until], [0, 5]);
});
