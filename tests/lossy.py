"""A bad network between two peers: a relay that loses and delays packets, the same ones each time."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

CANDIDATE = re.compile(r"a=candidate:\S+ \d udp \d+ (\S+) (\d+) typ host\r\n")


class _Side(asyncio.DatagramProtocol):
    """A socket of the relay. What comes to it leaves by the other one."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.other: _Side | None = None
        self.peer: tuple[str, int] | None = None
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.peer is None or self.peer[0] == addr[0]:
            self.peer = addr
        if self.other:
            self.relay.carry(data, self.other)


class Relay:
    """Carries packets both ways. loss: share that is lost; jitter_s: each of the rest is up to so much late."""

    def __init__(self, seed: int = 1) -> None:
        self.loss = self.jitter_s = 0.0
        self.carried = self.lost = 0
        self._chance = random.Random(seed)
        self._caller, self._server = _Side(self), _Side(self)
        self._caller.other, self._server.other = self._server, self._caller

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for side in (self._caller, self._server):
            await loop.create_datagram_endpoint(lambda side=side: side, local_addr=("0.0.0.0", 0))  # type: ignore[misc]

    def close(self) -> None:
        for side in (self._caller, self._server):
            if side.transport:
                side.transport.close()

    def offered(self, sdp: str) -> str:
        """The offer without the caller's own addresses: the server must not find a way past the relay."""
        return re.sub(r"a=(candidate:[^\r]*|end-of-candidates)\r\n", "", sdp)

    async def answered(self, sdp: str) -> str:
        """The answer with the relay's address in place of the server's."""
        host, port = next((host, port) for host, port in CANDIDATE.findall(sdp) if ":" not in host)
        self._server.peer = (host, int(port))
        assert self._caller.transport
        own = self._caller.transport.get_extra_info("sockname")[1]
        line = f"a=candidate:1 1 udp 2130706431 {host} {own} typ host\r\n"
        kept = re.sub(r"a=candidate:[^\r]*\r\n", "", sdp)
        return kept.replace("a=end-of-candidates\r\n", line + "a=end-of-candidates\r\n")

    def carry(self, data: bytes, to: _Side) -> None:
        self.carried += 1
        if self._chance.random() < self.loss:
            self.lost += 1
            return
        late = self._chance.random() * self.jitter_s
        asyncio.get_running_loop().call_later(late, self._send, data, to)

    def _send(self, data: bytes, to: _Side) -> None:
        if to.peer and to.transport and not to.transport.is_closing():
            to.transport.sendto(data, to.peer)


@asynccontextmanager
async def relay(seed: int = 1) -> AsyncIterator[Relay]:
    one = Relay(seed)
    await one.open()
    try:
        yield one
    finally:
        one.close()
        await asyncio.sleep(0)
