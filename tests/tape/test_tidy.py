"""What a recorder does to its folder now and then."""

import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cryptostream.model.events import Entry
from cryptostream.tape import compact, parts, retention
from cryptostream.tape import tidy as tidying
from cryptostream.tape.rounds import Rounds
from cryptostream.tape.tidy import Tidying, tidy
from tests.tape.recordings import DAY_MS, START_MS, names, record, trades

NOW_MS = START_MS + 2 * DAY_MS


def test_it_takes_away_what_is_old_and_merges_the_rest(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 2))
    first = record(tmp_path, trades(1, 2, day=1))
    record(tmp_path, trades(3, 4, day=1))
    with capture_logs() as told:
        tidy(tmp_path, Tidying(keep_s=86_400.0), NOW_MS)

    assert names(tmp_path) == [first.name]
    assert [(line["event"], line["merged"], line["taken_away"]) for line in told] == [("recording.tidied", 1, 1)]


def test_the_day_that_grows_is_the_clocks(tmp_path: Path) -> None:
    record(tmp_path, trades(1, 90, day=2))
    record(tmp_path, trades(91, 92, day=2))
    tidy(tmp_path, Tidying(), NOW_MS)
    assert len(names(tmp_path)) == 2
    tidy(tmp_path, Tidying(), NOW_MS + DAY_MS)
    assert len(names(tmp_path)) == 1


def test_a_disk_that_refuses_is_told_and_tried_again_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in (1, 3):
        record(tmp_path, trades(first, first + 1))

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, capture_logs() as told:
        patch.setattr(tidying, "compact", full)
        tidy(tmp_path, Tidying(), NOW_MS)
    assert [(line["event"], line["reason"]) for line in told] == [
        ("recording.untidy", "[Errno 28] No space left on device")
    ]
    tidy(tmp_path, Tidying(), NOW_MS)
    assert len(names(tmp_path)) == 1


def test_a_folder_that_is_not_there_needs_nothing(tmp_path: Path) -> None:
    tidy(tmp_path / "later", Tidying(keep_s=1.0), NOW_MS)
    assert not (tmp_path / "later").exists()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The dates of the folders that are looked into."""
    seen: list[str] = []
    for module in (compact, retention):
        real = getattr(module, "parts_in")  # noqa: B009

        def parts_in(folder: Path, real: Any = real) -> Any:
            seen.append(folder.name.removeprefix("date="))
            return real(folder)

        monkeypatch.setattr(module, "parts_in", parts_in)
    return seen


def test_only_folders_that_changed_are_looked_into_again(tmp_path: Path, looked: list[str]) -> None:
    settings, rounds = Tidying(keep_s=30 * 86_400.0), Rounds()
    for day in (0, 1):
        for first in (1, 3):
            record(tmp_path, trades(first, first + 1, day=day))
    tidy(tmp_path, settings, NOW_MS, rounds)
    tidy(tmp_path, settings, NOW_MS, rounds)  # what is merged has changed: this is for the last time
    looked.clear()
    tidy(tmp_path, settings, NOW_MS, rounds)
    assert looked == []

    record(tmp_path, trades(5, 6, day=1))
    tidy(tmp_path, settings, NOW_MS, rounds)
    assert set(looked) == {"2026-11-21"}
    assert len(names(tmp_path)) == 2


def test_what_changed_within_a_tick_of_the_disks_clock_is_looked_into(tmp_path: Path) -> None:
    rounds = Rounds()
    folder = record(tmp_path, trades(1, 2)).parent
    tidy(tmp_path, Tidying(), NOW_MS, rounds)
    before = folder.stat()
    record(tmp_path, trades(3, 4))
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))

    tidy(tmp_path, Tidying(), NOW_MS, rounds)
    assert len(names(tmp_path)) == 1


def test_a_day_that_has_ended_is_looked_into_once_more(tmp_path: Path) -> None:
    rounds = Rounds()
    record(tmp_path, trades(1, 90, day=2))
    record(tmp_path, trades(91, 92, day=2))
    tidy(tmp_path, Tidying(), NOW_MS, rounds)
    assert len(names(tmp_path)) == 2
    tidy(tmp_path, Tidying(), NOW_MS + DAY_MS, rounds)
    assert len(names(tmp_path)) == 1


def test_what_has_not_changed_is_taken_away_once_it_is_old(tmp_path: Path) -> None:
    rounds, settings = Rounds(), Tidying(keep_s=86_400.0 * 3)
    for day in (0, 1):
        record(tmp_path, trades(1, 2, day=day))
    for now_ms in (NOW_MS, NOW_MS, NOW_MS + 2 * DAY_MS):
        assert len(names(tmp_path)) == 2
        tidy(tmp_path, settings, now_ms, rounds)
    assert len(names(tmp_path)) == 1


def test_what_came_since_is_taken_away_too(tmp_path: Path) -> None:
    rounds, settings = Rounds(), Tidying(keep_s=86_400.0)
    record(tmp_path, trades(1, 2))
    tidy(tmp_path, settings, START_MS, rounds)
    record(tmp_path, trades(3, 4))
    tidy(tmp_path, settings, NOW_MS, rounds)
    assert names(tmp_path) == []


def test_once_it_is_stopped_it_begins_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while it merges the first two, it comes to the end of that, and touches none beside them or elsewhere."""
    rounds = Rounds()
    for first in (1, 3):
        made = trades(first, first + 1)
        record(tmp_path, made)
        record(tmp_path, [Entry("trades:kraken:BTCUSDT", entry.entry_id, entry.fields) for entry in made])
        record(tmp_path, trades(first, first + 1, day=1))
        record(tmp_path, trades(first, first + 1, "ETHUSDT"))
    save = parts.save

    def saved(*arguments: Any) -> None:
        rounds.stop()
        save(*arguments)

    monkeypatch.setattr(parts, "save", saved)
    tidy(tmp_path, Tidying(), NOW_MS, rounds)
    assert len(names(tmp_path)) == 7


def test_once_it_is_stopped_it_takes_no_other_file_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds()
    for day in (0, 1):
        record(tmp_path, trades(1, 2, day=day))
    monkeypatch.setattr(retention, "_tidy_up", lambda *_: rounds.stop())
    tidy(tmp_path, Tidying(keep_s=0.0), NOW_MS, rounds)
    assert len(names(tmp_path)) == 1


def test_stopped_before_it_has_seen_all_it_takes_nothing_away(tmp_path: Path, looked: list[str]) -> None:
    rounds = Rounds()
    rounds.stop()
    record(tmp_path, trades(1, 2))
    tidy(tmp_path, Tidying(keep_s=0.0), NOW_MS, rounds)
    assert (looked, len(names(tmp_path))) == ([], 1)
