// The choice of microphone and loudspeaker: made in a panel, remembered, and replaced by the default while the device is not connected.

import { find, option } from "./dom.js";

const KEY = "chinwag.devices";
const SETTLED_MS = 300; // a headset appears as several devices, one after the other

/** @type {Record<Kind, string>} ids of the fields */
const KINDS = { audioinput: "microphone", audiooutput: "speaker" };
/** @type {Choice} */
const DEFAULT = { id: "", label: "" };

/** @typedef {"audioinput" | "audiooutput"} Kind */

/** A chosen device; empty for the system's default. @typedef {{ id: string, label: string }} Choice */

export class Devices {
  #handlers;
  #wanted = read();
  /** @type {Record<Kind, string>} the deviceIds in use */
  #used = { audioinput: "", audiooutput: "" };
  /** @type {Record<Kind, MediaDeviceInfo[]>} */
  #listed = { audioinput: [], audiooutput: [] };
  /** @type {string | null} the group of the system's default microphone */
  #defaultGroup = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #canChooseSpeaker;

  /**
   * @param {object} options
   * @param {(kind: Kind, deviceId: string) => void} options.onUse change to that device; empty for the system's default
   * @param {(kind: Kind, label: string | null) => void} options.onGone the chosen device is not connected; null: it is
   * @param {() => void} options.onChange a device was connected or removed
   * @param {boolean} options.canChooseSpeaker whether this browser lets the page choose the loudspeaker
   */
  constructor({ onUse, onGone, onChange, canChooseSpeaker }) {
    this.#handlers = { onUse, onGone, onChange };
    this.#canChooseSpeaker = canChooseSpeaker;
    for (const [kind, name] of /** @type {[Kind, string][]} */ (Object.entries(KINDS))) {
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

  /** deviceId to open; empty for the system's default. */
  get microphone() {
    return this.#used.audioinput || this.#wanted.audioinput.id;
  }

  get speaker() {
    return this.#used.audiooutput || this.#wanted.audiooutput.id;
  }

  open() {
    find("sound-panel").showModal();
    this.list();
  }

  async #changed() {
    await this.list();
    this.#handlers.onChange();
  }

  /** Lists the devices; browsers name them only after the microphone was allowed. */
  async list() {
    const all = await navigator.mediaDevices?.enumerateDevices?.().catch(() => /** @type {null} */ (null));
    const named = all?.some((device) => device.kind === "audioinput" && device.deviceId) ?? false;
    find("sound-words").textContent = named ? "" : "Press Start first: browsers name the devices once the microphone is allowed.";
    if (!all) return;
    for (const kind of /** @type {Kind[]} */ (Object.keys(KINDS))) this.#onListed(kind, all.filter((device) => device.kind === kind && device.deviceId));
  }

  /** @param {Kind} kind @param {MediaDeviceInfo[]} listed */
  #onListed(kind, listed) {
    const knew = this.#listed[kind].length > 0;
    this.#listed[kind] = listed;
    if (listed.length === 0 && !knew) return; // not named yet
    const wanted = this.#wanted[kind];
    // Safari makes new ids at each visit: the label identifies the device
    const found = wanted.id && (listed.find(({ deviceId }) => deviceId === wanted.id) ?? listed.find(({ label }) => label === wanted.label));
    const used = found ? found.deviceId : "";
    this.#handlers.onGone(kind, wanted.id && !found ? wanted.label : null);
    const moved = kind === "audioinput" && !used && this.#defaultChanged(listed);
    if (used !== this.#used[kind] || moved) {
      this.#used[kind] = used;
      this.#handlers.onUse(kind, used);
    }
    this.#show(kind);
  }

  // Chrome lists the system's default as "default". If that changes, an open microphone stays with the old device.
  /** @param {MediaDeviceInfo[]} listed */
  #defaultChanged(listed) {
    const before = this.#defaultGroup;
    this.#defaultGroup = listed.find(({ deviceId }) => deviceId === "default")?.groupId ?? null;
    return before !== null && this.#defaultGroup !== null && before !== this.#defaultGroup;
  }

  /** @param {Kind} kind @param {string} id */
  #choose(kind, id) {
    const device = this.#listed[kind].find(({ deviceId }) => deviceId === id);
    this.#wanted[kind] = device ? { id, label: device.label } : DEFAULT;
    write(this.#wanted);
    this.#handlers.onGone(kind, null);
    if (this.#used[kind] === (device ? id : "")) return;
    this.#used[kind] = device ? id : "";
    this.#handlers.onUse(kind, this.#used[kind]);
  }

  /** @param {Kind} kind */
  #show(kind) {
    const { id, label } = this.#wanted[kind];
    const connected = this.#listed[kind].filter(({ deviceId }) => deviceId !== "default" && deviceId !== "communications");
    const options = [option("", "The system's own"), ...connected.map((device, index) => option(device.deviceId, device.label || `Number ${index + 1}`))];
    const chosen = this.#used[kind] || id;
    if (chosen && !connected.some(({ deviceId }) => deviceId === chosen)) options.push(option(chosen, `${label} (away)`));
    find(KINDS[kind]).replaceChildren(...options);
    find(KINDS[kind]).value = chosen;
    if (kind === "audiooutput") find("speaker-choice").hidden = !this.#canChooseSpeaker || connected.length === 0;
  }
}

// Storage may be forbidden: then each visit begins with the system's defaults.
/** @returns {Record<Kind, Choice>} */
function read() {
  const nothing = { audioinput: DEFAULT, audiooutput: DEFAULT };
  try {
    return { ...nothing, ...JSON.parse(localStorage.getItem(KEY) ?? "null") };
  } catch {
    return nothing;
  }
}

/** @param {Record<Kind, Choice>} wanted */
function write(wanted) {
  try {
    localStorage.setItem(KEY, JSON.stringify(wanted));
  } catch {}
}
