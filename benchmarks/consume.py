"""Reading as a group: what one entry costs to read, decode and acknowledge, beside the floor and beside others."""

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

from benchmarks import faststream
from benchmarks.market import pairs
from benchmarks.processes import Child, Redis, Unavailable, redis_server
from benchmarks.report import Report, mid, say, spread

PAIRS = 50
OF_BARE, OF_REDIS_PY = 1.5, 5.0
_T0_MS = 1_731_605_400_123
_NAMES = {
    "bare": "hiredis by hand, nothing decoded",
    "batches": "cryptostream, batches",
    "events": "cryptostream, event by event",
    "plain": "cryptostream, event by event, asyncio",
    "pipelined": "redis-py, XACK pipelined",
    "faststream": f"FastStream {faststream.VERSION}, stream subscribers",
    "each": "redis-py, one XACK a message",
}
_SHARE = {"each": 0.05, "faststream": 0.05, "pipelined": 0.4}
"""How many of the entries each way gets, all of them unless said: the slow ones show what they are with fewer."""


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds after one that warms up; every run is a group of its own over the same entries."""
    entries = 100_000 if quick else 400_000
    about = f"XREADGROUP COUNT 100, decode, XACK; 7 fields, {PAIRS} streams, {entries:,} entries waiting"
    report = Report("consume", about)
    cpu: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    with ExitStack() as opened:
        redis = opened.enter_context(redis_server())
        fill(redis, entries)
        children = {way: opened.enter_context(child) for way, child in _children(redis, report)}
        for number in range(rounds + 1):
            for way, child in children.items():
                group = _group(redis, f"{way}-{number}")
                wanted = int(entries * _SHARE.get(way, 1))
                found = child.ask(f"{group} {wanted}")
                _drop(redis, group)
                if number:
                    cpu.setdefault(way, []).append(found["us"])
                    rates.setdefault(way, []).append(found["rate"])
            if number:
                told = " · ".join(f"{way} {found[-1]:.2f} us" for way, found in cpu.items())
                say(f"consume {number}/{rounds}: {told}")
    _conclude(report, cpu, rates)
    return report


def fill(redis: Redis, entries: int) -> None:
    """Trades of all pairs by turns, ten in each millisecond, as our publisher writes them without raw_json."""
    names, random = pairs(PAIRS), Random(1)
    with redis.client.pipeline(transaction=False) as pipe:
        for place in range(entries):
            ms, pair = _T0_MS + place // 10, names[place % PAIRS]
            pipe.xadd(f"trades:{pair}", _trade(pair, ms, place, random), id=f"{ms}-{place}")
            if place % 5000 == 4999:
                pipe.execute()
        pipe.execute()


def _trade(pair: str, ms: int, number: int, random: Random) -> dict[Any, Any]:
    from cryptostream.model.codec import iso

    price, qty = f"{100 + 900 * random.random():.8f}", f"{0.001 + random.random():.8f}"
    source = {"exchange": "binance", "pair": pair, "price": price, "qty": qty, "ts": iso(ms * 1000)}
    return {**source, "side": "buy" if number & 1 else "sell", "trade_id": str(number)}


def _children(redis: Redis, report: Report) -> Iterator[tuple[str, Child]]:
    for way in _NAMES:
        if way == "faststream":
            try:
                yield way, Child(str(faststream.SCRIPT), "--redis", redis.url, python=faststream.python())
            except Unavailable as error:
                report.notes.append(str(error))
            continue
        options = ["--way", "events", "--loop", "asyncio"] if way == "plain" else ["--way", way]
        yield way, Child("-m", "benchmarks.consuming", "--redis", redis.url, *options)


def _group(redis: Redis, group: str) -> str:
    for pair in pairs(PAIRS):
        redis.client.xgroup_create(f"trades:{pair}", group, id="0")
    return group


def _drop(redis: Redis, group: str) -> None:
    for pair in pairs(PAIRS):
        redis.client.xgroup_destroy(f"trades:{pair}", group)


def _conclude(report: Report, cpu: dict[str, list[float]], rates: dict[str, list[float]]) -> None:
    bare, each = mid(cpu["bare"]), mid(cpu["each"])
    for way, found in cpu.items():
        row: dict[str, Any] = {"who": _NAMES[way], "CPU us/entry": mid(found), "least-most": spread(found)}
        row["entries/s"] = mid(rates[way])
        row["of bare hiredis"] = f"{mid(found) / bare:.2f} x"
        row["of redis-py, XACK each"] = f"{mid(found) / each:.1%}"
        report.rows.append(row)
    for way in ("batches", "events"):
        report.at_most(f"{_NAMES[way]}: CPU of the bare loop's", mid(cpu[way]) / bare, OF_BARE, " x")
        report.at_most(f"{_NAMES[way]}: CPU of redis-py's, %", 100 * mid(cpu[way]) / each, OF_REDIS_PY, " %")
