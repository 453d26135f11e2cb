// Draws the sound levels over time: the microphone above the line, the loudspeaker below it.

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
  /** @type {{ you: number, answer: number }[]} */
  #levels = [];
  #samples = new Float32Array(1024);
  #drawnAt = 0;
  /** @type {number | null} */
  #frame = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => { you: AnalyserNode | null, answer: AnalyserNode | null }} sources
   */
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
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.#levels = [];
    this.#draw();
  }

  /** @param {number} time */
  #step(time) {
    this.#frame = requestAnimationFrame((next) => this.#step(next));
    if (time - this.#drawnAt < STEP_MS) return;
    this.#drawnAt = time;
    const { you, answer } = this.#sources();
    this.#levels.push({ you: this.#level(you), answer: this.#level(answer) });
    this.#draw();
  }

  // 0 at the quietest and below, 1 at the loudest and above.
  /** @param {AnalyserNode | null} analyser */
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
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.scale(ratio, ratio);
    const colours = getComputedStyle(canvas);
    const [line, you, answer] = ["--line", "--accent", "--answer"].map((name) => colours.getPropertyValue(name));
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const middle = height / 2;
    const reach = middle - GAP;
    const left = width - bars * (BAR + GAP) + GAP; // the newest bar ends where the dock's other things do
    /** @type {(x: number, from: number, to: number, colour: string) => void} */
    const bar = (x, from, to, colour) => {
      pen.fillStyle = colour;
      pen.beginPath();
      pen.roundRect(x, from, BAR, to - from, BAR / 2);
      pen.fill();
    };
    for (let place = 0; place < bars; place++) {
      // If the user prefers less motion, every bar shows the present level, so nothing scrolls.
      const level = (still ? this.#levels.at(-1) : this.#levels[this.#levels.length - bars + place]) ?? { you: 0, answer: 0 };
      const x = left + place * (BAR + GAP);
      pen.globalAlpha = Math.min(1, FAINTEST + place / (bars * FADE));
      bar(x, middle - BAR / 2, middle + BAR / 2, line);
      if (level.you > 0) bar(x, middle - BAR / 2 - level.you * reach, middle + BAR / 2, you);
      if (level.answer > 0) bar(x, middle - BAR / 2, middle + BAR / 2 + level.answer * reach, answer);
    }
  }
}
