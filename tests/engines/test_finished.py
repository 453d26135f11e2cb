"""Have they finished? A handful of real points: a real voice, transcriber, ear and answering model."""

from __future__ import annotations

import pytest
from engines.contract import loaded, speech, then_silence

from chinwag.audio import Audio
from chinwag.config import LlmSettings, SttSettings
from chinwag.engines.llm.embedded import EmbeddedChat
from chinwag.engines.protocols import Message
from chinwag.engines.stt.moonshine import Moonshine
from chinwag.engines.turn.smart_turn import SmartTurn
from chinwag.listening.endpointing.features import strip_final_punctuation
from chinwag.listening.endpointing.model import Evidence, end_probability
from chinwag.listening.endpointing.policy import Endpointer
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS

pytestmark = pytest.mark.engines

ENDS = (
    "What time does the museum close on Sundays?",
    "Can you help me with my homework?",
    "How far is it from Berlin to Prague?",
    "I don't like coffee very much.",
)
PAUSES = (
    "I would like to fly to,",
    "What is the difference between,",
    "Yesterday I went to the market and,",
    "If the train leaves at noon,",
)


async def test_ends_are_told_from_pauses_before_and_after_the_ear_is_asked() -> None:
    async with (
        loaded(Moonshine, SttSettings()) as stt,
        loaded(SmartTurn) as judge,
        loaded(EmbeddedChat, LlmSettings(slots=1)) as chat,
    ):

        async def looked_at(text: str) -> tuple[Evidence, Evidence]:
            said = speech(text)
            utterance = stt.open("en")
            utterance.push(then_silence(said, 0.1))
            words = await utterance.finish()
            prompt: list[Message] = [
                {"role": "system", "content": DEFAULT_INSTRUCTIONS},
                {"role": "user", "content": strip_final_punctuation(words.text)},
            ]
            expected = await chat.prefill(prompt, cache_key="test")
            assert expected is not None
            sense, whole = expected.sentence, expected.turn
            ear = await judge.judge(Audio(then_silence(said, 0.2).pcm, said.rate), words.text, [])
            first = Evidence(words.text, words.confidence, sense, whole=whole)
            return first, Evidence(words.text, words.confidence, sense, ear, whole=whole)

        ends = [await looked_at(text) for text in ENDS]
        pauses = [await looked_at(text) for text in PAUSES]
    for which in (0, 1):
        waits = [[Endpointer().wait_s(end_probability(looks[which])) for looks in kind] for kind in (ends, pauses)]
        print([[round(wait, 2) for wait in kind] for kind in waits])
        assert max(waits[0]) < min(waits[1])
        assert sorted(waits[0])[1] < 0.3
        assert min(waits[1]) > 0.8
