"""`cryptostream verify` as a person types it: on streams, on recordings, beside a venue, and when it repairs."""

import asyncio
import json
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.bus.connect import connect
from cryptostream.bus.restore import Restorer
from cryptostream.cli import main, repair
from cryptostream.cli.origins import OnBus
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import PublisherStats
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry, Micros, Record, TradeRecord
from cryptostream.model.instrument import Subscription
from cryptostream.sim.exchange import LocalExchange
from cryptostream.transforms.audit import CONTIGUOUS, Audit, Report
from tests.history import check_history, truth_of

DATA = Path(__file__).parents[3] / "shared/data/binance"
START_MS = 1_731_605_400_000
Run = Callable[..., Result]
Fields = dict[str, str]


def trade(number: int, pair: str = "BTCUSDT", **changed: str) -> tuple[str, Fields]:
    ms = START_MS + number
    fields = {"exchange": "binance", "pair": pair, "price": "61837.63", "qty": "0.02", "ts": iso(ms * 1000)}
    return f"{ms}-{number}", {**fields, "side": "buy", "trade_id": str(number), **changed}


def gap(first: int, last: int) -> tuple[str, Fields]:
    fields = {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "gap_from": str(first), "gap_to": str(last)}
    return f"{START_MS + first - 1}-{first}", {**fields, "cause": "deadline", "ts": iso((START_MS + first - 1) * 1000)}


def kept(url: str, stream: str, entries: Sequence[tuple[str, Fields]]) -> None:
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipeline:
        for entry_id, fields in entries:
            pipeline.xadd(stream, dict[Any, Any](fields), id=entry_id)
        pipeline.execute()


def stored(url: str, stream: str) -> list[tuple[str, Fields]]:
    with redis.Redis.from_url(url, decode_responses=True, protocol=2) as client:
        found: Any = client.xrange(stream)
    return list(found)


def recording(path: Path, *entries: tuple[str, Fields], stream: str = "trades:BTCUSDT") -> Path:
    path.write_text("".join(json.dumps({"stream": stream, "id": one, **rest}) + "\n" for one, rest in entries))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command on no bus, or on the one at `url`."""

    def invoke(*words: object, url: str = "redis://127.0.0.1:1") -> Result:
        monkeypatch.setenv("REDIS_URL", url)
        monkeypatch.setenv("CRYPTOSTREAM_DATA_DIR", str(tmp_path / "data"))
        return CliRunner().invoke(main.app, ["verify", *map(str, words)])

    return invoke


def answer(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_whole_stream_is_proven(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(n) for n in range(1, 2502)])
    told = answer(run("trades:BTCUSDT", url=bus_url))

    [stream] = told["streams"]
    assert told["proven"] is stream["proven"] is True
    assert (stream["entries"], stream["first_id"], stream["last_id"]) == (2501, 1, 2501)
    assert (stream["first"], stream["last"]) == (f"{iso((START_MS + 1) * 1000)}Z", f"{iso((START_MS + 2501) * 1000)}Z")


def test_holes_are_listed_and_exit_6(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(n) for n in (1, 2, 5, 6, 9)])
    result = run("BTCUSDT", url=bus_url)

    assert answer(result, 6)["streams"][0]["holes"] == {"count": 2, "ids": 4, "spans": [[3, 4], [7, 8]]}
    assert "not proven: trades:BTCUSDT: 4 missing" in result.stderr


def test_a_recorded_gap_is_shown_and_no_failure(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(1), trade(2), gap(3, 8), trade(9)])
    result = run("trades:BTCUSDT", url=bus_url)

    assert answer(result)["streams"][0]["gaps"] == {"count": 1, "ids": 6, "spans": [[3, 8]]}
    assert "6 ids are missing and told by gap entries" in result.stderr


def test_a_glob_proves_every_stream_by_itself(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(1), trade(2)])
    kept(bus_url, "trades:ETHUSDT", [trade(1, "ETHUSDT"), trade(3, "ETHUSDT")])
    told = answer(run("trades:*", url=bus_url), 6)

    assert [(one["stream"], one["proven"]) for one in told["streams"]] == [
        ("trades:BTCUSDT", True),
        ("trades:ETHUSDT", False),
    ]


def test_a_span_is_proved_by_itself(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(n) for n in (1, 2, 5, 6, 7, 9)])
    told = answer(run("trades:BTCUSDT", "--since", START_MS + 5, "--until", START_MS + 7, url=bus_url))

    assert [(one["first_id"], one["last_id"]) for one in told["streams"]] == [(5, 7)]


def test_a_terminal_gets_a_table_and_what_is_wrong(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(1), trade(2), trade(5, price="-1")])
    said = run("trades:BTCUSDT", "-o", "table", url=bus_url).stdout

    assert said.splitlines()[1].split() == ["trades:BTCUSDT", "failed", "3", "1", "5", "0", "2", "1"]
    assert "trades:BTCUSDT  hole  3 to 4" in said
    assert f"malformed  {START_MS + 5}-5: price '-1', qty '0.02'" in said


@pytest.mark.parametrize(("columns", "shown"), [(140, {"from", "last", "entries"}), (80, {"entries"}), (62, set())])
def test_a_table_leaves_out_what_has_no_room_and_folds_no_name(
    run: Run, bus_url: str, monkeypatch: pytest.MonkeyPatch, columns: int, shown: set[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = "repaired:trades:1000SATSUSDT"
    kept(bus_url, stream, [trade(3_735_683_259 + n, "1000SATSUSDT") for n in range(3)])
    head, row, *rest = run(stream, "-o", "table", url=bus_url).stdout.splitlines()

    assert {"from", "last", "entries"} & set(head.split()) == shown
    assert row.split()[:2] == [stream, "proven"]
    assert rest == []


def test_rows_for_a_spreadsheet(run: Run, bus_url: str) -> None:
    kept(bus_url, "trades:BTCUSDT", [trade(1), trade(4)])
    head, row = run("trades:BTCUSDT", "-o", "csv", url=bus_url).stdout.splitlines()

    assert dict(zip(head.split(","), row.split(","), strict=True))["holes"] == "2"


RECORDINGS = {
    "whole": ([trade(1), trade(2), trade(3)], 0, ""),
    "a line removed": ([trade(1), trade(3)], 6, "1 missing"),
    "a line twice": ([trade(1), trade(2), trade(2), trade(3)], 6, "1 twice"),
    "lines swapped": ([trade(1), trade(3), trade(2), trade(4)], 6, "1 out of order"),
    "a wrong field": ([trade(1), trade(2, side="b")], 6, "1 malformed"),
}


@pytest.mark.parametrize(("entries", "code", "said"), RECORDINGS.values(), ids=RECORDINGS)
def test_a_recording_of_entries(
    run: Run, tmp_path: Path, entries: list[tuple[str, Fields]], code: int, said: str
) -> None:
    result = run(recording(tmp_path / "tape.jsonl", *entries))

    assert result.exit_code == code
    assert said in result.stderr


def test_a_damaged_recording_is_no_proof(run: Run, tmp_path: Path) -> None:
    path = recording(tmp_path / "tape.jsonl", trade(1), trade(2))
    path.write_text(path.read_text() + '{"stream": "trades:BTCUSDT", "id"')
    result = run(path)

    assert answer(result, 6)["streams"][0]["entries"] == 2
    assert "damaged at line 3" in result.stderr.replace("\n", "")


HINTS = {
    "holes": ([trade(1), trade(3)], "--repair fetches"),
    "twice": ([trade(1), trade(1)], "each entry once"),
    "malformed": ([trade(1, side="b")], "cannot be repaired"),
}


@pytest.mark.parametrize(("entries", "said"), HINTS.values(), ids=HINTS)
def test_the_hint_fits_what_failed(run: Run, tmp_path: Path, entries: list[tuple[str, Fields]], said: str) -> None:
    told = run(recording(tmp_path / "tape.jsonl", *entries)).stderr.replace("\n", " ")

    assert [text for _, text in HINTS.values() if text in told] == [said]


WRAPPED = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1731605400002,"s":"BTCUSDT","t":1,"p":"98510.71000000",'
    '"q":"0.02340000","T":1731605400001,"m":true,"M":true}}'
)
ROW = (
    '{"id":1,"price":"98510.71000000","qty":"0.02340000","quoteQty":"2305.15","time":1731605400001,'
    '"isBuyerMaker":true,"isBestMatch":true}'
)
AGGREGATE = '{"a":1,"p":"98510.71000000","q":"0.02340000","f":1,"l":3,"T":1731605400001,"m":true,"M":true}'  # over REST
MESSAGES = {
    "a frame": ("trades:BTCUSDT", WRAPPED),
    "a row": ("trades:BTCUSDT", ROW),
    "an aggregate": ("agg_trades:BTCUSDT", AGGREGATE),
    "an aggregate in a renamed stream": ("renamed", AGGREGATE),
}
AS_TOLD = {"price": "98510.71000000", "qty": "0.02340000", "side": "sell"}
TAMPERED = {
    "price": "8510.71000000",
    "qty": "2340000",
    "side": "buy",
    "ts": "2020-01-01T00:00:00.000000",
    "pair": "ETHUSDT",
    "raw_json": "{}",
}


@pytest.mark.parametrize(("stream", "raw"), MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("name", ["", *TAMPERED])
def test_an_entry_is_held_against_the_message_it_was_made_from(
    run: Run, tmp_path: Path, stream: str, raw: str, name: str
) -> None:
    entry = trade(1, **{**AS_TOLD, "raw_json": raw, **({name: TAMPERED[name]} if name else {})})
    result = run(recording(tmp_path / "tape.jsonl", entry, stream=stream))
    by_pair_alone = name == "pair" and raw != WRAPPED  # a row does not tell of which pair it is

    assert result.exit_code == (6 if name and not by_pair_alone else 0), result.output


def test_a_message_of_another_pair_is_none_of_this_stream(run: Run, tmp_path: Path) -> None:
    other = WRAPPED.replace("btcusdt", "ethusdt").replace("BTCUSDT", "ETHUSDT")
    told = answer(run(recording(tmp_path / "tape.jsonl", trade(1, **AS_TOLD, raw_json=other))), 6)

    assert told["streams"][0]["malformed"]["examples"][0].endswith("no message of the venue's about this stream")


@pytest.mark.parametrize("volume", ["3", "13"])
def test_a_kline_is_held_against_its_row(run: Run, tmp_path: Path, volume: str) -> None:
    entry_id, fields = closed_kline(START_MS)
    row = [START_MS, "10", "12", "9", "11", "13", START_MS + 59_999, "30", 7, "0", "0", "0"]
    fields |= {"volume": volume, "raw_json": json.dumps(row), "ts": iso((START_MS + 59_999) * 1000)}
    result = run(recording(tmp_path / "tape.jsonl", (entry_id, fields), stream="klines:BTCUSDT:1m"))

    assert result.exit_code == (0 if volume == "13" else 6)


def test_a_copy_of_what_its_message_contradicts_is_not_whole(run: Run, tmp_path: Path) -> None:
    path = recording(tmp_path / "tape.jsonl", trade(1, **{**AS_TOLD, "price": "8510.71"}, raw_json=WRAPPED))

    assert answer(run(path, "--repair"), 6)["repaired"][0]["whole"] is False


@pytest.fixture(scope="module")
def frames() -> list[str]:
    """The trades of a real recording: 400 lines of it."""
    path = DATA / "spot_btcusdt_20240808.raw.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here: the recordings live beside the repository")
    import gzip

    with gzip.open(path, "rt") as lines:
        trades = (line for line in lines if "@trade" in line)
        return [next(trades) for _ in range(400)]


CHANGED: dict[str, tuple[Callable[[list[str]], list[str]], dict[str, int]]] = {
    "nothing": (lambda lines: lines, {}),
    "a line removed": (lambda lines: lines[:99] + lines[100:], {"holes": 1}),
    "a line twice": (lambda lines: [*lines[:100], *lines[99:]], {"duplicates": 1}),
    "lines swapped": (lambda lines: [*lines[:99], lines[100], lines[99], *lines[101:]], {"disorder": 1}),
}


@pytest.mark.parametrize(("change", "found"), CHANGED.values(), ids=CHANGED)
def test_a_line_changed_in_a_real_recording_is_found(
    run: Run, tmp_path: Path, frames: list[str], change: Callable[[list[str]], list[str]], found: dict[str, int]
) -> None:
    path = tmp_path / "tape.raw"
    path.write_text("".join(change(frames)))
    told = answer(run(path), 6 if found.keys() & {"holes", "disorder"} else 0)

    [stream] = told["streams"]
    counts = {"holes": stream["holes"]["ids"], "gaps": stream["gaps"]["ids"]}
    counts |= {name: stream[name]["count"] for name in ("duplicates", "disorder", "malformed", "misplaced")}
    assert {name: count for name, count in counts.items() if count} == found


def test_the_whole_real_recording_is_proven(run: Run, frames: list[str]) -> None:
    [stream] = answer(run(DATA / "spot_btcusdt_20240808.raw.gz"))["streams"]

    assert (stream["trades"], stream["first_id"], stream["last_id"]) == (9757, 3_735_683_259, 3_735_693_015)


def test_a_published_file_agrees_or_not(run: Run, tmp_path: Path, frames: list[str]) -> None:
    rows = [_published(json.loads(line.partition(" ")[2])["data"]) for line in frames]
    (tmp_path / "tape.raw").write_text("".join(frames[10:]))
    archive = tmp_path / "BTCUSDT-trades-2024-08-08.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("BTCUSDT-trades-2024-08-08.csv", "".join(rows[:200] + rows[250:350]))
    [found] = answer(run(tmp_path / "tape.raw", "--against", archive), 6)["against"]

    first = 3_735_683_259
    assert found["missing_there"]["spans"] == [[first + 200, first + 249]]
    assert (found["missing_here"]["ids"], found["differing"]["count"], found["not_covered"]) == (0, 0, 50)
    assert (found["ours"]["trades"], found["venue"]["trades"]) == (340, 290)
    assert (found["ours"]["first_id"], found["ours"]["last_id"]) == (first + 10, first + 349)


def _published(event: dict[str, Any]) -> str:
    return f"{event['t']},{event['p']},{event['q']},0,{event['T'] * 1000},{event['m']},True\n"


def test_a_file_that_its_checksum_does_not_fit_is_refused(run: Run, tmp_path: Path) -> None:
    path = recording(tmp_path / "tape.jsonl", trade(1))
    archive = tmp_path / "BTCUSDT-trades-2024-11-14.csv"
    archive.write_text("1,61837.63,0.02,1,1731605400001,False,True\n")
    archive.with_name(archive.name + ".CHECKSUM").write_text("00 BTCUSDT-trades-2024-11-14.csv")
    result = run(path, "--against", archive)

    assert (result.exit_code, ".CHECKSUM" in result.stderr) == (6, True)


def test_a_file_about_another_pair_is_no_comparison(run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "ETHUSDT-trades-2024-11-14.csv"
    archive.write_text("1,61837.63,0.02,1,1731605400001,False,True\n")
    result = run(recording(tmp_path / "tape.jsonl", trade(1)), "--against", archive)

    assert result.exit_code == 4
    assert "says nothing of trades:BTCUSDT" in result.stderr.replace("\n", " ")


REFUSED = {
    "no stream": (["trades:BTCUSDT"], 4, "no stream"),
    "no file": (["absent.jsonl"], 4, "no such file"),
    "both at once": (["tape.jsonl", "trades:BTCUSDT"], 2, "at once"),
    "a copy that nobody repairs": (["trades:BTCUSDT", "--into", "x:"], 2, "--into says where --repair writes"),
    "a prefix with a space": (["trades:BTCUSDT", "--repair", "--into", "a b"], 2, "no prefix"),
    "a copy of a file under a prefix": (["tape.jsonl", "--repair", "--into", "x:"], 2, "no prefix for streams"),
    "part of a repair": (["trades:BTCUSDT", "--repair", "--since", "-15m"], 2, "whole streams"),
    "a folder to repair": ([".", "--repair"], 2, "one by one"),
    "a span turned round": (["tape.jsonl", "--since", "2025-01-01", "--until", "2024-01-01"], 2, "is after"),
    "an address of another kind": (["tape.jsonl", "--against", "ftp://x"], 2, "cannot ask"),
    "a folder as an account": (["tape.jsonl", "--against", "."], 2, "not a regular file"),
    "an account that is not there": (["tape.jsonl", "--against", "absent.zip"], 4, "no such file"),
    "a venue without encryption": (["tape.jsonl", "--against", "http://192.0.2.1"], 78, "https"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line_and_a_code(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_redis_url: str,
    words: list[str],
    code: int,
    said: str,
) -> None:
    recording(tmp_path / "tape.jsonl", trade(1))
    monkeypatch.chdir(tmp_path)
    told = run(*words, url=fake_redis_url)

    assert told.exit_code == code, told.output
    assert said in told.stderr.replace("\n", " ")
    assert "Traceback" not in told.output


# Beside a local exchange.


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    """A market that has traded for an hour and trades no more."""
    async with LocalExchange(seed=3, pairs=["BTCUSDT"], rate=5.0) as made:
        made.halt()
        yield made


def traded(exchange: LocalExchange, *numbers: int) -> list[tuple[str, Fields]]:
    """Entries as the publisher would have made them; the numbers count from the first trade."""
    made, newest_ms = [], 0
    first = exchange.sent("BTCUSDT")[0]
    for number in numbers:
        one = next(exchange.trades("BTCUSDT", first + number, first + number))
        newest_ms = max(newest_ms, one.time_us // 1000)
        fields = {"exchange": "binance", "pair": "BTCUSDT", "price": one.price, "qty": one.qty}
        fields |= {"ts": iso(one.time_us // 1000 * 1000), "side": "sell" if one.buyer_is_maker else "buy"}
        made.append((f"{newest_ms}-{one.id}", {**fields, "trade_id": str(one.id)}))
    return made


async def test_a_stream_beside_its_venue(exchange: LocalExchange, run: Run, real_redis_url: str) -> None:
    entries = traded(exchange, *range(2500))
    entries[1200][1]["price"] = "1.00"
    kept(real_redis_url, "trades:BTCUSDT", [*entries[:700], *entries[705:]])
    result = await asyncio.to_thread(run, "trades:BTCUSDT", "--against", exchange.rest_url, url=real_redis_url)

    [found] = answer(result, 6)["against"]
    first = exchange.sent("BTCUSDT")[0]
    assert found["missing_here"] == {"ids": 5, "spans": [[first + 700, first + 704]]}
    assert found["differing"]["count"] == 1
    assert found["differing"]["examples"][0].startswith(f"{first + 1200}: price 1.00, venue ")
    assert (found["venue"]["trades"], found["ours"]["trades"]) == (2500, 2495)


async def test_klines_are_compared_with_their_venue_too(exchange: LocalExchange, run: Run, real_redis_url: str) -> None:
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}", "--set", "bus.raw_json=false")
    opened = exchange.time.now_us() // 60_000_000 * 60_000 - 20 * 60_000
    kept(real_redis_url, "klines:BTCUSDT:1m", [closed_kline(opened)])
    await asyncio.to_thread(run, "klines:*", "--repair", *rest, url=real_redis_url)
    kept(real_redis_url, "trades:BTCUSDT", traded(exchange, *range(100)))
    against = ("--against", exchange.rest_url)
    told = await asyncio.to_thread(run, "klines:*", "trades:*", *against, url=real_redis_url)

    klines, trades = answer(told, 6)["against"]
    assert (trades["agree"], klines["agree"], klines["differing"]["count"]) == (True, False, 1)
    assert klines["differing"]["examples"][0].startswith(f"{opened}: open 10, venue ")
    assert klines["ours"]["closed"] == klines["venue"]["closed"] >= 19
    assert "cannot be repaired" in told.stderr
    assert "--repair fetches" not in told.stderr


def test_what_was_compared_with_nothing_is_told(run: Run, fake_redis_url: str, tmp_path: Path) -> None:
    archive = tmp_path / "BTCUSDT-trades-2024-11-14.csv"
    archive.write_text(f"1,61837.63,0.02,1,{START_MS + 1},False,True\n")
    kept(fake_redis_url, "trades:BTCUSDT", [trade(1)])
    kept(fake_redis_url, "klines:BTCUSDT:1m", [closed_kline(START_MS)])
    words = ("trades:*", "klines:*", "--against", archive)
    result = run(*words, url=fake_redis_url)
    alone = run("klines:*", "--against", archive, url=fake_redis_url)

    assert [(one["kind"], one["compared"]) for one in answer(result)["streams"]] == [
        ("klines", False),
        ("trades", True),
    ]
    assert "klines:BTCUSDT:1m: not compared with" in result.stderr.replace("\n", " ")
    assert "klines:BTCUSDT:1m  not compared with" in run(*words, "-o", "table", url=fake_redis_url).stdout
    assert (alone.exit_code, "is a file of trades" in alone.stderr.replace("\n", " ")) == (2, True)


async def test_a_whole_stream_agrees_with_its_venue(exchange: LocalExchange, run: Run, real_redis_url: str) -> None:
    kept(real_redis_url, "trades:BTCUSDT", traded(exchange, *range(1500)))
    result = await asyncio.to_thread(run, "BTCUSDT", "--against", exchange.rest_url, url=real_redis_url)

    [found] = answer(result)["against"]
    assert found["agree"] is True
    assert found["ours"] == found["venue"]


async def test_the_end_of_a_stream_is_filled_and_its_middle_is_not(
    exchange: LocalExchange, run: Run, real_redis_url: str
) -> None:
    newest = len(exchange.sent("BTCUSDT")) - 1
    kept(real_redis_url, "trades:BTCUSDT", traded(exchange, *range(newest - 2100, newest - 1500)))
    repair = ("trades:BTCUSDT", "--repair", "--set", f"venues.binance.rest_url={exchange.rest_url}")
    [done] = answer(await asyncio.to_thread(run, *repair, url=real_redis_url))["repaired"]

    ids = exchange.sent("BTCUSDT")
    assert done["filled"] == 1501
    check_history(
        truth_of(exchange, "BTCUSDT"), stored(real_redis_url, "trades:BTCUSDT"), first=ids[-2101], last=ids[-1]
    ).assert_clean()


async def test_a_hole_in_the_middle_is_told_to_stay(exchange: LocalExchange, run: Run, real_redis_url: str) -> None:
    newest = len(exchange.sent("BTCUSDT")) - 1
    entries = traded(exchange, *range(newest - 50, newest + 1))
    kept(real_redis_url, "trades:BTCUSDT", [*entries[:20], *entries[25:]])
    repair = ("trades:BTCUSDT", "--repair", "--set", f"venues.binance.rest_url={exchange.rest_url}")
    [done] = answer(await asyncio.to_thread(run, *repair, url=real_redis_url), 6)["repaired"]

    assert done["filled"] == 0
    assert done["told"][0].startswith("5 missing ids lie below its newest entry")


def told_missing(entries: Sequence[tuple[str, Fields]], first: int, last: int) -> tuple[str, Fields]:
    """The gap entry that stands for some of these entries."""
    before, (missing, until) = entries[first - 1], (entries[n][1]["trade_id"] for n in (first, last))
    fields = {**gap(0, 0)[1], "gap_from": missing, "gap_to": until, "ts": before[1]["ts"]}
    return f"{before[0].partition('-')[0]}-{missing}", fields


async def test_a_repaired_copy_is_whole_and_in_order(exchange: LocalExchange, run: Run, real_redis_url: str) -> None:
    entries = traded(exchange, *range(1700))
    between, end = told_missing(entries, 1400, 1449), told_missing(entries, 1690, 1699)
    kept(
        real_redis_url,
        "trades:BTCUSDT",
        [*entries[:100], *entries[1300:1400], between, *entries[1450:1690], end],
    )
    repair = ("trades:BTCUSDT", "--repair", "--into", "repaired:")
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}", "--set", "bus.raw_json=false")
    [done] = answer(await asyncio.to_thread(run, *repair, *rest, url=real_redis_url))["repaired"]

    assert (done["into"], done["whole"]) == ("repaired:trades:BTCUSDT", True)
    assert (done["written"], done["filled"], done["still_missing"]) == (1700, 1260, 0)
    assert stored(real_redis_url, "repaired:trades:BTCUSDT") == entries


async def test_a_copy_is_not_written_into_what_is_there(exchange: LocalExchange, run: Run, real_redis_url: str) -> None:
    entries = traded(exchange, *range(10))
    kept(real_redis_url, "trades:BTCUSDT", entries[:9])
    kept(real_redis_url, "repaired:trades:BTCUSDT", entries[9:])
    repair = ("trades:BTCUSDT", "--repair", "--into", "repaired:")
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}")
    told = await asyncio.to_thread(run, *repair, *rest, url=real_redis_url)

    assert told.exit_code == 2
    assert "repaired:trades:BTCUSDT is there already" in told.stderr.replace("\n", " ")
    assert stored(real_redis_url, "repaired:trades:BTCUSDT") == entries[9:]


@pytest.mark.parametrize("entries", [[trade(1), trade(2, price="-1")], [trade(1, ts="never")]], ids=["bad", "none"])
def test_a_copy_that_holds_what_is_wrong_or_nothing_is_not_whole(
    run: Run, fake_redis_url: str, entries: list[tuple[str, Fields]]
) -> None:
    kept(fake_redis_url, "trades:BTCUSDT", entries)
    [done] = answer(run("trades:BTCUSDT", "--repair", "--into", "x:", url=fake_redis_url), 6)["repaired"]

    assert done["whole"] is False


async def test_a_copy_that_somebody_else_writes_too_is_not_whole(
    exchange: LocalExchange, run: Run, real_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = traded(exchange, *range(10))
    kept(real_redis_url, "trades:BTCUSDT", entries[:9])

    async def taken_meanwhile(origin: OnBus, prefix: str) -> None:
        kept(real_redis_url, prefix + origin.names[0], entries[9:])

    monkeypatch.setattr(repair, "check_free", taken_meanwhile)
    command = ("trades:BTCUSDT", "--repair", "--into", "repaired:")
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}")
    told = await asyncio.to_thread(run, *command, *rest, url=real_redis_url)
    [done] = answer(told, 6)["repaired"]

    assert (done["written"], done["whole"]) == (0, False)
    assert any("9 entries were refused" in one for one in done["told"])
    assert any("does not hold what was written" in one for one in done["told"])
    assert "repaired:trades:BTCUSDT: not whole" in told.stderr.replace("\n", " ")


async def test_a_stream_that_grows_past_its_repair_is_not_whole(real_redis_url: str) -> None:
    report = audited([trade(1), trade(2)])
    kept(real_redis_url, "trades:BTCUSDT", [trade(1), trade(2), trade(9)])

    async def fetch(wanted: Subscription, first: int, last: int | None) -> AsyncGenerator[Sequence[Record], None]:
        assert (first, last) == (3, None)
        yield [TradeRecord(wanted, "1", "1", Micros((START_MS + n) * 1000), "buy", n) for n in (3, 4)]

    stats = PublisherStats()
    opened = connect(real_redis_url, data_dir=Path(), connect_timeout_s=5, clock=SystemClock())
    async with opened as bus, Restorer(bus, stats) as sink:
        done = await repair.at_end(report, fetch, repair.Writer(sink, stats))

    assert (done.written, done.whole) == (0, False)
    assert "2 entries were refused" in done.told[0]


def audited(entries: Sequence[tuple[str, Fields]]) -> Report:
    audit = Audit(lambda *_: CONTIGUOUS)
    for entry_id, fields in entries:
        audit.add(Entry("trades:BTCUSDT", entry_id, fields))
    return audit.reports()[0]


@pytest.mark.parametrize("into", [(), ("--into", "repaired:")], ids=["at the end", "in a copy"])
async def test_what_is_repaired_and_is_not_what_the_venue_says_is_not_proven(
    exchange: LocalExchange, run: Run, real_redis_url: str, into: tuple[str, ...]
) -> None:
    entries = traded(exchange, *range(len(exchange.sent("BTCUSDT")) - 20, len(exchange.sent("BTCUSDT"))))
    entries[7][1]["price"] = "1.00"
    kept(real_redis_url, "trades:BTCUSDT", entries)
    command = ("trades:BTCUSDT", "--against", exchange.rest_url, "--repair", *into)
    told = await asyncio.to_thread(run, *command, url=real_redis_url)

    assert answer(told, 6)["repaired"][0]["whole"] is True
    assert "trades:BTCUSDT: not what" in told.stderr.replace("\n", " ")


async def test_what_the_venue_does_not_know_is_told_in_the_copy(
    exchange: LocalExchange, run: Run, real_redis_url: str
) -> None:
    entries = traded(exchange, *range(120))
    kept(real_redis_url, "trades:BTCUSDT", [*entries[:10], *entries[110:]])
    exchange.faults.inject("hole:0.2")
    first = exchange.sent("BTCUSDT")[0]
    known = len(list(exchange.trades("BTCUSDT", first + 10, first + 109)))
    repair = ("trades:BTCUSDT", "--repair", "--into", "repaired:")
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}", "--set", "bus.raw_json=false")
    [done] = answer(await asyncio.to_thread(run, *repair, *rest, url=real_redis_url))["repaired"]

    assert 50 < known < 100
    assert (done["filled"], done["still_missing"], done["whole"]) == (known, 100 - known, True)
    [copy] = answer(await asyncio.to_thread(run, "repaired:trades:BTCUSDT", url=real_redis_url))["streams"]
    assert (copy["gaps"]["ids"], copy["holes"]["ids"], copy["trades"]) == (100 - known, 0, 20 + known)


async def test_the_repaired_copy_of_a_recording_lies_beside_it(
    exchange: LocalExchange, run: Run, tmp_path: Path
) -> None:
    entries = traded(exchange, *range(60))
    broken = [*entries[:10], *entries[20:30], entries[25], entries[41], entries[40], *entries[42:]]
    path = recording(tmp_path / "tape.jsonl", *broken)
    before = path.read_bytes()
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}", "--set", "bus.raw_json=false")
    [done] = answer(await asyncio.to_thread(run, path, "--repair", *rest))["repaired"]

    assert (done["filled"], done["left_out"], done["whole"]) == (20, 1, True)
    assert path.read_bytes() == before
    lines = [json.loads(line) for line in (tmp_path / "tape.repaired.jsonl").read_text().splitlines()]
    assert [(line.pop("id"), line) for line in lines if line.pop("stream")] == entries
    assert await asyncio.to_thread(lambda: run(tmp_path / "tape.repaired.jsonl").exit_code) == 0
    assert "is there already" in (await asyncio.to_thread(run, path, "--repair", *rest)).stderr.replace("\n", " ")


def test_what_was_found_is_told_although_nobody_can_be_asked(run: Run, fake_redis_url: str, tmp_path: Path) -> None:
    kept(fake_redis_url, "trades:BTCUSDT", [trade(1), trade(3)])
    nowhere = ("--repair", "--set", "venues.binance.rest_url=http://127.0.0.1:9")
    for what in ("trades:BTCUSDT", recording(tmp_path / "tape.jsonl", trade(1), trade(3))):
        result = run(what, *nowhere, url=fake_redis_url)

        assert answer(result, 5)["streams"][0]["holes"]["ids"] == 1
        assert "127.0.0.1:9" in result.stderr
    assert not (tmp_path / "tape.repaired.jsonl").exists()


async def test_klines_are_filled_at_the_end_and_in_a_copy(
    exchange: LocalExchange, run: Run, real_redis_url: str
) -> None:
    rest = ("--set", f"venues.binance.rest_url={exchange.rest_url}", "--set", "bus.raw_json=false")
    opened = exchange.time.now_us() // 60_000_000 * 60_000 - 40 * 60_000
    kept(real_redis_url, "klines:BTCUSDT:1m", [closed_kline(opened), closed_kline(opened + 10 * 60_000)])
    end = await asyncio.to_thread(run, "klines:*", "--repair", *rest, url=real_redis_url)
    copy = await asyncio.to_thread(run, "klines:*", "--repair", "--into", "again:", *rest, url=real_redis_url)
    again = await asyncio.to_thread(run, "again:klines:BTCUSDT:1m", url=real_redis_url)

    [at_end], [in_copy] = answer(end, 6)["repaired"], answer(copy)["repaired"]
    assert at_end["filled"] >= 29
    assert at_end["told"][0].startswith("9 missing ids lie below its newest entry")
    assert (in_copy["filled"], in_copy["still_missing"], in_copy["whole"]) == (9, 0, True)
    assert answer(again)["streams"][0]["closed"] == 2 + at_end["filled"] + 9


def closed_kline(opened: int) -> tuple[str, Fields]:
    fields = {"exchange": "binance", "pair": "BTCUSDT", "interval": "1m", "open_time": str(opened)}
    fields |= {"close_time": str(opened + 59_999), "open": "10", "high": "12", "low": "9", "close": "11"}
    fields |= {"volume": "3", "quote_volume": "30", "trades": "7", "taker_buy_volume": "0"}
    fields |= {"taker_buy_quote_volume": "0", "closed": "true", "ts": iso((opened + 60_001) * 1000)}
    return f"{opened + 59_999}-1", fields
