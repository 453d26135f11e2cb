"""Long replies into which somebody speaks, agrees, coughs, or which the microphone hears: for both kinds of client.

A client with Chinwag's own events (as the page is) ducks by itself at `chinwag.duck`; a stock client of the Realtime
API only drops its sound at `speech_started`. Each trial is a call of its own: a typed question, and into the spoken
answer comes one recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

from chinwag.bench.corpus import Kind, Recording
from chinwag.bench.metrics import share, spread
from chinwag.bench.talker import SimulatedUser, connect_user
from chinwag.bench.yielding import YIELD_WITHIN, Trial, TrialKind, judge_trial
from chinwag.client_sdk.client import ClientError, LoudspeakerEcho
from chinwag.client_sdk.local_server import fetch_status
from chinwag.client_sdk.playback import ListenerPlayback

INSTRUCTIONS = "You are in a spoken conversation. Always answer in five full sentences, without lists."
QUESTIONS = (
    "Tell me a story about a lighthouse keeper.",
    "Explain how a bicycle works.",
    "Tell me about the life of a honey bee.",
    "What would a perfect holiday look like?",
    "Tell me about the history of bread.",
    "Explain why the seasons change.",
)
WHEN = (1.2, 2.0, 1.6, 2.6, 1.4, 2.3, 3.1)
"""Seconds after the first sound of the reply at which something is put into it."""
ECHO = LoudspeakerEcho(level=10 ** (-12 / 20), delay=0.08)
MIX: tuple[TrialKind, ...] = (
    "interruption", "backchannel", "interruption", "echo", "noise",
    "interruption", "backchannel", "interruption", "echo", "echo_interruption",
)  # fmt: skip
"""Ten trials; a run goes round them."""
REPLY_TOKENS = 60
"""A reply of some 15 seconds: time enough for anything to be put into it."""
ANSWER_WITHIN, REPLY_WITHIN, WORDS_WITHIN, AFTER = 20.0, 60.0, 5.0, 1.5
"""Seconds for the first sound of a reply, for all of it, for the words of an interruption, and after a reply."""


async def run(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    *,
    api_key: str | None = None,
    on_trial: Callable[[str, dict[str, Any]], None] = lambda client, trial: None,
) -> dict[str, Any]:
    """Hold so many trials with each kind of client, and measure each.

    on_trial: is given the kind of client ("page" or "stock") and a trial's figures as it ends.
    Returns the figures of the page's kind (see `summarise`) with `stock`, those of a stock client, `server` and
    `engines`. Raises ClientError where there is no server.
    """
    clients: dict[str, dict[str, Any]] = {}
    for client in ("page", "stock"):
        supply = _Supply(recordings)
        told: list[dict[str, Any]] = []
        for number, kind in enumerate(islice(cycle(MIX), turns)):
            trial = await hold_trial(
                url,
                kind,
                supply.next(kind),
                question=QUESTIONS[number % len(QUESTIONS)],
                when=WHEN[number % len(WHEN)],
                extended=client == "page",
                api_key=api_key,
            )
            if trial.error and not told and client == "page" and not trial.connected:
                raise ClientError(trial.error, "See the server's own output.")
            told.append(judge_trial(trial))
            on_trial(client, told[-1])
        clients[client] = summarise(told)
    status = await fetch_status(url, api_key) or {}
    return {
        **clients["page"],
        "stock": clients["stock"],
        "server": {key: status.get("process", {}).get(key) for key in ("rss_mb", "cpu_seconds", "startup_s")},
        "engines": {task: engine["name"] for task, engine in status.get("engines", {}).items()},
    }


class _Supply:
    """Recordings of each kind in turn."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._kinds: dict[Kind, list[Recording]] = {"interruption": [], "backchannel": [], "noise": []}
        for recording in recordings:
            self._kinds[kind_of(recording)].append(recording)
        self._rounds: dict[Kind, Iterator[Recording]] = {
            kind: cycle(_spread_out(found)) for kind, found in self._kinds.items() if found
        }

    def next(self, kind: TrialKind) -> Recording | None:
        """One to put into the reply; None for an echo, or where the corpus has none of that kind."""
        if kind == "echo":
            return None
        wanted: Kind = "interruption" if kind == "echo_interruption" else kind
        return next(self._rounds[wanted], None) if wanted in self._rounds else None


def kind_of(recording: Recording) -> Kind:
    """What a recording is in an interrupted reply: as its truth says, else by its `backchannels_ms`."""
    if recording.truth.kind != "turn":
        return recording.truth.kind
    return "backchannel" if recording.truth.backchannels_ms else "interruption"


def _spread_out(recordings: list[Recording]) -> list[Recording]:
    """So that a short run meets all sorts of them: every seventh, with no divisor shared with their number."""
    stride = next(step for step in (7, 11, 13, 17, 19, 23, 1) if step == 1 or len(recordings) % step)
    return [recordings[place * stride % len(recordings)] for place in range(len(recordings))]


async def hold_trial(
    url: str,
    kind: TrialKind,
    recording: Recording | None,
    *,
    question: str,
    when: float,
    extended: bool,
    api_key: str | None = None,
) -> Trial:
    """One trial. What goes wrong is its `error`."""
    name = recording.name if recording else kind
    trial = Trial(kind, name, recording.truth.text if recording else "", extended, ListenerPlayback())
    if recording is None and kind != "echo":
        trial.error = f"the corpus has no {kind}"
        return trial
    wanted = {"type": "realtime", "instructions": INSTRUCTIONS, "max_output_tokens": REPLY_TOKENS}
    session = {"type": "session.update", "session": wanted}
    try:
        async with connect_user(url, api_key=api_key, extended=extended, setup=[session]) as talker:
            trial.playback, trial.events, trial.connected = talker.playback, talker.events, True
            await _ask(talker, question, echo=kind.startswith("echo"))
            if not await talker.listen_until(lambda: _response_started(talker, trial), ANSWER_WITHIN):
                trial.error = f"no answer within {ANSWER_WITHIN:.0f} s"
                return trial
            trial.begin = trial.end = trial.onset
            if recording is not None:
                await talker.listen_until(lambda: talker.now() >= trial.onset + when, when + 1)
                if trial.response in talker.response_status:
                    trial.error = (
                        f"the reply was {talker.response_status[trial.response]} before anything was put into it"
                    )
                    return trial
                log = talker.speak(recording)
                trial.begin, trial.end = log.begin, log.end
            await _wait_for_outcome(talker, trial)
    except ClientError as error:
        trial.error = error.message
    return trial


def _response_started(talker: SimulatedUser, trial: Trial) -> bool:
    """Whether the reply is heard; the trial then knows it."""
    onsets = talker.playback.onsets()
    for arrived in talker.events:
        if arrived.type == "response.output_audio.delta" and arrived.event["item_id"] in onsets:
            trial.item, trial.response = arrived.event["item_id"], arrived.event["response_id"]
            trial.onset = onsets[trial.item]
            return True
    return False


async def _ask(talker: SimulatedUser, question: str, *, echo: bool) -> None:
    talker.client.echo = ECHO if echo else None
    content = [{"type": "input_text", "text": question}]
    item = {"type": "message", "role": "user", "content": content}
    await talker.client.send({"type": "conversation.item.create", "item": item})
    await talker.client.send({"type": "response.create"})


async def _wait_for_outcome(talker: SimulatedUser, trial: Trial) -> None:
    """Listen until it can be seen what the server made of it."""

    def over() -> bool:
        return trial.response in talker.response_status and talker.playback.idle(talker.now())

    def told() -> bool:
        heard = "conversation.item.input_audio_transcription.completed"
        return any(event.type == heard and event.at >= trial.begin for event in talker.events)

    if trial.kind not in ("interruption", "echo_interruption"):
        if not await talker.listen_until(over, REPLY_WITHIN):
            trial.error = f"the reply did not end within {REPLY_WITHIN:.0f} s"
        await talker.listen(AFTER)
        return
    settled = max(trial.end, trial.begin + YIELD_WITHIN)
    await talker.listen_until(lambda: talker.now() >= settled, settled - talker.now())
    if trial.response in talker.response_status:
        await talker.listen_until(told, WORDS_WITHIN)


def summarise(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A client's figures. Trials that were void are left out, failed ones count as not yielded and not ignored.

    backchannel_ignored_rate, noise_ignored_rate, echo_ignored_rate: share of those kinds that were ignored.
    resumed_correctly_rate: share of the ignored backchannels and noises after which the reply went on as it should.
    yield_with_echo_rate: as yield_rate, of interruptions spoken while the microphone heard the reply too.
    """
    counted = [trial for trial in trials if not trial["void"]]

    def rate(key: str, *kinds: TrialKind) -> float | None:
        asked = [trial for trial in counted if trial["kind"] in kinds]
        return share(sum(trial[key] is True for trial in asked), len(asked))

    plain = [trial for trial in counted if trial["kind"] == "interruption"]
    into = [trial for trial in counted if trial["kind"] in ("backchannel", "noise") and trial["ignored"]]
    wrong = [trial["words_wrong"] for trial in counted if trial["words_wrong"]]
    return {
        "trials": len(trials),
        "yield_ms": spread([trial["yield_ms"] for trial in plain]),
        "stopped_ms": spread([trial["stopped_ms"] for trial in plain if trial["yielded"]]),
        "yield_rate": rate("yielded", "interruption"),
        "backchannel_ignored_rate": rate("ignored", "backchannel"),
        "noise_ignored_rate": rate("ignored", "noise"),
        "resumed_correctly_rate": share(sum(trial["resumed"] is True for trial in into), len(into)),
        "echo_ignored_rate": rate("ignored", "echo"),
        "yield_with_echo_rate": rate("yielded", "echo_interruption"),
        "yield_with_echo_ms": spread([t["yield_ms"] for t in counted if t["kind"] == "echo_interruption"]),
        "interruption_wer": share(sum(errors for errors, _ in wrong), sum(words for _, words in wrong)),
        "void": len(trials) - len(counted),
        "failed": sum(trial["error"] is not None for trial in trials),
        "per_trial": list(trials),
    }
