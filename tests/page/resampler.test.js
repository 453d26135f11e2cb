import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../src/chinwag/page/resampler.js";

const WIRE_RATE = 24_000;

function resample(samples, rate, pieces = 1) {
  const resampler = new Resampler(rate, WIRE_RATE);
  const edge = (piece) => Math.floor((piece * samples.length) / pieces);
  return Array.from({ length: pieces }, (_, piece) => Array.from(resampler.push(samples.subarray(edge(piece), edge(piece + 1))))).flat();
}

function sine(hertz, rate, seconds = 0.5) {
  return Float32Array.from({ length: Math.round(rate * seconds) }, (_, sample) => Math.sin((2 * Math.PI * hertz * sample) / rate));
}

const rms = (samples) => Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);

/** What is left of a signal without its best fit of a sine of that frequency, and that sine's amplitude. */
function withoutSine(samples, hertz) {
  let [cc, ss, cs, xc, xs] = [0, 0, 0, 0, 0];
  const wave = samples.map((_, index) => (2 * Math.PI * hertz * index) / WIRE_RATE).map((phase) => [Math.cos(phase), Math.sin(phase)]);
  samples.forEach((sample, index) => {
    const [c, s] = wave[index];
    (cc += c * c), (ss += s * s), (cs += c * s), (xc += sample * c), (xs += sample * s);
  });
  const determinant = cc * ss - cs * cs;
  const [a, b] = [(xc * ss - xs * cs) / determinant, (xs * cc - xc * cs) / determinant];
  return { amplitude: Math.hypot(a, b), rest: samples.map((sample, index) => sample - a * wave[index][0] - b * wave[index][1]) };
}

for (const rate of [48_000, 44_100, 16_000, 96_000]) {
  test(`from ${rate} Hz, audible frequencies stay and others do not fold back`, () => {
    for (const hertz of [100, 1_000, Math.min(10_000, 0.42 * rate)]) {
      const output = resample(sine(hertz, rate), rate);
      assert.ok(Math.abs(output.length - 12_000) <= 100);
      const inner = output.slice(500, -500);
      const { amplitude, rest } = withoutSine(inner, hertz);
      assert.ok(Math.abs(amplitude - 1) <= 0.02, `${hertz} Hz: amplitude ${amplitude}`);
      assert.ok(rms(rest) < 0.002, `${hertz} Hz: ${rms(rest)} of something else, such as an image or an alias`);
    }
    if (rate > 28_000) {
      const gone = resample(sine(14_000, rate), rate).slice(500, -500);
      // 60 dB down; plain decimation would leave it at 10 kHz
      assert.ok(Math.max(...gone.map(Math.abs)) < 0.001);
    }
  });
}

test("the pieces in which the stream comes do not matter", () => {
  let seed = 1;
  const noise = Float32Array.from({ length: 20_000 }, () => ((seed = (seed * 48271) % 2147483647) / 2147483647) * 2 - 1);
  assert.deepEqual(resample(noise, 44_100, 157), resample(noise, 44_100));
});

test("a reset resampler knows nothing of the stream before", () => {
  const resampler = new Resampler(48_000, WIRE_RATE);
  const input = sine(440, 48_000, 0.1);
  const first = resampler.push(input);
  resampler.reset();
  assert.deepEqual(resampler.push(input), first);
});
