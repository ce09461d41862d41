"""API and dashboard abused while the same process ingests: floods, slow senders, lists without measure. Row 36."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from tests.chaos.rig import Program, Rig, until
from tests.faults.conftest import Figure, Rigs

CLOCK = SystemClock()
ATTACK_S = 1.5
SLOW, FLOODING, OPENING = 60, 40, 60
MOST_AT_ONCE, MOST_A_SECOND = 400, 100
MOST_PAGES = 20 + 10  # at once, and one a second until all are answered
MOST_MIB = 50.0
MOST_BEHIND = 0.05 * 2 / 3  # of all: a rate that is lower by a twentieth, a second before the end
_JSON = "Content-Type: application/json\r\n"
How = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Attacker:
    """Who asks without measure, and the statuses that it got."""

    def __init__(self, port: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._port = port

    async def once(self, request: str, body: bytes = b"") -> int:
        """The status of one request, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = f"{request} HTTP/1.1\r\nHost: localhost\r\n{_JSON}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            return int((await asyncio.wait_for(reader.readline(), 10)).split()[1])
        finally:
            writer.transport.abort()

    async def attack(self, rig: Rig) -> int:
        """Everything at once; how many trades ingest was behind in the last second of it, but for a moment's delay."""
        behind = []
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(self._again(self._trickle)) for _ in range(SLOW)]
            working += [group.create_task(self._again(self._flood)) for _ in range(FLOODING)]
            for _ in range(int(ATTACK_S * 10)):
                await CLOCK.sleep(0.1)
                behind.append(_traded(rig) - await _stored(rig))
            for task in working:
                task.cancel()
        return min(behind[-10:])

    async def open(self) -> Counter[int]:
        """Ask for pages that no browser will ever show, all at once; the statuses."""
        return Counter(await asyncio.gather(*(self.once("GET /dashboard/") for _ in range(OPENING))))

    async def _again(self, how: How) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, IndexError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    await how(reader, writer)
                finally:
                    writer.transport.abort()

    async def _trickle(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /pairs HTTP/1.1\r\nHost: localhost\r\n")
        while not writer.transport.is_closing():
            writer.write(b"X: y\r\n")
            await CLOCK.sleep(0.1)

    async def _flood(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"GET /pairs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            for _ in range(50):
                self.statuses[int((await reader.readuntil(b"\r\n")).split()[1])] += 1
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                await reader.readexactly(length)


@pytest.mark.row(36)
async def test_whoever_abuses_the_api_does_not_hold_up_ingest(shared_rig: Rigs, figure: Figure) -> None:
    async with shared_rig(rate=500.0) as rig:
        server = rig.serving(settings={"serve.dashboard": "true"})
        await rig.flows()
        attacker = Attacker(server.health_port)
        await until(lambda: _well(server), 10, "the API to be well")
        assert [await attacker.once(f"GET {path}") for path in ("/stats", "/pairs", "/dashboard/")] == [200] * 3
        symbols = [f"X{number}USDT" for number in range(10_000)]
        refused = [
            await attacker.once("POST /subscribe", _listed(symbols)),
            await attacker.once("POST /subscribe", _listed(symbols[:501])),
            await attacker.once("POST /subscribe", b"x" * 10_000_000),
        ]
        assert refused == [413, 422, 413]
        before_mib, traded = server.rss_mib, _traded(rig)
        opened = await attacker.open()
        behind = await attacker.attack(rig)
        during, grown_mib = _traded(rig) - traded, server.rss_mib - before_mib
        await until(lambda: _well(server), 10, "the API to answer again")
        assert set(attacker.statuses) <= {200, 429}
        assert attacker.statuses[200] <= MOST_AT_ONCE + MOST_A_SECOND * (ATTACK_S + 5)
        assert (set(opened), opened[200] < MOST_PAGES) == ({200, 429}, True), opened
        assert during > 0.8 * ATTACK_S * 500 * len(rig.exchange.pairs)
        assert (behind / during < MOST_BEHIND, grown_mib < MOST_MIB) == (True, True), (behind, during, grown_mib)
        await rig.judged()
        asked = (attacker.statuses + opened).total()
        figure(f"{asked:,} requests in {ATTACK_S:g} s, ingest {behind / during:.1%} behind, {grown_mib:+.0f} MiB")


def _listed(symbols: list[str]) -> bytes:
    return f"[{','.join(f'{chr(34)}{symbol}{chr(34)}' for symbol in symbols)}]".encode()


async def _well(server: Program) -> bool:
    return (await server.get("/health"))[0] == 200


def _traded(rig: Rig) -> int:
    return sum(rig.exchange.sent(pair)[-1] for pair in rig.exchange.pairs)


async def _stored(rig: Rig) -> int:
    return sum([await rig.newest(pair) for pair in rig.exchange.pairs])
