// Which microphone and which loudspeaker: chosen in a panel, remembered, and what is taken while the chosen one is away.

import { find, option } from "./dom.js";

const KEY = "chinwag.devices";
const SETTLED_MS = 300; // a headset that is plugged in is several devices, one after the other

const KINDS = { audioinput: "microphone", audiooutput: "speaker" };
const DEFAULT = { id: "", label: "" };

export class Devices {
  #handlers;
  #wanted = read(); // by kind: {id, label}, empty for the system's own
  #used = { audioinput: "", audiooutput: "" }; // the deviceIds that go with it
  #listed = { audioinput: [], audiooutput: [] };
  #usual = null; // the group of the system's own microphone
  #timer = null;
  #chooses;

  /**
   * onUse(kind, deviceId): go over to that one; empty for the system's own. onGone(kind, label): the chosen one is away,
   * null: it is there. onChange(): something was plugged in or out. chooses: whether loudspeakers can be chosen here.
   */
  constructor({ onUse, onGone, onChange, chooses }) {
    this.#handlers = { onUse, onGone, onChange };
    this.#chooses = chooses;
    for (const [kind, name] of Object.entries(KINDS)) {
      find(name).onchange = () => this.#choose(kind, find(name).value);
      this.#show(kind);
    }
    find("sound").onclick = () => this.open();
    find("sound-close").onclick = () => find("sound-panel").close();
    navigator.mediaDevices?.addEventListener?.("devicechange", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#changed(), SETTLED_MS);
    });
  }

  /** deviceId to ask for; empty for the system's own. */
  get microphone() {
    return this.#used.audioinput || this.#wanted.audioinput.id;
  }

  get speaker() {
    return this.#used.audiooutput || this.#wanted.audiooutput.id;
  }

  open() {
    find("sound-panel").showModal();
    this.look();
  }

  async #changed() {
    await this.look();
    this.#handlers.onChange();
  }

  /** Looks what there is; browsers name devices only once the microphone was allowed. */
  async look() {
    const all = await navigator.mediaDevices?.enumerateDevices?.().catch(() => null);
    const named = all?.some((one) => one.kind === "audioinput" && one.deviceId) ?? false;
    find("sound-words").textContent = named ? "" : "Press Start first: browsers name the devices once the microphone is allowed.";
    if (!all) return;
    for (const kind of Object.keys(KINDS)) this.#take(kind, all.filter((one) => one.kind === kind && one.deviceId));
  }

  #take(kind, listed) {
    const knew = this.#listed[kind].length > 0;
    this.#listed[kind] = listed;
    if (listed.length === 0 && !knew) return; // not named yet
    const wanted = this.#wanted[kind];
    // Safari makes the ids anew at each visit: the label finds it again
    const found = wanted.id && (listed.find((one) => one.deviceId === wanted.id) ?? listed.find((one) => one.label === wanted.label));
    const used = found ? found.deviceId : "";
    this.#handlers.onGone(kind, wanted.id && !found ? wanted.label : null);
    const moved = kind === "audioinput" && !used && this.#usualMoved(listed);
    if (used !== this.#used[kind] || moved) {
      this.#used[kind] = used;
      this.#handlers.onUse(kind, used);
    }
    this.#show(kind);
  }

  // Chrome lists the system's own device as "default": where another takes its place, an open microphone stays with the old one.
  #usualMoved(listed) {
    const before = this.#usual;
    this.#usual = listed.find((one) => one.deviceId === "default")?.groupId ?? null;
    return before !== null && this.#usual !== null && before !== this.#usual;
  }

  #choose(kind, id) {
    const one = this.#listed[kind].find(({ deviceId }) => deviceId === id);
    this.#wanted[kind] = one ? { id, label: one.label } : DEFAULT;
    write(this.#wanted);
    this.#handlers.onGone(kind, null);
    if (this.#used[kind] === (one ? id : "")) return;
    this.#used[kind] = one ? id : "";
    this.#handlers.onUse(kind, this.#used[kind]);
  }

  #show(kind) {
    const { id, label } = this.#wanted[kind];
    const there = this.#listed[kind].filter(({ deviceId }) => deviceId !== "default" && deviceId !== "communications");
    const options = [option("", "The system's own"), ...there.map((one, index) => option(one.deviceId, one.label || `Number ${index + 1}`))];
    const chosen = this.#used[kind] || id;
    if (chosen && !there.some(({ deviceId }) => deviceId === chosen)) options.push(option(chosen, `${label} (away)`));
    find(KINDS[kind]).replaceChildren(...options);
    find(KINDS[kind]).value = chosen;
    if (kind === "audiooutput") find("speaker-choice").hidden = !this.#chooses || there.length === 0;
  }
}

// Storage may be forbidden: then each visit begins with the system's own.
function read() {
  const nothing = { audioinput: DEFAULT, audiooutput: DEFAULT };
  try {
    return { ...nothing, ...JSON.parse(localStorage.getItem(KEY)) };
  } catch {
    return nothing;
  }
}

function write(wanted) {
  try {
    localStorage.setItem(KEY, JSON.stringify(wanted));
  } catch {}
}
