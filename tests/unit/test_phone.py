"""G.711, as telephone bridges speak it: the laws against the standard, and calls with a form for each side."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest
from wire import LONG, Client, connected

from chinwag.audio import PHONE_RATE, WIRE_RATE, Audio, Samples, silence
from chinwag.audio.g711 import G711
from chinwag.engines.fake import FakeChat, Fakes, loud
from chinwag.realtime.audio_format import FORMATS, PCM, InputDecoder, OutputEncoder

pytestmark = pytest.mark.unit

MU, A = G711("mu"), G711("a")

# The digital milliwatt of ITU-T G.711, tables 5 and 6: eight codes of a 1 kHz tone at 0 dBm0.
MILLIWATT = {
    "mu": bytes.fromhex("1e0b0b1e9e8b8b9e"),
    "a": bytes.fromhex("342121 34b4a1a1b4".replace(" ", "")),
}
# Levels of 16 bits and their codes, by hand from the standard's decision values (tables 1a and 2a, shifted left).
MU_PAIRS = {0: 0xFF, 3: 0xFF, 4: 0xFE, -1: 0x7F, -5: 0x7E, 1000: 0xCE, -1000: 0x4E, 32767: 0x80, -32768: 0x00}
A_PAIRS = {0: 0xD5, 15: 0xD5, 16: 0xD4, -1: 0x55, -17: 0x54, 1000: 0xFA, -1000: 0x7A, 32767: 0xAA, -32768: 0x2A}


def codes(law: G711, *levels: int) -> list[int]:
    return list(law.encode(Audio(np.array(levels, np.float32) / np.float32(32768), PHONE_RATE)))


@pytest.mark.parametrize(("law", "pairs"), [(MU, MU_PAIRS), (A, A_PAIRS)])
def test_levels_have_the_codes_of_the_standard(law: G711, pairs: dict[int, int]) -> None:
    assert dict(zip(pairs, codes(law, *pairs), strict=True)) == pairs


def test_every_code_comes_back() -> None:
    every = bytes(range(256))
    assert A.encode(A.decode(every)) == every
    back = MU.encode(MU.decode(every))
    assert back == every.replace(b"\x7f", b"\xff"), "mu-law has two zeros, and minus zero is written as zero"
    for law, softest, loudest in ((MU, 8, 32124), (A, 8, 32256)):
        levels = law.decoded.astype(int)
        assert set(levels) == set(-levels)
        assert np.abs(levels).max() == loudest
        assert np.abs(levels[levels != 0]).min() == softest


@pytest.mark.parametrize(("name", "law", "above"), [("mu", MU, 3.17), ("a", A, 3.14)])
def test_the_digital_milliwatt_is_as_loud_as_it_should_be(name: str, law: G711, above: float) -> None:
    """A sine of full scale is 3.17 (mu) or 3.14 dB (A) above it, the standard says."""
    tone = law.decode(MILLIWATT[name]).pcm.astype(float)
    full = {"mu": 8159 * 4, "a": 4096 * 8}[name] / 32768
    level = 10 * np.log10((full**2 / 2) / np.mean(tone**2))
    assert level == pytest.approx(above, abs=0.03)
    assert law.encode(law.decode(MILLIWATT[name])) == MILLIWATT[name]


@pytest.mark.parametrize("law", [MU, A])
def test_noise_stays_35_db_below_the_sound(law: G711) -> None:
    """ITU-T G.712 asks for 33 dB of a line."""
    sine = 0.3 * np.sin(np.arange(8000) * 0.7137)
    heard = law.decode(law.encode(Audio(sine.astype(np.float32), PHONE_RATE))).pcm
    assert 10 * np.log10(np.mean(sine**2) / np.mean((heard - sine) ** 2)) > 35
    loud_codes = law.encode(Audio(np.array([2.0, -2.0], np.float32), PHONE_RATE))
    assert loud_codes == law.encode(Audio(np.array([1.0, -1.0], np.float32), PHONE_RATE)), "clipped, not wrapped"


def tone(seconds: float, rate: int, hz: float = 440) -> Samples:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def clicks(pcm: Samples, rate: int, hz: float = 440) -> float:
    """What is left of a tone when the tone is taken out: at a step between two pieces it would stand out."""
    inner = pcm[rate // 10 : -rate // 10].astype(float)
    around = inner[:-2] + inner[2:] - 2 * np.cos(2 * np.pi * hz / rate) * inner[1:-1]  # a sine's recurrence is 0
    return float(np.abs(around).max())


@pytest.mark.parametrize("form", ["audio/pcmu", "audio/pcma"])
@pytest.mark.parametrize("size", [160, 37, 1])
def test_pieces_meet_without_a_click(form: str, size: int) -> None:
    phone = FORMATS[form]
    data = phone.write(Audio(tone(1.0, PHONE_RATE), PHONE_RATE))
    incoming = InputDecoder(phone)
    pieces = [incoming.push(data[at : at + size]).pcm for at in range(0, len(data), size)] + [incoming.flush().pcm]
    heard = np.concatenate(pieces)
    assert len(heard) == WIRE_RATE
    assert np.abs(heard - tone(1.0, WIRE_RATE))[2400:-2400].max() < 0.02
    whole = phone.decode(data, "audio").pcm
    assert clicks(heard, WIRE_RATE) < 1.5 * clicks(whole, WIRE_RATE) + 1e-4


def test_a_reply_in_frames_is_the_reply() -> None:
    outgoing = OutputEncoder(FORMATS["audio/pcmu"])
    sound = tone(1.0, WIRE_RATE)
    frames = [outgoing.push(Audio(sound[at : at + 960], WIRE_RATE)) for at in range(0, WIRE_RATE, 960)]
    data = b"".join(frames) + outgoing.flush()
    assert len(data) == PHONE_RATE
    assert np.abs(MU.decode(data).pcm - tone(1.0, PHONE_RATE))[800:-800].max() < 0.02
    assert OutputEncoder(PCM).push(Audio(sound[:960], WIRE_RATE)) == Audio(sound[:960], WIRE_RATE).to_pcm16()


async def say(client: Client, form: str, audio: Audio) -> None:
    """In the frames of a telephone, 20 ms each."""
    data = FORMATS[form].encode(audio)
    size = len(data) * 480 // len(audio.pcm)
    for at in range(0, len(data), size):
        client.send("input_audio_buffer.append", audio=base64.b64encode(data[at : at + size]).decode())
        await asyncio.sleep(0.02)


def forms(heard: str, spoken: str) -> dict[str, Any]:
    return {"audio": {"input": {"format": {"type": heard}}, "output": {"format": {"type": spoken}}}}


@pytest.mark.parametrize("heard", list(FORMATS))
@pytest.mark.parametrize("spoken", list(FORMATS))
async def test_each_side_has_a_form_of_its_own(heard: str, spoken: str) -> None:
    async with connected() as client:
        client.send("session.update", session={"type": "realtime", **forms(heard, spoken)})
        told = client.all("session.updated")[0]["session"]["audio"]
        assert (told["input"]["format"], told["output"]["format"]) == (FORMATS[heard].wire, FORMATS[spoken].wire)
        await say(client, heard, tone_of_speech(1.0))
        for _ in range(500):
            if client.all("response.done"):
                break
            await say(client, heard, silence(0.02, WIRE_RATE))
        response = client.all("response.done")[0]["response"]
        assert response["status"] == "completed"
        assert response["audio"]["output"]["format"] == FORMATS[spoken].wire
        assert client.all("conversation.item.input_audio_transcription.completed")[0]["transcript"].startswith("word0")
        stopped = client.all("input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
        assert stopped == pytest.approx(1000, abs=20)
        data = b"".join(base64.b64decode(event["delta"]) for event in client.all("response.output_audio.delta"))
        reply = client.connection.session.last_response
        assert reply is not None
        sound = FORMATS[spoken].decode_samples(data, "")
        assert sound.seconds == pytest.approx(reply.playout.sent / WIRE_RATE, abs=0.001)
        end_ms = len(sound.pcm) * 1000 // sound.rate
        client.send("conversation.item.truncate", item_id=reply.item_id, content_index=0, audio_end_ms=end_ms)
        assert client.all("conversation.item.truncated"), "all that came may be said to have been heard"
        error = client.refused(
            "conversation.item.truncate", item_id=reply.item_id, content_index=0, audio_end_ms=end_ms + 2
        )
        assert "already shorter" in error["message"]


def tone_of_speech(seconds: float) -> Audio:
    """What FakeVad takes for speech, within a telephone's band."""
    return Audio(tone(seconds, WIRE_RATE), WIRE_RATE)


async def test_where_a_phone_reply_was_cut_is_counted_in_milliseconds() -> None:
    async with connected(Fakes(llm=FakeChat(answer=LONG)), extended=True) as client:
        client.send("session.update", session={"type": "realtime", **forms("audio/pcm", "audio/pcmu")})
        await client.play(loud(0.6))
        await client.quiet_until("response.output_audio.delta", 50)
        item_id = client.all("response.output_audio.delta")[0]["item_id"]
        client.send("response.cancel")
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
        client.send("conversation.item.retrieve", item_id=item_id)
        kept = client.all("conversation.item.retrieved")[0]["item"]["content"][0]["transcript"]
        assert kept == "This is", "as with PCM: ten characters are half a second"
        client.send("chinwag.playback", item_id=item_id, played_ms=850)
        assert client.connection.session.history.prompt("")[1]["content"] == "This is sentence"


async def test_push_to_talk_by_phone_has_all_of_its_sound() -> None:
    fakes = Fakes()
    async with connected(fakes) as client:
        detection = {"turn_detection": None, "format": {"type": "audio/pcma"}}
        client.send("session.update", session={"type": "realtime", "audio": {"input": detection}})
        await say(client, "audio/pcma", tone_of_speech(0.1))
        client.send("input_audio_buffer.commit")
        assert client.all("input_audio_buffer.committed"), "100 ms are enough, what the resampler holds is no loss"
        item_id = client.all("input_audio_buffer.committed")[0]["item_id"]
        await asyncio.sleep(1)
        client.send("conversation.item.retrieve", item_id=item_id)
        part = client.all("conversation.item.retrieved")[0]["item"]["content"][0]
        assert len(base64.b64decode(part["audio"])) == pytest.approx(800, abs=8), "in the form it came in"


async def test_the_form_changes_in_the_middle_of_a_conversation() -> None:
    async with connected() as client:
        for form in ("audio/pcmu", "audio/pcm", "audio/pcma"):
            turns = len(client.all("response.done"))
            client.send("session.update", session={"type": "realtime", **forms(form, form)})
            await say(client, form, tone_of_speech(1.0))
            for _ in range(500):
                if len(client.all("response.done")) > turns:
                    break
                await say(client, form, silence(0.02, WIRE_RATE))
            await say(client, form, silence(3.0, WIRE_RATE))
        formats = [event["response"]["audio"]["output"]["format"]["type"] for event in client.all("response.done")]
        assert formats == ["audio/pcmu", "audio/pcm", "audio/pcma"]
        assert {event["response"]["status"] for event in client.all("response.done")} == {"completed"}


async def test_a_response_may_have_a_form_of_its_own() -> None:
    async with connected() as client:
        audio = {"output": {"format": {"type": "audio/pcmu"}}}
        client.send("response.create", response={"audio": audio, "conversation": "auto"})
        done = await client.quiet_until("response.done")
        assert done["response"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
        client.send("response.create")
        done = await client.quiet_until("response.done", 2)
        assert done["response"]["audio"]["output"]["format"]["type"] == "audio/pcm"


async def test_what_is_no_such_form_is_refused() -> None:
    async with connected() as client:
        for wrong in ({"type": "audio/opus"}, {"type": "audio/pcm", "rate": 16000}, {"type": "audio/pcmu", "rate": 1}):
            error = client.refused("session.update", session={"audio": {"input": {"format": wrong}}})
            assert error["param"].startswith("session.audio.input.format"), error
            assert "format" not in str(client.all("session.updated"))
