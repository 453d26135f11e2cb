// Opens audio contexts, and declares to the system what this page's sound is for.

/** @type {AudioContextOptions} */
const LOW_LATENCY = { latencyHint: "interactive" };

/**
 * Opens an AudioContext of `rate` samples a second; of the sound card's own rate if none is named or the browser refuses it.
 *
 * @param {number | null} rate
 */
export function openContext(rate = null) {
  if (rate === null) return new AudioContext(LOW_LATENCY);
  try {
    // Safari and Chrome resample by themselves, also when a Bluetooth headset changes the card's rate (HFP runs at 8 to 24 kHz).
    return new AudioContext({ ...LOW_LATENCY, sampleRate: rate });
  } catch {
    return new AudioContext(LOW_LATENCY); // 44.1 or 48 kHz as a rule: our worklets resample
  }
}

/**
 * Declares the kind of audio session: "play-and-record" while the microphone is open, "playback" while only answers sound, "auto" afterwards.
 *
 * iOS: without it the ringer's switch silences Web Audio, and an open microphone sends the answer to the earpiece.
 *
 * @param {"play-and-record" | "playback" | "auto"} type
 */
export function audioSession(type) {
  const { audioSession: session } = /** @type {any} */ (navigator); // of Safari
  if (session) session.type = type;
}
