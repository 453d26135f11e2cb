// RealtimeSession of `@openai/agents`, over WebSocket.

import { tool } from '@openai/agents';
import { RealtimeAgent, RealtimeSession } from '@openai/agents/realtime';
import { Microphone, Record, main } from './caller.mjs';

async function connect(url, config = {}, tools = []) {
  const agent = new RealtimeAgent({ name: 'assistant', instructions: 'Answer briefly.', tools });
  const session = new RealtimeSession(agent, { transport: 'websocket', model: 'chinwag', config });
  const record = new Record();
  session.transport.on('*', (event) => record.take(event));
  session.on('error', () => {}); // what the server refuses is among the events
  await session.connect({ apiKey: 'none', url });
  await record.until('session.updated');
  return { session, record };
}

const sends = (session) => (frame) => session.sendAudio(frame.buffer.slice(frame.byteOffset, frame.byteOffset + frame.length));

await main({
  async text(url) {
    const { session, record } = await connect(url, { outputModalities: ['text'] });
    session.sendMessage('What is the capital of France?');
    const { response } = await record.until('response.done');
    const history = session.history.map((item) => [item.role, item.content[0]?.text ?? item.content[0]?.transcript]);
    session.close();
    return { said: record.said(response), history, errors: record.all('error') };
  },

  async interruption(url, sound) {
    const { session, record } = await connect(url);
    let interrupted = 0;
    session.on('audio_interrupted', () => (interrupted += 1));
    const microphone = new Microphone(sends(session));
    microphone.say(sound('story'));
    const { item_id } = await record.until('response.output_audio.delta', 60);
    microphone.say(sound('france'));
    const { response } = await record.until('response.done');
    const truncated = await record.until('conversation.item.truncated');
    session.transport.sendEvent({ type: 'conversation.item.retrieve', item_id });
    const kept = await record.until('conversation.item.retrieved', 1, (event) => event.item.id === item_id);
    const answered = await record.until('response.done', 2);
    microphone.stop();
    session.close();
    return {
      heard: record.all('conversation.item.input_audio_transcription.completed').map((event) => event.transcript),
      status: response.status,
      reason: response.status_details?.reason,
      interrupted,
      truncated: [truncated.item_id === item_id, truncated.audio_end_ms],
      told: record.said(response),
      seconds: record.seconds(item_id),
      kept: kept.item.content[0].transcript,
      said: record.said(answered.response),
      errors: record.all('error'),
    };
  },

  async tool(url) {
    let asked = null;
    const weather = tool({
      name: 'get_weather',
      description: 'The weather in a city.',
      strict: true,
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false },
      execute: async (given) => {
        asked = given;
        session.transport.sendEvent({ type: 'session.update', session: { type: 'realtime', tool_choice: 'none' } });
        return JSON.stringify({ temperature: 21, sky: 'sunny' });
      },
    });
    const { session, record } = await connect(url, { outputModalities: ['text'], toolChoice: 'required' }, [weather]);
    session.sendMessage('What is the weather in Paris?');
    const spoke = (event) => event.response.output.some((item) => item.type === 'message');
    const { response } = await record.until('response.done', 1, spoke);
    session.close();
    return { asked, said: record.said(response), errors: record.all('error') };
  },

  async push(url, sound) {
    const { session, record } = await connect(url, { audio: { input: { turnDetection: null } } });
    const frame = sound('france');
    session.sendAudio(frame.buffer.slice(frame.byteOffset, frame.byteOffset + frame.length), { commit: true });
    session.transport.requestResponse();
    const { response } = await record.until('response.done');
    session.close();
    return { said: record.said(response), kinds: record.kinds(), errors: record.all('error') };
  },
});
