"""What a recorder does to its folder now and then."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cryptostream.tape import tidy as tidying
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
