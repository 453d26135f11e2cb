"""Chinwag on a Ray cluster of several nodes on this machine: more nodes, dead nodes, and a real spoken conversation.

The nodes share two cores, so engines that cost a fixed time and no processor stand in where the cluster itself is
measured (see sleeping.py). The last test has the real ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from extras import sleeping
from extras.quiet_ray import Cluster, ray, serve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chinwag import cluster as chinwag_cluster
from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio
from chinwag.cli.cluster import cluster_status
from chinwag.cluster.options import INGRESS, Options
from chinwag.cluster.remote import DeploymentClient, RemoteChat, RemoteTranscriber, RemoteVoice, remote_engine_class
from chinwag.cluster.routing import replica_of
from chinwag.engines.protocols import ChatModel, EngineOptions, Transcriber, Voice

pytestmark = [pytest.mark.engines, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]

FILES = (
    "src/chinwag/cluster/*.py",
    "src/chinwag/cli/cluster.py",
)

NAMED = True
"""It wants a machine of its own: Ray gives up a node whose agents have not started within 15 s."""
WEIGHTS = ("silero-vad", "smart-turn", "moonshine-tiny-en", "qwen2.5-coder-0.5b")

NODES = 4
TALKERS = 12
"""On a node: each of its three engines has four questions on average."""
AT_ONCE = 6
"""Questions of a replica; one more is another's, though its conversation's prompt is here."""
MEMORY = 80 * 2**20
APP = "chinwag"
PATIENCE_S = 90.0
AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
ENGINES = ("Hearing", "Thinking", "Speaking")
TESTS = Path(__file__).parent.parent


class Nodes:
    """A head, which has the proxy and the ingress, and workers, which have the engines."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster()
        self.start(resources={"head": 100}, include_dashboard=False)
        self.workers: dict[str, Any] = {}
        self.folder, self.port = folder, _free_port()
        ray.init(address=self.cluster.address, log_to_driver=False)
        serve.start(http_options={"port": self.port}, proxy_location="HeadOnly")

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, count: int) -> None:
        for _ in range(count - len(self.workers)):
            node = self.start(resources={"worker": 100})
            self.workers[node.node_id] = node

    def start(self, num_cpus: int = 1, **more: Any) -> Any:
        """A node. Its agents' ports are given, as it waits for them only seconds where they choose their own."""
        ports = {name: _free_port() for name in AGENTS}
        return self.cluster.add_node(num_cpus=num_cpus, object_store_memory=MEMORY, **ports, **more)

    def kill(self, node_id: str) -> None:
        """As if its plug were pulled: no process of it says goodbye."""
        self.cluster.remove_node(self.workers.pop(node_id), allow_graceful=False)

    def deploy(
        self,
        monkeypatch: pytest.MonkeyPatch,
        cost_s: Mapping[str, float],
        *,
        ingresses: int = 1,
        engines: Mapping[str, Any],
        store: str = 'keep = "off"',
    ) -> None:
        """The application with sleeping engines, each of `engines` replicas."""
        config = self.folder / "chinwag.toml"
        sections = [f'[{task}]\nengine = "sleeping"\noptions = {{cost_s = {cost_s[task]}}}' for task in cost_s]
        config.write_text("\n".join([*sections, f"[store]\n{store}", "[assistant]\ngreeting = ''"]))
        usual = chinwag_cluster.deployments

        def tuned(settings: Any) -> dict[str, dict[str, Any]]:
            plans = usual(settings)
            for name, plan in plans.items():
                where = "head" if name == INGRESS else "worker"
                plan["ray_actor_options"] = {"num_cpus": 0.05, "resources": {where: 1}}
                plan["max_ongoing_requests"] = 100 if name == INGRESS else AT_ONCE
                plan["health_check_period_s"] = 2.0
                plan["graceful_shutdown_timeout_s"] = 1.0
                del plan["autoscaling_config"]
                plan.update({"num_replicas": ingresses} if name == INGRESS else engines)
            return plans

        monkeypatch.setattr(chinwag_cluster, "deployments", tuned)
        monkeypatch.delenv("CHINWAG_STORE__KEEP", raising=False)  # of all tests, and above the file
        serve.run(chinwag_cluster.app(Options(config=str(config))), name=APP)
        monkeypatch.undo()
        wait(lambda: self.status()["stage"] == "ready", "the ingress is ready")

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"http://{self.url}/api/status", timeout=20).json()
        return answer


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("cluster")
    sleeping.install(folder)
    sys.path.append(str(folder))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(TESTS), *([before] if before else [])])
    made = Nodes(folder)
    try:
        yield made
    finally:
        serve.shutdown()
        ray.shutdown()
        made.cluster.shutdown()
        sys.path.remove(str(folder))
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_throughput_is_kept_as_nodes_are_added(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {}
    for count in (1, NODES):
        nodes.add(count)
        one_a_node = {"num_replicas": count, "max_replicas_per_node": 1}
        nodes.deploy(monkeypatch, {"stt": 0.5, "llm": 0.5, "tts": 0.5}, engines=one_a_node)
        assert len({replica["node"] for replica in reports("Speaking")}) == count
        rates[count] = asyncio.run(turns_a_second(TALKERS * count))
    kept = rates[NODES] / (NODES * rates[1])
    print(f"turns a second: {rates[1]:.2f} on 1 node, {rates[NODES]:.2f} on {NODES}; kept per node: {kept:.1%}")
    assert kept >= 0.9


async def test_a_node_killed_in_the_middle_of_an_answer_is_not_noticed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.add(2)
    spread = {"num_replicas": 2, "max_replicas_per_node": 1}
    nodes.deploy(monkeypatch, {"stt": 0.2, "llm": 6.0, "tts": 3.0}, engines=spread)
    stt, llm, tts = await asyncio.to_thread(engines)
    utterance = stt.open()
    utterance.push(Audio(np.zeros(LISTEN_RATE, np.float32), LISTEN_RATE))
    assert (await utterance.partial()).text == "16000 samples"
    client = await asyncio.to_thread(Client, nodes)
    await asyncio.to_thread(client.ask, "Hello?")
    await asyncio.to_thread(client.until, "response.output_audio_transcript.delta")
    speaking = asyncio.create_task(_spoken(tts))
    thinking = asyncio.create_task(_answer(llm))
    await asyncio.sleep(0.3)
    at_work = [
        one for name in ENGINES for one in await asyncio.to_thread(reports, name) if one["ongoing"] or name == "Hearing"
    ]
    victim = max({one["node"] for one in at_work}, key=[one["node"] for one in at_work].count)
    assert not thinking.done()
    nodes.kill(victim)
    assert {one["ongoing"] > 0 for one in at_work if one["node"] == victim} >= {True}
    done = await asyncio.to_thread(client.until, "response.done")
    assert done["response"]["status"] == "completed", done
    assert client.spoken.split() == sleeping.WORDS
    assert client.errors == []
    clause = round(sleeping.PIECES * sleeping.PIECE_S * WIRE_RATE) * 2
    assert client.sound > 0.9 * clause  # what is silent at its beginning is not sent
    assert await thinking == " ".join(sleeping.WORDS)
    ramp = await speaking
    assert len(ramp) == round(sleeping.PIECES * sleeping.PIECE_S * WIRE_RATE)
    assert (np.diff(ramp) > 0).all()  # nothing twice, nothing left out
    utterance.push(Audio(np.zeros(800, np.float32), LISTEN_RATE, LISTEN_RATE))
    heard = await utterance.finish()
    assert (heard.text, heard.final, heard.until) == ("16800 samples", True, 16800)
    await asyncio.to_thread(client.close)


def test_it_grows_with_the_load_and_shrinks_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.add(2)
    quick = {
        "min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 2, "upscale_delay_s": 0.5,
        "downscale_delay_s": 2, "metrics_interval_s": 0.5, "look_back_period_s": 2,
    }  # fmt: skip
    nodes.deploy(monkeypatch, {"stt": 0.5, "llm": 0.1, "tts": 0.1}, engines={"autoscaling_config": quick})
    assert replicas("Hearing") == 1

    async def grown() -> bool:
        """Eight people talk until there are three replicas."""
        stt, *_ = await asyncio.to_thread(engines)
        until = time.monotonic() + PATIENCE_S
        enough = asyncio.Event()

        async def talk() -> None:
            while not enough.is_set():
                await stt.open().finish()

        talkers = [asyncio.create_task(talk()) for _ in range(8)]
        while (count := await asyncio.to_thread(replicas, "Hearing")) < 3 and time.monotonic() < until:
            await stt.open().finish()
        enough.set()
        await asyncio.gather(*talkers)
        return count == 3

    assert asyncio.run(grown())
    wait(lambda: replicas("Hearing") == 1, "one replica is left")


def test_a_conversation_comes_back_when_its_ingress_is_killed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodes.add(1)
    store = f'keep = "all"\nfolder = "{tmp_path}"'
    nodes.deploy(
        monkeypatch, {"stt": 0.1, "llm": 0.3, "tts": 0.1}, ingresses=2, engines={"num_replicas": 1}, store=store
    )
    client = Client(nodes)
    client.ask("Hello?")
    client.until("response.done")
    # the line alone breaks: it goes on at the replica that holds it, whichever the proxy would have chosen
    for _ in range(4):
        client.come_back()
        assert client.until("chinwag.session.resumed")["anew"] is False
    kept = f"http://{nodes.url}/api/conversations/{client.conversation}"
    wait(lambda: sleeping.WORDS[-1] in httpx.get(kept).text, "the last word was heard and is kept")
    held = next(one for one in reports(INGRESS) if one["sessions"])
    assert replica_of(f"?resume={client.token}".encode()) == held["replica"]
    os.kill(held["pid"], signal.SIGKILL)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the broken line gives
        client.until("nothing")
    client.come_back(within_s=30)
    assert client.until("chinwag.session.resumed")["anew"] is True
    before = client.token
    client.until("chinwag.session.resumable")
    assert client.token != before
    told = [event["item"]["content"][0] for event in client.events if event["type"] == "conversation.item.done"]
    assert [content.get("text") or content.get("transcript") for content in told[-2:]] == [
        "Hello?", " ".join(sleeping.WORDS),
    ]  # fmt: skip
    client.ask("And now?")
    assert client.until("response.done")["response"]["status"] == "completed"
    # another device opens it, wherever it lands: who held it is told
    wait(lambda: replicas(INGRESS) == 2, "there are two again")
    others = [Client(nodes, conversation=client.conversation)]
    assert client.until("error")["error"]["code"] == "conversation_taken_over"
    secret = httpx.post(f"http://{nodes.url}/v1/realtime/client_secrets").json()["value"]
    for _ in range(6):  # every replica takes it
        with connect(
            f"ws://{nodes.url}/v1/realtime", additional_headers={"Authorization": f"Bearer {secret}"}
        ) as by_secret:
            assert json.loads(by_secret.recv(20))["type"] == "session.created"
    for other in others:
        other.close()


def test_a_real_conversation_by_serve_run(nodes: Nodes, tmp_path: Path) -> None:
    from speech import room, speech

    serve.delete(APP)
    config = tmp_path / "chinwag.toml"
    config.write_text(
        '[llm]\nengine = "embedded"\ntemperature = 0\nthreads = 2\n[store]\nkeep = "off"\n'
        "[assistant]\ngreeting = ''\ninstructions = 'Answer in one short sentence.'"
    )
    nodes.start(num_cpus=4)
    command = [str(Path(sys.executable).with_name("serve")), "run", "chinwag.cluster:app", f"config={config}"]
    runs = subprocess.Popen(
        [*command, "--address", nodes.cluster.address, "--name", APP, "--non-blocking"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
    )  # fmt: skip
    said, _ = runs.communicate(timeout=180)
    assert runs.returncode == 0, said
    wait(lambda: nodes.status()["stage"] == "ready", "the real engines are ready")
    client = Client(nodes)
    client.until("chinwag.session.resumable")
    client.say(speech("What is the capital of France?"), room(3.0))
    heard = client.until("conversation.item.input_audio_transcription.completed")
    assert "france" in heard["transcript"].lower()
    done = client.until("response.done")
    assert "paris" in client.spoken.lower(), done
    assert client.sound > WIRE_RATE  # half a second of PCM16 at least
    # the replica that speaks dies between two turns; the next answer comes from another
    (speaks,) = reports("Speaking")
    os.kill(speaks["pid"], signal.SIGKILL)
    client.sound, client.spoken = 0, ""
    client.say(speech("What is the capital of Italy?"), room(3.0))
    done = client.until("response.done")
    assert "rome" in client.spoken.lower(), done
    assert client.sound > WIRE_RATE
    assert client.errors == []
    client.close()
    told = cluster_status(nodes.cluster.address)
    found = told["applications"][APP]["deployments"]
    assert set(found) == {INGRESS, *ENGINES}
    assert {kind: one["replicas"][0]["engine"] for kind, one in found.items() if kind != INGRESS} == {
        "Hearing": "moonshine", "Thinking": "embedded", "Speaking": "hibari",
    }  # fmt: skip


# --- a client, and what is asked of the cluster ----------------------------------------------------------------


class Client:
    """A page: counts what it got, and comes back. sound: bytes; spoken: the answer's words."""

    def __init__(self, nodes: Nodes, conversation: str = "") -> None:
        self._nodes, self.conversation = nodes, conversation
        self.events: list[dict[str, Any]] = []
        self.received = self.sound = 0
        self.spoken = self.token = ""
        self._socket = self._open()

    def _open(self, query: str = "") -> ClientConnection:
        opened = f"&conversation={self.conversation}" if self.conversation else ""
        address = f"ws://{self._nodes.url}/v1/realtime?chinwag=events{query}{opened}"
        return connect(address, subprotocols=cast(Any, ["chinwag.pcm"]), open_timeout=30)

    def come_back(self, within_s: float = 0.0) -> None:
        until = time.monotonic() + within_s
        with suppress(OSError):  # where the replica that held it is dead, the line is down already
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        while True:
            try:
                self._socket = self._open(f"&resume={self.token}&after={self.received}")
                return
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **fields}))

    def ask(self, text: str) -> None:
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.send("conversation.item.create", item=said)
        self.send("response.create")

    def say(self, *sounds: Audio) -> None:
        """Speak at real speed."""
        began, sent = time.monotonic(), 0
        for audio in sounds:
            for at in range(0, len(audio.pcm), 960):
                piece = Audio(audio.pcm[at : at + 960], WIRE_RATE)
                self._socket.send(piece.to_pcm16())
                sent += len(piece.pcm)
                time.sleep(max(0.0, began + sent / WIRE_RATE - time.monotonic()))

    def until(self, kind: str) -> dict[str, Any]:
        while True:
            try:
                message = self._socket.recv(PATIENCE_S)
            except ConnectionClosed as closed:
                raise ConnectionError(f"{closed}, after {self.events[-1:]}") from closed
            if isinstance(message, bytes):
                self.received += 1
                self.sound += len(message)
                continue
            event: dict[str, Any] = json.loads(message)
            self.events.append(event)
            match event["type"]:
                case "chinwag.session.resumed":
                    self.received = 0 if event["anew"] else self.received
                    self.received -= 1
                case "chinwag.session.resumable":
                    self.token = event["resume"]
                case "chinwag.conversation":
                    self.conversation = event["conversation"]["id"]
                case "response.output_audio_transcript.delta":
                    self.spoken += event["delta"]
            self.received += 1
            if event["type"] == kind:
                return event

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == "error"]

    def close(self) -> None:
        self._socket.close()


def engines() -> tuple[Transcriber, ChatModel, Voice]:
    """As the ingress has them."""
    made = []
    for task, name in chinwag_cluster.NAMES.items():
        line = DeploymentClient(serve.get_deployment_handle(name, APP), "sleeping", 8.0, 30.0)
        made.append(remote_engine_class(task, "sleeping", line).load(EngineOptions(None)))
    stt, llm, tts = made
    assert isinstance(stt, RemoteTranscriber)
    assert isinstance(llm, RemoteChat)
    assert isinstance(tts, RemoteVoice)
    return cast(Transcriber, stt), cast(ChatModel, llm), cast(Voice, tts)


async def turns_a_second(talkers: int, seconds: float = 15.0) -> float:
    """Turns of so many people who say the next thing as soon as they were answered, over `seconds` in the middle."""
    stt, llm, tts = await asyncio.to_thread(engines)
    ended: list[float] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds + 6.0

    async def talk(number: int) -> None:
        while loop.time() < until:
            utterance = stt.open()
            utterance.push(Audio(np.zeros(LISTEN_RATE, np.float32), LISTEN_RATE))
            await utterance.finish()
            ended.append(loop.time())
            await _answer(llm, f"conversation {number}")
            ended.append(loop.time())
            await _spoken(tts)
            ended.append(loop.time())

    await asyncio.gather(*(talk(number) for number in range(talkers)))
    return sum(until - seconds <= moment < until for moment in ended) / 3 / seconds


async def _answer(llm: ChatModel, cache_key: str = "") -> str:
    asked: Any = [{"role": "user", "content": "Hello?"}]
    return "".join([delta.text async for delta in llm.chat(asked, cache_key=cache_key)])


async def _spoken(tts: Voice) -> np.ndarray:
    return np.concatenate([piece.pcm async for piece in tts.speak("Hello.")])


def reports(deployment: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = serve.get_deployment_handle(deployment, APP).broadcast("report").results(timeout_s=20)
    return told


def replicas(deployment: str) -> int:
    """That run."""
    states = serve.status().applications[APP].deployments[deployment].replica_states
    return sum(number for state, number in states.items() if getattr(state, "value", state) == "RUNNING")


def wait(happened: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
