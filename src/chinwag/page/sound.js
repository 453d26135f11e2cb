// The sound of this page: microphone, loudspeaker, the devices, the way to talk, and what to do when one of them is taken away.

import { audioSession } from "./audio-context.js";
import { Devices } from "./devices.js";
import { Keeper } from "./keeper.js";
import { Microphone } from "./microphone.js";
import { PushToTalk } from "./push-to-talk.js";
import { Speaker } from "./speaker.js";
import * as troubles from "./troubles.js";

export class Sound {
  #trouble;
  #handlers;

  /**
   * trouble(slot, trouble) shows one; conversation(): the one that is held, or null. onFrame(frame) what the server is to hear,
   * onTrack(track) by which track a call hears, onChange() what can be seen of it, wanted(): whether anything is to sound.
   */
  constructor({ trouble, conversation, onFrame, onTrack, onChange, wanted }) {
    this.#trouble = trouble;
    this.#handlers = { onTrack, onChange };
    this.microphone = new Microphone({
      onFrame(frame) {
        if (conversation()) for (const one of talk.frames(frame)) onFrame(one);
      },
      onLost() {
        keeper.lost();
        onChange();
      },
      onSilenced: (silenced) => keeper.silenced(silenced),
    });
    this.speaker = new Speaker({
      onPlayed: (item, ms) => conversation()?.played(item, ms),
      onAudible: (item, time) => conversation()?.audible(item, time),
      onDrained: () => conversation()?.drained(),
      onPaused: (paused) => trouble("sound", paused && wanted() ? troubles.soundPaused : null),
    });
    this.devices = new Devices({
      onUse: (kind, id) => (kind === "audioinput" ? keeper.change() : this.#playOn(id)),
      onGone: (kind, label) => trouble(kind, label && this.microphone.isOpen ? troubles.deviceAway(kind, label) : null),
      onChange: () => keeper.pluggedIn(),
      chooses: Speaker.chooses,
    });
    const keeper = (this.keeper = new Keeper(this.microphone, this.devices, {
      onTrack: () => this.giveTrack(),
      onTaken(error) {
        trouble("microphone", error.name === "NotAllowedError" ? troubles.microphoneRefused(error) : troubles.microphoneTaken);
        onChange();
      },
      onSilenced: (silenced) => trouble("silenced", silenced ? troubles.microphoneSilenced : null),
      onBack() {
        trouble("microphone", null);
        onChange();
      },
    }));
    const talk = (this.talk = new PushToTalk({
      onChange: () => {
        if (!talk.handsFree) this.microphone.muted = false;
        this.giveTrack();
        onChange();
      },
    }));
  }

  static get canPlay() {
    return window.isSecureContext && Boolean(window.AudioWorkletNode);
  }

  /** session: what the system is to think of it, "play-and-record" or "playback". Call it inside a click. */
  openSpeaker(session) {
    if (!Sound.canPlay) return;
    audioSession(session);
    this.speaker.open().catch((error) => this.#trouble("sound", troubles.soundFailed(error)));
  }

  /** Asks for the microphone; a refusal is told where it is still wanted. */
  async openMicrophone(wanted = () => true) {
    try {
      await this.keeper.open();
    } catch (error) {
      if (wanted()) this.#trouble("microphone", troubles.microphoneRefused(error));
    }
  }

  close() {
    this.keeper.close();
    this.speaker.close();
    audioSession("auto");
  }

  mute() {
    this.microphone.muted = !this.microphone.muted;
    this.#handlers.onChange();
  }

  /** The button for what did not come back by itself. */
  async hearAgain() {
    this.#trouble("microphone", null);
    this.speaker.resume();
    await this.keeper.again();
    this.#handlers.onChange();
  }

  /** The track that a call hears: not while the button of push to talk is up. */
  get track() {
    return this.talk.open ? this.microphone.track : null;
  }

  giveTrack() {
    this.#handlers.onTrack(this.track);
  }

  #playOn(id) {
    this.speaker.useDevice(id).then(
      () => this.#trouble("loudspeaker", null),
      (error) => this.#trouble("loudspeaker", troubles.speakerRefused(error)),
    );
  }
}
