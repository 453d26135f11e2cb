// What can go wrong on this page, in words, each with a way out.

/** @import { ProtocolError } from "./protocol.js" */

/** action: label of a button, and which action of the View it calls. @typedef {{ title: string, help: string, action?: [string, string] }} Problem */

const TYPE_INSTEAD = "You can type meanwhile.";

/** Why this page cannot ask for the microphone at all; null if it can. @returns {Problem | null} */
export function withoutMicrophone() {
  if (!window.isSecureContext) return notSecure(location);
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    return {
      title: "This browser cannot talk",
      help: `It lacks AudioWorklet or microphone access. Use a current Chrome, Edge, Firefox or Safari. ${TYPE_INSTEAD}`,
    };
  }
  return null;
}

/** @param {Location} location */
function notSecure({ hostname, port }) {
  const local = `http://localhost${port ? `:${port}` : ""}`;
  return {
    title: "The microphone needs a secure address",
    help:
      `Browsers allow it only on localhost or over HTTPS, and this page came from ${hostname} without. ` +
      `On the server's own machine, open ${local}. From another machine, run ` +
      `“ssh -L ${port || 80}:localhost:${port || 80} ${hostname}” and open ${local} there, ` +
      `or put the server behind HTTPS. ${TYPE_INSTEAD}`,
  };
}

/** What getUserMedia's error means. @param {Error} error @returns {Problem} */
export function microphoneRefused(error) {
  /** @type {[string, string]} */
  const again = ["Try again", "start"];
  switch (error.name) {
    case "NotAllowedError":
      if (/system/i.test(error.message)) {
        return {
          title: "Your system keeps the microphone from this browser",
          help: `Open your system's privacy settings, allow this browser to use the microphone, and try again. ${TYPE_INSTEAD}`,
          action: again,
        };
      }
      return {
        title: "The microphone is not allowed",
        help: `Click the icon left of the address, set Microphone to “Allow”, and try again. ${TYPE_INSTEAD}`,
        action: again,
      };
    case "NotFoundError":
    case "OverconstrainedError":
      return { title: "No microphone was found", help: `Plug one in, or switch it on, and try again. ${TYPE_INSTEAD}`, action: again };
    case "NotReadableError":
    case "AbortError":
      return {
        title: "The microphone is in use",
        help: `Another program holds it, or its driver failed. Close that program, or plug the microphone in anew, and try again. ${TYPE_INSTEAD}`,
        action: again,
      };
    case "SecurityError":
      return { title: "This page may not use a microphone", help: `A setting of this browser or of the page around this one forbids it. Open the page in a tab of its own. ${TYPE_INSTEAD}` };
    default:
      return { title: "The microphone could not be opened", help: `${error.message || error.name}. ${TYPE_INSTEAD}`, action: again };
  }
}

/** @type {Problem} */
export const microphoneTaken = {
  title: "The microphone is gone",
  help: "It was unplugged, or another app or a call has it. It comes back by itself when it is there again; type meanwhile.",
  action: ["Use the microphone again", "reopenMicrophone"],
};

/** @type {Problem} */
export const microphoneSilenced = {
  title: "Your system has muted the microphone",
  help: "Look for a mute key on the keyboard or headset, or end the call that uses it. It comes back by itself.",
  action: ["Use the microphone again", "reopenMicrophone"],
};

/** The chosen device is not connected. @param {string} kind "audioinput" or "audiooutput" @param {string} label */
export function deviceAway(kind, label) {
  const name = kind === "audioinput" ? "microphone" : "loudspeaker";
  return { title: `“${label}” is not there`, help: `The system's own ${name} is used meanwhile. The chosen one is taken again as soon as it is back.` };
}

/** The chosen loudspeaker cannot be used. @param {Error} error */
export function speakerRefused(error) {
  return { title: "That loudspeaker cannot be used", help: `${error.message || error.name}. Choose another one under Sound.` };
}

/** @type {Problem} */
export const soundPaused = {
  title: "The browser has paused all sound",
  help: "This happens after a phone call or when another app takes over.",
  action: ["Turn sound on", "resumeSound"],
};

/** The browser cannot play sound; typing and reading still work. @param {Error} error */
export function soundFailed(error) {
  return { title: "Sound cannot be played", help: `${error.message || error.name}. Answers are shown as text. Check that a loudspeaker is there, then stop and start again.` };
}

/** @type {Problem} */
export const unreachable = {
  title: "The server does not answer",
  help: "Check that “chinwag serve” is running on its machine and that you are on the same network.",
  action: ["Try now", "retry"],
};

/** The connection broke; the server keeps the session for this page. @type {Problem} */
export const comingBack = {
  title: "The connection was lost",
  help: "Finding the way back. Go on talking: what you say meanwhile is kept, and the answer goes on where it was.",
  action: ["Try now", "retry"],
};

/** @type {Problem} */
export const dropped = {
  title: "The connection was lost",
  help: "The server has forgotten this conversation: what was said stays on this page, but the AI will not remember it.",
  action: ["Try now", "retry"],
};

/** @type {Problem} */
export const savedOnServer = {
  title: "The connection was lost",
  help: "Connecting again. The server has kept this conversation, and goes on with it.",
  action: ["Try now", "retry"],
};

/** @type {Problem} */
export const takenOver = {
  title: "The conversation goes on elsewhere",
  help: "It was opened in another window or on another device. Open it under Conversations to have it here again.",
};

/** @type {Problem} */
export const stuck = {
  title: "The network is too slow",
  help: "Three seconds of sound could not be sent, so the connection is made anew.",
  action: ["Try now", "retry"],
};

/** @type {Problem} */
export const restarting = {
  title: "The server is restarting",
  help: "The connection is made again by itself as soon as it is back.",
  action: ["Try now", "retry"],
};

/** Why the server refused the session. @param {ProtocolError} refusal @returns {Problem} */
export function refused({ code, message, place }) {
  if (code === "draining" || code === "server_restarting") return restarting;
  if (code === "server_full" && place) {
    const before = place === 1 ? "You are next." : `${place - 1} ${place === 2 ? "is" : "are"} before you.`;
    return {
      title: "Everybody is talking",
      help: `${before} You come in by yourself when it is your turn: leave this page open.`,
      action: ["Try now", "retry"],
    };
  }
  if (code === "server_full") return { title: "Everybody is talking", help: message ?? "", action: ["Try now", "retry"] };
  if (code === "not_ready") return { title: "The server is not ready yet", help: message ?? "", action: ["Try now", "retry"] };
  return { title: "The server refused", help: message ?? "", action: ["Try now", "retry"] };
}

/** The `error` of /api/status. @param {{ message: string, fix: string }} error @returns {Problem} */
export function serverFailed({ message, fix }) {
  return { title: "The server could not get ready", help: `${message} ${fix}`.trim(), action: ["Look again", "checkServer"] };
}

/** An `error` event, or the error of a failed response. @param {ProtocolError} error @returns {Problem} */
export function inSession({ message, offer }) {
  return {
    title: "That did not work",
    help: `${message || "The server gave no reason."} The conversation goes on: say it again, or type it.`,
    ...(offer ? { action: [offer.label, "acceptOffer"] } : {}),
  };
}
