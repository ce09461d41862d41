"""Recorded files as a backtest reads them: by columns the same events as one by one, whatever is in the files."""

import os
import pickle
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.model import codec
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry, Event, Gap, Kline, Trade
from cryptostream.tape import digits, parts, pieces, rows, schema
from cryptostream.tape.parquet import Recording
from cryptostream.tape.series import find
from cryptostream.transforms.bars import of_kline
from tests.tape.recordings import DAY_MS, START_MS, damage, record, trade, trades

BTC = "trades:BTCUSDT"
KLINES = "klines:BTCUSDT:1m"


def slowly(folder: Path, stream: str = BTC) -> list[Event | None]:
    """The events of a stream, entry by entry."""
    entries = chain.from_iterable(Recording(folder).after(stream, "0-0"))
    return [codec.event(entry.stream, entry.entry_id, entry.fields) for entry in entries]


def events(folder: Path, **how: object) -> list[Trade | Gap]:
    (series,) = find([folder], **how)
    return [event for block in series.blocks() for event in block.events()]


def gap(first: int, last: int, *, day: int = 0) -> Entry:
    """The trades from one to another are missing."""
    before = trade(first - 1, day=day)
    fields = {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "gap_from": str(first), "gap_to": str(last)}
    entry_id = f"{before.entry_id.partition('-')[0]}-{first}"
    return Entry(BTC, entry_id, {**fields, "cause": "unfillable", "ts": before.fields["ts"]})


def kline(
    minute: int, price: str = "45000.10000000", *, closed: bool = True, interval: str = "1m", **more: str
) -> Entry:
    begin = START_MS + minute * 60_000
    end = begin + 59_999
    fields = {"exchange": "binance", "pair": "BTCUSDT", "interval": interval, "open_time": str(begin)}
    fields |= {"close_time": str(end), "open": price, "high": price, "low": price, "close": price}
    fields |= {"volume": "1.50000000", "quote_volume": "67500.15000000", "trades": "3"}
    fields |= {"taker_buy_volume": "0.50000000", "taker_buy_quote_volume": "22500.05000000"}
    fields |= {"closed": "true" if closed else "false", "ts": iso((end if closed else begin + 2000) * 1000 + 17)}
    return Entry(f"klines:BTCUSDT:{interval}", f"{end}-1" if closed else f"{begin + 2000}-0", {**fields, **more})


def late(number: int, ms: int, since: int) -> Entry:
    """A trade of some time that came behind one of a later time: its id keeps that one's."""
    return Entry(BTC, f"{START_MS + since}-{number}", trade(number, ts=iso((START_MS + ms) * 1000)).fields)


RECORDINGS: dict[str, Sequence[Sequence[Entry]]] = {
    "one trade": [trades(1, 1)],
    "more than a row group": [trades(1, 70_000)],
    "ids that grow longer": [[*trades(8, 12), *trades(98, 1002)]],
    "several days": [trades(1, 5), trades(1, 5, day=1), trades(7, 9, day=3)],
    "files that follow each other": [trades(1, 5), trades(6, 9)],
    "files that overlap": [[trade(1), trade(2), trade(4)], [trade(2), trade(3), gap(5, 7), trade(8)], trades(9, 12)],
    "a gap inside": [[*trades(1, 3), gap(4, 6), *trades(7, 9)]],
    "gaps first and last": [[gap(2, 3), *trades(4, 6), gap(7, 9)]],
    "gaps beside each other": [[trade(1), gap(2, 3), gap(4, 6), trade(7)]],
    "a file of a gap": [trades(1, 3), [gap(4, 6)], trades(7, 9)],
    "a last file of a gap": [trades(1, 3), [gap(4, 6)]],
    "odd texts": [
        [trade(1), trade(2, price="4.5e4"), trade(3, qty="1E-7"), trade(4, ts="2026-11-20T00:00:00Z"), trade(5)]
    ],
    "mostly odd texts": [[trade(number, price=f"{number}e2") for number in range(1, 90)]],
    "eighteen decimals": [[trade(number, price=f"0.00000{number:04}12345678") for number in range(1, 50)]],
    "eighteen decimals, too long": [
        [trade(number, price=f"12{number}.12345678901234567{number}") for number in range(1, 9)]
    ],
    "large amounts": [[trade(number, qty=f"{number}99123456789.00000000") for number in range(1, 50)]],
    "large odd amounts": [[trade(number, qty=f"{number}99123456789.12345678") for number in range(1, 50)]],
    "beyond 64 bits": [[trade(1), trade(2, qty="123456789012345678901234567890.12345678"), trade(3)]],
    "mixed decimals": [[trade(1, price="1"), trade(2, price="1.25"), trade(3, price="1.250")]],
    "raw frames": [[trade(number, raw_json=f'{{"t":{number}}}') for number in range(1, 9)]],
    "raw frames and a gap": [[trade(1, raw_json="{}"), gap(2, 2), trade(3, raw_json="{}"), trade(4)]],
    "fields of somebody else": [[trade(1, rsi="70"), trade(2), trade(3, kind="x"), trade(4, note="ü")]],
    "a gap that has all that a trade has": [[trade(1), trade(2, **gap(2, 2).fields), trade(3)]],
    "times that were clamped": [[trade(1), trade(9), late(10, 3, 9), late(11, 9, 9), trade(12)]],
    "times that were clamped to another file's": [trades(1, 9), [late(10, 3, 9), late(11, 4, 9), trade(12)]],
    "ids of another time": [[late(number, number, number + 7) for number in range(1, 9)]],
}


@pytest.mark.parametrize("files", RECORDINGS.values(), ids=RECORDINGS)
def test_by_columns_are_the_events_that_are_there_one_by_one(tmp_path: Path, files: Sequence[Sequence[Entry]]) -> None:
    for number, entries in enumerate(files):
        record(tmp_path, entries, name=f"{number}.parquet")

    assert events(tmp_path) == slowly(tmp_path)


TEXTS = st.sampled_from(["1", "0.5", "45000.10", "1e3", "123456789012.12345678", "0.00000001", "0.123456789012345678"])
STEPS = st.sampled_from(["trade", "trade", "trade", "late", "gap", "other"])


def streamed(steps: Sequence[tuple[str, str, str]], ahead: int) -> list[Entry]:
    """A stream as it is written, its ids some milliseconds ahead of their times."""
    made = [Entry(BTC, f"{START_MS + 1 + ahead}-1", trade(1).fields)]
    for number, (step, price, qty) in enumerate(steps, 2):
        newest = int(made[-1].entry_id.partition("-")[0])
        time = newest - ahead if step == "gap" else newest - 3 if step == "late" else newest - ahead + number % 3
        more = {"note": "x"} if step == "other" else {}
        one = trade(number, price=price, qty=qty, ts=iso(time * 1000), **more)
        made.append(
            Entry(
                BTC,
                f"{max(newest, time + ahead)}-{number}",
                gap(number, number).fields if step == "gap" else one.fields,
            )
        )
    return made


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(STEPS, TEXTS, TEXTS), min_size=1, max_size=40), st.sampled_from([0, 0, 5]), st.data())
def test_whatever_is_recorded_in_whatever_files(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]], ahead: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("recorded")
    made = streamed(steps, ahead)
    for number in range(data.draw(st.integers(1, 3))):
        first = data.draw(st.integers(0, len(made) - 1))
        entries = made[first : data.draw(st.integers(first + 1, len(made)))] if number else made
        (folder / f"{number}.parquet").write_bytes(parts.packed(schema.table(entries), "zstd"))
    since, until = sorted(data.draw(st.integers(START_MS - 2, START_MS + 60)) for _ in range(2))

    found = [event for event in slowly(folder) if since <= int(event.entry_id.partition("-")[0]) <= until]
    (series,) = find([folder], since_ms=since, until_ms=until)
    again = pickle.loads(pickle.dumps(series))
    read = [event for block in again.blocks() for event in block.events()]
    assert read == (found if any(isinstance(event, Trade) for event in found) else [])


@pytest.mark.parametrize(("first", "last"), [(0, 99), (1, 50), (50, 50), (99, 400), (200, 300), (0, 0)])
def test_times_bound_it_both_included(tmp_path: Path, first: int, last: int) -> None:
    record(tmp_path, trades(1, 60))
    record(tmp_path, [*trades(61, 98), gap(99, 99), *trades(100, 120)])
    inside = [
        event
        for event in slowly(tmp_path)
        if START_MS + first <= int(event.entry_id.partition("-")[0]) <= START_MS + last
    ]

    assert events(tmp_path, since_ms=START_MS + first, until_ms=START_MS + last) == inside


BATCHES = rows._Reader._batches


def test_row_groups_out_of_its_time_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, trades(1, 70_000))
    (series,) = find([tmp_path], since_ms=START_MS + 66_000, until_ms=START_MS + 67_000)
    read = []
    monkeypatch.setattr(rows._Reader, "_batches", lambda self, group: read.append(group) or BATCHES(self, group))

    assert series.size == sum(map(len, series.blocks())) == 1_001
    assert read == [1]


def spelled(mantissa: int) -> str:
    return f"{mantissa // 10**8}.{mantissa % 10**8:08}"


MANTISSAS = {
    "small": range(0, 10**12, 987_654_321),
    "beyond what a float holds": range(1 << 53, 1 << 56, 98_765_432_109_877),
    "beyond 64 bits": [(1 << 64) + 5],
    "whole": range(0, 10**18, 10**16),
    "of all kinds": [0, 1, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 62, 1 << 63, 1 << 64, 10**37],
}


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("mantissas", MANTISSAS.values(), ids=MANTISSAS)
def test_floats_are_those_of_the_texts(mantissas: Sequence[int], sign: str) -> None:
    texts = [f"{sign}{spelled(mantissa)}" for mantissa in mantissas]
    made = digits.floats(pa.array(texts).cast(pa.decimal128(38, 8)))

    assert made.tolist() == [float(text) for text in texts]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.decimals(-(10**11), 10**11, places=8).map(lambda value: f"{value:f}"), min_size=1), st.integers(0, 3)
)
def test_any_decimal_is_the_float_of_its_text(texts: list[str], first: int) -> None:
    made = digits.floats(pa.array(texts).cast(pa.decimal128(38, 8))[first:])

    assert made.tolist() == [float(text) for text in texts[first:]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**13 + 9), st.integers(0, 10**18 - 1)), min_size=1), st.integers(0, 3))
def test_ids_are_read_by_their_digits(ids: list[tuple[int, int]], first: int) -> None:
    ms, sequence = digits.halves(pa.array([f"{one}-{other}" for one, other in ids])[first:])

    assert list(zip(ms.tolist(), sequence.tolist(), strict=True)) == ids[first:]


@pytest.mark.parametrize("length", range(1, 19))
def test_ids_of_one_length_are_read_at_once(length: int) -> None:
    ids = [(START_MS + number, 10**length - 1 - number) for number in range(9)]
    texts = pa.array([f"{one}-{other:0{length}}" for one, other in ids])

    found = digits._fast_halves(texts)
    assert found is not None and list(zip(*(half.tolist() for half in found), strict=True)) == ids


def test_letters_are_no_digits() -> None:
    with pytest.raises(pa.ArrowInvalid):
        digits.halves(pa.array([f"{START_MS}-1:", f"{START_MS}-12"]))


def test_small_files_make_blocks_of_a_fair_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_ENOUGH", 8)
    for first in range(1, 41, 4):
        record(tmp_path, trades(first, first + 3))
    record(tmp_path, [gap(41, 42)])
    (series,) = find([tmp_path])

    assert [len(block) for block in series.blocks()] == [8] * 5
    assert [event for block in series.blocks() for event in block.events()] == slowly(tmp_path)


def test_a_row_group_that_is_large_is_read_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS", 100)
    monkeypatch.setattr(rows, "_PAGE", 30)
    monkeypatch.setattr(pieces, "_ENOUGH", 1)
    record(tmp_path, [*trades(1, 130), gap(131, 131), *trades(132, 170), trade(171, price="4e4"), *trades(172, 350)])
    (series,) = find([tmp_path])

    assert [len(block) for block in series.blocks()] == [100, 99, 100, 50]
    assert events(tmp_path) == slowly(tmp_path)
    for since in (2, 99, 131, 132, 172, 300, 350):
        assert events(tmp_path, since_ms=START_MS + since) == [
            event for event in slowly(tmp_path) if int(event.entry_id.partition("-")[0]) >= START_MS + since
        ]


def test_what_is_recorded_meanwhile_is_not_in_it_and_what_is_merged_is(tmp_path: Path) -> None:
    first, second = record(tmp_path, trades(1, 4)), record(tmp_path, trades(5, 8))
    (series,) = find([tmp_path])
    expected = slowly(tmp_path)
    record(tmp_path, trades(1, 9), replaces=[first.name, second.name], name="merged.parquet")
    first.unlink()
    second.unlink()

    assert [event for block in series.blocks() for event in block.events()] == expected


def test_what_goes_away_while_it_is_read_is_looked_for_in_what_replaced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_ENOUGH", 1)
    files = [record(tmp_path, trades(first, first + 3)) for first in (1, 5, 9)]
    (series,) = find([tmp_path])
    expected = slowly(tmp_path)
    blocks = series.blocks()
    begun = list(next(blocks).events())
    record(tmp_path, trades(1, 12), replaces=[path.name for path in files], name="merged.parquet")
    for path in files:
        path.unlink()

    assert begun + [event for block in blocks for event in block.events()] == expected


def test_damage_names_the_file(tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3000))
    (series,) = find([tmp_path])
    column = pa.parquet.read_metadata(path).row_group(0).column(3)
    # The header of a page, with its statistics, comes first: what is wrong there changes no value.
    damage(path, (column.data_page_offset + column.total_compressed_size - 8) / path.stat().st_size)

    with pytest.raises(DataQuality, match=f"{path.name} is damaged"):
        list(series.blocks())


def test_a_file_that_does_not_say_what_it_holds_is_told_unless_its_stream_is_not_wanted(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3))
    record(tmp_path, trades(1, 3, "ETHUSDT"))
    torn = record(tmp_path, trades(4, 9, "ETHUSDT"))
    torn.write_bytes(torn.read_bytes()[:-9])

    with pytest.raises(DataQuality, match=torn.name):
        find([tmp_path])
    assert [series.stream for series in find([tmp_path], patterns=["trades:BTC*"])] == [BTC]


def test_an_entry_that_is_no_trade_is_told(tmp_path: Path) -> None:
    record(tmp_path, [*trades(1, 3), trade(4, price="cheap")])
    (series,) = find([tmp_path])

    with pytest.raises(DataQuality, match=f"entry {trade(4).entry_id} of {BTC} is not a trade"):
        list(series.blocks())


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (trade(4, pair="ETHUSDT"), "a trade of binance ETHUSDT, and others are a trade of binance BTCUSDT"),
        (trade(4, trade_id="004"), "is not a trade"),
        (trade(4, exchange="kraken"), "a trade of kraken BTCUSDT"),
        (Entry(BTC, trade(4).entry_id, kline(1).fields), "a kline of binance BTCUSDT 1m"),
        (Entry(BTC, f"{START_MS + 4}-0", trade(4).fields), "does not end in its trade's id, 4"),
        (Entry(BTC, f"{START_MS + 4}-0", trade(4, price="4e4").fields), "does not end in its trade's id, 4"),
        (Entry(BTC, trade(4).entry_id, {"ts": iso(0), "exchange": "binance"}), "is not a trade"),
    ],
)
def test_what_does_not_belong_into_a_stream_of_trades_is_told(tmp_path: Path, entry: Entry, told: str) -> None:
    record(tmp_path, [*trades(1, 3), entry])
    (series,) = find([tmp_path])

    with pytest.raises(DataQuality, match=told):
        list(series.blocks())


def test_closed_klines_are_bars_once_and_in_order(tmp_path: Path) -> None:
    made = [
        kline(0, closed=False),
        kline(0),
        kline(1, "45000.2e0"),
        kline(2, closed=False),
        kline(2, volume="3", note="x"),
    ]
    record(tmp_path, made)
    record(tmp_path, [kline(2, volume="3", note="x"), kline(3, "46000.5"), kline(4, closed=False)])
    record(tmp_path, [kline(5), kline(6)])
    (series,) = find([tmp_path])

    expected = [of_kline(event) for event in slowly(tmp_path, KLINES) if isinstance(event, Kline) and event.closed]
    assert list(pickle.loads(pickle.dumps(series)).bars()) == list(series.bars()) == expected
    assert len(expected) == 6
    assert (series.stream, series.pair, series.interval, series.size) == (KLINES, "BTCUSDT", "1m", 10)


def test_many_klines_are_those_that_are_there_one_by_one(tmp_path: Path) -> None:
    record(
        tmp_path, [kline(minute, f"{minute}.5", closed=closed) for minute in range(1000) for closed in (False, True)]
    )
    (series,) = find([tmp_path], since_ms=START_MS + 600_000)

    expected = [of_kline(event) for event in slowly(tmp_path, KLINES) if isinstance(event, Kline) and event.closed]
    assert list(series.bars()) == expected[9 + (expected[9].close_time < START_MS + 600_000) :]


def test_a_kline_of_another_interval_is_told(tmp_path: Path) -> None:
    record(tmp_path, [kline(0), Entry(KLINES, kline(1).entry_id, kline(1, interval="5m").fields)])
    (series,) = find([tmp_path])

    with pytest.raises(
        DataQuality, match="a kline of binance BTCUSDT 5m, and others are a kline of binance BTCUSDT 1m"
    ):
        list(series.bars())


def test_streams_are_sorted_and_chosen_by_name_and_pair(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3, "ETHUSDT"))
    record(tmp_path, trades(1, 3))
    record(tmp_path, [kline(0)])
    record(tmp_path, [Entry("notes", "1-0", {"text": "hello"})])

    def streams(**how: object) -> list[str]:
        return [series.stream for series in find([tmp_path], **how)]

    assert streams() == [KLINES, BTC, "trades:ETHUSDT"]
    assert streams(patterns=["trades:*"]) == [BTC, "trades:ETHUSDT"]
    assert streams(pairs=["BTCUSDT"]) == [KLINES, BTC]
    with pytest.raises(NotFound, match="no BTCUSTD") as error:
        streams(pairs=["BTCUSTD"])
    assert error.value.hint == 'did you mean "BTCUSDT"?'


def test_files_of_somebody_else_and_tapes_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "tape.raw").write_bytes(b'1000 {"n":1}\n')
    pa.parquet.write_table(pa.table({"a": np.arange(3)}), tmp_path / "other.parquet")

    assert find([tmp_path]) == []


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3))
    (series,) = find([path, tmp_path, tmp_path / "." / path.relative_to(tmp_path)])

    assert len(series.files) == 1


def test_links_out_of_a_folder_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = record(tmp_path / "outside", trades(1, 3))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.parquet").symlink_to(secret)
    os.mkfifo(inside / "pipe.parquet")
    os.mkfifo(inside / "BTCUSDT-trades-2024-11-14.csv")

    assert find([inside]) == []
    with pytest.raises(UsageError, match="not a regular file"):
        find([inside / "pipe.parquet"])
    with pytest.raises(NotFound, match="no such file"):
        find([tmp_path / "absent"])


def test_days_of_a_pair_come_in_order_of_their_ids(tmp_path: Path) -> None:
    record(tmp_path / "b", trades(1, 3))
    record(tmp_path / "a", trades(4, 5, day=2))
    (series,) = find([tmp_path / "a", tmp_path / "b"])

    numbers = [trade_id for block in series.blocks() for trade_id in block.trade_id.tolist()]
    assert numbers == [1, 2, 3, 4, 5]
    assert series.until[0] == START_MS + 2 * DAY_MS + 5
