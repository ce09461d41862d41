"""The recorder: what it gathers, when it closes a file, and what it calls safe."""

import asyncio
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cryptostream.errors import ConfigError, CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Gathering
from cryptostream.tape import parts, record, waiting
from cryptostream.tape.record import Parquet
from cryptostream.testing import ManualClock
from tests.tape.recording import entries_in, trades


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def recorder(out: Path, clock: ManualClock, **settings: Any) -> Parquet:
    return Parquet(str(out), **{"compact": "0s", "clock": clock, **settings})


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


async def test_what_is_written_and_flushed_is_recorded_as_it_was(out: Path, clock: ManualClock) -> None:
    given = [*trades(100), *trades(50, "ETHUSDT")]
    async with recorder(out, clock) as sink:
        assert isinstance(sink, Gathering)
        await sink.write(given)
        await sink.flush()

        assert sink.held() == {}
        assert entries_in(out) == {"trades:BTCUSDT": given[:100], "trades:ETHUSDT": given[100:]}
        assert (sink.recorded, sink.duplicates, sink.trouble) == (150, 0, "")


async def test_leaving_makes_safe_what_is_gathered(out: Path, clock: ManualClock) -> None:
    async with recorder(out, clock) as sink:
        await sink.write(trades(10))

    assert entries_in(out) == {"trades:BTCUSDT": trades(10)}


async def test_leaving_with_an_error_leaves_what_was_not_safe(out: Path, clock: ManualClock) -> None:
    with pytest.raises(RuntimeError, match="elsewhere"):
        async with recorder(out, clock) as sink:
            await sink.write(trades(10))
            raise RuntimeError("elsewhere")

    assert files(out) == []
    assert sink.held() == {"trades:BTCUSDT": trades(10)[0].entry_id}


async def test_held_is_the_first_that_came_of_each_stream(out: Path, clock: ManualClock) -> None:
    first, second, third = trades(3)
    async with recorder(out, clock) as sink:
        await sink.write([second, first])
        assert sink.held() == {"trades:BTCUSDT": second.entry_id}
        await sink.flush()
        await sink.write([third, *trades(1, "ETHUSDT")])

        assert sink.held() == {"trades:BTCUSDT": third.entry_id, "trades:ETHUSDT": trades(1)[0].entry_id}


async def test_one_stream_may_be_flushed_alone(out: Path, clock: ManualClock) -> None:
    async with recorder(out, clock) as sink:
        await sink.write([*trades(3), *trades(3, "ETHUSDT")])
        await sink.flush(["trades:ETHUSDT"])

        assert list(sink.held()) == ["trades:BTCUSDT"]
        assert list(entries_in(out)) == ["trades:ETHUSDT"]


async def test_a_file_is_closed_once_it_is_old(out: Path, clock: ManualClock) -> None:
    async with recorder(out, clock, rotate="15m") as sink:
        await sink.write(trades(3))
        clock.advance(899)
        await sink.write([])
        assert sink.held()
        clock.advance(1)
        await sink.write([])
        await closed(sink)

        assert sink.held() == {}
        assert entries_in(out) == {"trades:BTCUSDT": trades(3)}


@pytest.mark.parametrize("limit", [{"rows": 1000}, {"size": "100KiB"}])
async def test_a_file_is_closed_once_it_is_full(out: Path, clock: ManualClock, limit: Any) -> None:
    given = trades(waiting.FRESH)
    async with recorder(out, clock, **limit) as sink:
        await sink.write(given)
        await closed(sink)
        assert len(files(out)) == 1

    assert entries_in(out) == {"trades:BTCUSDT": given}


async def test_each_utc_day_of_a_stream_has_its_own_file(out: Path, clock: ManualClock) -> None:
    day = parts.DAY_MS
    ids = [f"{20_777 * day + ms}-1" for ms in (-1, 0, day - 1, day)]
    given = [Entry("trades:BTCUSDT", entry_id, trades(1)[0].fields) for entry_id in ids]
    async with recorder(out, clock) as sink:
        await sink.write(given)

    folder = "channel=trades/pair=BTCUSDT/date=2026-11-"
    names = [f"19/trades-BTCUSDT.{ids[0]}", f"20/trades-BTCUSDT.{ids[1]}", f"21/trades-BTCUSDT.{ids[3]}"]
    assert files(out) == [f"{folder}{name}.parquet" for name in names]
    assert entries_in(out) == {"trades:BTCUSDT": given}


async def test_until_all_of_a_stream_s_files_are_safe_the_oldest_is_held(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = trades(2, start=1_731_605_400_000)[1], trades(1, start=1_731_605_400_000 + parts.DAY_MS)[0]
    refused = Refusal(monkeypatch, lambda path: "2024-11-14" in str(path))
    async with recorder(out, clock) as sink:
        await sink.write([early, late])
        await sink.flush()
        await sink.flush()
        assert list(entries_in(out).values()) == [[late]]
        assert sink.held() == {"trades:BTCUSDT": early.entry_id}

        refused.end()
        await sink.flush()
        assert sink.held() == {}


async def test_what_comes_again_is_recorded_once(out: Path, clock: ManualClock) -> None:
    given = trades(100)
    async with recorder(out, clock) as sink:
        await sink.write([*given[:60], *given[:60]])
    async with recorder(out, clock) as sink:
        await sink.write(given[40:])
        await sink.flush()

        assert (sink.recorded, sink.duplicates) == (40, 20)
        await sink.write(given)
        await sink.flush()
        assert sink.held() == {}
    assert entries_in(out) == {"trades:BTCUSDT": given}


async def test_raw_json_may_be_left_out(out: Path, clock: ManualClock) -> None:
    given = [Entry(one.stream, one.entry_id, {**one.fields, "raw_json": "{}"}) for one in trades(3)]
    async with recorder(out, clock, raw_json=False) as sink:
        await sink.write(given)

    assert entries_in(out) == {"trades:BTCUSDT": trades(3)}


async def test_above_the_bound_the_largest_file_is_closed_early(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MAX_BYTES", 1 << 20)
    async with recorder(out, clock) as sink:
        await sink.write([*trades(7000), *trades(waiting.FRESH - 7000, "ETHUSDT")])
        await closed(sink)

        assert list(entries_in(out)) == ["trades:BTCUSDT"]
        assert list(sink.held()) == ["trades:ETHUSDT"]


class Refusal:
    """A disk that takes no file, of those for which `when` holds, until it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: Any = lambda path: True) -> None:
        self.tries = 0
        self._real = parts.save
        self._when: Any = when
        monkeypatch.setattr(parts, "save", self._save)

    def end(self) -> None:
        self._when = lambda path: False

    def _save(self, path: Path, data: Any) -> None:
        if self._when(path):
            self.tries += 1
            raise OSError(28, "No space left on device", str(path))
        self._real(path, data)


async def test_while_the_disk_refuses_it_says_so_and_goes_on_by_itself(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Refusal(monkeypatch)
    async with recorder(out, clock) as sink:
        await sink.write(trades(10))
        await sink.flush()
        assert "No space left on device" in sink.trouble
        assert sink.held()
        await sink.write(trades(20)[10:])

        refused.end()
        await closed(sink)
        assert sink.trouble == ""
    assert entries_in(out) == {"trades:BTCUSDT": trades(20)}


async def test_once_memory_is_full_write_waits_for_the_disk(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MAX_BYTES", 1 << 18)
    refused = Refusal(monkeypatch)
    given = trades(200_000)
    async with recorder(out, clock) as sink:
        taken = 0

        async def write() -> None:
            nonlocal taken
            for start in range(0, len(given), 1000):
                await sink.write(given[start : start + 1000])
                taken = start + 1000

        writing = asyncio.create_task(write())
        while refused.tries < 30:
            await turn()
        before, tries = taken, refused.tries
        while refused.tries < tries + 10:
            await turn()
        assert before == taken < len(given)

        refused.end()
        await writing
    assert entries_in(out) == {"trades:BTCUSDT": given}


async def test_leaving_while_the_disk_refuses_does_not_wait_for_it(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Refusal(monkeypatch)
    async with recorder(out, clock) as sink:
        await sink.write(trades(10))

    assert sink.held()


async def test_what_nobody_expected_ends_the_recorder(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "packed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        async with recorder(out, clock) as sink:
            await sink.write(trades(10))
            await sink.flush()


async def test_a_folder_that_cannot_be_is_told_in_a_line(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CryptostreamError, match=r"cannot record to .*file/x: Not a directory"):
        async with recorder(tmp_path / "file" / "x", clock):
            pass


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"dir": ""}, "dir should be a folder's path"),
        ({"rotate": "soon"}, "rotate should be a duration"),
        ({"rows": 0}, "rows should be a whole number from 1"),
        ({"rows": "many"}, "rows should be"),
        ({"size": "64 apples"}, "size should be a size"),
        ({"compression": "zip"}, "compression should be one of zstd"),
        ({"raw_json": "no"}, "raw_json should be true or false"),
        ({"compact": "x"}, "compact should be a duration"),
        ({"keep_for": "x"}, "keep_for should be a duration"),
        ({"keep_bytes": "x"}, "keep_bytes should be a size"),
        ({"archive": ""}, "archive should be a folder's path"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Parquet(**{"dir": "x", **settings})


async def test_small_files_are_merged_by_the_way(out: Path, clock: ManualClock) -> None:
    async with recorder(out, clock) as sink:
        for entry in trades(3):
            await sink.write([entry])
            await sink.flush()
    assert len(files(out)) == 3

    async with Parquet(str(out), compact="1h"):
        while len(files(out)) > 1:
            await turn()
    assert entries_in(out) == {"trades:BTCUSDT": trades(3)}


async def test_leaving_stops_what_tidies(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, left = threading.Event(), threading.Event()
    stopped: list[bool] = []

    def tidy(*arguments: Any) -> None:
        begun.set()
        left.wait(60)
        stopped.append(arguments[-1].stopped)

    monkeypatch.setattr(record, "tidy", tidy)
    try:
        async with Parquet(str(out), compact="1h") as sink:
            await asyncio.to_thread(begun.wait)
            await sink.write(trades(3))
        assert entries_in(out) == {"trades:BTCUSDT": trades(3)}
    finally:
        left.set()
    while not stopped:
        await turn()
    assert stopped == [True]


async def test_an_entry_beyond_the_year_9999_is_recorded(out: Path, clock: ManualClock) -> None:
    given = [
        Entry("trades:BTCUSDT", entry_id, {"pair": "BTCUSDT", "price": "1.5"})
        for entry_id in ("1731605400000-1", "253402300800000-1", "18446744073709551615-18446744073709551615")
    ]
    async with recorder(out, clock) as sink:
        await sink.write(given)

    assert entries_in(out) == {"trades:BTCUSDT": given}
    assert {path.split("/")[2] for path in files(out)} == {"date=2024-11-14", "date=all"}


async def test_the_folder_is_a_table_as_it_is(out: Path, clock: ManualClock) -> None:
    given = [*trades(100), *trades(100, "ETHUSDT")]
    async with recorder(out, clock) as sink:
        await sink.write(given)

    found = duckdb.sql(
        f"SELECT pair, date::text, sum(price * qty) FROM '{out}/**/*.parquet' GROUP BY ALL ORDER BY pair"
    )

    assert found.fetchall() == [
        ("BTCUSDT", "2024-11-14", total(given[:100])),
        ("ETHUSDT", "2024-11-14", total(given[100:])),
    ]


def total(entries: Sequence[Entry]) -> Decimal:
    return sum((Decimal(entry.fields["price"]) * Decimal(entry.fields["qty"]) for entry in entries), Decimal())


async def closed(sink: Parquet) -> None:
    """Wait until no file is on its way to the disk."""
    while sink.closing:
        await turn()


async def turn() -> None:
    """Let everybody else go on: a sleep on the clock would keep it from moving past it."""
    await asyncio.to_thread(lambda: None)
