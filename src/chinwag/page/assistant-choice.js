// The first question of the welcome: who answers. The panel of settings holds the choice, and has the same list.

import { find, make } from "./dom.js";
import { mark } from "./assistant-mark.js";

export class AssistantChoice {
  #onChoose;
  #shown = "";

  /** onChoose(name): they want that assistant. */
  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /** The assistants {name, title, summary} that there are, and the name of the one who answers. One alone is no question. */
  show(assistants, chosen) {
    find("who").hidden = assistants.length < 2;
    const shown = JSON.stringify(assistants);
    if (shown !== this.#shown) find("who-choices").replaceChildren(...assistants.map((one) => this.#card(one)));
    this.#shown = shown;
    for (const input of find("who-choices").querySelectorAll("input")) input.checked = input.value === chosen;
  }

  #card({ name, title, summary }) {
    const label = make("label");
    const input = make("input");
    Object.assign(input, { type: "radio", name: "who", value: name });
    input.onchange = () => this.#onChoose(name);
    const words = make("span");
    words.append(make("span", "title", title), make("span", "summary", summary));
    label.append(input, mark(title), words);
    return label;
  }
}
