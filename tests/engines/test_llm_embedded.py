"""The embedded model: the real one, in its real server."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from difflib import SequenceMatcher
from pathlib import Path

import httpx
import psutil
import pytest
from engines.contract import loaded, options, watched

from chinwag.bench.metrics import words
from chinwag.config import LlmSettings
from chinwag.engines.llm import embedded
from chinwag.engines.llm.embedded import EmbeddedChat
from chinwag.engines.llm.endings import ASKED
from chinwag.engines.protocols import Delta, EngineOptions, Message, Usage
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

SYSTEM: Message = {
    "role": "system",
    "content": "You are a friendly companion in a spoken conversation. Answer in one short sentence, in plain words.",
}


def asks(text: str) -> Message:
    return {"role": "user", "content": text}


PARIS = [SYSTEM, asks("What is the capital of France?")]
STORY = [asks("Tell me a long story about the sea and an old ship.")]


async def answer(chat: EmbeddedChat, messages: Sequence[Message], key: str = "", limit: int = 40) -> tuple[str, Usage]:
    said: list[Delta] = []
    began = time.perf_counter()
    first = 0.0
    async with aclosing(chat.chat(messages, cache_key=key, max_tokens=limit)) as deltas:
        async for delta in deltas:
            first = first or time.perf_counter() - began
            said.append(delta)
    usage = said[-1].usage
    assert usage is not None
    rate = usage.output_tokens / max(time.perf_counter() - began - first, 1e-3)
    found = f"{usage.cached_tokens}/{usage.input_tokens} cached"
    print(f"embedded: first token {first * 1e3:.0f} ms, {found}, {rate:.0f} tok/s")
    return "".join(delta.text for delta in said), usage


async def _rest(deltas: AsyncGenerator[Delta, None]) -> list[Delta]:
    return [delta async for delta in deltas]


async def busy_slots(chat: EmbeddedChat) -> int:
    slots = (await chat._http.get("/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def test_it_answers_and_finds_its_prompt_again() -> None:
    async with watched("embedded, loading"), loaded(EmbeddedChat, LlmSettings(temperature=0, slots=2)) as chat:
        assert chat.model == "qwen2.5-coder-0.5b"
        child = psutil.Process(chat._server.pid)
        async with watched("embedded"):
            text, cold = await answer(chat, PARIS, "one")
            assert "Paris" in text
            assert cold.cached_tokens == 0
            later = [*PARIS, {"role": "assistant", "content": text}, asks("And of Italy?")]
            _, warm = await answer(chat, later, "one")  # type: ignore[arg-type]
        assert warm.cached_tokens >= cold.input_tokens
        print(f"embedded: {child.memory_info().rss / 1e6:.0f} MB in its process")
        assert (await answer(chat, STORY, "one", 5))[1].output_tokens == 5
        await chat.prefill([SYSTEM, asks("Where is the tall")], cache_key="two")
        _, ready = await answer(chat, [SYSTEM, asks("Where is the tall tower of Paris?")], "two")
        assert ready.cached_tokens >= ready.input_tokens - 14
        question = await chat.prefill([SYSTEM, asks("What is the capital of France")], cache_key="two")
        told = await chat.prefill([SYSTEM, asks("I just moved to Berlin")], cache_key="two")
        assert question
        assert question.sentence > 0.5
        assert question.turn == ASKED, "who asks wants an answer: it is not asked"
        assert told
        assert told.turn is not None
        assert told.turn < 0.5
        await chat.close()
        assert not child.is_running()


async def test_closing_frees_the_slot_and_conversations_do_not_mix() -> None:
    async with loaded(EmbeddedChat, LlmSettings(temperature=0, slots=2)) as chat:
        async with aclosing(chat.chat(STORY, cache_key="a", max_tokens=400)) as deltas:
            for _ in range(5):
                await anext(deltas)
            assert await busy_slots(chat) == 1
        began = time.perf_counter()
        while await busy_slots(chat):
            assert time.perf_counter() - began < 5
            await asyncio.sleep(0.005)
        print(f"embedded: slot free {(time.perf_counter() - began) * 1e3:.0f} ms after the close")
        task = asyncio.create_task(answer(chat, STORY, "a", 400))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # More conversations at once than slots: the third waits its turn, and each gets its own answer.
        questions = ["What is the capital of France?", "What is the capital of Italy?", "What is the capital of Spain?"]
        texts = await asyncio.gather(
            *(answer(chat, [SYSTEM, asks(question)], question) for question in questions),
            answer(chat, [SYSTEM, asks(questions[0])], questions[0]),
        )
        for (text, _), city in zip(texts, ["Paris", "Rome", "Madrid", "Paris"], strict=True):
            assert city in text


async def test_a_chat_takes_over_from_a_prefill() -> None:
    async with loaded(EmbeddedChat, LlmSettings(temperature=0, slots=2)) as chat:
        long = [asks("The river ran past the old mill and the children played there. " * 60)]
        prefill = asyncio.create_task(chat.prefill(long, cache_key="a"))
        await asyncio.sleep(0.5)
        newer = asyncio.create_task(chat.prefill([SYSTEM, asks("What is")], cache_key="a"))
        await asyncio.sleep(0.1)
        assert prefill.done()
        text, _ = await answer(chat, PARIS, "a")
        assert "Paris" in text
        assert newer.done()
        await chat.prefill([], cache_key="a")
        cancelled = asyncio.create_task(chat.prefill(long, cache_key="b"))
        await asyncio.sleep(0.2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled


async def test_a_server_that_dies_fails_one_reply_and_is_started_again() -> None:
    async with loaded(EmbeddedChat, LlmSettings(temperature=0, slots=1)) as chat:
        async with aclosing(chat.chat(STORY, cache_key="a", max_tokens=400)) as deltas:
            await anext(deltas)
            psutil.Process(chat._server.pid).kill()
            with pytest.raises(EngineError, match="broke off"):
                await _rest(deltas)
        await chat.prefill(PARIS, cache_key="a")  # still only a hint
        text, _ = await answer(chat, PARIS, "a")
        assert "Paris" in text


async def test_a_server_that_hangs_fails_one_reply_and_is_started_again() -> None:
    async with loaded(EmbeddedChat, LlmSettings(temperature=0, slots=1)) as chat:
        hung, usual_s = psutil.Process(chat._server.pid), chat._settings.timeout_s
        hung.suspend()
        chat._settings.timeout_s = 4
        with pytest.raises(EngineError, match="sent nothing for 4 s"):
            await answer(chat, PARIS, "a")
        chat._settings.timeout_s = usual_s
        text, _ = await answer(chat, PARIS, "a")
        assert "Paris" in text
        assert chat._server.pid != hung.pid
        assert not hung.is_running()


async def test_weights_damaged_while_it_runs_fail_replies_until_they_are_whole_again(tmp_path: Path) -> None:
    settings = LlmSettings(temperature=0, slots=1)
    sound = embedded._model_path(await options(EmbeddedChat, settings))
    damaged = Path(shutil.copy(sound, tmp_path / "model.gguf"))
    async with loaded(EmbeddedChat, settings.model_copy(update={"model": str(damaged)})) as chat:
        async with aclosing(chat.chat(STORY, cache_key="a", max_tokens=400)) as deltas:
            await anext(deltas)
            os.truncate(damaged, 1_000_000)  # under its feet: the file is mapped into the child's memory
            with pytest.raises(EngineError, match="broke off"):
                await _rest(deltas)
        for _ in range(2):
            with pytest.raises(EngineError, match=r"cannot be loaded.*models verify"):
                await answer(chat, PARIS, "a")
        shutil.copy(sound, damaged)
        text, _ = await answer(chat, PARIS, "a")
        assert "Paris" in text


async def test_only_this_program_may_ask_and_too_long_a_prompt_is_told() -> None:
    async with loaded(EmbeddedChat, LlmSettings(temperature=0, slots=1, context_tokens=512)) as chat:
        async with httpx.AsyncClient(base_url=chat._server.address, trust_env=False) as stranger:
            assert (await stranger.get("/v1/chat/completions")).status_code in (401, 404)
            assert (await stranger.post("/completion", json={"prompt": "Hi"})).status_code == 401
        with pytest.raises(EngineError, match=r"too long.*llm.context_tokens"):
            await answer(chat, [asks("word " * 1000)])
        assert "Paris" in (await answer(chat, PARIS))[0]
        await chat.close()
        with pytest.raises(EngineError, match="closed"):
            await answer(chat, PARIS)


def test_a_model_file_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    assert EmbeddedChat.needs(LlmSettings()) == ("qwen2.5-coder-0.5b",)
    assert EmbeddedChat.needs(LlmSettings(model="qwen2.5-coder-1.5b")) == ("qwen2.5-coder-1.5b",)
    assert EmbeddedChat.needs(LlmSettings(model="mine.gguf")) == ()
    with pytest.raises(EngineError, match=r"chinwag models pull qwen2\.5-coder-0\.5b"):
        EmbeddedChat.load(EngineOptions(LlmSettings()))
    with pytest.raises(EngineError, match=r"hold no .gguf"):
        EmbeddedChat.load(EngineOptions(LlmSettings(), {"qwen2.5-coder-0.5b": tmp_path}))
    broken = tmp_path / "broken.gguf"
    for wrong, meant in (("qwen2.5-coder-1b", "qwen2.5-coder-1.5b"), ("zzz", "There are: qwen2.5-coder-0.5b")):
        with pytest.raises(EngineError, match=f"no model {wrong}.*{meant}"):
            EmbeddedChat.needs(LlmSettings(model=wrong))
    with pytest.raises(EngineError, match="There is no model file"):
        EmbeddedChat.load(EngineOptions(LlmSettings(model=str(broken))))
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(EngineError, match=r"cannot be loaded.*models verify"):
        EmbeddedChat.load(EngineOptions(LlmSettings(model=str(broken))))


SAID = (
    "I left my keys in the kitchen, I think, or maybe in the car.",
    "My address is sixteen, Maple Street.",
    "We wanted to go to the beach, but then it started to rain.",
    "My friend is coming over tonight, and I have no idea what to cook.",
    "I had a terrible day at work.",
)


@pytest.mark.parametrize("as_it_comes", [True, False])
async def test_it_does_not_repeat_what_is_said_to_it(as_it_comes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if as_it_comes:
        monkeypatch.setattr(embedded, "NO_ECHO", {})
    repeated: list[int] = []
    messages = [SYSTEM]
    async with loaded(EmbeddedChat, LlmSettings(temperature=0, slots=1)) as chat:
        for said in SAID:
            text, _ = await answer(chat, [*messages, asks(said)], "talk")
            messages += [asks(said), {"role": "assistant", "content": text}]
            repeated.append(longest_run(words(said), words(text)))
    print(repeated)
    assert (max(repeated) >= 6) is as_it_comes


def longest_run(one: list[str], other: list[str]) -> int:
    """Words that both have in a row."""
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size
