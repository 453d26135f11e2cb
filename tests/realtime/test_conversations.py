"""A talk that is kept, a server that is killed in the middle of a sentence, and the talk that goes on afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from engines.chat_servers import Connection
from engines.chat_servers import serving as chat_server
from openai import NotFoundError
from rtc import calling
from serving import Server, serving
from speech import room, speech
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chinwag.audio import WIRE_RATE, Audio

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]

LONG = "Once there was a tall giraffe who lived beside the sea. " * 30
PATIENCE_S = 60


async def model(asked: Connection) -> None:
    """Tells a long story, whatever it is asked."""
    if asked.method == "GET":
        await asked.answer({"object": "list", "data": [{"id": "any", "object": "model"}]})
        return
    await asked.begin("text/event-stream")
    for word in LONG.split():
        await asked.piece(f'data: {{"choices": [{{"delta": {{"content": "{word} "}}}}]}}\n\n'.encode())
    await asked.piece(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
    await asked.end()


def running(folder: Path, model_at: str) -> AbstractContextManager[Server]:
    kept = {"CHINWAG_STORE__KEEP": "asked", "CHINWAG_STORE__FOLDER": str(folder), "CHINWAG_STORE__AUDIO": "true"}
    return serving("--llm", "openai", "--llm-base-url", f"{model_at}/v1", "--llm-model", "any", env=kept)


async def asked(server: Server, path: str = "", **parameters: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url.replace("localhost", "127.0.0.1")) as client:
        return (await client.get("/api/conversations" + path, params=parameters)).raise_for_status()


class Talk:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event: dict[str, Any] = json.loads(await self.socket.recv())
                self.told.append(event)
                if event["type"] == kind:
                    return event

    async def say(self, sound: Audio) -> None:
        """Speak, as a microphone sends it."""
        pcm, piece = sound.to_pcm16(), WIRE_RATE // 50 * 2
        for start in range(0, len(pcm), piece):
            audio = base64.b64encode(pcm[start : start + piece]).decode()
            await self.send("input_audio_buffer.append", audio=audio)
            await asyncio.sleep(0.02)

    async def type_in(self, text: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create")


def talking(server: Server, conversation: str) -> connect:
    return connect(f"{server.realtime}?chinwag=events&conversation={conversation}", max_size=None)


async def test_killed_in_the_middle_of_a_sentence_it_goes_on_with_its_memory(tmp_path: Path) -> None:
    async with chat_server(model) as chat:
        with running(tmp_path, chat.address) as server:
            await asyncio.to_thread(server.wait, "ready")
            async with talking(server, "new") as socket:
                talk = Talk(socket)
                one = (await talk.until("chinwag.conversation"))["conversation"]
                assert one["kept"]
                await talk.say(speech("My cat is called Tiger."))
                await talk.say(room(2))
                transcript = (await talk.until("conversation.item.input_audio_transcription.completed"))["transcript"]
                assert "cat" in transcript.lower()
                await talk.until("response.output_audio.delta")
                began = time.monotonic()
                heard = asyncio.create_task(talk.until("response.done"))
                await asyncio.sleep(4)
                seconds = time.monotonic() - began
                server.process.kill()
                with pytest.raises(ConnectionClosed):
                    await heard
        with running(tmp_path, chat.address) as server:
            (kept,) = (await asked(server, q="giraffe")).json()["data"]
            assert kept["id"] == one["id"]
            assert kept["title"].rstrip(".") == transcript.rstrip(".,")
            you, answer = (await asked(server, f"/{one['id']}")).json()["items"]
            assert (you["text"], you["spoken"], you["whole"]) == (transcript, True, True)
            assert LONG.startswith(answer["text"])
            assert not answer["whole"]
            words = len(answer["text"].split())
            assert 1.5 * (seconds - 1.5) < words < 5 * (seconds + 1), f"{words} words in {seconds:.1f} s"
            assert (await asked(server, f"/{one['id']}/export", format="wav")).content[:4] == b"RIFF"

            await asyncio.to_thread(server.wait, "ready")
            async with talking(server, one["id"]) as socket:
                talk = Talk(socket)
                assert (await talk.until("chinwag.conversation"))["conversation"]["title"] == kept["title"]
                for item in (you, answer):
                    added = (await talk.until("conversation.item.added"))["item"]
                    assert (added["id"], added["content"][0]["transcript"]) == (item["id"], item["text"])
                await talk.type_in("What did I say?")
                await talk.until("response.output_audio.delta")
                said = [(part["role"], part["content"]) for part in chat.asked[-1].body["messages"]][1:]
                assert said == [("user", transcript), ("assistant", answer["text"]), ("user", "What did I say?")]

                async with talking(server, one["id"]) as elsewhere:  # it goes on there, and ends here
                    await Talk(elsewhere).until("chinwag.conversation")
                    assert (await talk.until("error"))["error"]["code"] == "conversation_taken_over"
                    with pytest.raises(ConnectionClosed):
                        await talk.until("nothing more")

            async with talking(server, one["id"]) as away:
                token = (await Talk(away).until("chinwag.session.resumable"))["resume"]
                away.transport.abort()
            async with talking(server, one["id"]) as elsewhere:
                await Talk(elsewhere).until("chinwag.conversation")
                async with connect(f"{server.realtime}?chinwag=events&resume={token}&after=1") as back:
                    assert (await Talk(back).until("error"))["error"]["code"] == "conversation_taken_over"
                assert (await Talk(elsewhere).until("chinwag.session.resumable"))["resume"] != token, "it goes on here"

            over_webrtc = {"chinwag": "events", "conversation": one["id"]}
            async with calling(server.realtime, query=over_webrtc) as caller:
                await caller.until("conversation.item.added", 2)
                told = [
                    event["item"]["content"][0]["transcript"] for event in caller.all("conversation.item.added")[:2]
                ]
                assert told == [transcript, answer["text"]]
                assert caller.kinds()[:2] == ["session.created", "chinwag.conversation"]
            with pytest.raises(NotFoundError, match="no conversation"):
                async with calling(server.realtime, query={"conversation": "conv_" + "0" * 20}):
                    pass

            async with talking(server, "conv_" + "0" * 20) as socket:
                talk = Talk(socket)
                assert (await talk.until("error"))["error"]["code"] == "conversation_not_found"
                assert len(talk.told) == 1, "before anything else"
                with pytest.raises(ConnectionClosed):
                    await talk.until("nothing more")

            async with connect(f"{server.realtime}") as socket:  # a stock client, which asks for nothing
                talk = Talk(socket)
                await talk.type_in("Hello.")
                await talk.until("response.created")
            await asyncio.sleep(1)
            assert len((await asked(server)).json()["data"]) == 1
