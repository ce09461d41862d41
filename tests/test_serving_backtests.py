"""Backtests that the web asks for: what they may read, the process that does one, and the reports that are left."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cryptostream.config import Config, load
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import CheckFailed, NotFound, UsageError
from cryptostream.model.ports import Clock
from cryptostream.testing import ManualClock
from cryptostream.web import shown
from cryptostream.wiring.serving import jobs as jobs_module
from cryptostream.wiring.serving.jobs import Jobs
from cryptostream.wiring.serving.recordings import Recordings
from cryptostream.wiring.serving.reports import Reports

BACKTEST = shown.Backtest(sources=["trades:BTCUSDT"], strategies=["macd_rsi"])
TOLD = {
    "made": "2024-11-14T17:30:00.000Z",
    "source": "trades:BTCUSDT",
    "strategies": {"macd_rsi": {"total_return": 0.5, "sharpe": None}},
    "benchmark": {"name": "buy and hold", "total_return": 0.1},
    "curves": {"times_ms": [1, 2], "equity": {"macd_rsi": [1.0, 2.0]}, "drawdown": {"macd_rsi": [0.0, 0.0]}},
}


@pytest.fixture
def config(data_dir: Path, tmp_path: Path) -> Config:
    recorder = {"read": ["trades"], "write": [{"parquet": {"dir": str(tmp_path / "parquet")}}]}
    for folder in (data_dir / "reports", data_dir / "recordings", tmp_path / "parquet" / "trades"):
        folder.mkdir(parents=True)
    told = {"data_dir": data_dir, "consumers": {"recorder": recorder}, "bus.url": "redis://:canary-secret@127.0.0.1:1"}
    return load([], flags=told, env={}).config


@pytest.fixture
def reports(config: Config) -> Reports:
    return Reports(config)


def write(reports: Reports, name: str, **told: object) -> Path:
    path = reports.folder / f"{name}.json"
    path.write_text(json.dumps({**TOLD, **told}))
    return path


def names(reports: Reports) -> list[str]:
    return [report.name for report in reports.listed()]


def test_reports_are_listed_newest_first_with_the_benchmark_among_their_figures(reports: Reports) -> None:
    write(reports, "old", made="2024-11-13T00:00:00.000Z")
    write(reports, "new")
    (reports.folder / "new.html").touch()
    found = reports.listed()
    assert [(one.name, one.page, one.strategies) for one in found] == [
        ("new", "/reports/new", ["macd_rsi"]),
        ("old", None, ["macd_rsi"]),
    ]
    assert found[0].figures["buy and hold"] == {"total_return": 0.1}
    assert reports.curves("new").equity == {"macd_rsi": [1.0, 2.0]}


def test_a_report_without_trades_says_why(reports: Reports) -> None:
    without = {"macd_rsi": {"trips": 0, "signals": 0}}
    write(reports, "empty", strategies=without, bars="1m", pairs=[{"bars": 3}], notes=["less than a day of data"])
    (report,) = reports.listed()
    assert report.notes[0].startswith("macd_rsi gave no signal in 3 bars of 1m; its indicators need bars to warm up")
    assert report.notes[1] == "less than a day of data"


def test_a_report_that_changed_is_read_again_and_one_that_is_gone_is_not_shown(reports: Reports) -> None:
    write(reports, "one")
    write(reports, "two").with_suffix(".html").touch()
    assert reports.listed()[0].source == "trades:BTCUSDT"
    write(reports, "one", source="trades:BTCUSDT, trades:ETHUSDT")
    (reports.folder / "two.json").unlink()
    (found,) = reports.listed()
    assert found.source == "trades:BTCUSDT, trades:ETHUSDT"


def test_two_who_list_at_once_both_see_all(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        write(reports, name)
    report, files, other = reports._report, reports._files, []

    def while_another_lists(name: str) -> shown.Report:
        monkeypatch.setattr(reports, "_report", report)
        monkeypatch.setattr(reports, "_files", dict)  # as it was when the other one looked
        other.append(reports.listed())
        monkeypatch.setattr(reports, "_files", files)
        return report(name)

    monkeypatch.setattr(reports, "_report", while_another_lists)
    write(reports, "two", source="trades:*")
    assert (len(reports.listed()), other) == (2, [[]])
    assert len(reports.listed()) == 2


def test_what_is_no_report_is_neither_listed_nor_read(reports: Reports, tmp_path: Path) -> None:
    (reports.folder / "broken.json").write_text("{")
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(TOLD))
    (reports.folder / "link.json").symlink_to(outside)
    (reports.folder / "link.html").symlink_to(outside)
    os.mkfifo(reports.folder / "pipe.html")
    assert names(reports) == []
    for name in ("../outside", "/etc/passwd", "link", "broken", "nothing", "", "a\0b"):
        with pytest.raises(NotFound):
            reports.curves(name)
    for name in ("link", "pipe", "../../etc/passwd", "nothing"):
        with pytest.raises(NotFound):
            reports.page(name)


def test_recordings_are_listed_and_found_below_their_folders_alone(config: Config, tmp_path: Path) -> None:
    recordings = Recordings(config)
    own = config.data_dir / "recordings" / "day.csv"
    own.touch()
    assert recordings.listed() == ["recordings/day.csv", str(tmp_path / "parquet"), str(tmp_path / "parquet/trades")]
    assert recordings.resolved("recordings/day.csv") == recordings.resolved(str(own)) == str(own)
    assert recordings.resolved("trades:BTCUSDT") == "trades:BTCUSDT"
    with pytest.raises(NotFound, match="no recording"):
        recordings.resolved("recordings/other.csv")


@pytest.mark.parametrize(
    "word", ["/etc/passwd", "recordings/../../x.csv", "..", "/dev/zero", "-x y", "a\nb", "x" * 600]
)
def test_what_lies_elsewhere_is_no_source(config: Config, word: str) -> None:
    with pytest.raises(UsageError):
        Recordings(config).resolved(word)


def test_links_out_of_a_recording_and_what_is_no_file_in_it_are_refused(config: Config, tmp_path: Path) -> None:
    folder = config.data_dir / "recordings" / "mixed"
    folder.mkdir()
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(UsageError, match=r"pipe.csv is no regular file"):
        Recordings(config).resolved("recordings/mixed")
    (folder / "pipe.csv").unlink()
    (tmp_path / "secret.csv").touch()
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(UsageError, match=r"link.csv is a link out of the folder"):
        Recordings(config).resolved("recordings/mixed")


@asynccontextmanager
async def working(config: Config, clock: Clock) -> AsyncIterator[Jobs]:
    jobs = Jobs(config, Reports(config), clock)
    task = asyncio.create_task(jobs())
    yield jobs
    task.cancel()
    await asyncio.wait([task])


async def test_no_more_jobs_than_so_many_are_remembered(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    async def done(*_: object) -> int:
        return 0

    monkeypatch.setattr(jobs_module, "_KEPT", 2)
    monkeypatch.setattr(Jobs, "_process", done)
    asked = []
    async with working(config, ManualClock()) as jobs:
        for _ in range(3):
            asked.append((await jobs.ask(BACKTEST)).id)
            await ended(jobs)
    assert [job.id for job in jobs.listed()] == asked[:0:-1]


async def test_a_job_that_ends_otherwise_is_not_for_ever_running(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise ValueError("our fault")

    monkeypatch.setattr(Jobs, "_process", broken)
    jobs = Jobs(config, Reports(config), ManualClock())
    await jobs.ask(BACKTEST)
    with pytest.raises(ValueError, match="our fault"):
        await jobs()
    assert jobs.listed()[0].state == "failed"


async def ended(jobs: Jobs) -> shown.Job:
    async with asyncio.timeout(20):
        while (job := jobs.listed()[0]).state == "running":
            await SystemClock().sleep(0.01)
    return job


def instead(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What a job's process does in place of a backtest."""

    def command(_folder: str) -> Sequence[str]:
        return [sys.executable, "-c", script]

    monkeypatch.setattr(jobs_module, "_command", command)


async def test_a_backtest_is_done_by_our_own_command_line_and_leaves_a_report(config: Config) -> None:
    source = config.data_dir / "recordings" / "BTCUSDT-trades-2024-11-14.csv"
    rows = (f"{at},{100 + at % 50},1.5,1,{1_731_605_400_000 + at * 250},True,True\n" for at in range(1, 2000))
    source.write_text("".join(rows))
    wanted = shown.Backtest(
        sources=[f"recordings/{source.name}"], strategies=["ma_cross"], parameters=["fast=3,5", "slow=9"], bars="5s"
    )
    async with working(config, SystemClock()) as jobs:
        asked = await jobs.ask(wanted)
        job = await ended(jobs)
    assert (job.state, job.done, job.report) == ("done", 1.0, asked.id), job.said
    (report,) = jobs.reports.listed()
    assert report.source == f"recordings/{source.name}"
    assert (report.bars, report.tried) == ("5s", 2)
    assert report.parameters["ma_cross"]["slow"] == 9
    assert report.parameters["ma_cross"]["fast"] in (3, 5)
    assert any("less than a day" in note for note in report.notes)
    assert set(report.figures) == {"ma_cross", "buy and hold"}
    assert len(jobs.reports.curves(report.name).times_ms) > 50
    assert jobs.reports.page(report.name).stat().st_size > 100_000


async def test_progress_is_told_and_a_second_backtest_waits_for_its_turn(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps({"doing": "running", "done": 1, "of": 2})
    instead(monkeypatch, f"import sys; print({line!r}, file=sys.stderr, flush=True); sys.stdin.read()")
    async with working(config, SystemClock()) as jobs:
        await jobs.ask(BACKTEST)
        async with asyncio.timeout(20):
            while jobs.listed()[0].done == 0.0:
                await SystemClock().sleep(0.01)
        assert (jobs.listed()[0].done, jobs.listed()[0].said) == (0.49, "running, 50%")
        with pytest.raises(CheckFailed, match="running already"):
            await jobs.ask(BACKTEST)


async def test_a_process_ends_with_its_server_and_at_its_limit(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "pid"
    script = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    instead(monkeypatch, script)
    async with working(config, SystemClock()) as jobs:
        await jobs.ask(BACKTEST)
        while not told.exists() or not told.read_text():
            await SystemClock().sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    async with working(config, ManualClock()) as jobs:  # on which any time is over at once
        await jobs.ask(BACKTEST)
        job = await ended(jobs)
    assert (job.state, job.said) == ("failed", "it took longer than 30 minutes, and was ended")


async def test_a_failure_is_told_in_the_words_of_the_command(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    words = r'"reading\nerror: no strategy has it\nhint: take another of redis://:canary-secret@h\n"'
    instead(monkeypatch, f"import sys; sys.stderr.write({words}); sys.exit(2)")
    async with working(config, SystemClock()) as jobs:
        await jobs.ask(BACKTEST)
        job = await ended(jobs)
    assert (job.state, job.said) == ("failed", "no strategy has it - take another of redis://***@h")


async def test_a_process_that_takes_too_much_memory_says_so_in_a_line(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LIMIT_BYTES", 512 << 20)
    instead(monkeypatch, "from cryptostream.cli.command import with_errors; with_errors(lambda: bytearray(1 << 30))")
    async with working(config, SystemClock()) as jobs:
        await jobs.ask(BACKTEST)
        job = await ended(jobs)
    assert (job.state, job.said) == (
        "failed",
        "there is too little memory for this - ask for less at once: fewer pairs, values or bars",
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"strategies": ["mine.py"]}, "unknown strategy"),
        ({"strategies": ["os:system"]}, "unknown strategy"),
        ({"strategies": ["macd_rsj"]}, "unknown strategy"),
        ({"bars": "soon"}, "kind of bar"),
        ({"sources": ["/etc/passwd"]}, "outside"),
        ({"parameters": ["fast=1..9000", "slow=1..9000"]}, "more than 10,000 values"),
        ({"parameters": ["fast"]}, "not a parameter"),
    ],
)
async def test_what_cannot_be_run_is_refused_before_anything_is_started(
    config: Config, changed: dict[str, object], why: str
) -> None:
    jobs = Jobs(config, Reports(config), SystemClock())
    with pytest.raises(UsageError, match=why):
        await jobs.ask(BACKTEST.model_copy(update=changed))
    assert jobs.listed() == []


async def test_secrets_reach_the_process_by_its_environment_alone(config: Config) -> None:
    jobs = Jobs(config, Reports(config), SystemClock())
    words = [*jobs_module._command("/tmp"), *jobs._words(BACKTEST, "x")]
    assert not any("canary-secret" in word for word in words)
    assert "canary-secret" in jobs_module._environment(config)["CRYPTOSTREAM_BUS__URL"]


def test_who_is_watched_ends_when_the_one_who_watches_is_gone() -> None:
    script = "from cryptostream.cli import advancing; advancing.watched(); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 1
