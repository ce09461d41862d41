"""What is old or too much is taken away, and nothing else."""

import errno
from pathlib import Path
from typing import Any

import pytest

from cryptostream.errors import ConfigError
from cryptostream.tape import parts
from cryptostream.tape.parquet import Recording
from cryptostream.tape.retention import retain
from tests.tape.recordings import DAY_MS, START_MS, names, record, trades

BTC = "trades:BTCUSDT"
NOW_MS = START_MS + 3 * DAY_MS


def three_days(root: Path) -> list[Path]:
    return [record(root, trades(1, 5, day=day)) for day in range(3)]


def days(root: Path) -> list[str]:
    return sorted(path.parent.name.removeprefix("date=") for path in root.rglob("*.parquet"))


def test_without_a_limit_everything_stays(tmp_path: Path) -> None:
    three_days(tmp_path)
    assert retain(tmp_path, now_ms=NOW_MS) == 0
    assert len(names(tmp_path)) == 3


def test_what_is_older_than_its_age_goes_with_its_folder(tmp_path: Path) -> None:
    three_days(tmp_path)
    assert retain(tmp_path, keep_ms=2 * DAY_MS, now_ms=NOW_MS) == 1

    assert days(tmp_path) == ["2026-11-21", "2026-11-22"]
    assert not list(tmp_path.rglob("date=2026-11-20"))


def test_a_file_is_as_old_as_its_newest_entry(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 5))
    assert retain(tmp_path, keep_ms=10, now_ms=START_MS + 15) == 0
    assert retain(tmp_path, keep_ms=10, now_ms=START_MS + 16) == 1


def test_the_oldest_go_until_few_enough_bytes_are_left(tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in three_days(tmp_path)]
    assert retain(tmp_path, keep_bytes=sum(sizes), now_ms=NOW_MS) == 0
    assert retain(tmp_path, keep_bytes=sum(sizes) - 1, now_ms=NOW_MS) == 1
    assert days(tmp_path) == ["2026-11-21", "2026-11-22"]


def test_an_archive_takes_what_leaves_to_the_same_place(tmp_path: Path) -> None:
    root, archive = tmp_path / "data", tmp_path / "archive"
    gone = three_days(root)[0]
    content = gone.read_bytes()
    assert retain(root, keep_ms=2 * DAY_MS, archive=archive, now_ms=NOW_MS) == 1

    assert (archive / gone.relative_to(root)).read_bytes() == content
    assert not gone.exists()
    assert list(Recording(archive).after(BTC, "0-0")) == [trades(1, 5)]


def test_an_archive_may_be_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, archive = tmp_path / "data", tmp_path / "archive"
    gone = three_days(root)[0]
    rename = Path.rename

    def across(self: Path, target: Any) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "another disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    retain(root, keep_ms=2 * DAY_MS, archive=archive, now_ms=NOW_MS)

    assert not gone.exists()
    assert names(archive) == [gone.name]
    assert list(Recording(archive).after(BTC, "0-0")) == [trades(1, 5)]


def test_what_the_archive_has_already_is_not_there_twice_and_what_is_other_is_kept(tmp_path: Path) -> None:
    root, archive = tmp_path / "data", tmp_path / "archive"
    first = record(root, trades(1, 5))
    record(archive, trades(1, 5))
    retain(root, keep_ms=0, archive=archive, now_ms=NOW_MS)
    assert names(archive) == [first.name]
    record(root, trades(1, 9))
    retain(root, keep_ms=0, archive=archive, now_ms=NOW_MS)

    assert names(archive) == [first.name.replace(".parquet", ".2.parquet"), first.name]
    assert [entry for page in Recording(archive).after(BTC, "0-0") for entry in page] == trades(1, 9)


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    path = three_days(tmp_path)[0]
    path.with_name("notes.txt").write_text("mine")
    path.with_name("theirs.parquet").write_bytes(b"not ours")
    retain(tmp_path, keep_ms=0, now_ms=NOW_MS)

    assert names(tmp_path) == ["notes.txt", "theirs.parquet"]


def test_what_a_merged_file_replaces_does_not_come_back_when_that_goes(tmp_path: Path) -> None:
    left_behind = record(tmp_path, trades(4, 6))
    record(tmp_path, trades(1, 6), replaces=[left_behind.name])
    assert retain(tmp_path, keep_ms=0, now_ms=NOW_MS) == 1

    assert names(tmp_path) == []


def test_what_changes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path, trades(1, 5))
    locked = parts.locked

    def meanwhile(folder: Path) -> Any:
        monkeypatch.undo()
        record(tmp_path, trades(1, 9))
        return locked(folder)

    monkeypatch.setattr(parts, "locked", meanwhile)
    retain(tmp_path, keep_ms=0, now_ms=NOW_MS)
    assert path.exists()


@pytest.mark.parametrize(("root", "archive"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_an_archive_inside_of_its_recording_is_refused(tmp_path: Path, root: str, archive: str) -> None:
    with pytest.raises(ConfigError, match="inside of each other"):
        retain(tmp_path / root, keep_ms=0, archive=tmp_path / archive, now_ms=NOW_MS)
