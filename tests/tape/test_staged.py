"""Streams set down by columns: read again, in other processes, they are the events that came."""

import os
import pickle
import random
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from cryptostream.errors import DataQuality, NotFound
from cryptostream.model import codec
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry, Kline, Trade
from cryptostream.tape import pieces, staged
from cryptostream.tape.staged import Stage
from cryptostream.transforms.bars import of_kline
from tests.tape.recordings import START_MS, trade, trades
from tests.tape.test_series import gap, kline

BTC, ETH = "trades:BTCUSDT", "trades:ETHUSDT"


def stage(folder: Path, *batches: Sequence[Entry]) -> list:
    with Stage(folder) as made:
        for batch in batches:
            made.add(batch)
    return made.series()


def events(series) -> list:
    return [event for block in series.blocks() for event in block.events()]


def one_by_one(entries: Sequence[Entry]) -> list:
    return [codec.event(entry.stream, entry.entry_id, entry.fields) for entry in entries]


MIXED = [gap(1, 2), *trades(3, 6), gap(7, 8), gap(9, 9), trade(10, price="4.5e4", raw_json="{}"), gap(11, 12)]


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_what_came_is_there_however_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, at_once: int
) -> None:
    monkeypatch.setattr(staged, "_AT_ONCE", at_once)
    monkeypatch.setattr(pieces, "_ENOUGH", 2)
    others = trades(1, 9, "ETHUSDT")
    entries = [entry for pair in zip(MIXED, others, strict=True) for entry in pair]
    first, second = stage(tmp_path, *(entries[at : at + batch] for at in range(0, len(entries), batch)))

    assert (first.stream, first.pair, first.size) == (BTC, "BTCUSDT", 5)
    assert events(first) == one_by_one(MIXED)
    assert events(second) == events(pickle.loads(pickle.dumps(second))) == one_by_one(others)


def test_it_is_read_in_other_processes(tmp_path: Path) -> None:
    made = trades(1, 2000)
    series = stage(tmp_path, made)

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert list(pool.map(events, series)) == [one_by_one(made)]


def test_klines_are_bars_once_they_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "_AT_ONCE", 3)
    made = [kline(minute, f"{minute + 1}.1", closed=closed) for minute in range(5) for closed in (False, True)]
    (series,) = stage(tmp_path, *([one] for one in made))

    assert list(series.bars()) == [
        of_kline(event) for event in one_by_one(made) if isinstance(event, Kline) and event.closed
    ]
    assert (series.interval, series.size) == ("1m", 5)


def test_streams_of_no_market_data_are_left_out(tmp_path: Path) -> None:
    signal = {"strategy": "rsi", "pair": "BTCUSDT", "side": "buy", "price": "1", "strength": "1", "reason": ""}
    entries = [Entry("notes", "1-0", {"text": "x"}), Entry("signals:rsi:BTCUSDT", "1-0", {**signal, "ts": iso(0)})]

    assert stage(tmp_path, [*entries, gap(1, 2)]) == []


def test_there_may_be_more_streams_than_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "_AT_ONCE", 100)
    pairs = [f"A{number}USDT" for number in range(300)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    newest = os.open(os.devnull, os.O_RDONLY)  # what other tests of this process have open counts too
    os.close(newest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (newest + 100, limits[1]))
    try:
        found = stage(tmp_path, *([trade(number, pair) for pair in pairs] for number in (1, 2)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert len(found) == 300
    assert events(found[7]) == one_by_one([trade(1, found[7].pair), trade(2, found[7].pair)])


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (trade(4, price="cheap"), "is not a trade"),
        (trade(4, pair="BTCUSDT", exchange="kraken"), "a trade of kraken BTCUSDT, and others are"),
        (Entry(BTC, f"{START_MS + 4}-0", trade(4).fields), "does not end in its trade's id"),
        (Entry(BTC, trade(4).entry_id, kline(1).fields), "a kline of binance BTCUSDT 1m"),
        (trade(3), "do not come in the order of their ids"),
        (trade(2), "do not come in the order of their ids"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 100])
def test_what_does_not_belong_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Entry, told: str, at_once: int
) -> None:
    monkeypatch.setattr(staged, "_AT_ONCE", at_once)
    with pytest.raises(DataQuality, match=told):
        stage(tmp_path, trades(1, 3), [entry])


def test_a_folder_that_was_used_before_is_used_anew(tmp_path: Path) -> None:
    stage(tmp_path, trades(1, 9))
    (series,) = stage(tmp_path, trades(1, 3))

    assert events(series) == one_by_one(trades(1, 3))


def test_a_stage_that_is_gone_or_cut_is_told(tmp_path: Path) -> None:
    (series,) = stage(tmp_path, trades(1, 9))
    series.path.write_bytes(series.path.read_bytes()[:-1])
    with pytest.raises(DataQuality, match="shorter"):
        events(series)
    series.path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        events(series)


def test_floats_are_those_that_came(tmp_path: Path) -> None:
    chance = random.Random(5)
    made = [Trade(f"{START_MS}-{n}", "x", "Y", chance.expovariate(1), 1 / n, n * 7, "buy", n) for n in range(1, 3000)]
    with Stage(tmp_path) as stage:
        stage.add_events("trades:x:Y", made)

    assert events(stage.series()[0]) == made
