// Helpers for the page's elements.

/**
 * The element of that id in index.html; its kind is known to the caller.
 *
 * @param {string} id
 * @returns {any}
 */
export const find = (id) => document.getElementById(id);

/**
 * Makes an element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/**
 * Makes a button.
 *
 * @param {string} label
 * @param {() => unknown} onclick
 * @param {string} [className]
 */
export function button(label, onclick, className = "") {
  const element = make("button", className, label);
  element.type = "button";
  element.onclick = onclick;
  return element;
}

/** Makes an option of a select. @param {string} value @param {string} words */
export function option(value, words) {
  const element = make("option", "", words);
  element.value = value;
  return element;
}

/** Sets words that a screen reader says when they change, and only then. @param {Element} element @param {string} words */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** A duration in words. @param {number} ms */
export function seconds(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** Gives a file to the user. @param {string} name @param {string} type of media @param {string} content */
export function download(name, type, content) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
