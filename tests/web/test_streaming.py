"""Entries as they come, over Server-Sent Events and websockets; who is too slow is cut, and who leaves is forgotten."""

import asyncio
import json
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable, UsageError
from cryptostream.testing import ManualClock
from cryptostream.web import site
from cryptostream.web.api import streaming
from tests.web.asgi import asked
from tests.web.probes import FakeCommands, FakeProbes, entry

BTC = "streams=trades:BTCUSDT"


@pytest.fixture
def probes() -> FakeProbes:
    return FakeProbes()


@pytest.fixture
def app(probes: FakeProbes) -> Any:
    return site.make(probes, FakeCommands(), secret="-", dashboard=False)


async def listening(probes: FakeProbes, readers: int = 1) -> None:
    async with asyncio.timeout(10):
        while probes.readers < readers:
            await SystemClock().sleep(0)


async def test_each_entry_is_one_event_with_its_id(app: Any, probes: FakeProbes) -> None:
    async with asked(app, "/api/v1/events", BTC) as talk:
        await listening(probes)
        probes.arrive(entry(trade_id=7), entry(trade_id=8))
        await talk.until(lambda talk: talk.body.count(b"\n\n") == 3)
    start, first, second, _ = talk.body.decode().split("\n\n")
    assert (talk.said[0]["status"], start) == (200, "retry: 2000")
    assert dict(talk.said[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    name, data = first.split("\n")
    told = json.loads(data.removeprefix("data: "))
    assert name == f"id: {entry(trade_id=7).entry_id}"
    assert told == {"stream": "trades:BTCUSDT", "id": entry(trade_id=7).entry_id, "fields": entry(trade_id=7).fields}
    assert "8" in second.split("\n")[0]
    assert probes.readers == 0, "who has left is read for no more"


@pytest.mark.parametrize(("query", "there"), [(BTC, False), (f"{BTC}&raw=true", True)])
async def test_the_exchanges_frame_is_sent_only_when_asked_for(
    app: Any, probes: FakeProbes, query: str, there: bool
) -> None:
    async with asked(app, "/ws", query, kind="websocket") as talk:
        await listening(probes)
        made = entry()
        made.fields["raw_json"] = "{}"
        probes.arrive(made)
        await talk.until(lambda talk: bool(talk.texts))
    assert ("raw_json" in json.loads(talk.texts[0])["fields"]) is there


async def test_no_text_of_the_feed_ends_a_line_of_an_event(app: Any, probes: FakeProbes) -> None:
    async with asked(app, "/api/v1/events", BTC) as talk:
        await listening(probes)
        made = entry()
        made.fields["pair"] = "X\n\ndata: forged\r\n"
        probes.arrive(made)
        await talk.until(lambda talk: talk.body.count(b"\n\n") == 2)
    assert b"\ndata: forged" not in talk.body


async def test_a_quiet_reader_hears_that_there_is_nothing_new(probes: FakeProbes) -> None:
    app = site.make(probes, FakeCommands(), secret="-", dashboard=False, clock=ManualClock())
    async with asked(app, "/api/v1/events", BTC) as talk:
        await talk.until(lambda talk: b": nothing new\n\n" in talk.body)


async def test_who_reads_too_slowly_is_cut_and_told_why(
    app: Any, probes: FakeProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BACKLOG_BYTES", 1000)
    reading = asyncio.Event()

    async def slow(message: dict[str, Any]) -> None:
        if b"id: " in message.get("body", b""):
            await reading.wait()

    async with asked(app, "/api/v1/events", BTC, slow=slow) as talk:
        await listening(probes)
        for trade_id in range(20):  # one is being sent, four fill the backlog
            probes.arrive(entry(trade_id=trade_id))
            await SystemClock().sleep(0)
        async with asyncio.timeout(10):
            while probes.readers:
                await SystemClock().sleep(0)
        reading.set()
        await talk.until(lambda talk: talk.ended)
    assert b'event: cut\ndata: {"error":"cut: too far behind what comes"}' in talk.body
    assert talk.body.count(b"id: ") < 8, "what waited is not sent any more"


async def test_who_takes_nothing_is_cut(probes: FakeProbes) -> None:
    app = site.make(probes, FakeCommands(), secret="-", dashboard=False, clock=ManualClock())

    async def never(message: dict[str, Any]) -> None:
        if b"nothing new" in message.get("body", b""):
            await asyncio.Event().wait()

    async with asked(app, "/api/v1/events", BTC, slow=never) as talk:
        await talk.until(lambda talk: talk.ended)
    assert b"nothing was taken for 10 s" in talk.body
    assert probes.readers == 0


async def test_no_more_than_so_many_read_at_a_time(
    app: Any, probes: FakeProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "READERS_MOST", 1)
    async with asked(app, "/ws", BTC, kind="websocket"):
        await listening(probes)
        async with asked(app, "/api/v1/events", BTC) as refused:
            await refused.until(lambda talk: talk.ended)
        async with asked(app, "/ws", BTC, kind="websocket") as closed:
            await closed.until(lambda talk: len(talk.said) == 2)
    assert (refused.said[0]["status"], json.loads(refused.body)["error"]) == (503, "1 readers are connected already")
    assert (closed.said[1]["code"], closed.said[1]["reason"]) == (1013, "1 readers are connected already")
    async with asked(app, "/ws", BTC, kind="websocket"):
        await listening(probes)


@pytest.mark.parametrize(
    ("query", "code", "why"),
    [
        ("", 1008, "no stream is named"),
        ("streams=" + "a" * 300, 1008, "not a stream's name"),
        ("streams=a*b*c*d*e*", 1008, "not a stream's name"),
        ("streams=a%0Ab", 1008, "not a stream's name"),
        (f"streams={','.join(map(str, range(51)))}", 1008, "51 streams at once"),
        (BTC, 1013, "no answer from the server"),
    ],
    ids=["none", "long", "wild", "control", "many", "bus away"],
)
async def test_a_websocket_says_why_it_is_closed(app: Any, probes: FakeProbes, query: str, code: int, why: str) -> None:
    probes.failing = BusUnavailable("no answer from redis://10.1.2.3:6379")
    async with asked(app, "/ws", query, kind="websocket") as talk:
        await talk.until(lambda talk: len(talk.said) == 2)
    assert talk.said[1]["code"] == code
    assert talk.said[1]["reason"].startswith(why)
    assert len(talk.said[1]["reason"]) <= 120


async def test_more_streams_than_one_can_follow_are_refused_before_anything_is_sent(
    app: Any, probes: FakeProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Any) -> Any:
        raise UsageError("2,001 streams match", hint="at most 2,000 can be followed at once")

    monkeypatch.setattr(probes, "events", refused)
    async with asked(app, "/api/v1/events", BTC) as talk:
        await talk.until(lambda talk: talk.ended)
    assert (talk.said[0]["status"], json.loads(talk.body)["error"]) == (422, "2,001 streams match")
    async with asked(app, "/ws", BTC, kind="websocket") as talk:
        await talk.until(lambda talk: len(talk.said) == 2)
    assert (talk.said[1]["code"], talk.said[1]["reason"][:19]) == (1008, "2,001 streams match")


async def test_events_are_refused_while_the_bus_is_away(app: Any, probes: FakeProbes) -> None:
    probes.reasons = ["no answer from redis://10.1.2.3:6379"]
    async with asked(app, "/api/v1/events", BTC) as talk:
        await talk.until(lambda talk: talk.ended)
    assert (talk.said[0]["status"], json.loads(talk.body)["error"]) == (503, "the bus is out of reach")
