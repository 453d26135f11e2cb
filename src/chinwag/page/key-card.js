// Asks for the server's API key if it is missing, and shows what is wrong with a key.

import { accepted, keep, key } from "./api-key.js";

export class KeyCard {
  /** @type {string | null} */
  #words = null; // shown with the field; null: no key is missing
  #onChange;

  /** @param {(words: string | null) => void} onChange gets the words to show with the field; null: hide it */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Whether the server wants a key that is missing. */
  get wanted() {
    return this.#words !== null;
  }

  /** The server's status says whether it requires a key. @param {boolean} required */
  required(required) {
    if (required && !key()) this.#ask("");
    else if (!required) this.#ask(null);
  }

  /** Uses a key that the user typed. @param {string} value */
  async use(value) {
    keep(value);
    if ((await this.check()) === null) this.#ask("The server does not answer. Try again in a moment.");
  }

  /** Whether the server accepts the key, null if it cannot be reached. A wrong key is forgotten, and asked for again. */
  async check() {
    const good = await accepted();
    if (good === false) {
      keep("");
      this.#ask("The server does not take that key. Look for a missing or an extra character.");
    } else if (good) this.#ask(null);
    return good;
  }

  /** @param {string | null} words */
  #ask(words) {
    if (words === "" && this.wanted) return; // what was wrong with the last key stays
    this.#words = words;
    this.#onChange(words);
  }
}
