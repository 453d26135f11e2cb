// Audio contexts and the system's idea of what this page's sound is for.

const FOLLOWING = { latencyHint: "interactive" };

/** An AudioContext of `rate` samples a second; of the sound card's own where the browser does not grant that, or none is named. */
export function openContext(rate = null) {
  if (rate === null) return new AudioContext(FOLLOWING);
  try {
    // Safari and Chrome resample by themselves, also when a Bluetooth headset changes the card's rate (HFP runs at 8 to 24 kHz).
    return new AudioContext({ ...FOLLOWING, sampleRate: rate });
  } catch {
    return new AudioContext(FOLLOWING); // 44.1 or 48 kHz as a rule: our worklets resample
  }
}

/**
 * "play-and-record" while the microphone is open, "playback" while only answers sound, "auto" afterwards.
 *
 * iOS: without it the ringer's switch silences Web Audio, and an open microphone sends the answer to the earpiece.
 */
export function audioSession(type) {
  if (navigator.audioSession) navigator.audioSession.type = type;
}
