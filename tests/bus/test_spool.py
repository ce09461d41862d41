"""The spool: what was appended comes back in order, across deaths and damage; nobody reads what another one writes."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.bus.spool import Spool, Unreadable
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, Ledger, LedgerRecord, Micros, Record
from cryptostream.model.events import TradeRecord as Trade
from cryptostream.model.instrument import Channel, Interval, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "币安人生USDT", Interval.M1)
URL = "redis://127.0.0.1:6379"
ONE_OF_EACH: list[Record] = [
    Trade(BTC, "45123.50000000", "0.1", Micros(1), "sell", 7, '{"t":7,"x":"币"}', filled=True),
    KlineRecord(MINUTES, 0, 59_999, *("1",) * 6, 3, "4", "6", True, Micros(2)),
    GapRecord(BTC, 8, 9, "deadline", Micros(3)),
    DeadLetter("ws://x", "not JSON", "<html>", 6, Micros(4)),
    LedgerRecord(Ledger("binance"), "gap_filled", Micros(5), pair="BTCUSDT", gap_from=8, seconds=0.5),
]


def batch(*ids: int) -> list[Record]:
    return [Trade(BTC, "1", "1", Micros(trade_id), "buy", trade_id) for trade_id in ids]


def drained(spool: Spool) -> list[list[Record]]:
    found = []
    while (records := spool.read()) is not None:
        found.append(records)
        spool.acknowledge()
    return found


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def logs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"))


def refusing(code: int, where: Callable[..., bool] = lambda *_: True, call: Callable[..., int] = os.open) -> object:
    """A system call that the kernel refuses for some arguments."""

    def refuse(*given: object, **_: object) -> int:
        if where(*given):
            raise OSError(code, os.strerror(code))
        return call(*given)

    return refuse


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def die(spool: Spool) -> None:
    """What a crash leaves: the files as they are, the locks undone by the kernel."""
    for segment in spool._segments:
        segment.close()
    for lock in spool._folders.values():
        os.close(lock)


def test_every_kind_of_record_comes_back_as_it_was(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    assert spool.append(ONE_OF_EACH)
    assert drained(spool) == [ONE_OF_EACH]


def test_batches_come_back_in_order_and_wait_until_they_are_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(batch(1, 2))
    spool.append(batch(3))
    assert (spool.read(), spool.read(), spool.records) == (batch(1, 2), batch(1, 2), 3)
    spool.acknowledge()
    spool.append(batch(4))
    assert drained(spool) == [batch(3), batch(4)]


def test_nothing_is_on_disk_before_the_first_batch_and_after_the_last_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    assert list(tmp_path.iterdir()) == []
    spool.append(batch(1))
    drained(spool)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_only_its_owner_may_look_into_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(batch(1))
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o700}


def test_folders_that_are_made_on_the_way_are_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        spool = Spool(tmp_path / "above" / "data", URL)
        spool.append(batch(1))
    finally:
        os.umask(before)
    made = [path for path in (tmp_path / "above", *(tmp_path / "above").rglob("*")) if path.is_dir()]
    assert len(made) == 5
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}


def test_a_file_is_deleted_once_all_of_it_was_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, segment_bytes=200)
    for trade_id in range(1, 5):
        spool.append(batch(trade_id))
    before, held = len(logs(tmp_path)), spool.bytes
    spool.read()
    spool.acknowledge()
    spool.read()
    assert before == 4
    assert len(logs(tmp_path)) == 3
    assert spool.bytes == held * 3 // 4 == sum(path.stat().st_size for path in logs(tmp_path))


def test_what_was_closed_with_records_in_it_is_adopted_by_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, fsync="always")
    spool.append(batch(1, 2))
    spool.close()
    following = Spool(tmp_path, URL)
    assert following.adopt() == 2
    assert drained(following) == [batch(1, 2)]
    following.close()
    assert list(tmp_path.iterdir()) == []


def test_orphans_are_read_oldest_first_and_before_anything_newer(tmp_path: Path) -> None:
    for place, trade_id in enumerate((5, 3)):
        spool = Spool(tmp_path, URL)
        spool.append(batch(trade_id))
        spool.close()
        os.utime(next(path for path in files(tmp_path) if path.name == "lock" and _age(path) > 1e9), ns=(place, place))
    following = Spool(tmp_path, URL)
    following.append(batch(9))
    following.adopt()
    assert drained(following) == [batch(5), batch(3), batch(9)]


def _age(path: Path) -> float:
    return path.stat().st_mtime_ns


def test_two_writers_of_one_process_never_share_one(tmp_path: Path) -> None:
    one, other = Spool(tmp_path, URL), Spool(tmp_path, URL)
    one.append(batch(1))
    other.append(batch(2))
    assert (one.adopt(), other.adopt(), Spool(tmp_path, URL).adopt()) == (0, 0, 0)
    assert (drained(one), drained(other)) == ([batch(1)], [batch(2)])


def test_a_spool_for_another_bus_is_left_alone_whoever_logs_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "redis://user:one@host:6379/0")
    spool.append(batch(1))
    spool.close()
    assert Spool(tmp_path, "redis://host:6379/1").adopt() == 0
    assert Spool(tmp_path, "redis://user:other@host:6379/0").adopt() == 1
    assert not any("one" in str(path) for path in files(tmp_path))


def test_what_a_killed_process_left_is_adopted(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from cryptostream.bus.spool import Spool\n"
        "from cryptostream.model.events import DeadLetter\n"
        f"spool = Spool(Path(sys.argv[1]), {URL!r}); spool.append([DeadLetter('a', 'b', 'c', 1, 2)])\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        alive = Spool(tmp_path, URL).adopt()
        process.kill()
    assert (alive, Spool(tmp_path, URL).adopt()) == (0, 1)


def test_a_batch_beyond_the_cap_is_refused_and_there_is_room_again_after_draining(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, max_bytes=1000)
    taken = 0
    while spool.append(batch(taken)):
        taken += 1
    assert taken > 3
    assert spool.bytes <= 1000
    assert drained(spool) == [batch(trade_id) for trade_id in range(taken)]
    assert spool.append(batch(99))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_refuses_leaves_only_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(batch(1))
    write = os.pwrite

    def half(file: int, data: bytes, place: int) -> int:
        if len(data) < 50:
            raise OSError(code, os.strerror(code))
        return write(file, data[: len(data) // 2], place)

    monkeypatch.setattr(os, "pwrite", half)
    assert not spool.append(batch(2))
    assert spool.failed
    assert [path.stat().st_size for path in logs(tmp_path)] == [spool.bytes]
    monkeypatch.undo()
    assert spool.append(batch(3))
    assert (spool.failed, drained(spool), spool.damaged) == (False, [batch(1), batch(3)], 0)


@pytest.mark.parametrize(("policy", "forced"), [("always", 2), ("interval", 2), ("never", 0)])
async def test_sync_forces_to_disk_what_was_appended_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, forced: int
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    spool = Spool(tmp_path, URL, fsync=policy)  # type: ignore[arg-type]
    spool.append(batch(1))
    await spool.sync()
    await spool.sync()
    spool.append(batch(2))
    await spool.sync()
    assert len(calls) == forced


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC])
def test_a_lock_that_cannot_be_had_refuses_the_batch_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spool = Spool(tmp_path, URL)
    monkeypatch.setattr(os, "open", refusing(code, lambda path, *_: str(path).endswith("lock")))
    assert not spool.append(batch(1))
    assert (spool.failed, list(spool.root.iterdir())) == (True, [])
    monkeypatch.undo()
    assert spool.append(batch(1))


def test_drafts_that_nobody_holds_are_swept_and_others_are_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    unlocked, free, held = (spool.root / f".new-{name}" for name in ("unlocked", "free", "held"))
    for draft in (unlocked, free, held):
        draft.mkdir(parents=True)
    (free / "lock").touch()
    with (held / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        spool.adopt()
        assert list(spool.root.iterdir()) == [held]


def test_a_file_that_cannot_be_opened_now_is_kept_and_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(batch(1))
    spool.close()
    following = Spool(tmp_path, URL)
    following.adopt()
    monkeypatch.setattr(os, "open", refusing(errno.EMFILE))
    for _ in range(2):
        with pytest.raises(Unreadable):
            following.read()
    monkeypatch.undo()
    assert capsys.readouterr().err.count("spool.failed") == 1
    assert (drained(following), following.damaged) == ([batch(1)], 0)


def test_a_file_that_is_gone_or_unreadable_for_good_does_not_hold_up_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, segment_bytes=100)
    spool.append(batch(1))
    spool.append(batch(2))
    spool.close()
    following = Spool(tmp_path, URL)
    following.adopt()
    logs(tmp_path)[0].unlink()
    assert (drained(following), following.damaged) == ([batch(2)], 1)


def test_a_file_that_cannot_be_deleted_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, URL, segment_bytes=100)
    spool.append(batch(1))
    spool.append(batch(2))
    monkeypatch.setattr(Path, "unlink", refusing(errno.EROFS))
    assert drained(spool) == [batch(1), batch(2)]


async def test_what_cannot_be_forced_to_disk_now_is_forced_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forced: list[int] = []
    monkeypatch.setattr(os, "fsync", forced.append)
    spool = Spool(tmp_path, URL, fsync="always", segment_bytes=100)
    spool.append(batch(1))
    spool.append(batch(2))
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", refusing(errno.EMFILE))
        await spool.sync()
        await spool.sync()
    assert (capsys.readouterr().err.count("spool.failed"), forced) == (1, [])
    await spool.sync()
    assert len(forced) == 2


def test_a_full_file_needs_no_descriptor_more_to_be_forced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, URL, segment_bytes=100)
    monkeypatch.setattr(os, "dup", refusing(errno.EMFILE))
    assert all(spool.append(batch(trade_id)) for trade_id in range(3))
    spool.close()
    assert len(logs(tmp_path)) == 3


@pytest.mark.parametrize("policy", ["always", "interval", "never"])
async def test_no_descriptor_is_held_once_nothing_waits(tmp_path: Path, policy: str) -> None:
    before = descriptors()
    spool = Spool(tmp_path, URL, fsync=policy, segment_bytes=100)  # type: ignore[arg-type]
    for trade_id in range(20):
        spool.append(batch(trade_id))
    written = descriptors() - before
    drained(spool)
    own_lock = 1
    assert descriptors() - before == own_lock
    assert policy != "never" or written == own_lock + 1
    spool.close()
    assert descriptors() == before


def test_a_folder_that_cannot_be_read_is_left_alone_and_the_others_are_adopted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for trade_id in (1, 2):
        spool = Spool(tmp_path, URL)
        spool.append(batch(trade_id))
        spool.close()
    broken = spool.root / "broken"
    broken.mkdir()
    (broken / "lock").touch()
    (broken / "1.log").symlink_to("nowhere")
    (spool.root / "a file").touch()
    before = descriptors()
    following = Spool(tmp_path, URL)
    assert following.adopt() == 2
    assert "spool.left_alone" in (said := capsys.readouterr().err)
    assert "broken" in said
    assert broken not in following.folders
    following.close()
    assert (descriptors(), (broken / "1.log").is_symlink()) == (before, True)


def test_however_many_files_are_adopted_none_is_open_before_its_turn(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, segment_bytes=100)
    for trade_id in range(10):
        spool.append(batch(trade_id))
    spool.close()
    before = descriptors()
    following = Spool(tmp_path, URL)
    assert (following.adopt(), descriptors() - before) == (10, 1)
    following.read()
    assert descriptors() - before == 2
    following.close()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EIO])
def test_a_lock_that_the_file_system_refuses_is_no_reason_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(batch(1))
    spool.close()
    before = descriptors()
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    assert Spool(tmp_path, URL).adopt() == 0
    monkeypatch.undo()
    assert descriptors() == before
    assert Spool(tmp_path, URL).adopt() == 1


def test_a_damaged_file_is_told_of_with_its_place_and_the_next_file_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(tmp_path, URL, segment_bytes=300)
    for trade_id in range(1, 5):
        spool.append(batch(trade_id))
    die(spool)
    first = logs(tmp_path)[0]
    size = first.stat().st_size
    first.write_bytes(first.read_bytes()[:-3])
    following = Spool(tmp_path, URL)
    following.adopt()
    assert drained(following) == [batch(1), batch(3), batch(4)]
    assert following.damaged == 1
    told = capsys.readouterr()
    assert f"{first} at byte {size // 2}" in " ".join((told.out + told.err).split())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_befalls_its_files_each_gives_back_a_prefix_of_what_went_in(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, URL, segment_bytes=data.draw(st.sampled_from([100, 400, 8 << 20])))
    written: dict[Path, list[list[Record]]] = {}
    ids = iter(range(1, 1000))
    for size in data.draw(st.lists(st.integers(0, 4), max_size=12)):
        if size == 0 and spool.read() is not None:
            spool.acknowledge()
            continue
        records = batch(*(next(ids) for _ in range(size + 1)))
        assert spool.append(records)
        written.setdefault(logs(folder)[-1], []).append(records)
    die(spool)
    left = logs(folder)
    hurt = data.draw(st.sampled_from(left)) if left else None
    if hurt is not None:
        _hurt(hurt, data)
    following = Spool(folder, URL)
    following.adopt()
    found = drained(following)
    following.close()
    for path in left:
        mine = [records for records in found if records in written[path]]
        assert mine == (written[path][: len(mine)] if path == hurt else written[path])
    assert all(any(records in written[path] for path in left) for records in found), "nothing is made up"
    assert not logs(folder)


def _hurt(path: Path, data: st.DataObject) -> None:
    """Cut a file anywhere, or change one of its bytes."""
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
