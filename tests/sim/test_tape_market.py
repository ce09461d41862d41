import gzip
import json

import pytest

from cryptostream.errors import DataQuality, NotFound
from cryptostream.sim.tape_market import Tape, TapeStream

START_US = 1_723_161_254_000_000


def trade(number, price="100.00000000"):
    return (
        f'{{"e":"trade","E":{START_US // 1000 + number},"s":"BTCUSDT","t":{1000 + number},"p":"{price}",'
        f'"q":"0.50000000","T":{START_US // 1000 + number},"m":true,"M":true}}'
    )


def lines(*frames, step_us=10_000):
    return "".join(f"{(START_US + at * step_us) * 1000} {frame}\n" for at, frame in enumerate(frames))


@pytest.fixture
def folder(tmp_path):
    wrapped = f'{{"stream":"btcusdt@trade","data":{trade(0)}}}'
    book = '{"u":5,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}'
    depth = '{"lastUpdateId":160,"bids":[],"asks":[]}'
    (tmp_path / "a.raw").write_text(lines(wrapped, trade(1), trade(2, "101.00000000"), depth, "broken {"))
    with gzip.open(tmp_path / "b.raw.gz", "wt") as file:
        file.write(lines(book, trade(2, "101.00000000"), trade(3), step_us=15_000))
    (tmp_path / "README.md").write_text("not a tape\n")
    return tmp_path


def test_frames_are_sorted_into_streams_without_their_envelope(folder):
    tape = Tape(folder)
    assert set(tape.frames) == {"btcusdt@trade", "btcusdt@bookTicker"}
    assert tape.frames["btcusdt@trade"][0].words.decode() == trade(0)
    assert tape.skipped == 2
    assert list(tape.listings) == ["BTCUSDT"]


def test_files_of_a_folder_are_merged_by_time(folder):
    times = [frame.at_us for frame in Tape(folder).frames["btcusdt@trade"]]
    assert times == sorted(times) and len(times) == 5


def test_a_trade_that_was_recorded_twice_is_one_trade(folder):
    tape = Tape(folder)
    assert [made.id for made in tape.trades("BTCUSDT", 0, 10**9)] == [1000, 1001, 1002, 1003]
    assert tape.first_id("BTCUSDT") == 1000
    assert next(tape.trades("BTCUSDT", 1002, 1002)).price == "101.00000000"


def test_a_trade_is_known_from_when_it_was_received(folder):
    tape = Tape(folder)
    assert tape.last_id("BTCUSDT", START_US - 1) == 999
    assert tape.last_id("BTCUSDT", START_US + 10_000) == 1001
    assert tape.traded_by("BTCUSDT", START_US + 1_000) == 1001


def test_neighbours_with_the_same_price_side_and_time_are_one_aggregate(tmp_path):
    same = [trade(0), trade(0).replace('"t":1000', '"t":1001'), trade(5)]
    (tmp_path / "t.raw").write_text(lines(*same))
    tape = Tape(tmp_path / "t.raw")
    assert [(made.first_id, made.last_id) for made in tape.aggregates("BTCUSDT", 1, 9)] == [(1000, 1001), (1005, 1005)]
    assert tape.last_aggregate_id("BTCUSDT", tape.ends_us) == 2


def test_a_stream_plays_what_is_due_and_then_stays_silent(folder):
    tape = Tape(folder)
    stream = TapeStream(tape.frames["btcusdt@trade"], tape.starts_us)
    assert [json.loads(event.payload(1000))["t"] for event in stream.take(START_US + 10_000)] == [1000, 1001]
    stream.take(tape.ends_us)
    assert stream.take(tape.ends_us + 10**12) == []
    assert stream.due_us > tape.ends_us + 10**12


@pytest.mark.parametrize(
    ("text", "error"),
    [("", DataQuality), ("no time here\n", DataQuality), (lines(trade(0)) + "oops\n", DataQuality), (None, NotFound)],
)
def test_what_is_not_a_tape_is_refused(tmp_path, text, error):
    path = tmp_path / "t.raw"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error):
        Tape(path)
