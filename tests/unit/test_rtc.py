"""Sound over RTP: order, loss and drift; Opus there and back; a track that keeps its pace."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Iterator

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.opus import FRAME, RATE, OpusDecoder, OpusEncoder, duration
from chinwag.transport.rtc.jitter import MAX_WAIT_S, SILENT_AFTER_S, JitterBuffer, LostAudio
from chinwag.transport.rtc.tracks import IncomingAudio, OutgoingTrack

pytestmark = pytest.mark.unit

VOICE = bytes([0b01111000, 1, 2, 3])
"""A packet of one 20 ms frame."""

STEP = RATE // 50


def tone(seconds: float, hertz: float = 440.0) -> Samples:
    at = np.arange(round(seconds * WIRE_RATE)) / WIRE_RATE
    return (0.3 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def packets(count: int) -> Iterator[tuple[int, int, bytes]]:
    for number in range(count):
        yield (65_500 + number) % 65_536, (2**32 - 5 * STEP + number * STEP) % 2**32, VOICE + bytes([number % 256])


def test_packets_in_order_go_on_at_once_through_both_wraps() -> None:
    order, seen = JitterBuffer(), 0
    for number, (seq, at, payload) in enumerate(packets(100)):
        order.push(seq, at, payload, number * 0.02)
        assert order.pull(number * 0.02) == [payload]
        seen += 1
    assert (seen, order.lost, order.late) == (100, 0, 0)


def test_a_packet_overtaken_is_waited_for_and_put_back() -> None:
    order = JitterBuffer()
    (a, b, c) = packets(3)
    order.push(*a, 0.0)
    assert order.pull(0.0) == [a[2]]
    order.push(*c, 0.04)
    assert order.pull(0.04) == []
    order.push(*b, 0.045)
    assert order.pull(0.045) == [b[2], c[2]]


def test_a_lost_packet_is_given_up_when_the_link_is_never_that_late() -> None:
    order = JitterBuffer()
    (a, _, c) = packets(3)
    order.push(*a, 0.0)
    order.pull(0.0)
    order.push(*c, 0.04)
    assert order.due == pytest.approx(0.05)  # due at 20 ms, and 30 ms are the least that is waited
    assert order.pull(0.049) == []
    assert order.pull(0.051) == [LostAudio(STEP), c[2]]
    assert order.lost == 1


def test_what_comes_after_it_was_given_up_is_dropped() -> None:
    order = JitterBuffer()
    (a, b, c) = packets(3)
    for packet, now in ((a, 0.0), (c, 0.04)):
        order.push(*packet, now)
        order.pull(now)
    order.pull(0.1)
    order.push(*b, 0.11)
    assert order.pull(0.11) == []
    assert order.late == 1


def test_time_goes_on_in_silence_when_nothing_comes() -> None:
    order, passed = JitterBuffer(), 0
    for now in np.arange(0, 2, 0.01):
        if now < 0.001:
            order.push(*next(packets(1)), 0.0)
        passed += sum(piece.samples if isinstance(piece, LostAudio) else STEP for piece in order.pull(float(now)))
    assert passed / RATE == pytest.approx(2 - SILENT_AFTER_S, abs=0.03)


def test_dtx_is_silence_as_it_passes_and_no_loss() -> None:
    order = JitterBuffer()
    order.push(1, 0, VOICE, 0.0)
    order.push(2, STEP, VOICE[:1], 0.02)
    order.pull(0.02)
    assert order.pull(0.2) == [LostAudio(6 * STEP, silent=True)]  # 50 ms are held back for one that might still come
    order.push(3, 20 * STEP, VOICE, 0.4)
    assert order.pull(0.4)[-1] == VOICE
    assert order.lost == 0


def test_a_stall_is_made_up_for_without_losing_a_word() -> None:
    order, all_of_them = JitterBuffer(), list(packets(40))
    for number, packet in enumerate(all_of_them[:10]):
        order.push(*packet, number * 0.02)
        order.pull(number * 0.02)
    for packet in all_of_them[10:25]:  # 300 ms that come at once
        order.push(*packet, 0.5)
    assert order.pull(0.5) == [packet[2] for packet in all_of_them[10:25]]
    assert order.behind(0.5) <= 0.021


@pytest.mark.parametrize("advances", [True, False])
def test_a_sender_that_stood_still_is_heard_from_its_first_word_on(advances: bool) -> None:
    """A busy browser's RTP time goes on meanwhile, or stands still."""
    order, all_of_them = JitterBuffer(), list(packets(200))
    now, heard, passed = 0.0, 0, 0
    for number, (seq, at, payload) in enumerate(all_of_them):
        pause = 50 if number >= 100 else 0  # a second
        now = (number + pause) * 0.02
        while order.due is not None and order.due < now:
            passed += _length(order.pull(order.due + 1e-6))
        order.push(seq, (at + pause * STEP * advances) % 2**32, payload, now)
        pieces = order.pull(now)
        heard += sum(not isinstance(piece, LostAudio) for piece in pieces)
        passed += _length(pieces)
    assert (heard, order.lost, order.late) == (200, 0, 0)
    assert passed / RATE == pytest.approx(now, abs=SILENT_AFTER_S + 0.03)


@pytest.mark.parametrize("drift", [-300e-6, 0.0, 300e-6])
def test_five_minutes_of_loss_and_jitter_and_no_delay_grows(drift: float) -> None:
    """5 % loss, each packet up to 60 ms late, a sender's clock that is off by 300 ppm."""
    chance, order = random.Random(4), JitterBuffer()
    arrivals: list[tuple[float, int]] = []
    for number in range(50 * 300):
        if chance.random() >= 0.05:
            heapq.heappush(arrivals, (number * 0.02 * (1 + drift) + chance.random() * 0.06, number))
    passed, heard, behind = 0, 0, []
    while arrivals:
        now, number = heapq.heappop(arrivals)
        while order.due is not None and order.due < now:  # as a timer would
            due = order.due
            passed += _length(order.pull(due + 1e-4))
            if order.due <= due:
                break
        order.push(number % 65_536, number * STEP, VOICE, now)
        pieces = order.pull(now)
        heard += sum(not isinstance(piece, LostAudio) for piece in pieces)
        passed += _length(pieces)
        behind.append(order.behind(now))
    assert passed / RATE == pytest.approx(300, abs=0.2)  # not a frame of time slips
    assert order.late <= 0.01 * 15_000
    assert max(behind) <= MAX_WAIT_S + 0.03
    assert np.mean(behind[-2500:]) <= np.mean(behind[:2500]) + 0.005


def _length(pieces: list[bytes | LostAudio]) -> int:
    return sum(piece.samples if isinstance(piece, LostAudio) else duration(piece) for piece in pieces)


def test_opus_there_and_back_keeps_pitch_and_time() -> None:
    encoder, decoder, sound = OpusEncoder(), OpusDecoder(), tone(2.0)
    heard = []
    for number in range(100):
        packet = encoder.encode(sound[number * FRAME : (number + 1) * FRAME], number * STEP)
        assert duration(bytes(packet)) == STEP
        heard.append(decoder.decode(bytes(packet)).pcm)
    pcm = np.concatenate(heard)
    assert len(pcm) == len(sound)
    spectrum = np.abs(np.fft.rfft(pcm[WIRE_RATE:] * np.hanning(WIRE_RATE)))
    assert np.argmax(spectrum) == 440
    assert float(np.abs(pcm[WIRE_RATE:]).max()) == pytest.approx(0.3, abs=0.05)
    lag = np.argmax(np.correlate(pcm[4800:9600], sound[4800 - 400 : 9600], "valid"))
    assert (400 - lag) % (WIRE_RATE / 440) == pytest.approx(0.0085 * WIRE_RATE % (WIRE_RATE / 440), abs=12)  # 8.5 ms


def test_silence_is_encoded_once_and_what_follows_it_sounds_as_ever() -> None:
    quiet, sound = np.zeros(20 * FRAME, np.float32), tone(0.4)
    said = np.concatenate([sound, quiet, sound, quiet])
    encoder, decoder = OpusEncoder(), OpusDecoder()
    sent = [encoder.encode(said[at : at + FRAME], at * 2) for at in range(0, len(said), FRAME)]
    assert [packet.pts for packet in sent] == [number * STEP for number in range(len(sent))]
    silences = {bytes(packet) for packet in sent[27:40]}
    assert len(silences) == 1
    heard = np.concatenate([decoder.decode(bytes(packet)).pcm for packet in sent])
    level = np.abs(heard).reshape(-1, FRAME).max(axis=1)
    assert level[28:39].max() < 1e-3
    assert level[44:58].min() > 0.25
    assert level[-10:].max() < 1e-3


def test_what_was_lost_is_concealed_and_then_fades() -> None:
    encoder, decoder, sound = OpusEncoder(), OpusDecoder(), tone(1.0)
    for number in range(25):
        decoder.decode(bytes(encoder.encode(sound[number * FRAME : (number + 1) * FRAME], number * STEP)))
    first, rest = decoder.conceal(STEP), decoder.conceal(20 * STEP)
    assert (len(first.pcm), len(rest.pcm)) == (FRAME, 20 * FRAME)
    assert np.sqrt(np.mean(first.pcm**2)) > 0.1  # the voice goes on
    assert np.abs(rest.pcm[6 * FRAME :]).max() < 1e-3
    assert np.abs(np.diff(np.concatenate([first.pcm, rest.pcm]))).max() < 0.06  # and nothing clicks


def test_what_is_no_opus_is_a_frame_of_silence() -> None:
    assert len(OpusDecoder().decode(b"\xff\xff\xff\xff").pcm) == FRAME
    assert duration(b"") == 0
    assert duration(bytes([0b01111011, 3])) == 3 * STEP


async def test_a_track_sends_twenty_milliseconds_in_twenty_milliseconds() -> None:
    loop, taken = asyncio.get_running_loop(), []

    def frame() -> Samples:
        taken.append(loop.time())
        return np.zeros(FRAME, np.float32)

    track = OutgoingTrack(frame)
    places = []
    for number in range(50):
        places.append((await track.recv()).pts)
        if number == 20:
            await asyncio.sleep(0.1)  # the loop was busy
    assert places == [number * STEP for number in range(50)]
    gaps = np.diff(taken)
    assert gaps[20] == pytest.approx(0.1)
    assert list(gaps[21:25]) == pytest.approx([0.0] * 4, abs=1e-3)  # what was missed follows at once
    assert taken[-1] == pytest.approx(49 * 0.02, abs=1e-3)

    await asyncio.sleep(1.0)  # the machine was suspended
    assert (await track.recv()).pts == (50 + 49) * STEP
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()


async def test_a_receiver_passes_its_packets_to_us() -> None:
    """Fails where another aiortc has moved what is replaced."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    heard: list[Audio] = []
    incoming = IncomingAudio(heard.append)
    receiver = peer.addTransceiver("audio").receiver
    incoming.listen(receiver)
    assert receiver._RTCRtpReceiver__jitter_buffer is incoming  # type: ignore[attr-defined]
    incoming.close()
    await peer.close()
