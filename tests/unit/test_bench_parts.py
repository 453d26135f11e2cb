"""The benchmark's parts: the ear, the corpus, and what is made of a turn."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from benchmarks import conversation
from chinwag.audio import WIRE_RATE, Audio, silence
from chinwag.bench import corpus, goals, interrupt, make_corpus, report
from chinwag.bench.latency import measure, summarise
from chinwag.bench.machine import describe_machine
from chinwag.bench.noises import NOISES
from chinwag.bench.sentences import PAUSE, SENTENCES
from chinwag.bench.talker import TurnLog
from chinwag.client_sdk import wav
from chinwag.client_sdk.client import ReceivedEvent
from chinwag.client_sdk.playback import ListenerPlayback
from chinwag.engines.protocols import Voice

pytestmark = pytest.mark.unit


def tone(seconds: float, level: float = 0.3, rate: int = WIRE_RATE) -> Audio:
    return Audio(np.full(round(seconds * rate), level, np.float32), rate)


# --- the ear -------------------------------------------------------------------------------------------------


def test_sound_is_played_when_it_comes_and_then_without_a_break() -> None:
    ear = ListenerPlayback()
    ear.receive("a", tone(0.4), now=10.0)
    ear.receive("a", tone(0.4), now=10.1)  # waits for the first
    ear.receive("a", tone(0.4), now=12.0)  # came too late: a gap
    assert [piece.start for piece in ear.pieces] == pytest.approx([10.0, 10.4, 12.0])
    assert ear.last_played(10.6) == ("a", 600)
    assert not ear.idle(12.3)
    assert ear.idle(12.5)


def test_the_onset_is_the_first_audible_sample_at_its_place_in_time() -> None:
    ear = ListenerPlayback()
    quiet = silence(0.3, WIRE_RATE)
    quiet.pcm[:] = 0.003  # just below -50 dBFS
    ear.receive("a", quiet, now=5.0)
    ear.receive("a", tone(0.2), now=5.0)
    ear.receive("b", silence(1, WIRE_RATE), now=6.0)
    assert ear.onsets() == {"a": pytest.approx(5.3)}


def test_a_flush_drops_what_was_not_played() -> None:
    ear = ListenerPlayback()
    ear.receive("a", tone(1.0), now=0.0)
    ear.receive("b", tone(1.0), now=0.0)
    ear.flush(0.25)
    assert ear.idle(0.25)
    assert ear.last_played(9.0) == ("a", 250)
    assert set(ear.onsets()) == {"a"}
    ear.receive("c", tone(0.1), now=0.5)
    assert ear.onsets()["c"] == pytest.approx(0.5)


def test_the_recording_is_what_was_heard_with_short_gaps() -> None:
    ear = ListenerPlayback()
    ear.receive("a", tone(0.5, 0.1), now=0.0)
    ear.receive("a", tone(0.5, 0.2), now=0.6)
    ear.receive("b", tone(0.5, 0.3), now=9.0)
    heard = ear.recording(longest_gap=0.5)
    assert heard.rate == WIRE_RATE
    assert heard.seconds == pytest.approx(0.5 + 0.1 + 0.5 + 0.5 + 0.5, abs=1e-3)
    assert len(ListenerPlayback().recording().pcm) == 0


# --- what is made of a turn ----------------------------------------------------------------------------------


def recording(text: str = "What is the capital of France?") -> corpus.Recording:
    truth = corpus.Truth(text=text, speech_start_ms=100, speech_end_ms=1600)
    return corpus.Recording(name="one", audio=silence(2, WIRE_RATE), truth=truth)


def event(at: float, kind: str, **fields: Any) -> ReceivedEvent:
    return ReceivedEvent(at, {"type": kind, **fields})


def turn_log(**changes: Any) -> TurnLog:
    """Speech from 50.0 to 51.5 s; its end is sample 120 000 of the input, that is 5000 ms."""
    heard = "conversation.item.input_audio_transcription.completed"
    log = TurnLog(recording(), begin=50.0, end=51.5, end_sample=120_000, onsets={"reply": 52.1})
    log.events = [
        event(50.4, "chinwag.transcript.partial", item_id="u", text="What is"),
        event(50.6, "chinwag.transcript.partial", item_id="u", text="What is the"),
        event(50.9, "chinwag.transcript.partial", item_id="u", text="What is the capital"),
        event(51.6, "chinwag.transcript.partial", item_id="u", text="What is the capital of France"),
        event(51.8, heard, item_id="u", transcript="What is the capital of Spain?"),
        event(
            52.05,
            "chinwag.trace",
            response_id="r",
            item_id="u",
            speech_end_ms=4960,
            stages_ms={"turn_decided": 300, "first_audio": 560.5, "first_token": None},
        ),
        event(52.1, "response.output_audio_transcript.delta", delta="Paris. "),
        event(53.0, "response.output_audio_transcript.delta", delta="It is Paris."),
        event(53.5, "response.done", response={"id": "r", "status": "completed"}),
    ]
    for name, value in changes.items():
        setattr(log, name, value)
    return log


def test_a_turns_figures() -> None:
    turn = measure(turn_log())
    assert turn["voice_to_voice_ms"] == 600.0
    assert turn["first_partial_ms"] == 400.0
    assert turn["partial_periods_ms"] == [200.0, 300.0]  # those that came while speaking
    assert (turn["word_errors"], turn["words"], turn["wer"]) == (1, 6, 0.1667)
    assert turn["stages_ms"] == {"turn_decided": 260.0, "first_audio": 520.5}  # the estimate was 40 ms early
    assert turn["reply"] == "Paris. It is Paris."
    assert turn["cut_in"] is False
    assert turn["error"] is None


def test_an_answer_before_the_end_cuts_in_and_is_not_counted_as_fast() -> None:
    only = measure(turn_log(onsets={"early": 51.0}))
    assert only["cut_in"] is True
    assert only["voice_to_voice_ms"] is None
    again = measure(turn_log(onsets={"early": 51.0, "late": 52.5}))
    assert again["cut_in"] is True
    assert again["voice_to_voice_ms"] == 1000.0


def test_the_words_of_a_turn_heard_in_two_are_joined_and_those_taken_back_are_not() -> None:
    heard = "conversation.item.input_audio_transcription.completed"
    log = turn_log()
    log.events = [
        event(50.5, heard, item_id="u0", transcript="What is"),
        event(50.6, "conversation.item.deleted", item_id="u0"),
        event(51.0, heard, item_id="u1", transcript="What is the "),
        event(51.8, heard, item_id="u2", transcript="capital of France?"),
    ]
    assert measure(log)["transcript"] == "What is the capital of France?"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"onsets": {}}, "nothing was heard"),
        ({"error": "no complete answer within 30 s"}, "no complete answer"),
        (
            {
                "events": [
                    event(52, "response.done", response={"status": "failed", "status_details": {"error": "gone"}})
                ]
            },
            "gone",
        ),
    ],
)
def test_a_turn_without_an_answer_has_failed(changes: dict[str, Any], reason: str) -> None:
    assert reason in measure(turn_log(**changes))["error"]


def test_the_figures_of_a_run() -> None:
    turns = [measure(turn_log(onsets={"r": 51.5 + seconds})) for seconds in (0.5, 0.6, 0.7, 0.8, 1.9)]
    turns += [measure(turn_log(onsets={"r": 51.0})), measure(turn_log(onsets={}, events=[]))]
    result = summarise(turns)
    assert result["turns"] == 7
    assert result["voice_to_voice_ms"] == {"p50": 700.0, "p95": 1680.0}
    assert result["first_partial_ms"] == {"p50": 400.0, "p95": 400.0}
    assert result["partial_period_ms"] == {"p50": 250.0, "p95": 300.0}
    assert result["wer"] == round((6 * 1 + 6) / (7 * 6), 4)
    assert result["stages_ms"]["turn_decided"] == 260.0
    assert result["stages_ms"]["first_clause"] is None
    assert list(result["stages_ms"]) == [
        "turn_decided",
        "transcript_final",
        "first_token",
        "first_clause",
        "first_audio",
    ]
    assert result["cut_in_rate"] == round(1 / 7, 4)
    assert result["failed"] == 1


def test_the_report_is_readable_and_its_json_holds_everything(tmp_path: Path) -> None:
    result = {
        **summarise([measure(turn_log()), measure(turn_log(onsets={}, events=[]))]),
        "server": {"rss_mb": 912.4, "cpu_seconds": 12.0, "startup_s": None},
        "machine": describe_machine(),
        "engines": {"stt": "moonshine", "tts": "hibari"},
    }
    console = Console(width=120, record=True, file=(tmp_path / "shown").open("w"))
    report.show(result, console)
    report.show_machine(result, console)
    report.show_goals(result, goals.LATENCY, console, "Goals")
    shown = console.export_text()
    console.file.close()
    assert "600 ms" in shown
    assert "1 failed" in shown
    assert "912 MB" in shown
    assert "≤ 250 ms" in shown
    assert "missed" in shown
    assert "stt moonshine, tts hibari" in shown
    report.write(result, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == json.loads(json.dumps(result))
    assert "failed: nothing was heard" in report.turn_line(result["per_turn"][1])
    for nowhere in (tmp_path / "no" / "out.json", tmp_path):
        with pytest.raises(report.ReportError, match="folder that exists"):
            report.check(nowhere)


# --- the corpus ----------------------------------------------------------------------------------------------


MS = WIRE_RATE // 1000


class Parrot:
    """Says a tone of a tenth of a second a word, with silence around it, at its own rate and level."""

    rate = 16_000

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        yield silence(0.31, self.rate)
        yield tone(0.1 * len(text.split()), 0.02, self.rate)
        yield silence(0.2, self.rate)


class Mute(Parrot):
    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        yield silence(0.5, self.rate)


async def test_a_made_recording_knows_its_ends_and_pauses_to_the_millisecond() -> None:
    made = await make_corpus.synthesise_recording(
        cast("Voice", Parrot()), "00-x", "one two three, | four five", "af_x", pauses=[0.45]
    )
    truth, pcm = made.truth, made.audio.pcm
    assert truth.text == "one two three, four five"
    ((begin, end),) = truth.pauses_ms
    speaking = np.abs(pcm) > corpus.SPEECH
    assert corpus.speech_bounds(pcm) == pytest.approx((made.start, made.end), abs=MS)
    inside = slice(round(begin * WIRE_RATE / 1000), round(end * WIRE_RATE / 1000))
    assert not speaking[inside].any()
    assert speaking[inside.start - MS : inside.start].any()
    assert speaking[inside.stop : inside.stop + MS].any()
    assert end - begin == pytest.approx(450, abs=0.1)
    speech = pcm[made.start : inside.start]
    assert 20 * np.log10(np.sqrt(np.mean(speech**2))) == pytest.approx(make_corpus.LEVEL_DBFS, abs=0.3)
    room = pcm[inside]
    assert 20 * np.log10(np.sqrt(np.mean(room**2))) == pytest.approx(make_corpus.NOISE_DBFS, abs=0.5)
    assert (truth.speech_end_ms - truth.speech_start_ms) == pytest.approx(500 + end - begin, abs=12)  # type: ignore[operator]


async def test_a_corpus_comes_back_from_its_folder_as_it_was_made(tmp_path: Path) -> None:
    for name, text in (("b", "one two"), ("a", "three | four")):
        corpus.save_recording(
            await make_corpus.synthesise_recording(cast("Voice", Parrot()), name, text, "af_x"), tmp_path
        )
    loaded = corpus.load_corpus(tmp_path)
    assert [one.name for one in loaded] == ["a", "b"]
    assert loaded[0].truth.pauses_ms
    assert loaded[1].truth.text == "one two"
    assert (loaded[1].start, loaded[1].end) == pytest.approx(corpus.speech_bounds(loaded[1].audio.pcm), abs=MS)


def test_the_made_turns_are_many_and_their_pauses_evenly_long() -> None:
    paused = [text for text in SENTENCES if PAUSE in text]
    assert len(set(SENTENCES)) >= 60
    assert 0.35 <= len(paused) / len(SENTENCES) <= 0.45
    assert len(set(make_corpus.VOICES)) >= 10
    lengths = make_corpus.pause_lengths()
    assert len(lengths) == sum(text.count(PAUSE) for text in paused)
    assert (min(lengths), max(lengths)) == (0.3, 1.2)
    for third in range(3):
        inside = [0.3 + 0.3 * third <= length <= 0.6 + 0.3 * third for length in lengths]
        assert 0.25 <= sum(inside) / len(lengths) <= 0.42
    # a run of ten turns meets some, in the words that lead into them as in the corpus
    assert 3 <= sum(PAUSE in text for text in SENTENCES[:10]) <= 5


async def test_a_silence_that_the_voice_makes_by_itself_is_in_the_truth() -> None:
    class Breather(Parrot):
        async def speak(
            self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
        ) -> AsyncGenerator[Audio, None]:
            for sound in (tone(0.5, 0.02, self.rate), silence(0.15, self.rate), tone(0.5, 0.02, self.rate)):
                yield sound
            yield silence(0.3, self.rate)
            yield tone(0.5, 0.02, self.rate)

    made = await make_corpus.synthesise_recording(cast("Voice", Breather()), "x", "one", "af_x")
    ((begin, end),) = made.truth.pauses_ms  # not the short one
    assert end - begin == pytest.approx(300, abs=5)
    assert begin - cast(float, made.truth.speech_start_ms) == pytest.approx(1150, abs=5)


def test_what_is_put_into_a_reply_knows_what_it_is() -> None:
    for noise in NOISES:
        made = make_corpus.make_recording(noise.name, noise.text, noise.kind, [Audio(noise.pcm, WIRE_RATE)])
        assert interrupt.kind_of(made) == noise.kind
        assert bool(made.truth.backchannels_ms) == (noise.kind == "backchannel")
        assert np.abs(made.audio.pcm).max() < 1
        assert 0.3 < made.audio.seconds < 2
    foreign = corpus.Truth(text="yeah", speech_end_ms=500, backchannels_ms=[(0, 500)])
    assert interrupt.kind_of(corpus.Recording(name="x", audio=silence(1, WIRE_RATE), truth=foreign)) == "backchannel"
    assert interrupt.kind_of(recording()) == "interruption"


# --- the recorded conversation ---------------------------------------------------------------------------------


def test_mu_law_is_that_of_the_telephone() -> None:
    # values of ITU-T G.711: full scale, silence, and its two smallest steps
    pcm = np.array([32635, -32635, 0, 8, -8, 1000], np.float32) / np.float32(32768)
    assert list(conversation.MU_LAW.encode(Audio(pcm, 8000))) == [0x80, 0x00, 0xFF, 0xFE, 0x7E, 0xCE]


def test_the_recording_of_both_sides_is_a_stereo_file_under_four_megabytes(tmp_path: Path) -> None:
    for seconds, rate in ((10, 16_000), (140, 12_000)):
        conversation.write_stereo(tmp_path / "c.wav", tone(seconds), silence(seconds, WIRE_RATE))
        data = (tmp_path / "c.wav").read_bytes()
        assert (data[:4], data[8:16]) == (b"RIFF", b"WAVEfmt ")
        assert struct.unpack("<HHIIHHH", data[20:38]) == (7, 2, rate, 2 * rate, 2, 8, 0)
        assert len(data) == 58 + 2 * rate * seconds < 4_000_000
        assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    with pytest.raises(wav.WavError):
        conversation.write_stereo(tmp_path / "no" / "c.wav", tone(1), tone(1))


def test_without_a_speech_start_it_is_the_first_loud_sample(tmp_path: Path) -> None:
    wav.write(tmp_path / "x.wav", Audio(np.r_[np.zeros(800, np.float32), np.full(800, 0.5, np.float32)], 8000))
    (tmp_path / "x.json").write_text('{"text": "hm", "speech_end_ms": 200, "more": 1}')
    (one,) = corpus.load_corpus(tmp_path)
    assert one.start == pytest.approx(2400, abs=2 * MS)
    assert one.end == 4800


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (None, "has no x.json beside it"),
        ("{}", "text: Field required"),
        ("not json", "x.json"),
        ('{"text": "hm"}', "speech_end_ms"),
        ('{"text": "hm", "speech_end_ms": 5000}', "behind the end of x.wav"),
        ('{"text": "hm", "speech_end_ms": 50, "pauses_ms": [[1]]}', "pauses_ms.0"),
    ],
)
def test_a_fault_in_a_corpus_names_the_file(tmp_path: Path, truth: str | None, message: str) -> None:
    wav.write(tmp_path / "x.wav", tone(0.1))
    if truth is not None:
        (tmp_path / "x.json").write_text(truth)
    with pytest.raises(corpus.CorpusError) as caught:
        corpus.load_corpus(tmp_path)
    assert message in caught.value.message
    assert caught.value.fix


def test_an_empty_or_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(corpus.CorpusError, match="no WAV file"):
        corpus.load_corpus(tmp_path)
    with pytest.raises(corpus.CorpusError, match="no folder"):
        corpus.load_corpus(tmp_path / "nowhere")


def test_the_machine_is_described() -> None:
    here = describe_machine()
    assert here["cores"] >= 1
    assert here["memory"] > 2**28
    assert here["cpu"]
    assert here["python"].startswith("3.")


async def test_a_voice_that_makes_no_sound_is_found_out() -> None:
    with pytest.raises(corpus.CorpusError, match="made no sound for 'one'"):
        await make_corpus.synthesise_recording(cast("Voice", Mute()), "x", "one", "af_x")
