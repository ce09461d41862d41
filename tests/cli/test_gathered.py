"""What a backtest is given to read: files of every kind, what is wrong with them together, and pairs there twice."""

import csv
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cryptostream.cli import gathered
from cryptostream.cli.origins import Span
from cryptostream.config import Config
from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.model.events import Entry
from tests.tape.recordings import DAY_MS, START_MS, record, trade, trades
from tests.tape.test_series import kline

Gather = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def gather(tmp_path: Path) -> Gather:
    async def read(*words: Path | str, symbols: Sequence[str] = ()) -> list[Any]:
        told = gathered.gather(Config(), [str(word) for word in words], Span(), symbols, tmp_path / "stage", _unheard)
        return await told

    return read


def _unheard(_done: int, _size: int) -> None:
    """Nobody looks."""


def tape(path: Path, entries: Sequence[Entry]) -> Path:
    """Entries as `tail` prints them."""
    lines = ({"stream": one.stream, "id": one.entry_id, **one.fields} for one in entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def daily(folder: Path, numbers: Sequence[int], *, name: str = "BTCUSDT-trades-2026-11-20.csv") -> Path:
    """The venue's own file of a day."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        rows = csv.writer(file)
        for number in numbers:
            one = trade(number).fields
            maker = "True" if one["side"] == "sell" else "False"
            rows.writerow([number, one["price"], one["qty"], "1", START_MS + number, maker, "True"])
    return folder / name


def numbers(series: Any) -> list[int]:
    """The trades that are there, by their ids."""
    return [int(number) for block in series.blocks() for number in block.trade_id]


async def test_a_trade_that_a_tape_has_twice_is_there_once(gather: Gather, tmp_path: Path) -> None:
    once = trades(1, 9)
    [found] = await gather(tape(tmp_path / "two-sockets.jsonl", [*once[:5], *once[2:7], once[6], *once[3:]]))
    assert numbers(found) == list(range(1, 10))
    assert found.size == 9


async def test_what_two_tapes_have_of_one_stream_is_there_once(gather: Gather, tmp_path: Path) -> None:
    one, other = tape(tmp_path / "a.jsonl", trades(1, 6)), tape(tmp_path / "b.jsonl", trades(4, 9))
    [found] = await gather(one, other)
    assert numbers(found) == list(range(1, 10))


async def test_a_frame_that_a_recording_has_twice_is_there_once(gather: Gather, tmp_path: Path) -> None:
    frames = []
    for number in (1, 2, 3, 2, 3, 4):
        ms = START_MS + number
        data = {
            "e": "trade",
            "E": ms,
            "s": "BTCUSDT",
            "t": number,
            "p": "4.0",
            "q": "1.0",
            "T": ms,
            "m": True,
            "M": True,
        }
        frame = json.dumps({"stream": "btcusdt@trade", "data": data}, separators=(",", ":"))
        frames.append(f"{ms * 1_000_000} {frame}\n")
    (tmp_path / "tape.raw").write_text("".join(frames))
    [found] = await gather(tmp_path / "tape.raw")
    assert numbers(found) == [1, 2, 3, 4]


async def test_streams_of_a_tape_do_not_hide_each_other(gather: Gather, tmp_path: Path) -> None:
    mixed = [one for pair in zip(trades(1, 4), trades(1, 4, "ETHUSDT"), strict=True) for one in pair]
    found = await gather(tape(tmp_path / "both.jsonl", mixed))
    assert [(one.pair, numbers(one)) for one in found] == [("BTCUSDT", [1, 2, 3, 4]), ("ETHUSDT", [1, 2, 3, 4])]


async def test_files_and_streams_at_once_are_refused(gather: Gather, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="files and streams at once"):
        await gather(daily(tmp_path, [1]), "trades:BTCUSDT")
    with pytest.raises(UsageError, match="files and streams at once"):
        await gather("trades:ETHUSDT", tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("name", ["nothing.csv", "nothing.csv.gz", "nothing.zip", "nothing.parquet", "./nothing"])
async def test_a_path_that_is_not_there_is_told_as_one(
    gather: Gather, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match=r"no such file or folder: nothing"):
        await gather(name)
    with pytest.raises(NotFound, match=r"no such file or folder: nothing"):
        await gather(daily(tmp_path / "there", [1]), name)


async def test_a_tape_and_columns_at_once_are_refused(gather: Gather, tmp_path: Path) -> None:
    one, other = daily(tmp_path, [1]), tape(tmp_path / "tape.jsonl", trades(1, 2))
    with pytest.raises(UsageError, match=r"tape\.jsonl is a tape, and .*\.csv is not"):
        await gather(one, other)


async def test_one_stream_recorded_and_in_daily_files_is_refused(gather: Gather, tmp_path: Path) -> None:
    record(tmp_path / "all", trades(1, 3))
    daily(tmp_path / "all", [1, 2, 3])
    with pytest.raises(UsageError, match="trades:BTCUSDT is there twice"):
        await gather(tmp_path / "all")


async def test_recorded_and_daily_files_of_different_pairs_go_together(gather: Gather, tmp_path: Path) -> None:
    record(tmp_path / "all", trades(1, 3, "ETHUSDT"))
    daily(tmp_path / "all", [1, 2])
    found = await gather(tmp_path / "all")
    assert [(one.pair, numbers(one)) for one in found] == [("BTCUSDT", [1, 2]), ("ETHUSDT", [1, 2, 3])]


async def test_a_table_of_something_else_does_not_hide_the_tapes_beside_it(gather: Gather, tmp_path: Path) -> None:
    tape(tmp_path / "folder" / "tape.jsonl", trades(1, 3))
    (tmp_path / "folder" / "notes.csv").write_text("day,mood\n1,good\n")
    [found] = await gather(tmp_path / "folder")
    assert numbers(found) == [1, 2, 3]


async def test_parquet_is_known_by_what_it_holds_where_it_is_named(gather: Gather, tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3)).rename(tmp_path / "mine")
    record(tmp_path / "others", trades(1, 2, "ETHUSDT"))
    found = await gather(path, tmp_path / "others")
    assert [numbers(one) for one in found] == [[1, 2, 3], [1, 2]]
    assert not (tmp_path / "stage").exists()


async def test_links_out_of_a_folder_are_not_followed(gather: Gather, tmp_path: Path) -> None:
    outside = record(tmp_path / "outside", trades(1, 3))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.parquet").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent, target_is_directory=True)
    (inside / "round").symlink_to(inside, target_is_directory=True)
    with pytest.raises(NotFound, match="no trades and no closed klines"):
        await gather(inside)
    record(inside, trades(1, 3, "ETHUSDT"))
    assert [one.pair for one in await gather(inside)] == ["ETHUSDT"]


async def test_a_link_that_is_named_is_followed_and_one_to_nothing_is_not_there(gather: Gather, tmp_path: Path) -> None:
    (tmp_path / "link.parquet").symlink_to(record(tmp_path / "outside", trades(1, 3)))
    (tmp_path / "dead.parquet").symlink_to(tmp_path / "gone.parquet")
    assert len(await gather(tmp_path / "link.parquet")) == 1
    with pytest.raises(NotFound, match=r"no such file or folder: .*dead\.parquet"):
        await gather(tmp_path / "dead.parquet")


@pytest.mark.parametrize("name", ["pipe", "pipe.csv", "pipe.parquet", "pipe.raw"])
async def test_what_is_no_regular_file_is_refused_at_once(gather: Gather, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError):
        await gather(tmp_path / name)


async def test_the_same_file_named_twice_is_read_once(gather: Gather, tmp_path: Path) -> None:
    path, tapes = daily(tmp_path / "dailies", [1, 2]), tape(tmp_path / "tapes" / "tape.jsonl", trades(1, 2))
    for words in ((path, path), (path, path.parent), (tapes, tapes), (tapes.parent, tapes)):
        [found] = await gather(*words)
        assert numbers(found) == [1, 2]


async def test_a_damaged_tape_is_told(gather: Gather, tmp_path: Path) -> None:
    path = tape(tmp_path / "tape.jsonl", trades(1, 3))
    with path.open("a") as file:
        file.write('{"stream": "trades:BTCUSDT", "id":\n')
    with pytest.raises(DataQuality, match="line 4"):
        await gather(path)


async def test_of_pairs_that_are_asked_for_one_that_is_not_there_is_told(gather: Gather, tmp_path: Path) -> None:
    record(tmp_path / "all", trades(1, 3, "ETHUSDT"))
    record(tmp_path / "all", trades(1, 3))
    assert [one.pair for one in await gather(tmp_path / "all", symbols=["ETHUSDT"])] == ["ETHUSDT"]
    with pytest.raises(NotFound, match="nothing of BTCUSD") as caught:
        await gather(tmp_path / "all", symbols=["ETHUSDT", "BTCUSD"])
    assert caught.value.hint == 'did you mean "BTCUSDT"?'


async def test_nothing_is_told_as_nothing(gather: Gather, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound):
        await gather(tmp_path / "empty")
    with pytest.raises(NotFound, match="no trades and no closed klines"):
        await gather(tape(tmp_path / "open.jsonl", [kline(0, closed=False)]), symbols=["BTCUSDT"])


async def test_of_trades_and_klines_of_a_pair_trades_are_taken_unless_klines_are_wanted(
    gather: Gather, tmp_path: Path
) -> None:
    record(tmp_path / "all", trades(1, 3))
    record(tmp_path / "all", [kline(0), kline(1)])
    found = await gather(tmp_path / "all")
    assert len(found) == 2
    assert [one.stream for one in gathered.one_kind(found, klines=False)] == ["trades:BTCUSDT"]
    assert [one.stream for one in gathered.one_kind(found, klines=True)] == ["klines:BTCUSDT:1m"]


async def test_klines_are_taken_where_there_is_nothing_else_and_trades_are_none(gather: Gather, tmp_path: Path) -> None:
    bars = await gather(tape(tmp_path / "klines.jsonl", [kline(0), kline(1)]))
    assert gathered.one_kind(bars, klines=False) == gathered.one_kind(bars, klines=True) == bars
    found = await gather(tape(tmp_path / "trades.jsonl", trades(1, 3)))
    with pytest.raises(DataQuality, match="no klines") as caught:
        gathered.one_kind(found, klines=True)
    assert caught.value.hint == "leave out --klines"


async def test_klines_of_two_intervals_are_refused(gather: Gather, tmp_path: Path) -> None:
    for interval in ("1m", "5m"):
        record(tmp_path / "all", [kline(0, interval=interval)])
    found = await gather(tmp_path / "all")
    with pytest.raises(UsageError, match="klines of several intervals: 1m, 5m"):
        gathered.one_kind(found, klines=False)


async def test_a_pair_of_two_streams_is_refused_and_of_two_venues_is_not(gather: Gather, tmp_path: Path) -> None:
    def other(stream: str, **fields: str) -> list[Entry]:
        return [Entry(stream, one.entry_id, {**one.fields, **fields}) for one in trades(1, 3)]

    twice = await gather(tape(tmp_path / "twice.jsonl", [*trades(1, 3), *other("trades:{BTCUSDT}")]))
    assert len(twice) == 2
    with pytest.raises(UsageError, match="a pair is there twice"):
        gathered.one_kind(twice, klines=False)
    venues = tape(tmp_path / "venues.jsonl", [*trades(1, 3), *other("trades:kraken:BTCUSDT", exchange="kraken")])
    found = await gather(venues)
    assert [one.exchange for one in gathered.one_kind(found, klines=False)] == ["binance", "kraken"]


async def test_days_that_are_recorded_in_two_places_are_one_series(gather: Gather, tmp_path: Path) -> None:
    record(tmp_path / "old", trades(1, 3))
    record(tmp_path / "new", trades(4, 5, day=1))
    [found] = await gather(tmp_path / "new", tmp_path / "old")
    assert numbers(found) == [1, 2, 3, 4, 5]
    assert [int(block.ms[-1]) for block in found.blocks()][-1] == START_MS + DAY_MS + 5
