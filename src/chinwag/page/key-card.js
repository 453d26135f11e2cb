// Asks for the server's key, where it wants one that is not here, and says what is wrong with the one that is.

import { accepted, keep, key } from "./api-key.js";

export class KeyCard {
  #words = null; // what is said of the key; null: none is wanted
  #onChange;

  /** onChange(words): what is to be said; null: nothing is wanted any more. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Whether the server wants a key that is not here. */
  get wanted() {
    return this.#words !== null;
  }

  /** The server has told whether it wants one. */
  required(required) {
    if (required && !key()) this.#ask("");
    else if (!required) this.#ask(null);
  }

  /** Takes a key that was typed, if the server does. */
  async use(value) {
    keep(value);
    if ((await this.check()) === null) this.#ask("The server does not answer. Try again in a moment.");
  }

  /** Whether the key is good as far as we know; a wrong one is forgotten, and asked for again. */
  async check() {
    const good = await accepted();
    if (good === false) {
      keep("");
      this.#ask("The server does not take that key. Look for a missing or an extra character.");
    } else if (good) this.#ask(null);
    return good;
  }

  #ask(words) {
    if (words === "" && this.wanted) return; // what was wrong with the last one stays
    this.#words = words;
    this.#onChange(words);
  }
}
