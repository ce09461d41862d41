"""The network that goes wrong does so exactly as it was told: every other test here leans on it."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from cryptostream.engine.clock import SystemClock
from tests.proxy import Proxy

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATIENCE_S = 5.0


class Echo:
    """A server that sends back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1024):
                self.heard += chunk
                writer.write(chunk)
        except OSError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    made = Echo()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        yield made, server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy(echo: tuple[Echo, int]) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", echo[1], random=Random(1)) as made:
        yield made


async def opened(proxy: Proxy) -> Ends:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said(ends: Ends, text: bytes) -> bytes:
    """What comes back for a text, as long as it is; shorter where the connection ended."""
    reader, writer = ends
    writer.write(text)
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.readexactly(len(text))
        except asyncio.IncompleteReadError as cut:
            return cut.partial


async def ended(ends: Ends) -> str:
    """How a connection ends."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return "more" if await ends[0].read(1) else "fin"
        except ConnectionResetError:
            return "rst"


async def test_it_passes_on_what_is_said_both_ways(proxy: Proxy) -> None:
    ends = await opened(proxy)
    assert await said(ends, b"x" * 200_000) == b"x" * 200_000
    ends[1].close()


async def test_a_reset_is_a_reset_and_a_close_is_in_order(proxy: Proxy) -> None:
    first = await opened(proxy)
    await said(first, b"a")
    assert proxy.reset() == 1
    assert await ended(first) == "rst"

    second = await opened(proxy)
    await said(second, b"a")
    proxy.close()
    assert await ended(second) == "fin"
    second[1].close()


async def test_refusing_cuts_what_is_open_and_what_is_new_until_it_heals(proxy: Proxy) -> None:
    first = await opened(proxy)
    await said(first, b"a")
    proxy.refuse()
    assert await ended(first) == "rst"
    assert await ended(await opened(proxy)) == "rst"
    proxy.heal()
    third = await opened(proxy)
    assert await said(third, b"b") == b"b"
    third[1].close()


async def test_a_black_hole_is_silent_and_delivers_once_it_heals(proxy: Proxy, echo: tuple[Echo, int]) -> None:
    ends = await opened(proxy)
    await said(ends, b"a")
    proxy.black_hole()
    ends[1].write(b"bc")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ends[0].read(1)
    assert echo[0].heard == b"a"
    proxy.heal()
    assert await said(ends, b"") == b""
    assert await ends[0].readexactly(2) == b"bc"
    ends[1].close()


async def test_a_swallowed_reply_was_carried_out(proxy: Proxy, echo: tuple[Echo, int]) -> None:
    ends = await opened(proxy)
    proxy.swallow(1)
    ends[1].write(b"once")
    assert await ended(ends) == "rst"
    assert (echo[0].heard, proxy.swallowed) == (b"once", 1)
    again = await opened(proxy)
    assert await said(again, b"twice") == b"twice"
    again[1].close()


async def test_replies_are_swallowed_by_chance(proxy: Proxy) -> None:
    proxy.swallow_chance = 0.5
    lost = 0
    for _ in range(40):
        try:
            ends = await opened(proxy)
            lost += await said(ends, b"a") == b""
        except ConnectionResetError:
            lost += 1
        ends[1].close()
    assert 10 < lost == proxy.swallowed < 30


@pytest.mark.parametrize(("way", "heard"), [("down", b"abcdef"), ("up", b"abcd")])
async def test_a_connection_is_cut_after_so_many_bytes(
    proxy: Proxy, echo: tuple[Echo, int], way: str, heard: bytes
) -> None:
    ends = await opened(proxy)
    assert await said(ends, b"ab") == b"ab"
    proxy.cut_after(2, way)  # type: ignore[arg-type]
    ends[1].write(b"cdef")
    assert await ended(ends) in ("rst", "more")
    async with asyncio.timeout(PATIENCE_S):
        while echo[0].heard != heard:
            await SystemClock().sleep(0.01)
    ends[1].close()


async def test_one_byte_is_changed_and_no_other(proxy: Proxy) -> None:
    ends = await opened(proxy)
    proxy.corrupt(at=2)
    came = await said(ends, b"abcd")
    assert [n for n in range(4) if came[n] != b"abcd"[n]] == [2]
    assert await said(ends, b"abcd") == b"abcd"
    ends[1].close()


async def test_latency_is_added_each_way(proxy: Proxy) -> None:
    ends = await opened(proxy)
    proxy.latency_s = 0.1
    began = SystemClock().monotonic()
    assert await said(ends, b"a") == b"a"
    assert SystemClock().monotonic() - began >= 0.2
    ends[1].close()


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    async with Proxy("127.0.0.1", 9) as proxy:
        assert await ended(await opened(proxy)) == "rst"
