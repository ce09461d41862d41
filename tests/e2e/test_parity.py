"""One strategy object, three ways to feed it: live with a kill -9 in the middle, replayed, and in a backtest."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from cryptostream.backtest.run import Mode
from cryptostream.backtest.terms import Terms
from cryptostream.config.strategies import Wish
from cryptostream.model.codec import signal_fields
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry
from cryptostream.tape.staged import Stage
from cryptostream.transforms.bars import parse_bars
from cryptostream.wiring.backtests import Task, work
from cryptostream.wiring.roster import Roster
from tests.conftest import RedisServer
from tests.e2e.conftest import Exchange, Run, Start

PAIRS = ("BTCUSDT", "ETHUSDT")
PARAMS = {"fast": 3, "slow": 6, "signal": 3, "rsi_period": 3, "overbought": 99.0, "oversold": 1.0}
BARS = "tick:4"
GROUP = "momentum"
Signals = dict[str, list[tuple[str, dict[str, str]]]]


@pytest.fixture(scope="module")
def options() -> list[str]:
    params = [word for name, value in PARAMS.items() for word in ("--param", f"{name}={value}")]
    return ["--strategy", "macd_rsi", "--bars", BARS, *params]


def test_live_with_a_kill_replay_and_backtest_give_the_same_bytes(
    exchange: Exchange, start: Start, run: Run, redis_server: Any, tmp_path: Path, options: list[str]
) -> None:
    server: RedisServer = redis_server("--appendonly", "no")
    bus = redis.Redis.from_url(server.url, decode_responses=True, protocol=2)
    env = {**exchange.env, "REDIS_URL": server.url}
    ingest = start("ingest", "--symbols", ",".join(PAIRS), "--channels", "trades", "--set", "bus.maxlen=0", env=env)
    live = ["consume", *options, "--symbols", ",".join(PAIRS), "--group", GROUP, "--set", "consume.claim_idle=100ms"]
    consume = start(*live, env=env)
    _until_signals(run, env, 4)
    consume.kill()
    consume.communicate()
    consume = start(*live, env=env)
    _until_signals(run, env, 8)
    ingest.send_signal(signal.SIGTERM)
    ingest.communicate(timeout=60)
    consume.send_signal(signal.SIGTERM)
    consume.communicate(timeout=60)
    assert run(*live, "--once", env=env).returncode == 0
    said = {stream: bus.xrange(stream) for stream in sorted(map(str, bus.keys("signals:*")))}
    assert len(said["signals:macd_rsi:ETHUSDT"]) >= 12
    for pair in PAIRS:
        proof = run("backtest-stream", f"trades:{pair}", *options, "--verify", f"signals:macd_rsi:{pair}", env=env)
        told = json.loads(proof.stdout)
        assert (proof.returncode, told["equal"], told["compared"]) == (0, True, len(said.get(told["signals"], ())))
        assert told["entries"] == bus.xlen(f"trades:{pair}")
    sixth = said["signals:macd_rsi:ETHUSDT"][5][0]
    count = 1 + next(n for n, (entry_id, _) in enumerate(bus.xrange("trades:ETHUSDT")) if entry_id == sixth)
    entries = {f"trades:{pair}": bus.xrange(f"trades:{pair}", count=count) for pair in PAIRS}
    wanted = {name: _upto(rows, entries[f"trades:{name.rpartition(':')[2]}"][-1][0]) for name, rows in said.items()}
    assert len(wanted["signals:macd_rsi:ETHUSDT"]) == 6
    for batch in (1, 7, 500):
        bus.flushall()
        _write(bus, entries)
        assert run(*live, "--once", "--batch", str(batch), env=env).returncode == 0
        assert {stream: bus.xrange(stream) for stream in wanted} == wanted
    for mode in ("bars", "events"):
        assert _backtested(entries, mode, tmp_path) == {stream: rows for stream, rows in wanted.items() if rows}  # type: ignore[arg-type]


def test_a_signal_that_somebody_changed_is_found_with_both_inputs_and_the_indicators(
    exchange: Exchange, run: Run, redis_server: Any, options: list[str]
) -> None:
    server: RedisServer = redis_server()
    bus = redis.Redis.from_url(server.url, decode_responses=True, protocol=2)
    env = {**exchange.env, "REDIS_URL": server.url}
    assert (
        run("ingest", "--symbols", "ETHUSDT", "--channels", "trades", "--max-messages", "1500", env=env).returncode == 0
    )
    assert run("consume", *options, "--symbols", "ETHUSDT", "--group", GROUP, "--once", env=env).returncode == 0
    stream = "signals:macd_rsi:ETHUSDT"
    kept = bus.xrange(stream)
    assert len(kept) > 3
    bus.delete(stream)
    for number, (entry_id, fields) in enumerate(kept):
        bus.xadd(stream, {**fields, "price": "1.0"} if number == 2 else fields, id=entry_id)
    proof = run("backtest-stream", "trades:ETHUSDT", *options, "--verify", stream, env=env)
    told = json.loads(proof.stdout)
    assert (proof.returncode, told["equal"], told["compared"]) == (6, False, 2)
    assert kept[2][0] in proof.stderr
    assert "price 1.0 live" in proof.stderr
    assert kept[2][0].endswith(told["input_live"]["trade_id"])
    assert kept[2][0] in told["input_backtest"]
    assert set(told["indicators"]["macd_rsi"]) == {"macd", "macd_signal", "macd_histogram", "rsi"}


def _until_signals(run: Run, env: dict[str, str], count: int) -> None:
    """Until so many more have come on the pair that goes up and down."""
    told = run("tail", "signals:macd_rsi:ETHUSDT", "--wait", "-n", "0", "--count", str(count), env=env)
    assert told.returncode == 0, told.stderr


def _upto(rows: list[tuple[str, dict[str, str]]], last: str) -> list[tuple[str, dict[str, str]]]:
    return [(entry_id, fields) for entry_id, fields in rows if parse_id(entry_id) <= parse_id(last)]


def _write(bus: redis.Redis, entries: Signals) -> None:
    pipeline = bus.pipeline(transaction=False)
    for stream, rows in entries.items():
        for entry_id, fields in rows:
            pipeline.xadd(stream, dict(fields), id=entry_id)
    pipeline.execute()


def _backtested(entries: Signals, mode: Mode, tmp_path: Path) -> Signals:
    """The signals of a backtest over the same entries."""
    stage = Stage(tmp_path / mode)
    for stream, rows in entries.items():
        stage.add([Entry(stream, entry_id, fields) for entry_id, fields in rows])
    roster = Roster((Wish("macd_rsi", PARAMS, "macd_rsi"),), parse_bars(BARS), ())
    said: Signals = {}
    for series in stage.series():
        result = work(Task(series, roster, Terms(), mode))
        signals = result.books["macd_rsi"].signals
        if signals:
            said[f"signals:macd_rsi:{series.pair}"] = [(each.entry_id, signal_fields(each)) for each in signals]
    return said
