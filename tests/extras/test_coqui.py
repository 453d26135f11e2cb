"""Coqui: XTTS and VITS through their real loading code, on small models that the test makes at random."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest
from engines.contract import loaded, watched
from extras.made_coqui import LANGUAGES, somebody, vits, xtts

from chinwag.audio import Audio, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.tts.coqui import MODELS, CoquiVoice
from chinwag.errors import EngineError

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

FILES = ("src/chinwag/engines/tts/coqui.py",)

TORCH = True
WEIGHTS = ("moonshine-tiny-en",)

CLAUSE = "the train leaves early and there is no other today"


def settings(model: Path | str, **options: object) -> TtsSettings:
    return TtsSettings.model_validate({"engine": "coqui", "model": str(model), "device": "cpu", "options": options})


async def said(speaker: CoquiVoice, text: str, **how: object) -> list[Audio]:
    async with contextlib.aclosing(speaker.speak(text, **how)) as pieces:  # type: ignore[arg-type]
        return [piece async for piece in pieces]


async def test_xtts_clones_streams_and_never_mixes_clauses(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    for name, pitch in (("ann", 220.0), ("bob", 110.0)):
        somebody(people / f"{name}.wav", pitch)
    model = xtts(tmp_path)
    usual = settings(model, clone=str(people), temperature=0.01, top_k=1, stream_chunk_size=10)
    async with loaded(CoquiVoice, usual) as voice:
        assert voice.rate == 24_000
        assert voice.voices == ("ann", "bob")
        assert voice.languages == dict.fromkeys(LANGUAGES, ("ann", "bob"))
        async with watched("coqui"):
            pieces = await said(voice, CLAUSE, language="en")
        assert len(pieces) > 1, "it is heard while it is made"
        assert [piece.start for piece in pieces] == list(np.cumsum([0, *(len(one.pcm) for one in pieces)])[:-1])
        alone = [join(pieces).pcm, join(await said(voice, CLAUSE, voice="bob")).pcm]
        assert len(alone[0]) != len(alone[1]) or np.abs(alone[0] - alone[1]).max() > 1e-4, "two voices sound alike"
        both = await asyncio.gather(said(voice, CLAUSE, voice="ann"), said(voice, CLAUSE, voice="bob"))
        for before, now in zip(alone, both, strict=True):
            np.testing.assert_allclose(join(now).pcm, before, atol=1e-3)
        async with contextlib.aclosing(voice.speak(" ".join([CLAUSE] * 6))) as rest:
            await anext(rest)
        again = join(await said(voice, CLAUSE, voice="ann")).pcm
        np.testing.assert_allclose(
            again, alone[0], atol=1e-3, err_msg="a clause that was stopped left something behind"
        )
        slow = join(await said(voice, CLAUSE, speed=0.5))
        assert len(slow.pcm) > 1.5 * len(alone[0])
        with pytest.raises(EngineError, match=r"no voice eve.*ann, bob"):
            await said(voice, CLAUSE, voice="eve")
        with pytest.raises(EngineError, match="not German"):
            await said(voice, CLAUSE, language="de")


async def test_vits_speaks_a_sentence_at_a_time(tmp_path: Path) -> None:
    async with loaded(CoquiVoice, settings(vits(tmp_path, "pt"))) as voice:
        assert voice.rate == 22_050
        assert voice.languages == {"pt": ("default",)}
        pieces = await said(voice, "Bom dia. Como vai?", language="pt-BR")
        assert len(pieces) == 2
        usual, fast = join(pieces), join(await said(voice, "Bom dia. Como vai?", speed=2.0))
        assert 0.3 < len(fast.pcm) / len(usual.pcm) < 0.8
        assert np.abs(usual.pcm).max() > 0.02


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    def told(model: Path | str, **options: object) -> str:
        with pytest.raises(EngineError) as failure:
            CoquiVoice.load(EngineOptions(settings(model, **options)))
        return str(failure.value)

    assert "There is no WAV" in told("xtts_v2", clone="/none.wav")
    assert "takes no option pitch" in told("xtts_v2", pitch=1)
    assert "no model tacotron9. There are: xtts_v2, vits," in told("tacotron9")
    assert "tts.options.agree = true" in told("xtts_v2")
    assert "there is no config.json" in told(tmp_path)
    model = xtts(tmp_path)
    assert "has no voice of its own. Set tts.options.clone to a WAV" in told(model)
    (tmp_path / "noise.wav").write_bytes(b"no sound")
    assert "cannot be cloned" in told(model, clone=str(tmp_path / "noise.wav"))
    (model / "model.pth").write_bytes(b"no model")
    assert "cannot load the model" in told(model, clone=str(somebody(tmp_path / "ann.wav", 200.0)))
    with pytest.raises(EngineError, match="finds no CUDA device"):
        CoquiVoice.load(EngineOptions(settings(model).model_copy(update={"device": "cuda"})))


def test_short_names_are_of_coquis_list() -> None:
    from TTS.utils.manage import ModelManager

    assert {f"tts_models/{name}" for name in MODELS.values()} <= set(ModelManager().list_tts_models())
