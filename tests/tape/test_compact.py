"""Small files become one: nothing is lost or doubled, whoever dies or writes in between."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cryptostream.model.events import Entry
from cryptostream.tape import compact, parts, schema
from cryptostream.tape.parquet import Recording
from tests.tape.recordings import damage, names, record, trade, trades

BTC = "trades:BTCUSDT"
TODAY = "2026-11-20"


def held(root: Path, stream: str = BTC) -> list[Entry]:
    """All that is recorded of a stream, if each file holds what it says."""
    found = [page for one in Recording(root).stretches(stream) for page in one.proven_pages()]
    return list(itertools.chain.from_iterable(found))


def test_the_files_of_a_stream_and_day_become_one_with_the_first_ones_name(tmp_path: Path) -> None:
    first, *others = [record(tmp_path, trades(n, n + 2)) for n in (1, 4, 7)]
    assert compact.compact(tmp_path) == 2

    assert names(tmp_path) == [first.name]
    assert held(tmp_path) == trades(1, 9)
    facts = parts.about(first)
    assert (facts.entries, facts.first_id, facts.last_id) == (9, trade(1).entry_id, trade(9).entry_id)
    assert facts.replaces == tuple(path.name for path in others)


def test_days_and_streams_stay_apart(tmp_path: Path) -> None:
    for made in (trades(1, 2), trades(1, 2, day=1), trades(1, 2, "ETHUSDT")):
        record(tmp_path, made)
    other = [Entry("trades:kraken:BTCUSDT", entry.entry_id, entry.fields) for entry in trades(1, 2)]
    assert record(tmp_path, other).parent == record(tmp_path, trades(1, 2)).parent

    assert compact.compact(tmp_path) == 0
    assert held(tmp_path, "trades:kraken:BTCUSDT") == other


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3))
    record(tmp_path, trades(4, 6))
    compact.compact(tmp_path)
    told = path.stat()

    assert compact.compact(tmp_path) == 0
    assert path.stat().st_mtime_ns == told.st_mtime_ns


def test_files_are_merged_up_to_a_size(tmp_path: Path) -> None:
    for first in range(1, 21, 2):
        record(tmp_path, trades(first, first + 1))
    compact.compact(tmp_path, most_rows=6)

    assert [part.facts.entries for each in Recording(tmp_path).stretches(BTC) for part in each.parts] == [6, 6, 6, 2]
    assert held(tmp_path) == trades(1, 20)


def test_files_are_merged_up_to_so_many_bytes(tmp_path: Path) -> None:
    for first in (1, 3, 5):
        record(tmp_path, trades(first, first + 1))
    one, *_ = Recording(tmp_path).stretches(BTC)
    compact.compact(tmp_path, most_bytes=2 * one.parts[0].unpacked)

    assert [part.facts.entries for each in Recording(tmp_path).stretches(BTC) for part in each.parts] == [4, 2]


def test_a_day_that_grows_is_not_written_again_and_again(tmp_path: Path) -> None:
    """A file is merged a few times on its way to a whole day, and not once for every small file that comes."""
    written = 0
    for number in range(1, 49):
        record(tmp_path, [trade(number)])
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*.parquet")}
        compact.compact(tmp_path, today=TODAY)
        after = {path: path.stat().st_ino for path in tmp_path.rglob("*.parquet")}
        written += sum(parts.about(path).entries for path, inode in after.items() if before.get(path) != inode)

    assert written < 48 * 7
    assert len(names(tmp_path)) < 7
    assert held(tmp_path) == trades(1, 48)


def test_a_day_that_is_over_becomes_one_file(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 90))
    record(tmp_path, trades(91, 92))
    assert compact.compact(tmp_path, today=TODAY) == 0
    assert compact.compact(tmp_path, today="2026-11-21") == 1


def test_entries_that_overlap_come_into_order_and_once(tmp_path: Path) -> None:
    record(tmp_path, [trade(1), trade(2), trade(5)])
    record(tmp_path, [trade(3), trade(4), trade(5)])
    compact.compact(tmp_path)

    assert len(names(tmp_path)) == 1
    assert held(tmp_path) == trades(1, 5)


def test_texts_stay_as_they_are(tmp_path: Path) -> None:
    odd = [trade(1, price="1e5"), trade(2, price="007.10", raw_json='{"x": 1}'), trade(3, qty="0.000000000000000001")]
    more = [trade(4), Entry(BTC, trade(5).entry_id, {"kind": "gap", "ts": "never", "gap_from": "x"})]
    record(tmp_path, odd)
    record(tmp_path, more)
    compact.compact(tmp_path)

    assert len(names(tmp_path)) == 1
    assert held(tmp_path) == [*odd, *more]


class Died(BaseException):
    """Killed at this point."""


def dies_at(patch: pytest.MonkeyPatch, place: Any, name: str, call: int) -> None:
    """Let a function do its work `call` times, and die instead of the next."""
    real, left = getattr(place, name), [call]

    def dying(*args: Any, **options: Any) -> Any:
        if not left[0]:
            raise Died
        left[0] -= 1
        return real(*args, **options)

    patch.setattr(place, name, dying)


@pytest.mark.row(24)
@pytest.mark.parametrize(
    ("place", "name", "call"),
    [
        *((parts.os, "write", call) for call in range(2)),
        *((parts.os, "fsync", call) for call in range(4)),
        (Path, "rename", 0),
        *((Path, "unlink", call) for call in range(4)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_killed_anywhere_it_is_healed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int
) -> None:
    for first in (1, 4, 7, 10):
        record(tmp_path, trades(first, first + 2))
    with monkeypatch.context() as patch:
        dies_at(patch, place, name, call)
        with contextlib.suppress(Died):
            compact.compact(tmp_path)
    assert held(tmp_path) == trades(1, 12)
    compact.compact(tmp_path)

    assert held(tmp_path) == trades(1, 12)
    assert len(names(tmp_path)) == 1


def test_what_changes_while_it_is_merged_is_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder writes one of the files again, with more in it, between our reading and our writing."""
    record(tmp_path, trades(1, 3))
    record(tmp_path, trades(4, 6))
    packed = parts.packed

    def meanwhile(table: Any, compression: str) -> Any:
        data = packed(table, compression)
        monkeypatch.undo()
        record(tmp_path, trades(4, 9))
        return data

    monkeypatch.setattr(compact.files, "packed", meanwhile)
    assert compact.compact(tmp_path) == 0
    assert held(tmp_path) == trades(1, 9)


def test_it_waits_for_whoever_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path, trades(1, 3))
    record(tmp_path, trades(4, 6))
    taken: list[Path] = []
    locked = parts.locked
    monkeypatch.setattr(compact.files, "locked", lambda folder: (taken.append(folder), locked(folder))[1])
    compact.compact(tmp_path)

    assert taken == [path.parent]


def test_a_damaged_file_is_left_as_it_is_and_the_others_are_merged(tmp_path: Path) -> None:
    broken = record(tmp_path, trades(1, 300))
    record(tmp_path, trades(301, 302))
    for first in (1, 3):
        record(tmp_path, trades(first, first + 1, "ETHUSDT"))
    damage(broken)
    before = broken.read_bytes()

    assert compact.compact(tmp_path) == 1
    assert broken.read_bytes() == before
    assert held(tmp_path, "trades:ETHUSDT") == trades(1, 4, "ETHUSDT")


def test_what_no_longer_holds_what_was_written_is_not_made_to_look_whole(tmp_path: Path) -> None:
    """One value has changed, and the checksum of its page with it: nothing but the digest shows it."""
    forged = record(tmp_path, trades(1, 3))
    record(tmp_path, trades(4, 6))
    table, changed = schema.table(trades(1, 3)), schema.table([trade(1), trade(2, price="1.50000000"), trade(3)])
    price = table.column_names.index("price")
    parts.save(forged, parts.packed(table.set_column(price, table.schema.field(price), changed["price"]), "zstd"))
    before = forged.read_bytes()
    with capture_logs() as told:
        assert compact.compact(tmp_path) == 0

    assert forged.read_bytes() == before
    assert len(names(tmp_path)) == 2
    [line] = told
    assert (line["event"], "not those that were written" in line["reason"]) == ("recording.not_merged", True)


def test_a_letter_that_changed_on_the_disk_is_not_made_to_look_whole(tmp_path: Path) -> None:
    """Nothing is compressed there that would show it: the checksum of the page does."""
    forged = record(tmp_path, [trade(1, raw_json="the frame as it was received")])
    record(tmp_path, trades(2, 3))
    table = schema.table([trade(1, raw_json="the frame as it was received")])
    parts.save(forged, parts.packed(table, "none"))
    forged.write_bytes(forged.read_bytes().replace(b"as it was", b"as it is."))

    assert compact.compact(tmp_path) == 0
    assert len(names(tmp_path)) == 2


def test_files_of_others_are_not_touched(tmp_path: Path) -> None:
    path = record(tmp_path, trades(1, 3))
    path.with_name("theirs.parquet").write_bytes(b"PAR1 or not")
    path.with_name("notes.txt").write_text("mine")
    path.with_name(f"{path.name}.damaged").write_bytes(b"?")
    record(tmp_path, trades(4, 6))
    compact.compact(tmp_path)

    assert names(tmp_path) == ["notes.txt", "theirs.parquet", path.name, f"{path.name}.damaged"]


@settings(deadline=None, max_examples=10)
@given(
    cuts=st.lists(st.integers(1, 40), max_size=8),
    again=st.lists(st.integers(1, 40), max_size=5),
    most=st.integers(1, 50),
)
def test_whatever_the_files_the_entries_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], again: list[int], most: int
) -> None:
    folder = tmp_path_factory.mktemp("compact")
    for first, stop in itertools.pairwise(sorted({1, 41, *cuts})):
        record(folder, trades(first, stop - 1))
    for number in again:
        record(folder, [trade(number)], name=f"trades-BTCUSDT.again-{number}.parquet")
    for _ in range(2):
        compact.compact(folder, most_rows=most)
        assert held(folder) == trades(1, 40)
