// Small helps for what is shown.

export const find = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

export function button(label, onclick, className = "") {
  const element = make("button", className, label);
  element.type = "button";
  element.onclick = onclick;
  return element;
}

export function option(value, words) {
  const element = make("option", "", words);
  element.value = value;
  return element;
}

/** Words that a screen reader says when they change, and only then. */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function seconds(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** Hands a file to the person. */
export function download(name, type, content) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
