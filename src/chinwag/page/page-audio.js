// The audio of this page: microphone, loudspeaker, devices and push to talk, and what happens if one of them is taken away.

import { audioSession } from "./audio-context.js";
import { Devices } from "./devices.js";
import { MicrophoneRecovery } from "./microphone-recovery.js";
import { Microphone } from "./microphone.js";
import { PushToTalk } from "./push-to-talk.js";
import { Speaker } from "./speaker.js";
import * as problems from "./problems.js";

/** @import { Conversation } from "./conversation.js" */
/** @import { Problem } from "./problems.js" */

export class PageAudio {
  #onProblem;
  #handlers;

  /**
   * @param {object} handlers
   * @param {(slot: string, problem: Problem | null) => void} handlers.onProblem shows a problem; null clears its slot
   * @param {() => Conversation | null} handlers.conversation the live conversation
   * @param {(frame: ArrayBuffer) => void} handlers.onFrame a frame of the microphone for the server
   * @param {(track: MediaStreamTrack | null) => void} handlers.onTrack the track for a WebRTC connection has changed
   * @param {() => void} handlers.onChange something that the page shows has changed
   * @param {() => boolean} handlers.wanted whether a session is wanted
   */
  constructor({ onProblem, conversation, onFrame, onTrack, onChange, wanted }) {
    this.#onProblem = onProblem;
    this.#handlers = { onTrack, onChange };
    this.microphone = new Microphone({
      onFrame(frame) {
        if (conversation()) for (const ready of pushToTalk.framesToSend(frame)) onFrame(ready);
      },
      onLost() {
        recovery.lost();
        onChange();
      },
      onSilenced: (silenced) => recovery.silenced(silenced),
    });
    this.speaker = new Speaker({
      onPlayed: (item, ms) => conversation()?.played(item, ms),
      onAudible: (item, time) => conversation()?.audible(item, time),
      onDrained: () => conversation()?.drained(),
      onPaused: (paused) => onProblem("sound", paused && wanted() ? problems.soundPaused : null),
    });
    this.devices = new Devices({
      onUse: (kind, id) => (kind === "audioinput" ? recovery.change() : this.#playOn(id)),
      onGone: (kind, label) => onProblem(kind, label && this.microphone.isOpen ? problems.deviceAway(kind, label) : null),
      onChange: () => recovery.pluggedIn(),
      canChooseSpeaker: Speaker.canChoose,
    });
    const recovery = (this.recovery = new MicrophoneRecovery(this.microphone, this.devices, {
      onTrack: () => this.sendTrack(),
      onTaken(error) {
        onProblem("microphone", error.name === "NotAllowedError" ? problems.microphoneRefused(error) : problems.microphoneTaken);
        onChange();
      },
      onSilenced: (silenced) => onProblem("silenced", silenced ? problems.microphoneSilenced : null),
      onBack() {
        onProblem("microphone", null);
        onChange();
      },
    }));
    const pushToTalk = (this.pushToTalk = new PushToTalk({
      onChange: () => {
        if (!pushToTalk.handsFree) this.microphone.muted = false;
        this.sendTrack();
        onChange();
      },
    }));
  }

  /** Whether this browser can play sound here. */
  get canPlay() {
    return window.isSecureContext && Boolean(window.AudioWorkletNode);
  }

  /** Opens the loudspeaker. Call it inside a click. @param {"play-and-record" | "playback"} session kind of audio session for the system */
  openSpeaker(session) {
    if (!this.canPlay) return;
    audioSession(session);
    this.speaker.open().catch((error) => this.#onProblem("sound", problems.soundFailed(error)));
  }

  /** Opens the microphone; shows an error if it is still wanted then. */
  async openMicrophone(wanted = () => true) {
    try {
      await this.recovery.open();
    } catch (error) {
      if (wanted()) this.#onProblem("microphone", problems.microphoneRefused(/** @type {Error} */ (error)));
    }
  }

  close() {
    this.recovery.close();
    this.speaker.close();
    audioSession("auto");
  }

  toggleMute() {
    this.microphone.muted = !this.microphone.muted;
    this.#handlers.onChange();
  }

  /** Opens the microphone again after it was lost, at the press of a button. */
  async reopenMicrophone() {
    this.#onProblem("microphone", null);
    this.speaker.resume();
    await this.recovery.again();
    this.#handlers.onChange();
  }

  /** The track for a WebRTC connection; null while the push-to-talk button is up. */
  get track() {
    return this.pushToTalk.open ? this.microphone.track : null;
  }

  sendTrack() {
    this.#handlers.onTrack(this.track);
  }

  /** @param {string} id of the loudspeaker */
  #playOn(id) {
    this.speaker.useDevice(id).then(
      () => this.#onProblem("loudspeaker", null),
      (error) => this.#onProblem("loudspeaker", problems.speakerRefused(error)),
    );
  }
}
