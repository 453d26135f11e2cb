// What both clients need: a microphone that is never off, and a record of what was told.

import { readFileSync } from 'node:fs';

const FRAME = 960; // bytes of PCM16 in 20 ms at 24 kHz

/** Sends sound at real speed; send takes a Buffer of PCM16. */
export class Microphone {
  constructor(send) {
    this.waiting = Buffer.alloc(0);
    const began = performance.now();
    let sent = 0;
    this.timer = setInterval(() => {
      for (; sent * 20 < performance.now() - began; sent += 1) {
        const frame = Buffer.alloc(FRAME);
        this.waiting.copy(frame, 0, 0, FRAME);
        this.waiting = this.waiting.subarray(FRAME);
        send(frame);
      }
    }, 10);
  }

  say(sound) {
    this.waiting = Buffer.concat([this.waiting, sound]);
  }

  stop() {
    clearInterval(this.timer);
  }
}

/** The server's events, and a wait for the one that is wanted. */
export class Record {
  events = [];
  #waiting = [];

  take(event) {
    this.events.push(event);
    this.#waiting = this.#waiting.filter((look) => !look());
  }

  all(type) {
    return this.events.filter((event) => event.type === type);
  }

  until(type, times = 1, where = () => true) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no ${type} (${times}); told ${this.kinds()}`)), 40_000);
      const look = () => {
        const found = this.all(type).filter(where);
        if (found.length < times) return false;
        clearTimeout(late);
        resolve(found[times - 1]);
        return true;
      };
      if (!look()) this.#waiting.push(look);
    });
  }

  kinds() {
    return this.events.map((event) => event.type).filter((type, place, all) => type !== all[place - 1]);
  }

  said(response) {
    return response.output.flatMap((item) => item.content ?? []).map((part) => part.transcript ?? part.text).join(' ');
  }

  seconds(itemId) {
    const deltas = this.all('response.output_audio.delta').filter((event) => event.item_id === itemId);
    return deltas.reduce((bytes, event) => bytes + Buffer.from(event.delta, 'base64').length, 0) / 48_000;
  }
}

/** Runs `scenarios[name]` of the command line: node <script> <scenario> <url> <folder of sounds>. */
export async function main(scenarios) {
  const [name, url, folder] = process.argv.slice(2);
  const sound = (file) => readFileSync(`${folder}/${file}.pcm`);
  const result = await scenarios[name](url, sound);
  process.stdout.write(JSON.stringify(result), () => process.exit(0));
}
