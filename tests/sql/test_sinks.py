"""What both databases promise: an entry is one row, whole, however often it is written."""

import asyncio
import json
import random
from typing import Any

import pytest

from cryptostream.errors import ConfigError
from cryptostream.model.events import Entry
from cryptostream.sql.rows import TABLES
from tests.sql.conftest import Database
from tests.sql.market import gap, kline, signal, trade


async def write(database: Database, *batches: list[Entry], **params: Any) -> None:
    async with database.sink(**params) as sink:
        for batch in batches:
            await sink.write(batch)


async def test_every_table_is_there_before_anything_comes(database: Database) -> None:
    async with database.sink() as sink:
        await sink.write([])
        assert [database.ask(f"SELECT count(*) FROM {name}") for name in TABLES] == [[(0,)]] * len(TABLES)


async def test_what_is_written_is_there_when_write_returns(database: Database) -> None:
    async with database.sink() as sink:
        await sink.write([trade(1), trade(2)])
        assert database.ask("SELECT trade_id, CAST(price AS TEXT) FROM trades ORDER BY time") == [
            (1, "45001.50000000"),
            (2, "45002.50000000"),
        ]


async def test_entries_of_a_batch_part_to_the_tables_of_their_kinds(database: Database) -> None:
    mixed = [trade(1), kline(1), gap(2, 3), signal(1), Entry("events:binance", "1-0", {"event": "stale"})]
    await write(database, mixed)
    found = {name: database.ask(f"SELECT count(*) FROM {name}")[0][0] for name in TABLES}
    assert found == {"trades": 1, "agg_trades": 0, "klines": 1, "gaps": 1, "signals": 1, "entries": 1}


async def test_entries_written_twice_are_one_row_each(database: Database) -> None:
    entries = [make(number) for number in range(50) for make in (trade, kline, signal)]
    again = [entries[start : start + 60] for start in (0, 30, 90, 60, 0, 120)]
    await write(database, *again)
    await write(database, entries)
    for table in ("trades", "klines", "signals"):
        assert database.ask(f"SELECT count(*), count(DISTINCT entry_id) FROM {table}") == [(50, 50)]


async def test_an_entry_that_comes_with_other_fields_replaces_its_row(database: Database) -> None:
    await write(database, [trade(1, price="1"), trade(2)], [trade(1, price="2", mood="odd")])
    told = "SELECT trade_id, CAST(price AS TEXT), CAST(fields AS TEXT) FROM trades ORDER BY trade_id"
    assert database.ask(told) == [(1, "2", '{"mood": "odd"}'), (2, "45002.50000000", None)]


async def test_a_row_that_says_the_same_is_not_written_again(database: Database) -> None:
    await write(database, [trade(1), kline(1)])
    if database.kind == "sqlite":
        counter = "CREATE TRIGGER seen AFTER UPDATE ON trades BEGIN SELECT RAISE(ABORT, 'written again'); END"
        database.ask(counter)
        await write(database, [trade(1)])
    else:
        before = database.ask("SELECT xmin::text, ctid::text FROM trades")
        await write(database, [trade(1)])
        assert database.ask("SELECT xmin::text, ctid::text FROM trades") == before


async def test_one_entry_id_in_two_streams_is_two_rows(database: Database) -> None:
    await write(database, [trade(1), trade(1, "ETHUSDT")])
    assert database.ask("SELECT stream FROM trades ORDER BY 1") == [("trades:BTCUSDT",), ("trades:ETHUSDT",)]


async def test_text_comes_back_as_it_was(database: Database) -> None:
    hostile = "a\tb\nc\\d\\N\\.\r\"';DROP TABLE trades;--\u2028币 \x1b[31m{}%s"
    fields = {"side": hostile, "raw_json": hostile, hostile: hostile}
    await write(database, [trade(1, **fields), Entry(f"trades:{hostile}", "7-7", {})])
    [(side, frame, rest)] = database.ask("SELECT side, raw_json, CAST(fields AS TEXT) FROM trades WHERE trade_id = 1")
    assert (side, frame, json.loads(rest)) == (hostile, hostile, {hostile: hostile})
    assert (f"trades:{hostile}",) in database.ask("SELECT stream FROM trades")


async def test_text_that_no_database_takes_stops_nothing(database: Database) -> None:
    odd = Entry("trades:\x00\ud800", f"{2**64 - 1}-{2**64 - 1}", {"side": "\x00", "x\x00": "\ud800", "price": "NaN"})
    await write(database, [odd, trade(1, trade_id="9" * 30, ts="never")])
    assert database.ask("SELECT count(*), count(trade_id), count(ts), count(price) FROM trades") == [(2, 0, 0, 1)]


async def test_numbers_keep_their_digits(database: Database) -> None:
    texts = ["0.10", "123456789012345678901234567890.123456789012345678", "-0.00000001", "9007199254740993"]
    await write(database, [trade(number, price=text) for number, text in enumerate(texts)])
    assert [price for (price,) in database.ask("SELECT CAST(price AS TEXT) FROM trades ORDER BY time")] == texts


async def test_a_time_is_kept_to_the_microsecond_and_a_flag_is_one(database: Database) -> None:
    await write(database, [trade(1, ts="2024-11-14T17:30:00.123456"), kline(1), kline(2, closed=False)])
    if database.kind == "sqlite":
        times = "SELECT ts, strftime('%s', ts) FROM trades"
        flags = "SELECT closed FROM klines ORDER BY time"
        assert database.ask(times) == [("2024-11-14T17:30:00.123456Z", "1731605400")]
        assert database.ask(flags) == [(1,), (0,)]
    else:
        times = "SELECT CAST(ts AT TIME ZONE 'UTC' AS TEXT), extract(epoch FROM ts) = 1731605400.123456 FROM trades"
        assert database.ask(times) == [("2024-11-14 17:30:00.123456", True)]
        assert database.ask("SELECT closed FROM klines ORDER BY time") == [(True,), (False,)]


async def test_frames_are_left_out_on_request(database: Database) -> None:
    await write(database, [trade(1)], raw_json=False)
    assert database.ask("SELECT raw_json, fields FROM trades") == [(None, None)]


async def test_tables_are_called_as_told(database: Database) -> None:
    await write(database, [trade(1)], table="spot_{channel}")
    assert database.ask("SELECT count(*) FROM spot_trades") == [(1,)]


async def test_a_column_of_somebody_else_stays(database: Database) -> None:
    await write(database, [trade(1)])
    database.ask("ALTER TABLE trades ADD COLUMN note TEXT DEFAULT 'mine'")
    await write(database, [trade(1, price="2"), trade(2)])
    assert database.ask("SELECT note FROM trades") == [("mine",), ("mine",)]


async def test_a_table_of_another_shape_is_refused_at_the_start(database: Database) -> None:
    database.ask("CREATE TABLE trades (stream TEXT, price TEXT)")
    with pytest.raises(ConfigError, match="column"):
        await write(database)


async def test_two_sinks_write_the_same_entries_at_once(database: Database) -> None:
    entries = [trade(number) for number in range(400)]

    async def writer(seed: int) -> None:
        shuffled = random.Random(seed).sample(entries, len(entries))
        await write(database, *[shuffled[start : start + 40] for start in range(0, 400, 40)])

    await asyncio.gather(*map(writer, range(4)))
    assert database.ask("SELECT count(*), count(DISTINCT entry_id) FROM trades") == [(400, 400)]


async def test_a_write_that_is_cut_off_leaves_all_or_nothing_and_the_sink_closes(database: Database) -> None:
    entries = [trade(number) for number in range(3000)]
    async with database.sink() as sink:
        cut = asyncio.create_task(sink.write(entries))
        await asyncio.wait([cut], timeout=0.01)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
    assert database.ask("SELECT count(*) FROM trades")[0][0] in (0, 3000)
    await write(database, entries)
    assert database.ask("SELECT count(*) FROM trades") == [(3000,)]


@pytest.mark.parametrize("params", [{"table": "trades"}, {"raw_json": "yes"}, {"table": 5}])
def test_parameters_that_cannot_be_used_are_refused(database: Database, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        database.sink(**params)
