"""What bad input gets: one line that says what happened and what to do, and the contract's exit code."""

import pytest

from tests.e2e.conftest import Exchange, Run


def last_error(errors: str) -> str:
    return next(line for line in errors.splitlines() if line.startswith("error: "))


def test_an_unknown_symbol_is_named_and_the_others_go_on(exchange: Exchange, run: Run) -> None:
    done = run("ingest", "--symbols", "BTCUSTD,ETHUSDT", "--max-messages", "5", env=exchange.env)
    assert done.returncode == 0
    assert "BTCUSTD" in done.stderr
    assert "BTCUSDT" in done.stderr


def test_only_unknown_symbols_is_an_error_of_its_own(exchange: Exchange, run: Run) -> None:
    done = run("ingest", "--symbols", "NOSUCH", env=exchange.env)
    assert (done.returncode, "NOSUCH" in last_error(done.stderr)) == (4, True)


def test_an_exchange_out_of_reach_ends_the_start(run: Run) -> None:
    done = run("ingest", "--symbols", "BTCUSDT", "--connect-timeout", "1s")
    assert done.returncode == 5
    assert last_error(done.stderr).startswith("error: no connection to ws://127.0.0.1:9/stream: ")
    assert "Errno 111" in last_error(done.stderr)


def test_a_bus_out_of_reach_ends_the_start(exchange: Exchange, run: Run) -> None:
    done = run(
        *("ingest", "--symbols", "BTCUSDT", "--redis", "redis://:secret@127.0.0.1:9", "--connect-timeout", "1s"),
        env=exchange.env,
    )
    assert (done.returncode, "127.0.0.1:9" in last_error(done.stderr)) == (5, True)
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ingest"], 2, "nothing to ingest"),
        (["ingest", "--symbols", "BTC USDT"], 78, "not a symbol"),
        (["ingest", "--symbols", "BTCUSDT", "--channels", "trade"], 78, "trade"),
        (["ingest", "--symbols", "BTCUSDT", "--duration", "soon"], 2, "not a duration"),
        (["ingest", "--symbols", "BTCUSDT", "--exchange", "binanse"], 78, "binance"),
        (["ingest", "--symbols", "BTCUSDT", "--redis", "http://x"], 78, "redis://"),
        (["ingest", "--symbols", "BTCUSDT", "--redis", "redis+clusters://x"], 78, "should start with"),
        (["tail", "trades:BTCUSDT", "--no-follow"], 4, "trades:BTCUSDT"),
        (["replay", "nowhere/"], 4, "nowhere"),
        (["run"], 2, "no feeds"),
        (["config", "show", "-c", "missing.yaml"], 4, "missing.yaml"),
    ],
)
def test_a_mistake_is_told_in_one_line(run: Run, arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_key_of_another_type_is_named(exchange: Exchange, run: Run, real_redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(real_redis_url) as client:
        client.set("trades:BTCUSDT", "mine")
    done = run("ingest", "--symbols", "BTCUSDT", "--redis", real_redis_url, env=exchange.env)
    assert (done.returncode, "trades:BTCUSDT" in last_error(done.stderr)) == (78, True)
