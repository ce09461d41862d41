"""`cryptostream subscribe`, `unsubscribe` and `watchlist` as a person types them."""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.bus import control
from cryptostream.bus.connect import connect
from cryptostream.bus.control import Request, Verdict
from cryptostream.cli import main
from cryptostream.engine.clock import SystemClock
from tests.conftest import one_engine

Run = Callable[..., Result]
CLOCK = SystemClock()
pytestmark = one_engine


@pytest.fixture
def run(bus_url: str, tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main.app, [*words, "--redis", bus_url, "--data-dir", str(tmp_path / "data")])

    return invoke


@pytest.fixture
def heard(bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Request]]:
    """What an ingester in another thread was asked, who takes everything but NOSUCHUSDT."""
    monkeypatch.setattr(control, "_BLOCK_MS", 50)
    found: list[Request] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def obey(request: Request) -> Sequence[Verdict]:
        found.append(request)
        named = [word for words in request.args.values() if isinstance(words, list) for word in words]
        told = named or ["watchlist"]
        return [Verdict(one, one != "NOSUCHUSDT", "is not listed" * (one == "NOSUCHUSDT")) for one in told]

    async def attend() -> None:
        async with connect(bus_url, data_dir=tmp_path, clock=CLOCK) as bus:
            attending = asyncio.ensure_future(control.attend(bus, "ingest", "one:1", CLOCK, obey))
            while not await control.here(bus, "ingest"):
                await CLOCK.sleep(0.01)
            ready.set()
            await attending

    task = loop.create_task(attend())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)))
    thread.start()
    assert ready.wait(5)
    yield found
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


def test_symbols_are_added_with_a_row_for_each_and_three_where_one_was_refused(
    run: Run, heard: list[Request], tmp_path: Path
) -> None:
    (tmp_path / "more").write_text("SOLUSDT # and\nXRPUSDT")
    done = run("subscribe", "BTCUSDT,ETHUSDT", f"@{tmp_path / 'more'}", "-o", "csv")
    assert done.exit_code == 0, done.output
    assert [row["what"] for row in csv.DictReader(io.StringIO(done.stdout))] == [
        "BTCUSDT",
        "ETHUSDT",
        "SOLUSDT",
        "XRPUSDT",
    ]
    refused = run("subscribe", "BTCUSDT", "NOSUCHUSDT")
    assert refused.exit_code == 3
    assert json.loads(refused.stdout) == [
        {"what": "BTCUSDT", "accepted": True, "why": "", "by": ["one:1"]},
        {"what": "NOSUCHUSDT", "accepted": False, "why": "is not listed", "by": ["one:1"]},
    ]
    assert run("unsubscribe", "BTCUSDT").exit_code == 0
    assert run("watchlist", "--replace", "BTCUSDT,ETHUSDT").exit_code == 0
    assert run("watchlist", "--reset").exit_code == 0
    assert [request.args for request in heard[-3:]] == [
        {"remove": ["BTCUSDT"]},
        {"replace": ["BTCUSDT", "ETHUSDT"]},
        {"reset": True},
    ]


def test_five_where_nobody_ingests_and_two_for_what_cannot_be_meant(run: Run) -> None:
    done = run("subscribe", "BTCUSDT")
    assert (done.exit_code, done.stdout) == (5, "")
    assert "nobody ingests" in done.stderr
    for words in (("subscribe", ","), ("subscribe", "@no-such-file"), ("watchlist", "--replace", "A", "--reset")):
        assert run(*words).exit_code == 2, words


def test_what_is_followed_and_wished_for_is_shown_also_while_nobody_ingests(run: Run, server: redis.Redis) -> None:
    server.hset(control.WATCHLIST, mapping={"binance:ETHUSDT": "-", "binance:SOLUSDT": "+", "*": "-"})
    told = {"followed": ["binance:BTCUSDT", "binance:SOLUSDT"], "host": "one", "pid": 1}
    server.hset("stats:ingest:one:1", "json", msgspec.json.encode(told).decode())
    done = run("watchlist")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [
        {"symbol": "BTCUSDT", "wish": "", "followed_by": ["one:1"]},
        {"symbol": "ETHUSDT", "wish": "removed", "followed_by": []},
        {"symbol": "SOLUSDT", "wish": "added", "followed_by": ["one:1"]},
    ]
    assert "only what was added" in done.stderr
    server.delete("stats:ingest:one:1")
    done = run("watchlist", "-o", "jsonl")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)
    assert "nobody ingests" in done.stderr
