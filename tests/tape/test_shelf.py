"""A stream's files of a day hold each entry once, whoever writes beside us."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

from cryptostream.model.events import Entry
from cryptostream.tape import parts, schema
from cryptostream.tape.shelf import Packed, Shelf
from cryptostream.tape.text import gathered

STREAM = "trades:BTCUSDT"


def trades(*numbers: int) -> list[Entry]:
    return [
        Entry(STREAM, f"1731605400{n:03d}-{n}", {"pair": "BTCUSDT", "price": "1.50", "trade_id": str(n)})
        for n in numbers
    ]


def shelf(folder: Path) -> Shelf:
    return Shelf(folder, STREAM, "zstd")


def pack(on: Shelf, entries: Sequence[Entry]) -> Packed:
    packed = on.pack(gathered(entries))
    assert packed is not None
    return packed


def record(on: Shelf, entries: Sequence[Entry]) -> int:
    return on.put(pack(on, entries))


def files(folder: Path) -> dict[str, list[int]]:
    """The trade ids in each file."""
    return {
        path.name: [int(one.rpartition("-")[2]) for one in parts.ids(path).to_pylist()]
        for path in sorted(folder.iterdir())
    }


def recorded(folder: Path) -> list[int]:
    return sorted(chain.from_iterable(files(folder).values()))


def test_a_file_is_named_after_its_least_id(tmp_path: Path) -> None:
    assert record(shelf(tmp_path), trades(3, 1, 2)) == 3

    assert files(tmp_path) == {"trades-BTCUSDT.1731605400001-1.parquet": [1, 2, 3]}


def test_what_is_recorded_is_not_packed_again(tmp_path: Path) -> None:
    record(shelf(tmp_path), trades(1, 2, 3))
    later = shelf(tmp_path)

    assert later.pack(gathered(trades(1, 3))) is None
    assert record(later, trades(0, 2, 3, 4)) == 2
    assert recorded(tmp_path) == [0, 1, 2, 3, 4]


def test_a_hole_between_recorded_entries_is_filled(tmp_path: Path) -> None:
    on = shelf(tmp_path)
    record(on, trades(1, 5))

    assert record(on, trades(1, 3, 5)) == 1
    assert recorded(tmp_path) == [1, 3, 5]


def test_files_that_cannot_overlap_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = shelf(tmp_path)
    record(on, trades(1, 2, 3))
    monkeypatch.setattr(parts, "ids", pytest.fail)

    assert record(on, trades(4, 5)) == 2


def test_what_another_recorder_was_first_with_is_left_out(tmp_path: Path) -> None:
    ours, theirs = shelf(tmp_path), shelf(tmp_path)
    packed = pack(ours, trades(1, 2, 3))
    record(theirs, trades(2, 3, 4))

    assert ours.put(packed) == 1
    assert recorded(tmp_path) == [1, 2, 3, 4]


def test_where_another_recorder_was_first_with_all_nothing_is_written(tmp_path: Path) -> None:
    ours, theirs = shelf(tmp_path), shelf(tmp_path)
    packed = pack(ours, trades(2, 3))
    record(theirs, trades(1, 2, 3))

    assert ours.put(packed) == 0
    assert list(files(tmp_path)) == ["trades-BTCUSDT.1731605400001-1.parquet"]


def test_files_that_were_merged_meanwhile_still_count(tmp_path: Path) -> None:
    on = shelf(tmp_path)
    record(on, trades(1, 2))
    record(on, trades(3, 4))
    first, second = sorted(tmp_path.iterdir())
    parts.save(first, parts.packed(schema.table(trades(1, 2, 3, 4), replaces=[second.name]), "zstd"))
    second.unlink()

    assert on.pack(gathered(trades(3, 4))) is None


def test_a_file_that_was_merged_while_ours_waited_is_looked_into(tmp_path: Path) -> None:
    ours = shelf(tmp_path)
    record(ours, trades(1, 2))
    [first] = tmp_path.iterdir()
    packed = pack(ours, trades(3, 4))
    parts.save(first, parts.packed(schema.table(trades(1, 2, 3)), "zstd"))

    assert ours.put(packed) == 1
    assert recorded(tmp_path) == [1, 2, 3, 4]


def test_a_damaged_file_in_our_place_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "trades-BTCUSDT.1731605400001-1.parquet").write_bytes(b"PAR1 torn")

    assert record(shelf(tmp_path), trades(1, 2)) == 2

    kept = tmp_path / "trades-BTCUSDT.1731605400001-1.parquet.damaged"
    assert kept.read_bytes() == b"PAR1 torn"
    kept.unlink()
    assert list(files(tmp_path).values()) == [[1, 2]]


@pytest.mark.parametrize("damaged", [bytes(15), b"1731605400009-9"], ids=["to zeros", "to another"])
def test_a_file_in_our_place_whose_ids_are_damaged_is_set_aside(tmp_path: Path, damaged: bytes) -> None:
    """Its end is whole, so that it seems to hold what it says."""
    given = trades(*range(1, 200))
    record(Shelf(tmp_path, STREAM, "none"), given)
    [path] = tmp_path.iterdir()
    before, header, rest = path.read_bytes().split(b"1731605400001-1", 2)  # behind `before` is the header's own
    content = b"".join((before, b"1731605400001-1", header, damaged, rest))
    path.write_bytes(content)

    assert record(shelf(tmp_path), given) == 199

    kept = path.with_name(f"{path.name}.damaged")
    assert kept.read_bytes() == content
    kept.unlink()
    assert recorded(tmp_path) == list(range(1, 200))


def test_a_damaged_file_elsewhere_is_left_alone(tmp_path: Path) -> None:
    torn = tmp_path / "trades-BTCUSDT.1731605400000-0.parquet"
    torn.write_bytes(b"PAR1 torn")

    assert record(shelf(tmp_path), trades(1, 2)) == 2
    assert torn.read_bytes() == b"PAR1 torn"


def test_a_whole_file_in_our_place_is_never_replaced(tmp_path: Path) -> None:
    record(shelf(tmp_path), trades(7, 8))
    [theirs] = tmp_path.iterdir()
    theirs.rename(tmp_path / "trades-BTCUSDT.1731605400001-1.parquet")

    with pytest.raises(FileExistsError):
        record(shelf(tmp_path), trades(1, 2))
    assert recorded(tmp_path) == [7, 8]
