"""Binance's language, on frames of its documentation, on real recordings where they are at hand, and on broken ones."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.errors import BadFrame
from cryptostream.model.events import DeadLetter, KlineRecord, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.venues.base import each
from cryptostream.venues.binance import Binance, BinanceSession, stream_name

DATA = Path(__file__).parents[3] / "shared" / "data" / "binance"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no recordings at ../shared/data/binance")

TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
AGG_TRADE = (
    b'{"stream":"nknusdt@aggTrade","data":{"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,'
    b'"p":"0.35280000","q":"58.00000000","f":19862790,"l":19862790,"T":1633998523963,"m":false,"M":true}}'
)
KLINE = (
    b'{"stream":"btcusdt@kline_1s","data":{"e":"kline","E":1733561824006,"s":"BTCUSDT","k":{"t":1733561823000,'
    b'"T":1733561823999,"s":"BTCUSDT","i":"1s","f":4222889129,"L":4222889132,"o":"99512.02000000",'
    b'"c":"99512.02000000","h":"99512.02000000","l":"99512.01000000","v":"0.00701000","n":4,"x":true,'
    b'"q":"697.57925570","V":"0.00656000","Q":"652.79885120","B":"0"}}}'
)
BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
NOW = 1_795_000_000_000_000_000


def session(*wanted: Subscription, raw_json: bool = True) -> BinanceSession:
    return BinanceSession("ws://x/stream", wanted, name="binance", control_bytes=4096, raw_json=raw_json)


def changed(frame: bytes, **data: object) -> bytes:
    message = json.loads(frame)
    message["data"] |= data
    return json.dumps(message).encode()


def bare(frame: bytes) -> bytes:
    return json.dumps(json.loads(frame)["data"]).encode()


def test_a_trade_keeps_the_venues_own_text_and_tells_the_aggressor() -> None:
    [record] = session(BTC).receive(TRADE, NOW)
    assert record == TradeRecord(
        BTC, "61837.63000000", "0.02000000", 1723161255342000, "sell", 3735683259, TRADE.decode()
    )


def test_a_buyer_who_is_not_the_maker_bought() -> None:
    [record] = session(BTC).receive(changed(TRADE, m=False), NOW)
    assert record.side == "buy"


def test_an_aggregate_trade_goes_by_its_own_id() -> None:
    [record] = session().receive(AGG_TRADE, NOW)
    assert (record.trade_id, record.side, record.subscription.channel) == (15683430, "buy", Channel.AGG_TRADES)


def test_a_kline_keeps_every_field() -> None:
    [record] = session(raw_json=False).receive(KLINE, NOW)
    assert record == KlineRecord(
        Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.S1),
        1733561823000,
        1733561823999,
        "99512.02000000",
        "99512.02000000",
        "99512.01000000",
        "99512.02000000",
        "0.00701000",
        "697.57925570",
        4,
        "0.00656000",
        "652.79885120",
        True,
        1733561824006000,
    )


@pytest.mark.parametrize("frame", [TRADE, AGG_TRADE, KLINE])
def test_a_raw_stream_says_the_same_as_a_combined_one(frame: bytes) -> None:
    combined, raw = session(raw_json=False), session(raw_json=False)
    assert combined.receive(frame, NOW) == raw.receive(bare(frame), NOW)


def test_microseconds_are_told_by_their_size() -> None:
    [record] = session(BTC).receive(changed(TRADE, T=1723161255342001, E=1723161255343007), NOW)
    assert record.ts == 1723161255342001


def test_microsecond_klines_are_kept_in_milliseconds() -> None:
    message = json.loads(KLINE)
    message["data"]["k"] |= {"t": 1733561823000000, "T": 1733561823999999}
    [record] = session().receive(json.dumps(message).encode(), NOW)
    assert (record.open_time, record.close_time) == (1733561823000, 1733561823999)


def test_unknown_fields_are_passed_over() -> None:
    assert session(BTC).receive(changed(TRADE, st=1, b=88, a=50, new={"x": [1]}), NOW)


def test_a_pair_in_another_script_is_a_pair() -> None:
    frame = changed(TRADE, s="币安人生USDT").replace(b"btcusdt@", "币安人生usdt@".encode())
    [record] = session().receive(frame, NOW)
    assert record.subscription.pair == "币安人生USDT"


BROKEN = {
    "empty": b"",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "truncated": TRADE[:-20],
    "not utf-8": TRADE.replace(b'"M":true', b'"M":"\xff\xfe"'),
    "array": b"[1,2,3]",
    "number": b"42",
    "deep": b"[" * 100_000,
    "price is a number": changed(TRADE, p=61837.63),
    "price is nan": changed(TRADE, p="nan"),
    "price is infinite": changed(TRADE, p="1e999"),
    "price is negative": changed(TRADE, p="-1.0"),
    "price is zero": changed(TRADE, p="0.00000000"),
    "price in other digits": changed(TRADE, p="１２"),
    "price with line break": changed(TRADE, p="1\r\n"),
    "price too long": changed(TRADE, p="1" * 41),
    "qty missing": TRADE.replace(b'"q":"0.02000000",', b""),
    "id is text": changed(TRADE, t="3735683259"),
    "id is negative": changed(TRADE, t=-1),
    "id too large": changed(TRADE, t=2**63),
    "id is a fraction": changed(TRADE, t=1.5),
    "time is zero": changed(TRADE, T=0),
    "time beyond year 9999": changed(TRADE, T=253_402_300_800_000_000),
    "flag is text": changed(TRADE, m="true"),
    "symbol of another stream": changed(TRADE, s="ETHUSDT"),
    "a trade in the stream of klines": TRADE.replace(b"btcusdt@trade", b"btcusdt@kline_1m"),
    "an aggregate in the stream of trades": AGG_TRADE.replace(b"nknusdt@aggTrade", b"nknusdt@trade"),
    "a stream that does not exist": TRADE.replace(b"btcusdt@trade", b"btcusdt@trad"),
    "a trade in a stream of another kind": TRADE.replace(b"btcusdt@trade", b"btcusdt@bookTicker"),
    "broken and dressed as a reply": b'{"stream":"btcusdt@trade","data":{"e":"trade"},"result":null}',
    "raw, broken and dressed as an error": b'{"e":"trade","p":1,"code":1}',
    "from the future": changed(TRADE, T=NOW // 1_000_000 + 86_400_001),
    "kline from the future": changed(KLINE, E=NOW // 1_000_000 + 86_400_001),
    "kline volume negative": KLINE.replace(b'"v":"0.00701000"', b'"v":"-1"'),
    "kline low missing": KLINE.replace(b'"l":"99512.01000000",', b""),
    "kline of another interval": KLINE.replace(b'"i":"1s"', b'"i":"1m"'),
}


@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("live", [True, False], ids=["live", "replay"])
def test_a_broken_frame_is_refused_with_a_reason(frame: bytes, live: bool) -> None:
    wanted = [Subscription("binance", Channel.TRADES, pair) for pair in ("BTCUSDT", "NKNUSDT")]
    klines = [Subscription("binance", Channel.KLINES, "BTCUSDT", each) for each in (Interval.S1, Interval.M1)]
    with pytest.raises(BadFrame, match=r"\S"):
        session(*(wanted + klines if live else ())).receive(frame, NOW)


def test_a_recorded_stream_has_to_be_one_that_can_be_named() -> None:
    for frame in (changed(TRADE, s="BTC USDT").replace(b"btcusdt@", b"btc usdt@"), KLINE.replace(b"1s", b"7s")):
        with pytest.raises(BadFrame):
            session().receive(frame, NOW)


OTHERS = {
    "book ticker": b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}',
    "raw book ticker": b'{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}',
    "depth": b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[]}}',
    "snapshot": b'{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[]}',
    "new kind": b'{"stream":"btcusdt@newThing","data":{"e":"newThing","x":1}}',
    "raw new kind": b'{"e":"newThing","x":1}',
}


@pytest.mark.parametrize("frame", OTHERS.values(), ids=OTHERS.keys())
def test_a_frame_of_another_stream_is_counted_and_is_not_bad(frame: bytes) -> None:
    reader = session()
    assert (list(reader.receive(frame, NOW)), reader.ignored) == ([], 1)


def test_a_stream_nobody_asked_for_is_not_published() -> None:
    reader = session(Subscription("binance", Channel.TRADES, "ETHUSDT"))
    assert (list(reader.receive(TRADE, NOW)), reader.ignored) == ([], 1)


def subscriptions(count: int, channel: Channel = Channel.TRADES) -> list[Subscription]:
    return [Subscription("binance", channel, f"PAIR{number:04}USDT") for number in range(count)]


def test_hello_subscribes_to_everything_in_messages_the_venue_reads() -> None:
    wanted = subscriptions(1000)
    messages = session(*wanted).hello()
    asked = [stream for message in messages for stream in json.loads(message)["params"]]
    assert asked == [stream_name(one) for one in wanted]
    assert max(len(message.encode()) for message in messages) < 4096
    assert len({json.loads(message)["id"] for message in messages}) == len(messages)


@pytest.mark.parametrize("interval", Interval)
def test_every_interval_has_its_stream(interval: Interval) -> None:
    wanted = Subscription("binance", Channel.KLINES, "BTCUSDT", interval)
    assert json.loads(session(wanted).hello()[0])["params"] == [f"btcusdt@kline_{interval}"]


def test_replies_are_matched_by_id_and_errors_name_their_streams() -> None:
    talk = session(*subscriptions(400))
    first, second, third = (json.loads(message) for message in talk.hello())
    talk.receive(json.dumps({"result": None, "id": first["id"]}).encode(), NOW)
    talk.receive(
        json.dumps({"code": 2, "msg": "Invalid request: too many parameters", "id": second["id"]}).encode(), NOW
    )
    talk.receive(json.dumps({"error": {"code": 3, "msg": "nested"}, "id": third["id"]}).encode(), NOW)
    assert talk.unanswered() == []
    acknowledged, refused, nested = talk.notices
    assert (acknowledged.kind, acknowledged.streams) == ("acknowledged", tuple(first["params"]))
    assert (refused.kind, refused.streams) == ("refused", tuple(second["params"]))
    assert (nested.kind, nested.detail) == ("refused", "code 3: nested")


def test_a_subscription_without_a_reply_stays_unanswered_until_the_next_hello() -> None:
    talk = session(BTC)
    talk.hello()
    assert talk.unanswered() == ["btcusdt@trade"]
    talk.receive(b'{"result":null,"id":99}', NOW)
    assert talk.unanswered() == ["btcusdt@trade"]


@pytest.mark.parametrize(
    "frame",
    [
        b'{"e":"serverShutdown","E":1770123456789}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
    ],
)
def test_an_announced_shutdown_is_heard(frame: bytes) -> None:
    talk = session(BTC)
    assert list(talk.receive(frame, NOW)) == []
    assert [notice.kind for notice in talk.notices] == ["closing"]


def test_the_time_unit_is_asked_for_in_the_address() -> None:
    url = Binance(ws_url="ws://127.0.0.1:1/", time_unit="microsecond").session([BTC]).url
    assert url == "ws://127.0.0.1:1/stream?timeUnit=MICROSECOND"


def test_only_trading_spot_symbols_are_tradable() -> None:
    listed = [
        {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"},
        {
            "symbol": "BTCUPUSDT",
            "status": "TRADING",
            "isSpotTradingAllowed": False,
            "baseAsset": "BTCUP",
            "quoteAsset": "USDT",
        },
        {"symbol": "OLDUSDT", "status": "CANCEL_ONLY", "baseAsset": "OLD", "quoteAsset": "USDT"},
    ]
    found = Binance().instruments(json.dumps({"symbols": listed}).encode())
    assert [(one.pair, one.tradable) for one in found] == [("BTCUSDT", True), ("BTCUPUSDT", False), ("OLDUSDT", False)]


@needs_data
@pytest.mark.parametrize(
    ("name", "count", "first", "last", "qty", "notional"),
    [
        ("btcusdt", 9757, 3735683259, 3735693015, "212.03315", "13084074.1123886"),
        ("ethusdt", 6106, 1520538925, 1520545030, "2261.3149", "6066483.27618"),
    ],
)
def test_a_real_recording_is_read_to_the_last_digit(
    name: str, count: int, first: int, last: int, qty: str, notional: str
) -> None:
    reader = session(raw_json=False)
    lines = gzip.decompress((DATA / f"spot_{name}_20240808.raw.gz").read_bytes()).splitlines()
    trades = [record for line in lines for record in reader.receive(line.partition(b" ")[2], NOW)]
    assert [trade.trade_id for trade in trades] == list(range(first, last + 1))
    assert len(trades) == count
    assert sum(Decimal(trade.qty) for trade in trades) == Decimal(qty)
    assert sum(Decimal(trade.qty) * Decimal(trade.price) for trade in trades) == Decimal(notional)


@needs_data
def test_real_instruments_are_split_by_the_venues_own_list() -> None:
    found = Binance().instruments(gzip.decompress((DATA / "exchangeInfo_spot_20211012.json.gz").read_bytes()))
    tradable = [one for one in found if one.tradable]
    assert (len(found), len(tradable)) == (1695, 1222)


@needs_data
def test_quiet_pairs_with_klines_and_aggregates_are_read() -> None:
    reader = session(raw_json=False)
    kinds = set()
    for line in (DATA / "cryptofeed_BINANCE.ws.1.0.txt").read_bytes().splitlines():
        if line.partition(b": ")[2].startswith(b"{"):
            kinds |= {record.subscription.channel for record in reader.receive(line.partition(b": ")[2], NOW)}
    assert kinds == {Channel.AGG_TRADES, Channel.KLINES}


def mutate(frame: bytes, random: Random) -> bytes:
    """One frame with a few bytes changed, removed, doubled or put in."""
    mutated = bytearray(frame)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(mutated))
        match random.randrange(4):
            case 0:
                mutated[place] = random.randrange(256)
            case 1:
                del mutated[place : place + random.randint(1, 8)]
            case 2:
                mutated[place:place] = mutated[place : place + random.randint(1, 8)]
            case _:
                mutated[place:place] = random.choice([b'"', b"{", b"}", b"\\", b"0", b"-", b"\x00", b"\xff"])
        mutated = mutated or bytearray(b"x")
    return bytes(mutated)


@given(seed=st.integers(0, 2**32), raw_json=st.booleans())
@settings(max_examples=40, deadline=None)
def test_frames_of_one_read_are_read_as_each_would_be(seed: int, raw_json: bool) -> None:
    random = Random(seed)
    odd = [{"p": "1e5"}, {"q": "0.0"}, {"p": "1_0"}, {"q": "１"}, {"p": "9" * 41}, {"q": ""}, {"s": "X"}, {"T": 1}]
    odd.append({"T": NOW // 10**5})
    frames = [
        random.choice(
            [
                changed(TRADE, t=number),
                mutate(random.choice([TRADE, AGG_TRADE, KLINE]), random),
                changed(TRADE, **random.choice(odd)),
                bare(TRADE),
                KLINE,
            ]
        )
        for number in range(100)
    ]
    wanted = (BTC, Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.S1))
    together, alone = session(*wanted, raw_json=raw_json), session(*wanted, raw_json=raw_json)
    letters: list[str] = []

    def letter(frame: bytes, error: BadFrame) -> DeadLetter:
        letters.append(str(error))
        return DeadLetter("x", str(error), frame.decode(errors="replace"), len(frame), 0)

    found = together.receive_all(frames, NOW, letter)
    assert found == each(alone, frames, NOW, letter)
    assert letters[: len(letters) // 2] == letters[len(letters) // 2 :]
    assert (together.event_time, together.ignored) == (alone.event_time, alone.ignored)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_mutated_frame_is_read_ignored_or_counted_as_bad_and_every_good_one_is_kept(seed: int) -> None:
    random, reader = Random(seed), session(raw_json=True)
    kept = outcomes = 0
    for number in range(250):
        good = changed(TRADE, t=number)
        kept += len(reader.receive(good, NOW))
        before = reader.ignored + len(reader.notices)
        try:
            records = reader.receive(mutate(random.choice([TRADE, AGG_TRADE, KLINE]), random), NOW)
        except BadFrame:
            outcomes += 1
        else:
            outcomes += len(records) + (reader.ignored + len(reader.notices) - before)
    assert (kept, outcomes) == (250, 250)
