"""`cryptostream strategies` and `consumers` as a person types them, while somebody consumes on the same bus."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryptostream import config
from cryptostream.bus import control
from cryptostream.bus.connect import connect
from cryptostream.bus.group import plan
from cryptostream.cli import main
from cryptostream.engine.clock import SystemClock
from cryptostream.wiring.hosting import Hosting
from tests.conftest import one_engine

MOMENTUM = {"read": "trades", "strategies": [{"ma_cross": {"fast": 3}}], "write": "bus"}
Run = Callable[..., Result]


pytestmark = one_engine


@pytest.fixture(autouse=True)
def _quick_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_BLOCK_MS", 50)
    monkeypatch.setattr(plan, "BLOCK_S", 0.05)


@pytest.fixture
def run(bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main.app, [*words, "--redis", bus_url, "--data-dir", str(tmp_path)])


@pytest.fixture
def at_work(bus_url: str, tmp_path: Path) -> Iterator[None]:
    """A process that consumes, here a thread."""
    begun, ends = threading.Event(), threading.Event()

    async def work() -> None:
        flags = {"consumers": {"momentum": MOMENTUM}, "data_dir": str(tmp_path)}
        told = config.load([], sets=(), flags=flags, env={}).config
        async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
            hosting = Hosting(told, bus, ["momentum"], by="here:1")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hosting.run())
                while not await control.here(bus, "consume"):
                    await SystemClock().sleep(0.01)
                begun.set()
                await asyncio.to_thread(ends.wait, 30)
                hosting.stop()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    assert begun.wait(10)
    yield
    ends.set()
    thread.join()


@pytest.mark.usefixtures("at_work")
def test_what_runs_is_listed_set_stopped_and_started_again(run: Run) -> None:
    (row,) = json.loads(run("strategies", "list").stdout)
    assert (row["strategy"], row["consumer"], row["state"], row["process"]) == (
        "ma_cross",
        "momentum",
        "waiting",  # for a stream
        "here:1",
    )
    assert row["parameters"] == {"fast": 3, "slow": 200, "average": "sma"}
    done = run("strategies", "set", "ma_cross", "fast=5", "average=ema", "-o", "jsonl")
    assert (done.exit_code, json.loads(done.stdout)["accepted"]) == (0, True)
    assert run("strategies", "stop", "ma_cross").exit_code == 0
    (row,) = json.loads(run("consumers", "list").stdout)
    assert (row["consumer"], row["state"], row["reads"], row["strategies"]) == (
        "momentum",
        "paused",
        ["trades"],
        ["ma_cross"],
    )
    assert run("consumers", "resume", "momentum").exit_code == 0
    started = run("strategies", "start", "rsi_trend", "--name", "fast", "-s", "btcusdt,ethusdt", "-p", "period=7")
    assert json.loads(started.stdout)[0]["why"] == "reads trades:BTCUSDT, trades:ETHUSDT from now on"
    listed = json.loads(run("strategies", "list", "--installed").stdout)
    assert [(one["strategy"], one["state"]) for one in listed][:2] == [("fast", "waiting"), ("ma_cross", "waiting")]
    assert {"strategy": "macd_rsi", "state": "installed"}.items() <= listed[3].items()
    assert run("strategies", "list", "-o", "table").stdout.count("here:1") == 2


@pytest.mark.usefixtures("at_work")
def test_what_is_refused_is_told_with_its_reason_and_ends_with_3(run: Run) -> None:
    found = run("strategies", "start", "ma_crss", "-o", "csv")
    assert found.exit_code == 3
    assert 'ma_crss,False,"no strategy ""ma_crss"" is installed; did you mean ""ma_cross""?",here:1' in found.stdout
    assert run("consumers", "pause", "nobody").exit_code == 3
    assert run("strategies", "set", "ma_cross", "fast=1,2").exit_code == 2


def test_where_nobody_consumes_nobody_can_be_asked(run: Run) -> None:
    found = run("consumers", "pause", "momentum")
    assert (found.exit_code, "nobody consumes on this bus" in found.stderr) == (5, True)
    assert (run("strategies", "list").exit_code, run("consumers", "list", "-o", "jsonl").stdout) == (0, "")
