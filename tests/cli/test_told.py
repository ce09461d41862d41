"""What a backtest leaves behind: whole files in places that are files, and figures whatever becomes of them."""

import json
import os
import sys
from pathlib import Path

import pytest

from cryptostream.backtest import report
from cryptostream.cli import told
from cryptostream.cli.backtesting import Made
from cryptostream.cli.render import Output
from cryptostream.errors import ConfigError, CryptostreamError, NotFound, UsageError
from tests.backtest.results import result

MADE = Made(result(bars=60))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_place_without_a_file_or_with_one_is_fine(tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old")
    told.check(tmp_path / "old.html", tmp_path / "new.parquet", ["trades:BTCUSDT", "no-such-folder"])


def test_a_folder_behind_a_link_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    told.check(tmp_path / "link" / "x.html", None)


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("nowhere", "file"):
        with pytest.raises(NotFound, match=r"--trades .* there is no folder"):
            told.check(None, tmp_path / folder / "x.parquet")


def test_a_folder_that_takes_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="nothing can be written"):
        told.check(tmp_path / "x.html", None)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    for name, what in (("fifo", "no regular file"), ("link", "a link"), ("dangling", "a link"), ("", "a folder")):
        with pytest.raises(UsageError, match=f"is {what}"):
            told.check(tmp_path / name, None)


def test_one_file_for_both_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(UsageError, match="are both"):
        told.check(tmp_path / "x", tmp_path / "link" / "x")


def test_a_source_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "tape.jsonl").touch()
    os.link(tmp_path / "tape.jsonl", tmp_path / "other")
    with pytest.raises(UsageError, match="over what is read"):
        told.check(None, tmp_path / "other", ["trades:BTCUSDT", str(tmp_path / "tape.jsonl")])


def test_a_package_that_a_page_needs_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[report.check.__module__], "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs a package"):
        told.check(tmp_path / "x.html", None)
    told.check(None, tmp_path / "x.parquet")


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    path.write_text("old")
    with told.drafted(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == [path.name]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(CryptostreamError, match="x cannot be written: No space left"), told.drafted(path) as file:
        file.write(b"ne")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_what_came_to_stand_there_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(UsageError, match="no regular file"), told.drafted(path) as file:
        file.write(b"new")
        os.mkfifo(path)
    assert path.is_fifo()
    assert names(tmp_path) == ["x"]


def test_a_draft_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / f".cryptostream-{os.getpid()}").symlink_to("victim")
    with told.drafted(tmp_path / "x") as file:
        file.write(b"new")
    assert (tmp_path / "victim").read_text() == "mine"


def test_figures_are_told_where_a_file_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CryptostreamError, match="cannot be written"):
        told.tell(MADE, Output.JSON, report=None, trades=tmp_path / "gone" / "x.parquet")
    assert json.loads(capsys.readouterr().out)["strategies"]


def test_page_and_trips_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told.tell(MADE, Output.JSON, report=tmp_path / "x.html", trades=tmp_path / "x.parquet")
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "x.parquet").read_bytes().startswith(b"PAR1")
    assert names(tmp_path) == ["x.html", "x.parquet"]
    assert "round trips" in capsys.readouterr().err
