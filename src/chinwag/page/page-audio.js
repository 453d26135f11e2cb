// The audio of this page: microphone, loudspeaker, devices and push to talk, and what happens if one of them is taken away.

import { audioSession } from "./audio-context.js";
import { Devices } from "./devices.js";
import { MicrophoneRecovery } from "./microphone-recovery.js";
import { Microphone } from "./microphone.js";
import { PushToTalk } from "./push-to-talk.js";
import { Speaker } from "./speaker.js";
import * as problems from "./problems.js";

export class PageAudio {
  #onProblem;
  #handlers;

  /**
   * onProblem(slot, problem) shows a problem, or clears its slot with null. conversation(): the live one, or null.
   * onFrame(frame) gets the frames for the server, onTrack(track) the track for a WebRTC session.
   * onChange(): something that the page shows has changed. wanted(): whether a session is wanted.
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
      chooses: Speaker.chooses,
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

  /** session: what the system is to think of it, "play-and-record" or "playback". Call it inside a click. */
  openSpeaker(session) {
    if (!this.canPlay) return;
    audioSession(session);
    this.speaker.open().catch((error) => this.#onProblem("sound", problems.soundFailed(error)));
  }

  /** Asks for the microphone; a refusal is told where it is still wanted. */
  async openMicrophone(wanted = () => true) {
    try {
      await this.recovery.open();
    } catch (error) {
      if (wanted()) this.#onProblem("microphone", problems.microphoneRefused(error));
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

  /** The button for what did not come back by itself. */
  async reopenMicrophone() {
    this.#onProblem("microphone", null);
    this.speaker.resume();
    await this.recovery.again();
    this.#handlers.onChange();
  }

  /** The track that a call hears: not while the button of push to talk is up. */
  get track() {
    return this.pushToTalk.open ? this.microphone.track : null;
  }

  sendTrack() {
    this.#handlers.onTrack(this.track);
  }

  #playOn(id) {
    this.speaker.useDevice(id).then(
      () => this.#onProblem("loudspeaker", null),
      (error) => this.#onProblem("loudspeaker", problems.speakerRefused(error)),
    );
  }
}
