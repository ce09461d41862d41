"""`cryptostream consume --strategy` as a person types it, on both engines."""

import json
from collections.abc import Callable
from math import sin
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import main
from cryptostream.model.codec import iso

START_MS = 1_731_605_400_000
SIGNALS = "signals:ma_cross:BTCUSDT"
CROSS = ("--strategy", "ma_cross", "--bars", "1s", "-p", "fast=3", "-p", "slow=8")
Run = Callable[..., Result]
RAISES = '''
class Raises:
    """Fails at one bar."""

    warm_up = 0
    values = {}

    def __init__(self):
        self.bars = 0

    def on_bar(self, bar):
        self.bars += 1
        if bar.open_time == 1731605410000:
            raise KeyError("no such thing")
        return ()
'''


@pytest.fixture
def run(bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BINANCE_REST_URL", "http://127.0.0.1:9")

    def invoke(*words: str) -> Result:
        own = ["--health-port", "0"] if words[0] == "consume" else []
        return CliRunner().invoke(main.app, [*words, *own, "--redis", bus_url, "--data-dir", str(tmp_path / "data")])

    return invoke


def put(server: redis.Redis, first: int, last: int, pair: str = "BTCUSDT") -> None:
    """Trades in waves, one each 250 ms; the number of a trade is its id."""
    pipeline = server.pipeline(transaction=False)
    for number in range(first, last + 1):
        trade = {
            "exchange": "binance",
            "pair": pair,
            "price": f"{100 + 5 * sin(number / 20):.2f}",
            "qty": "0.10000000",
            "ts": iso((START_MS + number * 250) * 1000),
            "side": "buy",
            "trade_id": str(number),
        }
        pipeline.xadd(f"trades:{pair}", trade, id=f"{START_MS + number * 250}-{number}")
    pipeline.execute()


def lines(found: Result) -> list[dict[str, str]]:
    assert found.exit_code == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_signals_are_printed_as_they_stand_on_the_bus_and_written_once(run: Run, server: redis.Redis) -> None:
    put(server, 1, 600)
    said = lines(run("consume", *CROSS, "--symbols", "BTCUSDT", "--once"))
    stored = server.xrange(SIGNALS)
    assert len(said) == len(stored) > 3
    assert [(one["stream"], one["id"]) for one in said] == [(SIGNALS, entry_id) for entry_id, _ in stored]
    assert list(stored[0][1]) == [*("strategy", "pair", "side", "price", "strength", "reason", "ts", "fast", "slow")]
    assert lines(run("consume", *CROSS, "--symbols", "BTCUSDT", "--once")) == []
    put(server, 601, 900)
    assert lines(run("consume", *CROSS, "--symbols", "BTCUSDT", "--once"))
    assert server.xpending("trades:BTCUSDT", "ma_cross")["pending"] == 0


def test_the_latest_indicators_are_a_hash_that_goes_away(run: Run, server: redis.Redis) -> None:
    put(server, 1, 600)
    run("consume", *CROSS, "--once", "--set", "consumers.ma_cross.latest_ttl=90s")
    found = server.hgetall("indicators:BTCUSDT")
    assert {"ts", "price", "interval", "ma_cross.fast", "ma_cross.slow"} <= set(found)
    assert found["interval"] == "1s"
    assert 80_000 < server.pttl("indicators:BTCUSDT") <= 90_000


def test_other_parameters_do_not_go_on_from_the_old_state(run: Run, server: redis.Redis) -> None:
    put(server, 1, 100)
    run("consume", *CROSS, "--once")
    put(server, 101, 110)
    found = run("consume", "--strategy", "ma_cross", "--bars", "2s", "--once")
    assert found.exit_code == 78
    assert "another configuration" in found.stderr.replace("\n", " ")
    assert "groups reset ma_cross --state" in found.stderr.replace("\n", " ")


def test_a_group_that_begins_now_is_warm_and_has_not_said_what_is_past(run: Run, server: redis.Redis) -> None:
    put(server, 1, 600)
    assert lines(run("consume", *CROSS, "--from", "new", "--once")) == []
    put(server, 601, 900)
    warm = lines(run("consume", *CROSS, "--once"))
    assert warm
    proof = json.loads(run("backtest-stream", "trades:BTCUSDT", *CROSS, "--verify", SIGNALS).stdout)
    assert (proof["equal"], proof["compared"], proof["entries"]) == (True, len(warm), 300)
    assert "trades" in proof["warmed_up_with"]
    server.delete(*server.keys("s*:*"), "indicators:BTCUSDT")
    server.xgroup_destroy("trades:BTCUSDT", "ma_cross")
    cold = ("--set", "consumers.ma_cross.warm_up=false")
    run("consume", *CROSS, "--from", f"({START_MS + 600 * 250}-600", "--once", *cold)
    assert server.hget(f"seed:{SIGNALS}", "from") == "nothing"


def test_what_one_strategy_fails_at_is_set_aside_and_the_others_go_on(
    run: Run, server: redis.Redis, tmp_path: Path
) -> None:
    put(server, 1, 600)
    alone = lines(run("consume", *CROSS, "--once"))
    server.flushall()
    put(server, 1, 600)
    (tmp_path / "raises.py").write_text(RAISES)
    params = [f"ma_cross.{word}" if "=" in word else word for word in CROSS[2:]]
    both = run("consume", "--strategy", "raises.py", *CROSS[:2], *params, "--group", "both", "--once")
    assert [one["id"] for one in lines(both)] == [one["id"] for one in alone]
    [(_, letter)] = server.xrange("dlq:both")
    assert "KeyError: 'no such thing'" in json.dumps(letter)
    assert server.xpending("trades:BTCUSDT", "both")["pending"] == 0


def test_what_a_strategy_was_spared_live_it_is_spared_in_the_proof(
    run: Run, server: redis.Redis, tmp_path: Path
) -> None:
    put(server, 1, 600)
    (tmp_path / "raises.py").write_text(
        RAISES.replace("return ()", "return [Signal('buy')] if self.bars % 9 == 0 else ()")
    )
    source = (tmp_path / "raises.py").read_text()
    (tmp_path / "raises.py").write_text(f"from cryptostream import Signal\n{source}")
    words = ("--strategy", "raises.py", "--bars", "1s")
    said = lines(run("consume", *words, "--once"))
    assert len(said) > 5
    [stream] = {one["stream"] for one in said}
    proof = run("backtest-stream", "trades:BTCUSDT", *words, "--verify", stream)
    assert proof.exit_code == 0, proof.stderr
    assert {name: json.loads(proof.stdout)[name] for name in ("compared", "left_out")} == {
        "compared": len(said),
        "left_out": 1,
    }


def put_kline(server: redis.Redis, number: int, *, into_ms: int | None = None) -> None:
    """The candle of a minute as it closed, or as it stood so long into it: a wave of a few minutes."""
    opens = START_MS + number * 60_000
    is_closed = into_ms is None
    close = 100 + 5 * sin(number / 6) + (0 if into_ms is None else 40)
    kline = {
        "exchange": "binance",
        "pair": "BTCUSDT",
        "interval": "1m",
        "open_time": str(opens),
        "close_time": str(opens + 59_999),
        "open": "100",
        "high": "146",
        "low": "94",
        "close": f"{close:.4f}",
        "volume": "1",
        "quote_volume": "100",
        "trades": "5",
        "taker_buy_volume": "1",
        "taker_buy_quote_volume": "50",
        "closed": str(is_closed).lower(),
        "ts": iso((opens + (into_ms or 60_000)) * 1000),
    }
    entry_id = f"{opens + 59_999}-1" if is_closed else f"{opens + (into_ms or 0)}-0"
    server.xadd("klines:BTCUSDT:1m", kline, id=entry_id)


def test_a_strategy_that_cannot_be_saved_any_more_is_named_and_the_others_go_on(
    run: Run, server: redis.Redis, tmp_path: Path
) -> None:
    put(server, 1, 600)
    alone = lines(run("consume", *CROSS, "--once"))
    server.flushall()
    put(server, 1, 600)
    late = RAISES.replace('raise KeyError("no such thing")', "self.seen = {bar.close}")
    (tmp_path / "late.py").write_text(late)
    params = [f"ma_cross.{word}" if "=" in word else word for word in CROSS[2:]]
    both = run("consume", "--strategy", "late.py", *CROSS[:2], *params, "--group", "both", "--once")
    assert [one["id"] for one in lines(both)] == [one["id"] for one in alone]
    [(_, letter)] = server.xrange("dlq:both")
    assert "strategy late of BTCUSDT failed" in letter["error"]
    assert "seen is a set, which cannot be saved" in letter["error"]


def test_klines_feed_the_same_strategies(run: Run, server: redis.Redis) -> None:
    for number in range(1, 200):
        put_kline(server, number)
    words = ("klines:1m", *(word for word in CROSS if word not in ("--bars", "1s")))
    said = lines(run("consume", *words, "--once"))
    assert len(said) > 3
    assert {one["id"].rpartition("-")[2] for one in said} == {"1"}
    proof = run("backtest-stream", "klines:BTCUSDT:1m", *words[1:], "--verify", SIGNALS)
    assert (proof.exit_code, json.loads(proof.stdout)["compared"]) == (0, len(said))


def test_candles_that_are_still_open_are_no_part_of_the_proof(run: Run, server: redis.Redis) -> None:
    words = ("klines:1m", *(word for word in CROSS if word not in ("--bars", "1s")))
    said: list[dict[str, str]] = []
    for first, last in ((1, 1), (2, 80), (81, 150)):
        for number in range(first, last + 1):
            put_kline(server, number, into_ms=2000)
            if number > 1:  # it begins amid a candle, whose end it has not seen
                put_kline(server, number, into_ms=59_999)
                put_kline(server, number)
        said += lines(run("consume", *words, "--once"))
    assert len(said) > 3
    assert server.hget(f"seed:{SIGNALS}", "upto") == f"{START_MS + 2 * 60_000 + 59_999}-0"
    proof = run("backtest-stream", "klines:BTCUSDT:1m", *words[1:], "--verify", SIGNALS)
    assert proof.exit_code == 0, proof.stderr
    found = json.loads(proof.stdout)
    assert (found["equal"], found["compared"], found["entries"]) == (True, len(said), 149)


def test_what_one_group_writes_another_does_not(run: Run, server: redis.Redis) -> None:
    put(server, 1, 600)
    said = lines(run("consume", *CROSS, "--group", "a", "--once"))
    other = ("--strategy", "ma_cross", "--bars", "2s", "-p", "fast=3", "-p", "slow=8", "--group", "b")
    refused = run("consume", *other, "--once")
    assert refused.exit_code == 78
    told = " ".join(refused.stderr.split())
    assert f'{SIGNALS} is written by group "a"; give this one another name: as: NAME' in told
    assert "groups reset a --state" in told
    assert [one for one, _ in server.xrange(SIGNALS)] == [one["id"] for one in said]
    proof = run("backtest-stream", "trades:BTCUSDT", *CROSS, "--verify", SIGNALS)
    assert (proof.exit_code, json.loads(proof.stdout)["compared"]) == (0, len(said))
    slower = lines(run("consume", *other, "-p", "as=slower", "--once"))
    assert {one["stream"] for one in slower} == {"signals:slower:BTCUSDT"}
    put(server, 601, 900)
    assert {one["stream"] for one in lines(run("consume", *CROSS, "--group", "a", "--once"))} == {SIGNALS}


def test_signals_are_taken_over_as_the_refusal_says(run: Run, server: redis.Redis) -> None:
    put(server, 1, 600)
    lines(run("consume", *CROSS, "--group", "a", "--once"))
    dropped = run("groups", "reset", "a", "--state", "--force", "--yes")
    assert dropped.exit_code == 0, dropped.stderr
    other = ("--strategy", "ma_cross", "--bars", "2s", "-p", "fast=3", "-p", "slow=8")
    lines(run("consume", *other, "--group", "b", "--from", "new", "--once"))
    put(server, 601, 900)
    said = lines(run("consume", *other, "--group", "b", "--once"))
    assert said
    proof = run("backtest-stream", "trades:BTCUSDT", *other, "--verify", SIGNALS)
    assert proof.exit_code == 0, proof.stderr
    assert json.loads(proof.stdout)["compared"] == len(said)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--strategy", "mcad_rsi"), 78, 'did you mean "macd_rsi"?'),
        (("--strategy", "macd_rsi", "-p", "fats=3"), 78, 'did you mean "fast"?'),
        (("--strategy", "macd_rsi", "-p", "fast=3..9:3"), 2, "has several values"),
        (("--strategy", "macd_rsi", "--bars", "1x"), 78, "not a kind of bar"),
        (("--strategy", "macd_rsi", "--count", "5"), 2, "--once, --until-idle or --duration"),
        (("--strategy", "macd_rsi", "BTCUSDT"), 78, "every stream of that pair"),
        (("--strategy", "macd_rsi", "trades", "klines:1m"), 78, "one kind of stream"),
        (("--strategy", "macd_rsi", "--where", "price > 1"), 78, "whole streams"),
        (("--strategy", "macd_rsi", "--sink", "sqlite", "--out", "x.db"), 78, "let another consumer read"),
        (("--strategy", "macd_rsi", "--strategy", "ma_cross"), 2, "--group NAME"),
        (("trades", "--group", "g", "--param", "fast=3"), 2, "are for strategies"),
        (("--symbols", "BTCUSDT"), 2, "without --group"),
    ],
)
def test_a_mistake_is_told_in_one_line(run: Run, words: tuple[str, ...], code: int, message: str) -> None:
    found = run("consume", *words, "--once")
    assert found.exit_code == code, found.stderr
    assert message in found.stderr.replace("\n", " ")


def test_signals_of_one_name_have_one_writer(run: Run, tmp_path: Path) -> None:
    two: dict[str, Any] = {
        name: {"read": ["trades"], "strategies": ["macd_rsi"], "write": ["bus"]} for name in ("one", "other")
    }
    (tmp_path / "two.yaml").write_text(json.dumps({"consumers": two}))
    found = run("consume", "-c", "two.yaml", "--once")
    assert found.exit_code == 78
    assert 'consumers.one writes signals of "macd_rsi" already; use as: NAME' in found.stderr.replace("\n", " ")
