"""One socket's life, in virtual time: paced words, answers awaited, silence noticed, and why it ended."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from cryptostream.engine.stats import FeedStats
from cryptostream.errors import CryptostreamError, DataQuality
from cryptostream.feed.conversation import Conversation, OnRaw, Shared
from cryptostream.feed.door import Door
from cryptostream.feed.gate import Gate
from cryptostream.feed.inbox import Inbox
from cryptostream.model.events import DeadLetter, LedgerRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.binance import Binance
from cryptostream.venues.continuity import Continuity
from tests.feed.wires import Wires, elapse, refused

pytestmark = pytest.mark.looptime
VENUE = Binance(ws_url="ws://nowhere")
BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")


class Talk:
    """A conversation over a wire, and what came of it."""

    def __init__(
        self,
        wires: Wires,
        wanted: Sequence[Subscription],
        awaited: Sequence[Subscription] = (),
        on_raw: OnRaw | None = None,
    ) -> None:
        self.wires = wires
        self.stats = FeedStats()
        self.inbox = Inbox(1000)
        continuity = Continuity(lambda _: Rule.CONTIGUOUS, on_gap=lambda _: None)
        self.shared = Shared(
            connect=wires.connect,
            limits=VENUE.limits,
            gate=Gate(VENUE.limits, wires.clock, connect_timeout_s=30),
            door=Door(continuity, None, self.inbox, wires.clock, "binance", ""),
            stats=self.stats,
            clock=wires.clock,
            max_frame=1 << 20,
            on_raw=on_raw,
        )
        self.changes, self.lost = 0, list[str]()
        self.conversation = Conversation(
            VENUE.session(wanted), self.shared, on_change=self._changed, on_lost=self._lost, awaited=awaited
        )

    def _changed(self) -> None:
        self.changes += 1

    def _lost(self, conversation: Conversation) -> None:
        self.lost.append(conversation.reason)

    async def taken(self) -> list[Record]:
        """What has gone into the inbox."""
        self.inbox.close()
        return (await self.inbox.take())[0]

    async def ledger(self) -> list[tuple[str, str]]:
        return [(line.event, line.cause) for line in await self.taken() if isinstance(line, LedgerRecord)]


@asynccontextmanager
async def talking(
    wires: Wires,
    wanted: Sequence[Subscription] = (BTC,),
    *,
    awaited: Sequence[Subscription] = (),
    on_raw: OnRaw | None = None,
) -> AsyncIterator[Talk]:
    talk = Talk(wires, wanted, awaited, on_raw)
    task = asyncio.ensure_future(talk.conversation.run())
    await elapse(0.1)
    yield talk
    task.cancel()
    await asyncio.wait([task])


async def test_it_says_hello_no_faster_than_four_words_a_second() -> None:
    wanted = [Subscription("binance", Channel.TRADES, f"PAIR{number:05}USDT") for number in range(1000)]
    async with talking(wires := Wires(), wanted):
        await elapse(30)
    times = [at for at, _ in wires[0].said]
    assert len(times) > 4
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.25


async def test_it_is_acknowledged_once_every_word_was_answered() -> None:
    async with talking(wires := Wires(answering=False)) as talk:
        assert talk.conversation.opened
        assert not talk.conversation.acknowledged
        wires[0].frames({"result": None, "id": wires[0].said[0][1]["id"]})
        assert talk.conversation.acknowledged


async def test_a_half_open_socket_is_noticed_within_twenty_seconds() -> None:
    async with talking(Wires(ponging=False)) as talk:
        await elapse(19.9)
    assert talk.lost == ["silent"]
    assert len(talk.wires[0].pings) == 1


async def test_silence_alone_is_no_end_while_pings_are_answered() -> None:
    async with talking(wires := Wires()) as talk:
        await elapse(300)
        assert not talk.conversation.over
        assert len(wires[0].pings) > 10


async def test_a_subscription_that_nobody_answers_ends_the_socket() -> None:
    async with talking(wires := Wires(answering=False)) as talk:
        await elapse(VENUE.limits.ack_s + 1)
    assert talk.lost == ["unanswered"]
    assert wires[0].pings == []


@pytest.mark.parametrize(("code", "reason"), [(1006, "closed"), (1012, "closed"), (1009, "too large")])
async def test_the_reason_of_an_end_is_one_of_a_few_words(code: int, reason: str) -> None:
    async with talking(wires := Wires()) as talk:
        wires[0].end(code)
        await elapse(1)
    assert talk.lost == [reason]
    assert (talk.stats.active_connections, talk.stats.connection_errors) == (0, 1)


async def test_an_end_that_was_announced_is_a_shutdown() -> None:
    async with talking(wires := Wires()) as talk:
        wires[0].shutdown()
        assert talk.conversation.closing
        wires[0].end(1001)
        await elapse(1)
    assert talk.lost == ["shutdown"]


@pytest.mark.parametrize(
    ("error", "reason"), [(refused(503), "refused"), (ConnectionRefusedError("no"), "unreachable")]
)
async def test_a_socket_that_never_opened_was_never_connected(error: Exception, reason: str) -> None:
    wires = Wires()
    wires.refusal = error
    async with talking(wires) as talk:
        assert talk.lost == [reason]
        assert talk.conversation.error is error
        assert await talk.ledger() == []


async def test_the_ledger_tells_when_it_was_connected_and_why_it_ended() -> None:
    async with talking(wires := Wires()) as talk:
        wires[0].end(1012)
        await elapse(1)
        assert await talk.ledger() == [("connected", ""), ("disconnected", "closed with 1012")]


async def test_one_that_is_left_is_not_lost() -> None:
    async with talking(Wires()) as talk:
        talk.conversation.leave("rotated")
        assert talk.conversation.over
        talk.wires[0].end()
        await elapse(1)
    assert talk.lost == []
    assert talk.stats.connection_errors == 0
    assert await talk.ledger() == [("connected", ""), ("disconnected", "rotated")]


async def test_cancelled_it_says_so_and_closes_its_socket() -> None:
    async with talking(wires := Wires()) as talk:
        pass
    assert wires[0].ended_at is not None
    assert talk.stats.active_connections == 0
    assert await talk.ledger() == [("connected", ""), ("disconnected", "stopped")]


async def test_what_it_awaits_is_heard_stream_by_stream() -> None:
    async with talking(wires := Wires(), [BTC, ETH], awaited=[BTC, ETH]) as talk:
        wires[0].trade(1)
        assert talk.conversation.unheard == {ETH}
        before = talk.changes
        wires[0].trade(1, pair="ETHUSDT")
        assert not talk.conversation.unheard
        assert talk.changes == before + 1
        wires[0].trade(2, pair="ETHUSDT")
        assert talk.changes == before + 1


async def test_trades_go_through_the_door_and_bad_frames_are_set_aside() -> None:
    async with talking(wires := Wires()) as talk:
        wires[0].trade(1, 2)
        wires[0].on_frames([b"garbage"])
        found = [record for record in await talk.taken() if not isinstance(record, LedgerRecord)]
    assert [type(record) for record in found] == [TradeRecord, TradeRecord, DeadLetter]
    assert (talk.stats.total_messages, talk.stats.error_messages) == (4, 1)


async def test_a_resubscription_is_paced_and_answered_like_the_hello() -> None:
    async with talking(wires := Wires(), [BTC, ETH]) as talk:
        await elapse(15)
        talk.conversation.resubscribe([ETH])
        await elapse(1)
        talk.conversation.resubscribe([BTC])  # while answers to the first are still due
        await elapse(15)
    told = [(word["method"], word["params"]) for _, word in wires[0].said]
    assert told[1:] == [
        ("UNSUBSCRIBE", ["ethusdt@trade"]),
        ("SUBSCRIBE", ["ethusdt@trade"]),
        ("UNSUBSCRIBE", ["btcusdt@trade"]),
        ("SUBSCRIBE", ["btcusdt@trade"]),
    ]
    assert wires[0].said[2][0] - wires[0].said[1][0] >= 0.25


async def test_what_the_venue_refuses_is_known_by_subscription() -> None:
    async with talking(wires := Wires(answering=False), [BTC, ETH]) as talk:
        wires[0].frames({"code": 2, "msg": "Invalid request", "id": wires[0].said[0][1]["id"]})
        assert talk.conversation.refused == dict.fromkeys([BTC, ETH], "code 2: Invalid request")


async def test_a_tape_that_fails_ends_the_feed_rather_than_record_with_holes() -> None:
    def full(received_at: int, frame: bytes, *, control: bool) -> None:
        raise DataQuality("no space left")

    talk = Talk(Wires(), [BTC], on_raw=full)
    with pytest.raises(BaseExceptionGroup) as caught:
        await talk.conversation.run()
    assert caught.group_contains(CryptostreamError, match="no space left")
