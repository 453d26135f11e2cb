// Draws the sound that is really there as it goes by: you above the line, the answer below it.

const STEP_MS = 50;
const BAR = 3; // CSS pixels
const GAP = 3;
const QUIETEST_DB = -55;
const LOUDEST_DB = -12; // of speech, by its mean power
const FADE = 0.2; // of the width, at the old end
const FAINTEST = 0.15;

export class Meter {
  #canvas;
  #sources;
  #levels = [];
  #samples = new Float32Array(1024);
  #drawnAt = 0;
  #frame = null;

  /** sources(): {you, answer}, each an AnalyserNode or null. */
  constructor(canvas, sources) {
    this.#canvas = canvas;
    this.#sources = sources;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  start() {
    this.#frame ??= requestAnimationFrame((time) => this.#step(time));
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.#levels = [];
    this.#draw();
  }

  #step(time) {
    this.#frame = requestAnimationFrame((next) => this.#step(next));
    if (time - this.#drawnAt < STEP_MS) return;
    this.#drawnAt = time;
    const { you, answer } = this.#sources();
    this.#levels.push({ you: this.#level(you), answer: this.#level(answer) });
    this.#draw();
  }

  // 0 at the quietest and below, 1 at the loudest and above.
  #level(analyser) {
    if (!analyser) return 0;
    analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    const level = (10 * Math.log10(power + 1e-12) - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB);
    return Math.min(1, Math.max(0, level));
  }

  #draw() {
    const canvas = this.#canvas;
    const ratio = window.devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const bars = Math.floor(width / (BAR + GAP));
    this.#levels = this.#levels.slice(-bars);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const colours = getComputedStyle(canvas);
    const [line, you, answer] = ["--line", "--accent", "--answer"].map((name) => colours.getPropertyValue(name));
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const middle = height / 2;
    const reach = middle - GAP;
    const left = width - bars * (BAR + GAP) + GAP; // the newest bar ends where the dock's other things do
    const bar = (x, from, to, colour) => {
      pen.fillStyle = colour;
      pen.beginPath();
      pen.roundRect(x, from, BAR, to - from, BAR / 2);
      pen.fill();
    };
    for (let place = 0; place < bars; place++) {
      // Where motion is unwelcome every bar shows the level of now, so nothing scrolls by.
      const level = (still ? this.#levels.at(-1) : this.#levels[this.#levels.length - bars + place]) ?? { you: 0, answer: 0 };
      const x = left + place * (BAR + GAP);
      pen.globalAlpha = Math.min(1, FAINTEST + place / (bars * FADE));
      bar(x, middle - BAR / 2, middle + BAR / 2, line);
      if (level.you > 0) bar(x, middle - BAR / 2 - level.you * reach, middle + BAR / 2, you);
      if (level.answer > 0) bar(x, middle - BAR / 2, middle + BAR / 2 + level.answer * reach, answer);
    }
  }
}
