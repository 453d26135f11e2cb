// The mark of an assistant: bars of a voice on a shape, all drawn from the name, so that each name has its own everywhere.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 6; // --mark-0 and on, in tokens.css
const SHAPES = [
  "M16 1a15 15 0 1 1 0 30 15 15 0 1 1 0-30z",
  "M9 1h14a8 8 0 0 1 8 8v14a8 8 0 0 1-8 8H9a8 8 0 0 1-8-8V9a8 8 0 0 1 8-8z",
  "M16 0a4 4 0 0 1 2.8 1.2l12 12a4 4 0 0 1 0 5.6l-12 12a4 4 0 0 1-5.6 0l-12-12a4 4 0 0 1 0-5.6l12-12A4 4 0 0 1 16 0z",
  "M16 1c9 0 15 6 15 15v12a3 3 0 0 1-3 3H16C7 31 1 25 1 16S7 1 16 1z",
];
const SMALLEST = 2.5; // half the height of a bar
const BARS = 4;

/** Draws the mark. Screen readers ignore it, as the name stands beside it. @param {string} name */
export function mark(name) {
  let bits = hash(name);
  const next = (/** @type {number} */ below) => {
    const value = bits % below;
    bits = Math.floor(bits / below);
    return value;
  };
  const element = document.createElementNS(SVG, "svg");
  element.setAttribute("viewBox", "0 0 32 32");
  element.setAttribute("class", "mark");
  element.setAttribute("aria-hidden", "true");
  const shape = path(SHAPES[next(SHAPES.length)], `mark-${next(COLOURS)}`);
  const bars = Array.from({ length: BARS }, (_, bar) => {
    const half = SMALLEST + next(6);
    return `M${9.25 + bar * 4.5} ${16 - half}v${2 * half}`;
  });
  element.append(shape, path(bars.join(""), "sound"));
  return element;
}

/** @param {string} d @param {string} className */
function path(d, className) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("d", d);
  element.setAttribute("class", className);
  return element;
}

/** FNV-1a of 32 bits, then murmur3's finalizer: without it the low bits of similar names are similar. @param {string} text */
function hash(text) {
  let value = 0x811c9dc5;
  for (const letter of text) value = Math.imul(value ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
