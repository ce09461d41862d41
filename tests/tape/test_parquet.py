"""A recorded folder as an archive: every entry once, in order, exactly as it was, whatever state the folder is in."""

import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.errors import DataQuality
from cryptostream.model.events import Entry
from cryptostream.model.globs import compiled
from cryptostream.tape import stretch
from cryptostream.tape.parquet import Recording
from tests.tape.recordings import damage, record, trade, trades

BTC = "trades:BTCUSDT"


def read(recording: Recording, after: str = "0-0", stream: str = BTC) -> list[Entry]:
    return list(chain.from_iterable(recording.after(stream, after)))


def test_entries_come_back_as_they_were_over_files_and_days(tmp_path: Path) -> None:
    gap = Entry(BTC, trade(4).entry_id, {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "gap_from": "4"})
    record(tmp_path, trades(1, 3))
    record(tmp_path, [gap, trade(5, raw_json='{"p":"1"}'), trade(6, price="1e5")])
    record(tmp_path, trades(1, 2, day=1))
    record(tmp_path, trades(1, 2, "ETHUSDT"))

    expected = [*trades(1, 3), gap, trade(5, raw_json='{"p":"1"}'), trade(6, price="1e5"), *trades(1, 2, day=1)]
    assert read(Recording(tmp_path)) == expected


@pytest.mark.parametrize("place", [0, 1, 2, 3, 5, 7, 8, 9])
def test_it_begins_right_above_an_id(tmp_path: Path, place: int) -> None:
    record(tmp_path, trades(1, 4))
    record(tmp_path, trades(6, 8))
    above = [entry for entry in [*trades(1, 4), *trades(6, 8)] if int(entry.fields["trade_id"]) > place]

    assert read(Recording(tmp_path), trade(place).entry_id) == above


def test_it_begins_anywhere_in_a_file_of_many_row_groups(tmp_path: Path) -> None:
    made = trades(1, 150_000)
    record(tmp_path, made)
    for place in (2_000, 65_535, 65_536, 65_537, 149_999):
        assert read(Recording(tmp_path), trade(place).entry_id) == made[place:]


def test_ids_are_numbers_and_not_words(tmp_path: Path) -> None:
    made = [Entry("s", f"5-{number}", {"n": str(number)}) for number in (9, 10, 100)]
    record(tmp_path, made[:1])
    record(tmp_path, made[1:])

    assert read(Recording(tmp_path), "5-9", "s") == made[1:]


def test_files_whose_ids_overlap_are_merged_and_nothing_comes_twice(tmp_path: Path) -> None:
    """An entry that was a dead letter and tried again is recorded after those that came later."""
    record(tmp_path, [trade(1), trade(2), trade(4), trade(6)])
    record(tmp_path, [trade(3), trade(4), trade(5)])
    record(tmp_path, trades(7, 8))

    assert read(Recording(tmp_path)) == trades(1, 8)
    assert read(Recording(tmp_path), trade(4).entry_id) == trades(5, 8)


def test_what_another_file_replaces_is_left_out(tmp_path: Path) -> None:
    second = record(tmp_path, trades(4, 6))
    record(tmp_path, trades(1, 6), replaces=[second.name])

    recording = Recording(tmp_path)
    assert read(recording) == trades(1, 6)
    assert [len(stretch.parts) for stretch in recording.stretches(BTC)] == [1]


def test_a_name_that_came_to_mean_something_else_is_not_replaced(tmp_path: Path) -> None:
    later = record(tmp_path, trades(7, 9))
    record(tmp_path, trades(1, 6), replaces=[later.name])

    assert read(Recording(tmp_path)) == trades(1, 9)


def test_streams_are_told_by_redis_globs(tmp_path: Path) -> None:
    for pair in ("BTCUSDT", "ETHUSDT", "BTC-X"):
        record(tmp_path, trades(1, 1, pair))
    recording = Recording(tmp_path)

    assert recording.streams(["*"]) == ["trades:BTC-X", "trades:BTCUSDT", "trades:ETHUSDT"]
    assert recording.streams(["trades:BTC*", "trades:ETHUSDT"]) == ["trades:BTC-X", "trades:BTCUSDT", "trades:ETHUSDT"]
    assert recording.streams(["trades:?TH*"]) == ["trades:ETHUSDT"]
    assert recording.streams(["klines:*"]) == []


GLOBS = {
    "*": "anything",
    "h?llo": "hello",
    "h[ae]llo": "hallo",
    "h[^e]llo": "hallo",
    "h[a-c]llo": "hbllo",
    r"h\*llo": "h*llo",
    "a.c": "a.c",
    "h[]]o": "h]o",
    r"[\]]": "]",
    "t:{A}": "t:{A}",
    "**": "x",
}


@pytest.mark.parametrize("glob", GLOBS)
@pytest.mark.parametrize("name", sorted({*GLOBS.values(), "hllo", "hello", "abc", "hzllo", "h"}))
def test_a_glob_means_what_it_means_to_redis(glob: str, name: str, real_redis: Any) -> None:
    real_redis.flushall()
    real_redis.set(name, "1")
    expected = bool(list(real_redis.scan_iter(match=glob, count=10)))

    assert bool(compiled(glob).fullmatch(name)) == expected


@pytest.fixture
def real_redis(real_redis_url: str) -> Iterator[Any]:
    import redis

    with redis.Redis.from_url(real_redis_url, protocol=2) as client:
        yield client


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "later")

    assert recording.streams(["*"]) == []
    assert read(recording) == []


def test_one_file_is_a_recording_too(tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3))
    record(tmp_path, trades(4, 6))

    assert Recording(path).streams(["*"]) == [BTC]
    assert read(Recording(path)) == trades(1, 3)


def test_files_that_come_later_are_seen_when_it_is_asked_again(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3))
    recording = Recording(tmp_path)
    assert read(recording) == trades(1, 3)
    record(tmp_path, trades(4, 6))
    record(tmp_path, trades(1, 2, day=1))
    record(tmp_path, trades(1, 2, "ETHUSDT"))

    assert read(recording, trade(3).entry_id) == [*trades(4, 6), *trades(1, 2, day=1)]
    assert read(recording, stream="trades:ETHUSDT") == trades(1, 2, "ETHUSDT")


def test_a_file_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3))
    recording = Recording(tmp_path)
    read(recording)
    record(tmp_path, trades(1, 5))

    assert read(recording) == trades(1, 5)


def test_what_is_merged_while_it_is_read_is_read_on_in_what_it_became(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretch, "ROWS", 2)
    made = [record(tmp_path, trades(first, first + 3)) for first in (1, 5, 9)]
    found: list[Entry] = []
    for page in Recording(tmp_path).after(BTC, "0-0"):
        if not found:
            record(tmp_path, trades(1, 12), replaces=[path.name for path in made[1:]])
            for path in made[1:]:
                path.unlink()
        found += page

    assert found == trades(1, 12)


def test_what_a_retention_takes_away_while_it_is_read_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretch, "ROWS", 2)
    made = [record(tmp_path, trades(first, first + 3)) for first in (1, 5, 9)]
    found: list[Entry] = []
    for page in Recording(tmp_path).after(BTC, "0-0"):
        if not found:
            made[1].unlink()
        found += page

    assert found == [*trades(1, 4), *trades(9, 12)]


def test_what_is_not_a_recording_is_passed_over(tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3))
    pq.write_table(pa.table({"x": [1]}), path.with_name("theirs.parquet"))
    path.with_name(f".{path.name}.inprogress").write_bytes(b"PAR1")
    path.with_name("notes.txt").write_text("no")

    assert Recording(tmp_path).streams(["*"]) == [BTC]
    assert read(Recording(tmp_path)) == trades(1, 3)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = record(tmp_path / "elsewhere", trades(1, 3))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x.parquet").symlink_to(secret)

    assert Recording(tmp_path / "here").streams(["*"]) == []


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3))
    torn = record(tmp_path, trades(4, 6))
    torn.write_bytes(torn.read_bytes()[:-20])

    with pytest.raises(DataQuality, match=f"{torn.name} is damaged"):
        read(Recording(tmp_path))


def test_a_torn_file_of_another_stream_is_nobody_elses_business(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 3))
    record(tmp_path, trades(1, 3, "ETHUSDT"))
    torn = record(tmp_path, trades(4, 6, "ETHUSDT"))
    torn.write_bytes(b"")
    recording = Recording(tmp_path)

    assert recording.streams(["trades:BTC*"]) == [BTC]
    assert read(recording) == trades(1, 3)
    with pytest.raises(DataQuality, match=torn.name):
        read(recording, stream="trades:ETHUSDT")


def test_a_torn_file_that_may_be_of_a_stream_of_its_own_is_told_when_streams_are_looked_for(tmp_path: Path) -> None:
    torn = record(tmp_path, trades(4, 6))
    torn.write_bytes(b"")

    with pytest.raises(DataQuality, match=torn.name):
        Recording(tmp_path).streams(["*"])


@settings(deadline=None, max_examples=50)
@given(place=st.floats(0.0, 0.999))
def test_a_file_with_a_flipped_byte_is_never_taken_for_whole(
    tmp_path_factory: pytest.TempPathFactory, place: float
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    path = record(folder, trades(1, 200))
    damage(path, place)
    recording = Recording(folder)

    try:
        found = [e for each in recording.stretches(BTC) for page in each.proven_pages() for e in page]
    except DataQuality as told:
        assert str(path) in str(told)
    else:
        assert found in ([], trades(1, 200))  # a byte that means nothing, or one without which it is somebody else's
    finally:
        shutil.rmtree(folder)


def test_the_newest_come_first_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretch, "ROWS", 2)
    record(tmp_path, trades(1, 5))
    [whole] = Recording(tmp_path).stretches(BTC)

    assert list(chain.from_iterable(reversed(list(whole.newest())))) == trades(1, 5)
