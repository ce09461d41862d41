"""Reading as a group: what one entry costs to read, decode and acknowledge, beside the floor and beside others."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any

from benchmarks import faststream
from benchmarks.market import pairs
from benchmarks.processes import Child, Redis, Unavailable, redis_server
from benchmarks.report import Report, mid, say, spread

PAIRS, MANY = 50, 1000
OF_BARE, OF_REDIS_PY = 1.5, 5.0
_T0_MS = 1_731_605_400_123
_NAMES = {
    "bare": "hiredis by hand, nothing decoded",
    "pieces": "the same, three streams at once",
    "batches": "cryptostream, batches",
    "events": "cryptostream, event by event",
    "plain": "cryptostream, event by event, asyncio",
    "pipelined": "redis-py, XACK pipelined",
    "faststream": f"FastStream {faststream.VERSION}, stream subscribers",
    "each": "redis-py, one XACK a message",
}
_OF_MANY = ("bare", "pieces", "batches", "events")
_SHARE = {"each": 0.05, "faststream": 0.05, "pipelined": 0.4}
"""How many of the entries each way gets, all of them unless said: the slow ones show what they are with fewer."""
Found = dict[str, list[dict[str, float]]]
"""What each way has cost, run by run."""


def measure(*, quick: bool, rounds: int) -> Report:
    """Interleaved rounds after one that warms up; every run is a group of its own over the same entries."""
    entries = 100_000 if quick else 400_000
    about = f"XREADGROUP COUNT 100, decode, XACK; 7 fields, {PAIRS} streams, {entries:,} entries waiting"
    report = Report("consume", about)
    _conclude(report, _run(report, tuple(_NAMES), PAIRS, entries, rounds))
    _conclude_many(report, _run(report, _OF_MANY, MANY, entries, rounds))
    return report


def _run(report: Report, ways: Sequence[str], streams: int, entries: int, rounds: int) -> Found:
    found: Found = {}
    with ExitStack() as opened:
        redis = opened.enter_context(redis_server())
        fill(redis, entries, streams)
        children = {way: opened.enter_context(child) for way, child in _children(redis, report, ways, streams)}
        for number in range(rounds + 1):
            for way, child in children.items():
                group = _group(redis, f"{way}-{number}", streams)
                cost = child.ask(f"{group} {int(entries * _SHARE.get(way, 1))}")
                _drop(redis, group, streams)
                if number:
                    found.setdefault(way, []).append(cost)
            if number:
                told = " · ".join(f"{way} {costs[-1]['us']:.2f} us" for way, costs in found.items())
                say(f"consume, {streams} streams, {number}/{rounds}: {told}")
    return found


def fill(redis: Redis, entries: int, streams: int) -> None:
    """Trades of all pairs by turns, ten in each millisecond, as our publisher writes them without raw_json."""
    names, random = pairs(streams), Random(1)
    with redis.client.pipeline(transaction=False) as pipe:
        for place in range(entries):
            ms, pair = _T0_MS + place // 10, names[place % streams]
            pipe.xadd(f"trades:{pair}", _trade(pair, ms, place, random), id=f"{ms}-{place}")
            if place % 5000 == 4999:
                pipe.execute()
        pipe.execute()


def _trade(pair: str, ms: int, number: int, random: Random) -> dict[Any, Any]:
    from cryptostream.model.codec import iso

    price, qty = f"{100 + 900 * random.random():.8f}", f"{0.001 + random.random():.8f}"
    source = {"exchange": "binance", "pair": pair, "price": price, "qty": qty, "ts": iso(ms * 1000)}
    return {**source, "side": "buy" if number & 1 else "sell", "trade_id": str(number)}


def _children(redis: Redis, report: Report, ways: Sequence[str], streams: int) -> Iterator[tuple[str, Child]]:
    for way in ways:
        if way == "faststream":
            try:
                yield way, Child(str(faststream.SCRIPT), "--redis", redis.url, python=faststream.python())
            except Unavailable as error:
                report.notes.append(str(error))
            continue
        options = ["--way", "events", "--loop", "asyncio"] if way == "plain" else ["--way", way]
        yield way, Child("-m", "benchmarks.consuming", "--redis", redis.url, "--streams", str(streams), *options)


def _group(redis: Redis, group: str, streams: int) -> str:
    with redis.client.pipeline(transaction=False) as pipe:
        for pair in pairs(streams):
            pipe.xgroup_create(f"trades:{pair}", group, id="0")
        pipe.execute()
    return group


def _drop(redis: Redis, group: str, streams: int) -> None:
    with redis.client.pipeline(transaction=False) as pipe:
        for pair in pairs(streams):
            pipe.xgroup_destroy(f"trades:{pair}", group)
        pipe.execute()


def _conclude(report: Report, found: Found) -> None:
    bare, each = _cpu(found["bare"]), _cpu(found["each"])
    for way, costs in found.items():
        row = _row(_NAMES[way], costs, bare)
        report.rows.append({**row, "of redis-py, XACK each": f"{_cpu(costs) / each:.1%}"})
    for way in ("batches", "events"):
        report.at_most(f"{_NAMES[way]}: CPU of the bare loop's", _cpu(found[way]) / bare, OF_BARE, " x")
        report.at_most(f"{_NAMES[way]}: CPU of redis-py's, %", 100 * _cpu(found[way]) / each, OF_REDIS_PY, " %")


def _conclude_many(report: Report, found: Found) -> None:
    for way, costs in found.items():
        report.rows.append(_row(f"{MANY:,} streams: {_NAMES[way]}", costs, _cpu(found["bare"])))


def _row(who: str, costs: Sequence[dict[str, float]], bare: float) -> dict[str, Any]:
    used = [cost["us"] for cost in costs]
    row = {"who": who, "CPU us/entry": mid(used), "least-most": spread(used)}
    return {**row, "entries/s": mid(cost["rate"] for cost in costs), "of bare hiredis": f"{mid(used) / bare:.2f} x"}


def _cpu(costs: Sequence[dict[str, float]]) -> float:
    """The median of what an entry has cost, in microseconds."""
    return mid(cost["us"] for cost in costs)
