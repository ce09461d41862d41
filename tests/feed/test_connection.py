"""One session on one socket, in virtual time: paced words, answers awaited, silence noticed."""

import asyncio
import json
from itertools import pairwise
from random import Random

from cryptostream.engine.stats import FeedStats
from cryptostream.feed.connection import Connection, Gate
from cryptostream.feed.inbox import Inbox
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.testing import ManualClock
from cryptostream.venues.binance import Binance

VENUE = Binance(ws_url="ws://nowhere")


class DeafSocket:
    """A socket that takes every word, and from whose other end nothing ever comes."""

    def __init__(self, clock: ManualClock, answers: "Conversation") -> None:
        self._clock = clock
        self._talk = answers

    async def send(self, text: str) -> None:
        self._talk.said.append((self._clock.monotonic(), text))
        if self._talk.answering:
            self._talk.on_frames([json.dumps({"result": None, "id": json.loads(text)["id"]}).encode()])

    async def ping(self) -> None:
        self._talk.pings.append(self._clock.monotonic())
        if not self._talk.ponging:
            await asyncio.Event().wait()

    async def closed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self._talk.ends.append(self._clock.monotonic())


class Conversation:
    """A connection over deaf sockets, and what was said on them when."""

    def __init__(self, pairs: int, *, answering: bool = True, ponging: bool = False) -> None:
        self.clock = ManualClock()
        self.answering, self.ponging = answering, ponging
        self.opened: list[float] = []
        self.said: list[tuple[float, str]] = []
        self.pings: list[float] = []
        self.ends: list[float] = []
        wanted = [Subscription("binance", Channel.TRADES, f"PAIR{number:05}USDT") for number in range(pairs)]
        [session] = VENUE.sessions(wanted, pairs_per_connection=pairs)
        self.connection = Connection(
            session,
            connect=self._connect,
            limits=VENUE.limits,
            gate=Gate(VENUE.limits, self.clock, connect_timeout_s=30),
            inbox=Inbox(10),
            stats=FeedStats(),
            clock=self.clock,
            random=Random(1),
            max_frame=1 << 20,
        )

    async def _connect(self, url: str, on_frames: object, *, max_frame: int) -> DeafSocket:
        self.opened.append(self.clock.monotonic())
        self.on_frames = on_frames
        return DeafSocket(self.clock, self)

    async def until_ended(self) -> None:
        """Let it run until its first socket is over."""
        task = asyncio.ensure_future(self.connection.run())
        while not self.ends and not task.done():
            await asyncio.wait([task], timeout=0)
        task.cancel()
        await asyncio.wait([task])


async def test_it_says_hello_no_faster_than_four_words_a_second() -> None:
    talk = Conversation(pairs=1000)
    await talk.until_ended()
    times = [at for at, _ in talk.said]
    assert len(times) > 4
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.25


async def test_a_half_open_socket_is_noticed_within_twenty_seconds() -> None:
    talk = Conversation(pairs=1)
    await talk.until_ended()
    assert talk.ends[0] - talk.said[0][0] <= 20.0
    assert len(talk.pings) == 1


async def test_silence_alone_is_no_end_while_pings_are_answered() -> None:
    talk = Conversation(pairs=1, ponging=True)
    task = asyncio.ensure_future(talk.connection.run())
    while len(talk.pings) < 10:
        await asyncio.wait([task], timeout=0)
    task.cancel()
    await asyncio.wait([task])
    assert len(talk.opened) == 1


async def test_a_subscription_that_nobody_answers_ends_the_socket() -> None:
    talk = Conversation(pairs=1, answering=False, ponging=True)
    await talk.until_ended()
    assert talk.ends[0] - talk.said[0][0] <= VENUE.limits.ack_s + 1
    assert talk.pings == []
