"""Tapes played again: the same records at any speed, in any batches, through the session of the live feed."""

import gzip
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptostream.bus.pack import Entries
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BadFrame, DataQuality
from cryptostream.model.digest import Digest
from cryptostream.model.events import Entry, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.tape.forms import frame_line
from cryptostream.tape.pace import Pace
from cryptostream.tape.play import EntryPlayer, FramePlayer, Player
from cryptostream.tape.reader import find
from cryptostream.testing import ManualClock
from cryptostream.venues.binance import Binance, BinanceSession

DATA = Path(__file__).parents[3] / "shared/data/binance"
SECOND = 1_000_000_000


class Twin:
    """A session that reads `PAIR:id`, several to a frame; `!` is no business of its own."""

    def __init__(self) -> None:
        self.ignored = 0
        self.notices: list[Any] = []
        self.met: list[tuple[bytes, int]] = []

    def receive(self, frame: bytes, received_at: int) -> Sequence[Record]:
        self.met.append((frame, received_at))
        self.notices.append("something to forget")
        if frame == b"[!]":
            self.ignored += 1
            return ()
        try:
            return [trade(*text.split(":"), at=received_at) for text in frame.decode()[1:-1].split()]
        except (TypeError, ValueError) as error:
            raise BadFrame(str(error)) from error


def trade(pair: str, trade_id: str, *, at: int) -> TradeRecord:
    wanted = Subscription("binance", Channel.TRADES, pair)
    return TradeRecord(wanted, "1.0", "2.0", Micros(at // 1000), "buy", int(trade_id))


def tape(folder: Path, name: str, *frames: tuple[float, str], torn: int = 0) -> Path:
    """A tape with frames at seconds."""
    text = b"".join(frame_line(round(at * SECOND), frame.encode()) for at, frame in frames)
    (folder / name).write_bytes(text[: len(text) - torn])
    return folder / name


def player(folder: Path, *, clock: Any = None, skip_bad: bool = False, **options: Any) -> FramePlayer:
    found = find([folder], skip_bad=skip_bad)
    return FramePlayer(found.frames, Twin(), clock=clock or ManualClock(), **options)


async def ids(played: Player[Any, Any]) -> list[str]:
    return [f"{event.subscription.pair}:{event.trade_id}" async for batch in played.batches() for event in batch.events]


async def test_frames_meet_the_session_with_their_receive_time(tmp_path: Path) -> None:
    tape(tmp_path, "t", (1, "[A:1]"), (2, "[A:2]"))
    session = Twin()
    played = FramePlayer(find([tmp_path]).frames, session, clock=ManualClock())

    assert await ids(played) == ["A:1", "A:2"]
    assert session.met == [(b"[A:1]", SECOND), (b"[A:2]", 2 * SECOND)]
    assert session.notices == []


async def test_files_are_merged_by_receive_time(tmp_path: Path) -> None:
    tape(tmp_path, "x", (1, "[A:1]"), (3, "[A:3]"), (5, "[A:5]"))
    tape(tmp_path, "y", (2, "[B:2]"), (3, "[B:3]"), (4, "[B:4]"))

    assert await ids(player(tmp_path)) == ["A:1", "B:2", "A:3", "B:3", "B:4", "A:5"]


async def test_the_files_of_one_connection_follow_each_other(tmp_path: Path) -> None:
    tape(tmp_path, "c-0-20261123T01.raw.gz", (10, "[A:1]"), (11, "[A:2]"))
    tape(tmp_path, "c-0-20261123T01-1.raw.gz", (9, "[A:3]"))  # the clock stepped back before the restart
    tape(tmp_path, "c-0-20261123T01-10.raw.gz", (12, "[A:5]"))
    tape(tmp_path, "c-0-20261123T01-2.raw.gz.inprogress", (11.5, "[A:4]"))
    tape(tmp_path, "c-1-20261123T01.raw.gz", (9.5, "[B:1]"), (11.7, "[B:2]"))

    assert await ids(player(tmp_path)) == ["B:1", "A:1", "A:2", "A:3", "A:4", "B:2", "A:5"]


async def test_frames_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    tape(tmp_path, "t", (1, "[A:1 A:2]"), (2, "[!]"), (3, "[rubbish]"), (4, "[B:3]"))
    played = player(tmp_path, pairs=["B"])

    assert await ids(played) == ["B:3"]
    assert (played.played, played.bad, played.ignored, played.left_out) == (4, 1, 1, 0)
    assert played.seen == {"A", "B"}
    assert (played.first, played.last) == (SECOND, 4 * SECOND)
    assert played.position == played.size


SPANS = {
    "all": (None, None, "1 2 3 4"),
    "since": (2, None, "2 3 4"),
    "until": (None, 3, "1 2 3"),
    "both": (2, 3, "2 3"),
    "nothing before": (None, 0.5, ""),
    "nothing after": (9, None, ""),
}


@pytest.mark.parametrize(("since", "until", "expected"), SPANS.values(), ids=SPANS)
async def test_a_span_has_both_its_ends(
    tmp_path: Path, since: float | None, until: float | None, expected: str
) -> None:
    tape(tmp_path, "t", *((at, f"[A:{at}]") for at in (1, 2, 3, 4)))
    bounds = {name: None if at is None else round(at * SECOND) for name, at in (("since", since), ("until", until))}

    assert await ids(player(tmp_path, **bounds)) == [f"A:{number}" for number in expected.split()]


def random_tapes(folder: Path) -> None:
    chance = random.Random(5)
    for name in "abc":
        at, frames = 1.0, []
        for number in range(200):
            at += chance.choice([0, 0.001, 0.5])
            frames.append((at, f"[{name.upper()}:{number} X:{number}]" if number % 7 else "[!]"))
        tape(folder, name, *frames)


@pytest.mark.parametrize("speed", [None, 0.5, 1.0, 10.0])
async def test_neither_speed_nor_batch_changes_the_sequence(tmp_path: Path, speed: float | None) -> None:
    random_tapes(tmp_path)
    expected = await ids(player(tmp_path))

    for batch in (1, 7, 500):
        assert await ids(player(tmp_path, speed=speed, batch=batch)) == expected
    assert len(expected) == 3 * 171 * 2


async def test_batches_hold_what_was_asked_for(tmp_path: Path) -> None:
    tape(tmp_path, "t", *((1, f"[A:{number}]") for number in range(10)))

    assert [len(batch.events) async for batch in player(tmp_path, batch=4).batches()] == [4, 4, 2]


async def test_time_passes_as_it_was_recorded(tmp_path: Path) -> None:
    tape(tmp_path, "t", (1000, "[A:1]"), (1000.0001, "[A:2]"), (1060, "[A:3]"), (1061, "[!]"), (1090, "[A:4]"))
    clock = ManualClock()
    played = player(tmp_path, speed=10.0, clock=clock)
    seen = [([event.trade_id for event in batch.events], clock.monotonic()) async for batch in played.batches()]

    assert [made for made, _ in seen] == [[1, 2], [3], [4]]
    assert [round(at, 3) for _, at in seen] == [0.0, 6.0, 9.0]


async def test_at_full_speed_nobody_waits(tmp_path: Path) -> None:
    tape(tmp_path, "t", (1, "[A:1]"), (100_000, "[A:2]"))
    clock = ManualClock()

    assert await ids(player(tmp_path, clock=clock)) == ["A:1", "A:2"]
    assert clock.monotonic() == 0.0


async def test_stopping_hands_over_what_was_read(tmp_path: Path) -> None:
    tape(tmp_path, "t", *((1, f"[A:{number}]") for number in range(10)))
    played = player(tmp_path, batch=4)
    seen = []
    async for batch in played.batches():
        seen.append([event.trade_id for event in batch.events])
        played.stop()

    assert seen == [[0, 1, 2, 3]]
    assert played.played == 4


async def test_stopping_ends_a_long_wait(tmp_path: Path) -> None:
    tape(tmp_path, "t", (1, "[A:1]"), (100_000, "[A:2]"))
    clock = ManualClock()
    played = player(tmp_path, speed=1.0, clock=clock)
    async for _ in played.batches():
        played.stop()

    assert played.played == 1
    assert clock.monotonic() < 1


async def test_a_damaged_file_ends_where_it_is_damaged_and_is_told_at_the_end(tmp_path: Path) -> None:
    tape(tmp_path, "broken", (1, "[A:1]"), (2, "[A:2]"), (5, "[A:5]"), torn=2)
    tape(tmp_path, "whole", (3, "[B:3]"), (9, "[B:9]"))
    played = player(tmp_path)
    seen = []
    with pytest.raises(DataQuality, match=r"broken is damaged at line 3, byte \d+: the file ends inside a line"):
        async for batch in played.batches():
            seen += [event.trade_id for event in batch.events]

    assert seen == [1, 2, 3, 9]


async def test_several_damaged_files_are_counted(tmp_path: Path) -> None:
    for name in "abc":
        tape(tmp_path, name, (1, "[A:1]"), (2, "[A:2]"), torn=2)
    with pytest.raises(DataQuality, match=r"a is damaged .* \(and 2 more tapes\)"):
        await ids(player(tmp_path))


async def test_what_is_bad_can_be_skipped(tmp_path: Path) -> None:
    tape(tmp_path, "t", (1, "[A:1]"), (2, "[A:2]"), torn=2)
    played = player(tmp_path, skip_bad=True)

    assert await ids(played) == ["A:1"]
    assert played.left_out == 1


async def test_entries_come_in_the_order_of_their_ids_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        '{"stream":"trades:A","id":"1000-1","pair":"A","price":"1"}\n'
        '{"stream":"trades:A","id":"3000-2","pair":"A","price":"2"}\n'
    )
    (tmp_path / "b").write_text('{"stream":"trades:B","id":"2000-1","pair":"B","price":"3"}\n')
    played = EntryPlayer(find([tmp_path]).entries, clock=ManualClock())
    seen = [entry async for batch in played.batches() for entry in batch.events]

    assert [(entry.stream, entry.entry_id) for entry in seen] == [
        ("trades:A", "1000-1"),
        ("trades:B", "2000-1"),
        ("trades:A", "3000-2"),
    ]
    assert isinstance(seen[0], Entry) and seen[0].fields == {"pair": "A", "price": "1"}
    assert (played.first, played.last) == (SECOND, 3 * SECOND)


async def test_entries_of_other_pairs_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(f'{{"stream":"s:{x}","id":"1-1","pair":"{x}"}}\n' for x in "ABC"))
    played = EntryPlayer(find([tmp_path]).entries, pairs=["B"], clock=ManualClock())

    assert [entry.stream async for batch in played.batches() for entry in batch.events] == ["s:B"]
    assert played.seen == {"A", "B", "C"}


async def test_pace_maps_recorded_time_onto_the_clock() -> None:
    clock = ManualClock()
    pace = Pace(clock, 2.0)

    assert pace.wait_s(50 * SECOND) == 0.0
    assert pace.wait_s(54 * SECOND) == 2.0
    clock.advance(3.0)
    assert pace.wait_s(54 * SECOND) == 0.0
    assert Pace(clock, None).wait_s(10**18) == 0.0


# What others recorded, with the known values of the data's own page.


def recorded(name: str) -> Path:
    path = DATA / name
    return path if path.exists() else pytest.skip(f"{path} is not here: the recordings live beside the repository")


async def trades(path: Path, **options: Any) -> list[TradeRecord]:
    played = FramePlayer(find([path]).frames, Binance(raw_json=False).replay(), clock=SystemClock(), **options)
    records = [record async for batch in played.batches() for record in batch.events]
    assert played.bad == 0
    return [record for record in records if isinstance(record, TradeRecord)]


KNOWN = {
    "btcusdt": ("spot_btcusdt_20240808.raw.gz", 9757, 3735683259, 3735693015, "212.03315", "13084074.1123886"),
    "ethusdt": ("spot_ethusdt_20240808.raw.gz", 6106, 1520538925, 1520545030, "2261.3149", "6066483.27618"),
}


@pytest.mark.parametrize(("name", "count", "first", "last", "qty", "turnover"), KNOWN.values(), ids=KNOWN)
async def test_a_real_recording_gives_every_trade_to_the_last_digit(
    name: str, count: int, first: int, last: int, qty: str, turnover: str
) -> None:
    found = await trades(recorded(name))

    assert [record.trade_id for record in found] == list(range(first, last + 1))
    assert len(found) == count
    assert sum(Decimal(record.qty) for record in found) == Decimal(qty)
    assert sum(Decimal(record.price) * Decimal(record.qty) for record in found) == Decimal(turnover)


async def test_a_real_recording_has_one_digest() -> None:
    def digest(found: Sequence[TradeRecord]) -> str:
        made, entry_of = Digest(), Entries()
        for record in found:
            entry = entry_of(record)
            made.add(entry.stream, entry.entry_id, entry.fields)
        return made.hexdigest()

    path = recorded(KNOWN["ethusdt"][0])
    digests = {
        digest(await trades(path, batch=batch, speed=speed)) for batch, speed in ((1, None), (7, 1e6), (500, None))
    }

    assert len(digests) == 1


async def test_two_real_recordings_merge_into_the_trades_of_both() -> None:
    paths = [recorded(KNOWN[pair][0]) for pair in ("btcusdt", "ethusdt")]
    times: list[int] = []

    class Noting(BinanceSession):
        def receive(self, frame: bytes, received_at: int) -> Sequence[Record]:
            times.append(received_at)
            return super().receive(frame, received_at)

    session = Noting("", name="binance", control_bytes=4096, raw_json=False)
    played = FramePlayer(find(paths).frames, session, clock=SystemClock())
    records = [record async for batch in played.batches() for record in batch.events]

    assert len(records) == 9757 + 6106
    assert times == sorted(times) and len(times) == 41_249 + 33_618


async def test_a_cryptofeed_sample_plays() -> None:
    path = recorded("cryptofeed_BINANCE.ws.1.0.txt")
    frames = [line.partition(b": ")[2] for line in path.read_bytes().split(b"\n") if line[:10].isdigit()]
    ours = [frame for frame in frames if msgspec.json.decode(frame)["stream"].endswith(("aggTrade", "kline_1m"))]
    played = FramePlayer(find([path]).frames, Binance().replay(), clock=SystemClock())
    records = [record async for batch in played.batches() for record in batch.events]

    assert [record.raw_json.encode() for record in records] == ours
    assert played.played == len(frames) == len(ours) + played.ignored
    assert len(ours) > 0


async def test_a_real_recording_that_was_cut_plays_to_the_cut(tmp_path: Path) -> None:
    content = recorded(KNOWN["btcusdt"][0]).read_bytes()
    (tmp_path / "cut.gz").write_bytes(content[: len(content) // 2])
    played = FramePlayer(find([tmp_path]).frames, Binance(raw_json=False).replay(), clock=SystemClock())
    found: list[Any] = []
    with pytest.raises(DataQuality, match=rf"byte {len(content) // 2:,}: the file ends inside a gzip member"):
        async for batch in played.batches():
            found += batch.events

    assert [record.trade_id for record in found] == list(range(3735683259, 3735683259 + len(found)))
    assert 3000 < len(found) < 6000


async def test_a_gzip_copy_of_a_plain_tape_plays_the_same(tmp_path: Path) -> None:
    path = tape(tmp_path, "t", (1, "[A:1]"), (2, "[A:2]"))
    plain = await ids(player(tmp_path))
    path.write_bytes(gzip.compress(path.read_bytes()))

    assert await ids(player(tmp_path)) == plain
