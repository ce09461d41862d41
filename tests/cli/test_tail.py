"""`cryptostream tail` as a person types it, and how entries look."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from cryptostream.bus.keys import of_pair
from cryptostream.cli import entries, main, reading
from cryptostream.errors import UsageError
from cryptostream.model import times
from cryptostream.model.codec import iso
from cryptostream.model.duration import seconds
from cryptostream.model.events import Entry

START_MS = 1_731_605_400_000  # 2024-11-14T17:30:00Z
Run = Callable[..., Result]


def trade(number: int, pair: str = "BTCUSDT", **changed: str) -> Entry:
    """A trade at `number` seconds; even ones are buys."""
    ms = START_MS + number * 1000
    fields = {"exchange": "binance", "pair": pair, "price": f"{61000 + number}.50000000", "qty": "0.12300000"}
    fields |= {"ts": iso(ms * 1000), "side": "sell" if number % 2 else "buy", "trade_id": str(number)}
    return Entry(f"trades:{pair}", f"{ms}-{number}", {**fields, "raw_json": '{"e":"trade"}', **changed})


def gap(first: int, last: int) -> Entry:
    ms = START_MS + first * 1000
    fields = {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "gap_from": str(first), "gap_to": str(last)}
    return Entry("trades:BTCUSDT", f"{ms}-{first}", {**fields, "cause": "unfillable", "ts": iso(ms * 1000)})


def kline(*, rising: bool) -> Entry:
    prices = {"open": "10.00", "high": "12.00", "low": "9.00", "close": "11.50" if rising else "9.50"}
    fields = {"interval": "1m", "open_time": "1", **prices, "volume": "3.0", "trades": "7", "closed": "true"}
    return Entry("klines:BTCUSDT:1m", f"{START_MS}-1", {**fields, "ts": iso(START_MS * 1000)})


@pytest.fixture
def run(bus_url: str, tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        options = ["--redis", bus_url, "--data-dir", str(tmp_path / "data")]
        return CliRunner().invoke(main.app, ["tail", *words, *options])

    return invoke


def put(server: redis.Redis, *made: Entry) -> None:
    for entry in made:
        server.xadd(entry.stream, dict[Any, Any](entry.fields), id=entry.entry_id)


def printed(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def ids(result: Result) -> list[int]:
    return [int(row["trade_id"]) for row in printed(result)]


def test_last_entries_are_json_lines_on_a_pipe(run: Run, server: redis.Redis) -> None:
    put(server, *(trade(number) for number in range(20)))
    result = run("trades:BTCUSDT", "--no-follow")
    assert ids(result) == list(range(10, 20))
    first = printed(result)[0]
    assert list(first) == ["stream", "id", "exchange", "pair", "price", "qty", "ts", "side", "trade_id"]
    assert (first["stream"], first["id"]) == ("trades:BTCUSDT", f"{START_MS + 10_000}-10")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-n", "3"], [17, 18, 19]),
        (["-n", "0"], []),
        (["--from", "earliest", "--count", "2"], [0, 1]),
        (["--from", f"{START_MS + 18_000}-18"], [18, 19]),
        (["--from", f"({START_MS + 18_000}-18"], [19]),
        (["--from", "new"], []),
        (["--since", "2024-11-14T17:30:17Z"], [17, 18, 19]),
        (["--since", str(START_MS + 17_000), "-n", "2"], [18, 19]),
        (["--since", "2024-11-14T17:30:05", "--until", "2024-11-14T17:30:07"], [5, 6, 7]),
        (["--until", "2024-11-14T17:30:07", "-n", "2"], [6, 7]),
        (["--since", "-15m"], []),
        (["--where", "price >= 61018.5"], [18, 19]),
        (["--where", 'side == "buy"', "-n", "2"], [16, 18]),
        (["--where", 'side == "buy"', "--since", str(START_MS), "--count", "3"], [0, 2, 4]),
        (["--where", 'side == "buy"', "--since", str(START_MS), "-n", "3"], [14, 16, 18]),
    ],
)
def test_options_choose_what_is_shown(run: Run, server: redis.Redis, words: list[str], expected: list[int]) -> None:
    put(server, *(trade(number) for number in range(20)))
    assert ids(run("trades:BTCUSDT", "--no-follow", *words)) == expected


def test_several_streams_are_one_in_order_of_time(run: Run, server: redis.Redis) -> None:
    put(
        server, *(trade(number, "BTCUSDT") for number in (1, 4, 5)), *(trade(number, "ETHUSDT") for number in (2, 3, 6))
    )
    assert ids(run("trades:*", "--no-follow", "-n", "4")) == [3, 4, 5, 6]
    assert ids(run("trades:ETHUSDT,trades:BTCUSDT", "--no-follow", "--from", "earliest")) == [1, 2, 3, 4, 5, 6]


def test_bare_pair_is_every_stream_of_it(run: Run, server: redis.Redis) -> None:
    put(
        server,
        trade(1),
        trade(1, "BTCUSDTX"),
        kline(rising=True),
        Entry("signals:macd:BTCUSDT", "5-1", {"side": "buy"}),
    )
    found = {row["stream"] for row in printed(run("btcusdt", "--no-follow"))}
    assert found == {"trades:BTCUSDT", "klines:BTCUSDT:1m", "signals:macd:BTCUSDT"}


def test_count_ends_following(run: Run, server: redis.Redis) -> None:
    put(server, *(trade(number) for number in range(3)))
    assert ids(run("trades:BTCUSDT", "--count", "2")) == [0, 1]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trades:BTCUSTD"], 'did you mean "trades:BTCUSDT"?'),
        (["BTCUSTD"], 'did you mean "BTCUSDT"?'),
        (["klines:*"], "--wait"),
        (["trades:BTCUSDT", "no:such"], "--wait"),
    ],
)
def test_no_such_stream_is_exit_4_with_a_hint(run: Run, server: redis.Redis, words: list[str], hint: str) -> None:
    put(server, trade(1))
    result = run(*words)
    assert result.exit_code == 4
    assert f'no stream "{words[-1]}"' in result.stderr
    assert hint in result.stderr
    assert result.stdout == ""


def test_empty_bus_says_how_to_fill_it(run: Run) -> None:
    result = run("trades:BTCUSDT")
    assert result.exit_code == 4
    assert "cryptostream ingest" in result.stderr


def test_key_that_is_no_stream_is_exit_78(run: Run, server: redis.Redis) -> None:
    server.set("note", "text")
    result = run("note")
    assert result.exit_code == 78
    assert "note" in result.stderr
    assert "is not a stream" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "price >"], "cannot read the filter"),
        (["--where", "prise > 1"], 'did you mean "price"?'),
        (["--fields", "price,prise"], 'did you mean "price"?'),
        (["--template", "{prise}"], 'did you mean "price"?'),
        (["--template", "{price.__class__}"], 'cannot read "{price.__class__}"'),
        (["--template", "{price!r}"], "cannot read"),
        (["--template", "{price:9999999}"], "cannot read"),
        (["--template", "{0}"], "cannot read"),
        (["--template", "{price"], "cannot read the template"),
        (["--template", "{price}", "-o", "csv"], "both say how to print"),
        (["--since", "yesterday"], "not a time"),
        (["--since", "99999999999999999999"], "in milliseconds"),
        (["--since", "-5m", "--from", "new"], "both say where to start"),
        (["--from", "12x"], "not an entry id"),
        (["--wait", "--no-follow"], "--wait needs to follow"),
        (["-o", "json"], "has no end"),
    ],
)
def test_wrong_use_is_exit_2_with_the_reason(run: Run, server: redis.Redis, words: list[str], message: str) -> None:
    put(server, trade(1))
    result = run("trades:BTCUSDT", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("word", ["", " , "])
def test_no_stream_at_all_is_wrong_use(run: Run, word: str) -> None:
    result = run(word, "--no-follow")
    assert (result.exit_code, "names no stream" in result.stderr) == (2, True)


def test_fields_of_the_streams_themselves_can_be_named(run: Run, server: redis.Redis) -> None:
    put(server, Entry("signals:rsi:BTCUSDT", f"{START_MS}-1", {"strategy": "rsi", "rsi": "71.5"}))
    (row,) = printed(run("signals:*", "--no-follow", "--where", "rsi > 70", "--fields", "rsi,price"))
    assert row == {"stream": "signals:rsi:BTCUSDT", "id": f"{START_MS}-1", "rsi": "71.5", "price": None}


def test_raw_json_is_shown_when_asked_for(run: Run, server: redis.Redis) -> None:
    put(server, trade(1))
    (row,) = printed(run("trades:BTCUSDT", "--no-follow", "--fields", "raw_json"))
    assert row["raw_json"] == '{"e":"trade"}'


def test_json_is_one_answer(run: Run, server: redis.Redis) -> None:
    put(server, trade(1), trade(2))
    result = run("trades:BTCUSDT", "--no-follow", "-o", "json")
    assert [row["trade_id"] for row in json.loads(result.stdout)] == ["1", "2"]


def tail_process(url: str, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cryptostream", "tail", *words, "--redis", url]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"}
    )


def test_reader_that_leaves_ends_a_quiet_tail_without_a_word(fake_redis_url: str) -> None:
    with redis.Redis.from_url(fake_redis_url, protocol=2) as client:
        put(client, trade(1))
    with tail_process(fake_redis_url, "trades:BTCUSDT") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_interrupt_is_exit_130_without_a_traceback(fake_redis_url: str) -> None:
    with redis.Redis.from_url(fake_redis_url, protocol=2) as client:
        put(client, trade(1))
    with tail_process(fake_redis_url, "trades:BTCUSDT") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b""


def test_wait_waits_for_a_stream_and_shows_it_from_its_beginning(fake_redis_url: str) -> None:
    with tail_process(fake_redis_url, "trades:BTCUSDT", "--wait", "--count", "2") as process:
        assert process.stdout is not None
        with redis.Redis.from_url(fake_redis_url, protocol=2) as client:
            put(client, trade(1), trade(2))
        assert [json.loads(line)["trade_id"] for line in process.stdout] == ["1", "2"]
        assert process.wait(20) == 0


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_table_aligns_and_heads_each_layout_once() -> None:
    table = entries.Table([], colour=False)
    text = table([trade(8, price="7.50000000"), trade(9)]) + table([trade(10)])
    assert lines(text) == [
        "time (UTC)               stream          side           price         qty  trade_id",
        "2024-11-14 17:30:08.000  trades:BTCUSDT  buy       7.5         0.123              8",
        "2024-11-14 17:30:09.000  trades:BTCUSDT  sell  61009.5         0.123              9",
        "2024-11-14 17:30:10.000  trades:BTCUSDT  buy   61010.5         0.123             10",
    ]


def test_table_aligns_names_in_wide_letters() -> None:
    text = entries.Table([], colour=False)([trade(1, "币安人生USDT"), trade(2)])
    assert len({cell_len(line) for line in lines(text)}) == 1


def test_side_has_its_colour_and_its_word() -> None:
    buy, sell = lines(entries.Table([], colour=True)([trade(2), trade(3)]))[1:]
    assert "\x1b[32mbuy" in buy
    assert "\x1b[31msell" in sell
    assert "\x1b" not in entries.Table([], colour=False)([trade(2), trade(3), gap(4, 5)])


def test_gap_stands_out_and_says_what_is_missing() -> None:
    text = lines(entries.Table([], colour=True)([trade(1), gap(2, 1001), trade(1002)]))
    assert text[2].startswith("\x1b[1;33m2024-11-14 17:30:02.000")
    assert "GAP: trades 2 to 1001 (1,000) are missing, unfillable" in text[2]


def test_kline_is_green_when_it_rose() -> None:
    rose, fell = lines(entries.Table([], colour=True)([kline(rising=True), kline(rising=False)]))[1:]
    assert "\x1b[32m11.5 " in rose
    assert "\x1b[31m 9.5 " in fell
    assert "closed" in rose


def test_entry_of_unknown_kind_is_shown_by_its_fields() -> None:
    odd = Entry("events:x", "18446744073709551615-1", {"what": "x" * 500, "why": "y"})
    (line,) = lines(entries.Table([], colour=False)([odd]))[1:]
    assert line.startswith("18446744073709551615-1")
    assert "what=xxx" in line
    assert line.endswith("…")


EVIL = "a\x1b[2J\x07\r\n\x9b31m\u202eb"


@pytest.mark.parametrize(
    "shown",
    [
        entries.Table([], colour=False),
        entries.Table(["side", "cause"], colour=False),
        entries.Csv([]),
        entries.json_lines([]),
        entries.template("{side} {cause} {stream}")[0],
        entries.template(EVIL)[0],
    ],
    ids=["table", "fields", "csv", "jsonl", "template", "template text"],
)
def test_control_characters_never_reach_a_terminal(shown: entries.Shown) -> None:
    made = [
        trade(1, side=EVIL, ts=EVIL, pair=EVIL),
        Entry(f"x:{EVIL}", "1-1", {"kind": "gap", "cause": EVIL, EVIL: EVIL}),
    ]
    text = shown(made).replace("\r\n", "\n")
    assert not {letter for letter in text if letter != "\n" and not letter.isprintable()}


def test_json_lines_keep_what_they_escape() -> None:
    row = json.loads(entries.json_lines([])([trade(1, side=EVIL)]))
    assert row["side"] == EVIL


def test_csv_has_one_header_and_tells_of_what_has_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    shown = entries.Csv([])
    text = shown([trade(1)]) + shown([trade(2), gap(3, 4)]) + shown([gap(5, 6)])
    assert lines(text)[0] == "stream,id,exchange,pair,price,qty,ts,side,trade_id"
    assert len(lines(text)) == 5
    assert capsys.readouterr().err.count("no column for cause, gap_from, gap_to, kind") == 1


def test_csv_of_chosen_fields_has_these_columns() -> None:
    assert entries.Csv(["entry_id", "price"])([gap(3, 4), trade(1)]).splitlines() == [
        "entry_id,price",
        f"{START_MS + 3000}-3,",
        f"{START_MS + 1000}-1,61001.50000000",
    ]


def test_template_fills_names_to_a_width() -> None:
    shown, names = entries.template("{side:>5}|{price:<16}|{cause}|{{x}}")
    assert shown([trade(1)]) == " sell|61001.50000000  ||{x}\n"
    assert names == {"side", "price", "cause"}


@pytest.mark.parametrize("text", ["15", "m", "-15m", "15 m", "1x", "", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-11-14T17:30:00.123456Z", START_MS + 123),
        ("2024-11-14T19:30:00+02:00", START_MS),
        ("2024-11-14 17:30", START_MS),
        ("2024-11-14", START_MS - 63_000_000),
        ("-1h30m", START_MS - 5_400_000),
        ("-90000d", 0),
    ],
)
def test_times_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert times.moment(text, START_MS * 1_000_000) == expected


@pytest.mark.parametrize("text", ["now-ish", "-15", "2024-13-01", "", "253402300800000", "0000-01-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        times.moment(text, START_MS * 1_000_000)


def test_words_stand_for_streams() -> None:
    assert reading.meanings("trades:BTCUSDT") == ["trades:BTCUSDT"]
    assert reading.meanings("BTC*") == ["BTC*"]
    assert reading.meanings("ethusdt") == ["ethusdt", *of_pair("ETHUSDT")]
