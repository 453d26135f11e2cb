// The choice of an assistant on the welcome screen. The settings panel has the same list, and keeps the choice.

import { find, make } from "./dom.js";
import { mark } from "./assistant-mark.js";

/** As /api/assistants lists it. @typedef {{ name: string, title: string, summary: string }} Assistant */

export class AssistantChoice {
  #onChoose;
  #shown = "";

  /** @param {(name: string) => void} onChoose the user chose the assistant of that name */
  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /** Shows the assistants, unless there is only one. @param {Assistant[]} assistants @param {string | null} chosen name of the current one */
  show(assistants, chosen) {
    find("who").hidden = assistants.length < 2;
    const shown = JSON.stringify(assistants);
    if (shown !== this.#shown) find("who-choices").replaceChildren(...assistants.map((assistant) => this.#card(assistant)));
    this.#shown = shown;
    for (const input of find("who-choices").querySelectorAll("input")) input.checked = input.value === chosen;
  }

  /** @param {Assistant} assistant */
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
