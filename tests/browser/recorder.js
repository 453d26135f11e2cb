// Added to the page by a test: records what goes to the loudspeaker, from the page's own tap.

window.recording = (() => {
  const chunks = [];
  const worklet = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[channel]]) { if (channel) this.port.postMessage(channel.slice()); return true; }
  })`;
  return {
    async start() {
      const { output } = window.__chinwag;
      await output.context.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], { type: "text/javascript" })));
      const recorder = new AudioWorkletNode(output.context, "recorder", { numberOfOutputs: 0 });
      recorder.port.onmessage = ({ data }) => chunks.push(data);
      output.connect(recorder);
    },
    // All of it as PCM16 at 24 kHz, in base64.
    take() {
      const samples = chunks.flatMap((chunk) => Array.from(chunk, (value) => Math.round(value * 32767)));
      const bytes = new Uint8Array(Int16Array.from(samples).buffer);
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      return btoa(text);
    },
  };
})();
