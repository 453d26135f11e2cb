// Draws the sound that is really there: the microphone's and the speaker's level, as it goes by.

const STEP_MS = 50;
const BAR = 3; // CSS pixels
const GAP = 3;
const QUIETEST_DB = -60;

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

  // 0 at -60 dB and below, 1 at full scale.
  #level(analyser) {
    if (!analyser) return 0;
    analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    return Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / QUIETEST_DB);
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
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    for (let bar = 0; bar < bars; bar++) {
      // Where motion is unwelcome every bar shows the level of now, so nothing scrolls by.
      const level = (still ? this.#levels.at(-1) : this.#levels[this.#levels.length - bars + bar]) ?? { you: 0, answer: 0 };
      const loudest = Math.max(level.you, level.answer);
      const tall = Math.max(BAR, loudest * height);
      const who = loudest === 0 ? "--line" : level.answer >= level.you ? "--answer" : "--accent";
      pen.fillStyle = colours.getPropertyValue(who);
      pen.beginPath();
      pen.roundRect(bar * (BAR + GAP), (height - tall) / 2, BAR, tall, BAR / 2);
      pen.fill();
    }
  }
}
