"""Where the files of a recording lie and how one gets there: whole, in the order a power cut respects."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptostream.errors import DataQuality
from cryptostream.model.events import Entry
from cryptostream.tape import parts, schema
from cryptostream.tape.text import Text

DATA = pa.py_buffer(b"a file's bytes " * 1000)


@pytest.mark.parametrize(
    ("stream", "fields", "folder"),
    [
        ("trades:BTCUSDT", {"pair": "BTCUSDT"}, "channel=trades/pair=BTCUSDT/date=2026-11-20"),
        ("trades:kraken:BTCUSD", {"pair": "BTCUSD"}, "channel=trades/pair=BTCUSD/date=2026-11-20"),
        ("trades:{BTCUSDT}", {"pair": "BTCUSDT"}, "channel=trades/pair=BTCUSDT/date=2026-11-20"),
        ("klines:BTCUSDT:1m", {"pair": "BTCUSDT"}, "channel=klines/pair=BTCUSDT/date=2026-11-20"),
        ("mine:BTCUSDT", {"pair": "BTCUSDT", "trade_id": "1"}, "channel=trades/pair=BTCUSDT/date=2026-11-20"),
        ("events:binance", {"pair": "BTCUSDT"}, "channel=events/pair=all/date=2026-11-20"),
        ("trades:币安人生USDT", {"pair": "币安人生USDT"}, "channel=trades/pair=币安人生USDT/date=2026-11-20"),
        ("../x:..", {"pair": ".."}, "channel=%2E%2E%2Fx/pair=%2E%2E/date=2026-11-20"),
        ("a/b:c=d", {"pair": "c=d"}, "channel=a%2Fb/pair=c%3Dd/date=2026-11-20"),
    ],
)
def test_a_stream_lies_by_channel_pair_and_day(stream: str, fields: dict[str, str], folder: str) -> None:
    assert parts.folder_of(Path("data"), stream, fields, 20_777) == Path("data", folder)


@settings(deadline=None)  # on a busy machine
@given(st.text(min_size=1), st.text(min_size=1))
def test_names_are_safe_and_no_two_streams_share_one(one: str, other: str) -> None:
    name = parts.file_name(one, "1731605400123-42")

    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name.encode()) <= 255 - len(parts.IN_PROGRESS) - 1
    assert (parts.stem(one) == parts.stem(other)) == (one == other)


@settings(deadline=None)
@given(st.text(), st.text(min_size=1), st.integers(0, (2**64 - 1) // parts.DAY_MS))
@example("x" * 300, "A" * 300, 20_777)
@example("币" * 200, "币" * 200, 20_777)
def test_a_folder_can_be_made_whatever_the_stream_and_the_pair(
    tmp_path_factory: pytest.TempPathFactory, channel: str, pair: str, day: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    folder = parts.folder_of(root, f"{channel}:{pair}", {"pair": pair}, day)

    parts.make_folder(folder)
    assert len(folder.relative_to(root).parts) == 3
    assert all(len(name.encode()) <= 255 for name in folder.parts)


def test_long_names_of_pairs_are_cut_and_stay_apart() -> None:
    one, other = (
        parts.folder_of(Path("data"), f"t:{pair}", {"pair": pair}, 20_777) for pair in ("A" * 300, "A" * 299 + "B")
    )

    assert one != other


@pytest.mark.parametrize(
    ("day", "date"), [(0, "1970-01-01"), (2_932_896, "9999-12-31"), (2_932_897, "all"), (213_503_982_334, "all")]
)
def test_a_day_beyond_the_year_9999_has_no_name(day: int, date: str) -> None:
    assert parts.folder_of(Path("data"), "trades:A", {"pair": "A"}, day).name == f"date={date}"


def test_long_names_of_streams_are_cut_and_stay_apart() -> None:
    one, other = ("x" * 300 + end for end in "ab")

    assert parts.stem(one) != parts.stem(other)
    assert len(parts.stem(one).encode()) <= 180


def test_the_files_of_a_stream_are_found_without_those_of_its_neighbours(tmp_path: Path) -> None:
    names = ["trades-BTCUSDT.1-1.parquet", "trades-BTCUSDT.2-1.parquet"]
    others = [
        "trades-BTCUSDTX.1-1.parquet",
        ".trades-BTCUSDT.3-1.parquet.inprogress",
        "trades-BTCUSDT.4-1.parquet.damaged",
    ]
    for name in (*names, *others):
        (tmp_path / name).touch()

    assert [path.name for path in parts.of_stream(tmp_path, "trades:BTCUSDT")] == names
    assert parts.of_stream(tmp_path / "none", "trades:BTCUSDT") == []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk, in order."""
    made: list[str] = []
    names: dict[int, str] = {}
    real_open = os.open

    def opened(path: Any, *arguments: Any, **named: Any) -> int:
        descriptor = real_open(path, *arguments, **named)
        names[descriptor] = Path(path).name
        return descriptor

    def noted(name: str, subject: Any) -> None:
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, **named: (made.append(f"{name} {subject(*args)}"), real(*args, **named))[1]
        )

    monkeypatch.setattr(os, "open", opened)
    noted("write", lambda descriptor, _: names[descriptor])
    noted("fsync", lambda descriptor: names[descriptor])
    noted("rename", lambda old, new: f"{Path(old).name} {Path(new).name}")
    noted("mkdir", lambda path, _mode=0: Path(path).name)
    return made


@pytest.mark.row(25)
def test_bytes_reach_the_disk_before_their_name_and_the_name_before_we_go_on(tmp_path: Path, calls: list[str]) -> None:
    parts.save(tmp_path / "a.parquet", DATA)

    assert calls == [
        "write .a.parquet.inprogress",
        "fsync .a.parquet.inprogress",
        "rename .a.parquet.inprogress a.parquet",
        f"fsync {tmp_path.name}",
    ]


@pytest.mark.row(25)
def test_a_folder_is_on_the_disk_before_anything_is_in_it(tmp_path: Path, calls: list[str]) -> None:
    parts.make_folder(tmp_path / "one" / "two")

    assert calls == ["mkdir one", f"fsync {tmp_path.name}", "mkdir two", "fsync one"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_where_the_disk_refuses_the_file_that_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"before")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        parts.save(tmp_path / "a.parquet", DATA)
    monkeypatch.undo()

    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert (tmp_path / "a.parquet").read_bytes() == b"before"


def test_a_write_that_takes_a_part_goes_on_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:1000]))

    parts.save(tmp_path / "a.parquet", DATA)

    assert (tmp_path / "a.parquet").read_bytes() == DATA.to_pybytes()


def test_a_link_in_the_draft_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".a.parquet.inprogress").symlink_to(tmp_path / "victim")

    with pytest.raises(OSError, match="Too many levels"):
        parts.save(tmp_path / "a.parquet", DATA)

    assert not (tmp_path / "victim").exists()


@pytest.fixture
def waiter(tmp_path: Path) -> Iterator[threading.Thread]:
    def wait() -> None:
        with parts.locked(tmp_path):
            (tmp_path / "in").touch()

    thread = threading.Thread(target=wait)
    yield thread
    thread.join()


def test_one_at_a_time_holds_a_folder_s_lock(tmp_path: Path, waiter: threading.Thread) -> None:
    with parts.locked(tmp_path):
        waiter.start()
        waiter.join(0.05)
        assert not (tmp_path / "in").exists()
    waiter.join()
    assert (tmp_path / "in").exists()


def test_a_file_tells_what_it_holds_and_gives_it_back(tmp_path: Path) -> None:
    given = [
        Entry("trades:BTCUSDT", f"1731605400{n:03d}-{n}", {"price": f"{n}.50", "trade_id": str(n)}) for n in range(99)
    ]
    path = tmp_path / "a.parquet"
    table = schema.table(given)

    parts.save(path, parts.packed(table, "zstd"))

    assert parts.about(path) == schema.facts(table.schema.metadata)
    assert parts.ids(path).to_pylist() == [entry.entry_id for entry in given]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table at all", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)

    for read in (parts.about, parts.ids):
        with pytest.raises(DataQuality, match=r"a\.parquet is damaged"):
            read(path)


def trades(count: int) -> pa.Table:
    rows = range(1, count + 1)
    fields = {
        "pair": ["BTCUSDT"] * count,
        "price": [f"{60_000 + row % 7}.{row % 100:02}" for row in rows],
        "side": ["buy", "sell"] * (count // 2),
        "trade_id": [str(row) for row in rows],
    }
    ids = pa.array([f"1731605400000-{row}" for row in rows])
    columns = [pa.array(texts) for texts in fields.values()]
    table = schema.written("trades:BTCUSDT", Text(ids, tuple(fields), columns, ((0, 1, 2, 3),), [(0, count)]))
    assert table is not None
    return table


def test_words_are_kept_as_a_dictionary_and_decimals_are_not() -> None:
    """Reading a price from a dictionary, of which each has its own, takes half as long again."""
    file = pq.ParquetFile(pa.BufferReader(parts.packed(trades(200), "zstd")))
    about = file.metadata.row_group(0)
    coded = {about.column(at).path_in_schema: about.column(at).encodings for at in range(about.num_columns)}
    kept = [name for name, how in coded.items() if "RLE_DICTIONARY" in how]
    assert {"pair", "side"}.issubset(kept)
    assert "price" not in kept


def test_decimals_that_were_kept_as_a_dictionary_are_still_read() -> None:
    table = trades(200)
    old = pa.BufferOutputStream()
    pq.write_table(table, old, compression="zstd", use_dictionary=["pair", "side", "price"])
    assert parts.text(old.getvalue()) == parts.text(parts.packed(table, "zstd"))
