"""`backtest-stream --verify` as a person types it: equal is said of what was compared, and the rest is told."""

import json
from collections.abc import Callable, Iterator
from math import sin
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import gathered, main
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry
from cryptostream.tape import schema
from cryptostream.tape.parts import SUFFIX, stem

START_MS = 1_731_605_400_000
STREAM, SIGNALS = "trades:BTCUSDT", "signals:ma_cross:BTCUSDT"
STATE = f"state:ma_cross:{STREAM}"
CROSS = ("--strategy", "ma_cross", "--bars", "1s", "-p", "fast=3", "-p", "slow=8")
OTHER = (*CROSS[:-1], "slow=9")
Run = Callable[..., Result]


@pytest.fixture
def run(bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BINANCE_REST_URL", "http://127.0.0.1:9")

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main.app, [*words, "--redis", bus_url, "--data-dir", str(tmp_path / "data")])

    return invoke


def place(number: int) -> str:
    return f"{START_MS + number * 250}-{number}"


def trades(first: int, last: int) -> Iterator[Entry]:
    """Trades in waves, one each 250 ms; the number of a trade is its id."""
    for number in range(first, last + 1):
        fields: dict[str, Any] = {
            "exchange": "binance",
            "pair": "BTCUSDT",
            "price": f"{100 + 5 * sin(number / 20):.2f}",
            "qty": "0.10000000",
            "ts": iso((START_MS + number * 250) * 1000),
            "side": "buy",
            "trade_id": str(number),
        }
        yield Entry(STREAM, place(number), fields)


def fields_of(entry: Entry) -> dict[Any, Any]:
    return dict(entry.fields)


def put(server: redis.Redis, first: int, last: int) -> None:
    pipeline = server.pipeline(transaction=False)
    for entry in trades(first, last):
        pipeline.xadd(STREAM, fields_of(entry), id=entry.entry_id)
    pipeline.execute()


def folder(root: Path, first: int, last: int) -> str:
    """A recorder's folder with some of the trades."""
    root.mkdir()
    pq.write_table(schema.table(list(trades(first, last))), root / f"{stem(STREAM)}.part{SUFFIX}")
    return str(root)


@pytest.fixture
def said(run: Run, server: redis.Redis) -> list[tuple[str, dict[str, str]]]:
    """What live says of 600 trades."""
    put(server, 1, 600)
    consume(run)
    found: Any = server.xrange(SIGNALS)
    assert len(found) > 5
    return list(found)


def consume(run: Run, *words: str) -> None:
    found = run(
        "consume", *(words or CROSS), "--once", "--set", "consumers.ma_cross.warm_up=false", "--health-port", "0"
    )
    assert found.exit_code == 0, found.stderr


def verify(run: Run, *words: str, source: str = STREAM, params: tuple[str, ...] = CROSS) -> tuple[int, dict[str, Any]]:
    found = run("backtest-stream", source, *params, "--verify", SIGNALS, *words)
    facts = json.loads(found.stdout) if found.stdout else {}
    return found.exit_code, {**facts, "told": found.stderr.replace("\n", " ")}


def test_what_is_equal_is_told_with_all_that_it_rests_on(run: Run, said: list[Any], server: redis.Redis) -> None:
    put(server, 601, 700)  # live has not read these
    code, facts = verify(run)
    assert code == 0, facts
    assert {name: value for name, value in facts.items() if name not in ("told", "began", "sha256")} == {
        "signals": SIGNALS,
        "equal": True,
        "compared": len(said),
        "not_compared": 0,
        "entries": 600,
        "first": place(1),
        "last": place(600),
        "live_reached": place(600),
        "left_out": 0,
        "bars": "1s",
        "warmed_up_with": "nothing",
    }
    assert (len(facts["sha256"]), facts["began"][:2]) == (64, "20")


def test_a_recording_that_ends_before_live_did_proves_nothing_beyond(
    run: Run, said: list[Any], server: redis.Redis, tmp_path: Path
) -> None:
    server.delete(SIGNALS)
    for entry_id, fields in said:
        server.xadd(SIGNALS, {**fields, "price": "1"} if entry_id == said[-1][0] else {**fields}, id=entry_id)
    part = folder(tmp_path / "part", 1, 300)
    before = sum(int(entry_id.rpartition("-")[2]) <= 300 for entry_id, _ in said)
    wanted = {"compared": before, "not_compared": len(said) - before, "live_reached": place(600), "entries": 300}
    code, facts = verify(run, source=part)
    assert (code, facts["equal"]) == (3, None)
    assert facts.items() >= wanted.items()
    assert f"ends at {place(300)}, and live has read to {place(600)}" in facts["told"]
    code, facts = verify(run, "--until", iso((START_MS + 300 * 250) * 1000), source=part)
    assert (code, facts["equal"]) == (0, True)
    assert facts.items() >= wanted.items()
    assert verify(run, source=folder(tmp_path / "whole", 1, 600))[0] == 6


def test_until_ends_the_comparison_within_a_source_that_goes_on(run: Run, said: list[Any], tmp_path: Path) -> None:
    for source in (STREAM, folder(tmp_path / "whole", 1, 600)):
        code, facts = verify(run, "--until", iso((START_MS + 300 * 250) * 1000), source=source)
        assert (code, facts["entries"], facts["last"]) == (0, 300, place(300))
        assert facts["compared"] + facts["not_compared"] == len(said)


def test_only_what_this_strategy_failed_at_on_this_stream_is_left_out(
    run: Run, said: list[Any], server: redis.Redis
) -> None:
    told: dict[Any, Any] = {
        "entry_id": said[2][0],
        "stream": STREAM,
        "error": "StrategyFailed: strategy ma_cross of BTCUSDT failed",
    }
    server.xadd("dlq:ma_cross", {**told, "stream": "trades:ETHUSDT"})
    server.xadd("dlq:ma_cross", {**told, "error": "StrategyFailed: strategy ma_cros of BTCUSDT failed"})
    server.xadd("dlq:other", {**told})
    code, facts = verify(run)
    assert (code, facts["left_out"]) == (0, 0)
    server.xadd("dlq:ma_cross", {**told})
    code, facts = verify(run)
    assert (code, facts["left_out"], facts["compared"]) == (6, 1, 2)


def test_a_recording_that_begins_after_live_did_proves_nothing(run: Run, said: list[Any], tmp_path: Path) -> None:
    code, facts = verify(run, source=folder(tmp_path / "part", 2, 600))
    assert code == 3
    assert f"begins at {place(2)}: nothing can be proven" in facts["told"]


def test_what_live_has_written_is_read_before_the_source_is(
    run: Run, said: list[Any], server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live goes on, so that a source which was read before would end too early."""
    gather = gathered.gather

    async def slowly(*words: Any) -> Any:
        found = await gather(*words)
        server.hset(STATE, "upto", place(900))
        return found

    monkeypatch.setattr(gathered, "gather", slowly)
    code, facts = verify(run)
    assert (code, facts["live_reached"]) == (0, place(600))


def test_live_with_other_parameters_is_not_compared(run: Run, said: list[Any]) -> None:
    code, facts = verify(run, params=OTHER)
    assert code == 2
    assert "other parameters, other bars, or other code" in facts["told"]
    assert verify(run, params=(*CROSS[:3], "2s", *CROSS[4:]))[0] == 2


def test_signals_of_a_run_before_the_state_was_reset_do_not_count(
    run: Run, said: list[Any], server: redis.Redis
) -> None:
    assert run("groups", "reset", "ma_cross", "--state", "--force", "--yes").exit_code == 0
    code, facts = verify(run)
    assert (code, facts["live_reached"], facts["compared"]) == (0, place(600), len(said)), facts["told"]
    put(server, 601, 1200)
    consume(run, *OTHER)
    code, facts = verify(run, params=OTHER)
    assert (code, facts["entries"]) == (0, 600), facts["told"]
    assert 0 < facts["compared"] == server.xlen(SIGNALS) - len(said)


def test_signals_that_were_trimmed_are_not_missed_and_deleted_ones_are(
    run: Run, said: list[Any], server: redis.Redis
) -> None:
    server.xtrim(SIGNALS, len(said) - 2, approximate=False)
    code, facts = verify(run)
    assert (code, facts["compared"]) == (6, 0)
    assert f"live and backtest differ at {said[0][0]}" in facts["told"]
    assert "live said nothing" in facts["difference"]
    assert facts["input_backtest"].startswith("Trade(")
    assert facts["input_live"]["trade_id"] == said[0][0].rpartition("-")[2]
    assert set(facts["indicators"]["ma_cross"]) == {"fast", "slow"}
    assert said[0][0] in facts["bar"]
    code, facts = verify(run, "--set", f"bus.maxlen={len(said) - 2}")
    assert (code, facts["compared"]) == (0, len(said) - 2)


def test_a_signal_too_many_is_told_though_the_source_has_no_such_entry(
    run: Run, said: list[Any], server: redis.Redis, tmp_path: Path
) -> None:
    bad = f"{START_MS + 600 * 250}-599"
    server.xadd(SIGNALS, dict(said[-1][1]), id=bad)
    code, facts = verify(run)
    assert (code, facts["compared"], facts["input_live"], facts["input_backtest"]) == (6, len(said), None, None)
    assert f"{bad}: live said" in facts["difference"]


def test_klines_that_are_still_open_are_nothing_that_a_source_lacks(run: Run, server: redis.Redis) -> None:
    for number in range(1, 100):
        opens = START_MS + number * 60_000
        kline: dict[Any, Any] = {
            "exchange": "binance",
            "pair": "BTCUSDT",
            "interval": "1m",
            "open_time": str(opens),
            "close_time": str(opens + 59_999),
            **dict.fromkeys(("open", "high", "low", "close"), f"{100 + 5 * sin(number / 6):.4f}"),
            **dict.fromkeys(("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"), "1"),
            "trades": "5",
        }
        for ms, closed in ((20_000, "false"), (59_999, "true")):
            fields = {**kline, "closed": closed, "ts": iso((opens + ms) * 1000)}
            server.xadd("klines:BTCUSDT:1m", fields, id=f"{opens + ms}-{int(closed == 'true')}")
    still_open = {**kline, "closed": "false", "open_time": str(opens + 60_000), "close_time": str(opens + 119_999)}
    server.xadd("klines:BTCUSDT:1m", {**still_open, "ts": iso((opens + 70_000) * 1000)}, id=f"{opens + 70_000}-0")
    cross = ("--strategy", "ma_cross", *CROSS[4:])
    consume(run, "klines:1m", *cross)
    code, facts = verify(run, source="klines:BTCUSDT:1m", params=cross)
    assert (code, facts["compared"], facts["entries"]) == (0, server.xlen(SIGNALS), 99), facts["told"]
    assert facts["live_reached"] == f"{opens + 70_000}-0"
    assert facts["compared"] > 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--verify", "trades:BTCUSDT"), 2, "no stream of signals"),
        (("--verify", "signals:ma_cross"), 2, "no stream of signals"),
        (("--verify", "signals:ma_cros:BTCUSDT"), 2, 'did you mean "ma_cross"?'),
        (("--verify", SIGNALS), 4, "no strategy of ours has begun to write"),
        (("--verify", SIGNALS, "--since", "2024-11-14"), 2, "--since would leave out"),
    ],
)
def test_a_mistake_is_told_in_one_line(run: Run, words: tuple[str, ...], code: int, message: str) -> None:
    found = run("backtest-stream", STREAM, *CROSS, *words)
    assert found.exit_code == code, found.stderr
    assert message in found.stderr.replace("\n", " ")


def test_a_name_is_told_that_was_meant(run: Run, said: list[Any]) -> None:
    found = run("backtest-stream", STREAM, *CROSS, "--verify", "signals:ma_cross:BTCUSD")
    assert found.exit_code == 4
    assert 'did you mean "signals:ma_cross:BTCUSDT"?' in found.stderr.replace("\n", " ")


def test_a_source_of_other_pairs_has_nothing_of_it(run: Run, said: list[Any], server: redis.Redis) -> None:
    [entry] = trades(1, 1)
    server.xadd("trades:ETHUSDT", {**fields_of(entry), "pair": "ETHUSDT"}, id=entry.entry_id)
    code, facts = verify(run, source="trades:ETHUSDT")
    assert code == 4
    assert "it has: ETHUSDT" in facts["told"]
