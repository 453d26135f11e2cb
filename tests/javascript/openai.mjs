// The `openai` package's Realtime client. It writes wss:// whatever it is given, so its TCP connection is made here.

import net from 'node:net';
import { OpenAI } from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { Microphone, Record, main } from './caller.mjs';

async function connect(url, props = { model: 'chinwag' }) {
  const client = new OpenAI({ apiKey: 'none', baseURL: url.replace(/^ws/, 'http').replace(/\/realtime$/, '') });
  const createConnection = ({ host, port }) => net.connect({ host, port });
  const realtime = new OpenAIRealtimeWS({ ...props, options: { createConnection } }, client);
  const record = new Record();
  realtime.on('event', (event) => record.take(event));
  realtime.on('error', () => {}); // what the server refuses is among the events
  await record.until('session.created');
  return { realtime, record, send: (event) => realtime.send(event) };
}

const append = (send) => (frame) => send({ type: 'input_audio_buffer.append', audio: frame.toString('base64') });

const item = (text) => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });

await main({
  async text(url) {
    const { realtime, record, send } = await connect(url);
    send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'] } });
    send({ type: 'conversation.item.create', item: item('What is the capital of France?') });
    send({ type: 'response.create' });
    const { response } = await record.until('response.done');
    send({
      type: 'response.create',
      response: { conversation: 'none', input: [item('What is the capital of Italy?')], metadata: { aside: 'yes' } },
    });
    const aside = await record.until('response.done', 2);
    realtime.close();
    return {
      said: record.said(response),
      aside: record.said(aside.response),
      metadata: aside.response.metadata,
      errors: record.all('error'),
    };
  },

  async interruption(url, sound) {
    const { realtime, record, send } = await connect(url);
    const microphone = new Microphone(append(send));
    microphone.say(sound('story'));
    const { item_id } = await record.until('response.output_audio.delta', 60);
    microphone.say(sound('france'));
    const { response } = await record.until('response.done');
    const seconds = record.seconds(item_id);
    send({ type: 'conversation.item.truncate', item_id, content_index: 0, audio_end_ms: 1000 });
    await record.until('conversation.item.truncated');
    send({ type: 'conversation.item.retrieve', item_id });
    const kept = await record.until('conversation.item.retrieved');
    const answered = await record.until('response.done', 2);
    microphone.stop();
    realtime.close();
    return {
      heard: record.all('conversation.item.input_audio_transcription.completed').map((event) => event.transcript),
      status: response.status,
      reason: response.status_details?.reason,
      told: record.said(response),
      seconds,
      kept: kept.item.content[0].transcript,
      said: record.said(answered.response),
      errors: record.all('error'),
    };
  },

  async tool(url) {
    const { realtime, record, send } = await connect(url);
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
    const tool = { type: 'function', name: 'get_weather', description: 'The weather in a city.', parameters };
    send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'], tools: [tool] } });
    send({ type: 'conversation.item.create', item: item('What is the weather in Paris?') });
    send({ type: 'response.create', response: { tool_choice: { type: 'function', name: 'get_weather' } } });
    const { response } = await record.until('response.done');
    const [call] = response.output;
    const output = JSON.stringify({ temperature: 21, sky: 'sunny' });
    send({ type: 'conversation.item.create', item: { type: 'function_call_output', call_id: call.call_id, output } });
    send({ type: 'response.create', response: { tool_choice: 'none' } });
    const answer = await record.until('response.done', 2);
    realtime.close();
    return { asked: JSON.parse(call.arguments), said: record.said(answer.response), errors: record.all('error') };
  },

  async push(url, sound) {
    const { realtime, record, send } = await connect(url);
    send({ type: 'session.update', session: { type: 'realtime', audio: { input: { turn_detection: null } } } });
    await record.until('session.updated');
    append(send)(sound('france'));
    send({ type: 'input_audio_buffer.commit' });
    send({ type: 'response.create' });
    const { response } = await record.until('response.done');
    realtime.close();
    return { said: record.said(response), kinds: record.kinds(), errors: record.all('error') };
  },

  async transcription(url, sound) {
    const { realtime, record, send } = await connect(url, { intent: 'transcription' });
    const microphone = new Microphone(append(send));
    microphone.say(sound('france'));
    const heard = await record.until('conversation.item.input_audio_transcription.completed');
    send({ type: 'response.create' });
    const refused = await record.until('error');
    microphone.stop();
    realtime.close();
    const { session } = record.events[0];
    return { heard: heard.transcript, type: session.type, refused: refused.error.message, kinds: record.kinds() };
  },
});
