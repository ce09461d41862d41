"""Probes: what the web may ask, answered from the newest look at the bus, or by the bus itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptostream import __version__
from cryptostream.bus import admin, history
from cryptostream.bus.connect import Bus
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import NotFound
from cryptostream.model import codec, memory
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry, Gap, Trade
from cryptostream.transforms.bars import Bars, parse_bars
from cryptostream.web import shown
from cryptostream.web.health import Watched
from cryptostream.wiring.serving import letters
from cryptostream.wiring.serving.board import Board
from cryptostream.wiring.serving.jobs import Jobs


class BusProbes:
    """See `web.probes.Probes`. `watched` is the ingest of the same process, for its metrics."""

    def __init__(self, config: Config, bus: Bus, board: Board, jobs: Jobs, watched: Watched | None = None) -> None:
        self.answers: Mapping[int, int] = {}
        """How many requests were answered, by status, for the metrics."""
        self._watched = watched
        self._config = config
        self._bus = bus
        self._board = board
        self._jobs = jobs
        self._clock = SystemClock()
        self._started = _stamp(self._clock.now_ns() // 1_000_000) or ""

    def about(self) -> shown.About:
        return shown.About(
            version=__version__,
            description="Market data from exchanges to Redis Streams.",
            running=[f"ingest {one.host}:{one.pid}" for one in self._board.look.counters],
            started=self._started,
            dashboard="/dashboard/",
            docs="/docs",
            paths=[],
        )

    def health(self) -> shown.Health:
        look = self._board.look
        ticks = sum(int(one.ingest.get("total_messages", 0)) for one in look.counters)
        live = sum(int(one.ingest.get("active_connections", 0)) for one in look.counters)
        last = max((facts.last_ms or 0 for facts in look.streams.values()), default=0)
        reasons = [self._board.trouble] if self._board.trouble else []
        return shown.Health(
            status="degraded" if reasons else "ok",
            redis_connected=not self._board.trouble,
            ws_connected=live > 0,
            symbols_tracked=sum(one.pairs_count for one in look.counters),
            tick_count=ticks,
            last_tick_time=_stamp(last or None),
            reasons=reasons,
        )

    def stats(self) -> Mapping[str, Any]:
        return admin.total(self._board.look.counters)

    def quotes(self) -> Sequence[shown.Quote]:
        found = []
        for name, entry in sorted(self._board.look.newest.items()):
            told = entry.fields
            spark = list(self._board.sparks.get(name, ()))
            found.append(
                shown.Quote(
                    exchange=told.get("exchange", ""),
                    pair=told.get("pair", ""),
                    stream=name,
                    state="live",
                    price=told.get("price"),
                    qty=told.get("qty"),
                    side=told.get("side"),  # type: ignore[arg-type]
                    ts=told.get("ts"),
                    rate_per_s=self._board.look.rates.get(name),
                    change=spark[-1] / spark[0] - 1 if spark else None,
                    change_since=None,
                    spark=spark,
                )
            )
        return found

    def streams(self) -> Sequence[shown.Stream]:
        look = self._board.look
        return [
            shown.Stream(
                stream=facts.name,
                length=facts.length,
                first=_stamp(facts.first_ms),
                last=_stamp(facts.last_ms),
                rate_per_s=look.rates.get(facts.name),
                memory_bytes=facts.memory_bytes,
                entries_added=facts.entries_added,
                groups=[
                    shown.Group(group=g.name, stream=facts.name, consumers=g.consumers, pending=g.pending, lag=g.lag)
                    for g in facts.groups
                ],
            )
            for facts in look.streams.values()
        ]

    def groups(self) -> Sequence[shown.Group]:
        return [group for stream in self.streams() for group in stream.groups]

    def pipeline(self) -> shown.Pipeline:
        return shown.Pipeline(
            wrong=self.health().reasons,
            redis_connected=not self._board.trouble,
            bus="embedded",
            ingesters=[
                shown.Ingester(
                    process=f"{one.host}:{one.pid}",
                    connections=int(one.ingest.get("active_connections", 0)),
                    messages=int(one.ingest.get("total_messages", 0)),
                    published=int(one.publisher.get("publish_count", 0)),
                    duplicates=int(one.ingest.get("duplicates", 0)),
                    errors=int(one.publisher.get("error_count", 0)),
                    reconnects=int(one.ingest.get("reconnects", 0)),
                    gaps_opened=int(one.ingest.get("gaps_opened", 0)),
                    gaps_filled=int(one.ingest.get("gaps_filled", 0)),
                    gaps_unfillable=int(one.ingest.get("gaps_unfillable", 0)),
                    spool_bytes=int(one.publisher.get("spool_bytes", 0)),
                    lag_ms=None,
                    trouble="",
                )
                for one in self._board.look.counters
            ],
            messages_per_s=None,
            published_per_s=None,
            latency=shown.Latency(p50_ms=None, p99_ms=None),
            gaps_open=[],
            dead_letters={},
        )

    def consumers(self) -> Sequence[shown.Consumer]:
        return []

    def strategies(self) -> Sequence[shown.Strategy]:
        return []

    def realtime(self) -> shown.Realtime:
        return shown.Realtime(status="ok", reasons=[], consumers=[])

    def metrics(self, accept: str) -> tuple[bytes, str]:
        from cryptostream.web import busmetrics

        return busmetrics.exposed(self, accept, watched=self._watched, answers=self.answers)

    async def indicators(self, symbol: str) -> Sequence[shown.Indicators]:
        return []

    async def signals(
        self, symbol: str | None, *, strategy: str | None = None, since_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Signal]:
        names = await history.streams(self._bus, f"signals:{strategy or '*'}:{symbol or '*'}")
        entries = await history.latest(self._bus, dict.fromkeys(names, "+"), limit)
        return [_signal(entry) for entry in entries]

    async def trades(
        self, pair: str, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Trade]:
        entries = await history.last(self._bus, f"trades:{pair}", limit)
        if not entries:
            raise NotFound(f"no trades of {pair}")
        return [_trade(entry) for entry in entries]

    async def bars(
        self,
        pair: str,
        interval: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> Sequence[shown.Bar]:
        key = f"trades:{pair}"
        bars, found = Bars(parse_bars(interval)), []
        entries = await history.last(self._bus, key, 5000)
        for entry in entries:
            event = codec.event(key, entry.entry_id, entry.fields)
            if isinstance(event, Trade | Gap) and (bar := bars.update(event)) is not None:
                found.append(_bar(bar))
        state = memory.remembered(bars) if entries else {}
        if state.get("_trades"):
            opened = int(state["_open_ms"])
            found.append(
                shown.Bar(
                    open_time_ms=opened,
                    close_time_ms=int(state["_until_us"]) // 1000 - 1,
                    open=state["_open"],
                    high=state["_high"],
                    low=state["_low"],
                    close=state["_close"],
                    volume=state["_volume"],
                    trades=state["_trades"],
                    closed=False,
                    gap=state["_gap"],
                )
            )
        return found[-limit:]

    async def events(self, streams: Sequence[str]) -> AsyncIterator[Sequence[Entry]]:
        names = [name for pattern in streams for name in await history.streams(self._bus, pattern)]
        tops = await history.tops(self._bus, names)
        async for batch in history.follow(self._bus, streams, tops, self._clock):
            yield batch

    async def letters(self, limit: int = 100) -> Sequence[shown.Letter]:
        return await letters.newest(self._bus, limit)

    async def reports(self) -> Sequence[shown.Report]:
        return await asyncio.to_thread(self._jobs.reports.listed)

    async def curves(self, name: str) -> shown.Curves:
        return await asyncio.to_thread(self._jobs.reports.curves, name)

    async def page(self, name: str) -> Path:
        return await asyncio.to_thread(self._jobs.reports.page, name)

    async def recordings(self) -> Sequence[str]:
        return await asyncio.to_thread(self._jobs.recordings.listed)

    def jobs(self) -> Sequence[shown.Job]:
        return self._jobs.listed()


def _stamp(ms: int | None) -> str | None:
    return None if ms is None else f"{iso(ms * 1000)[:23]}Z"


def _bar(bar: Any) -> shown.Bar:
    return shown.Bar(
        open_time_ms=bar.open_time,
        close_time_ms=bar.close_time,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        trades=bar.trades,
        closed=True,
        gap=bar.gap,
    )


def _trade(entry: Entry) -> shown.Trade:
    told = entry.fields
    if told.get("kind") == "gap":
        return shown.Trade(id=entry.entry_id, kind="gap", exchange=told["exchange"], pair=told["pair"], ts=told["ts"])
    return shown.Trade(
        id=entry.entry_id,
        kind="trade",
        exchange=told["exchange"],
        pair=told["pair"],
        ts=told["ts"],
        price=told["price"],
        qty=told["qty"],
        side=told["side"],  # type: ignore[arg-type]
        trade_id=int(told["trade_id"]),
    )


def _signal(entry: Entry) -> shown.Signal:
    told = dict(entry.fields)
    known = {name: told.pop(name, "") for name in ("strategy", "exchange", "pair", "side", "price", "strength")}
    reason, ts = told.pop("reason", ""), told.pop("ts", "")
    return shown.Signal(
        id=entry.entry_id,
        strategy=known["strategy"],
        exchange=known["exchange"] or "binance",
        pair=known["pair"],
        side=known["side"],  # type: ignore[arg-type]
        price=float(known["price"]),
        strength=float(known["strength"]),
        reason=reason,
        ts=ts,
        values={name: float(value) for name, value in told.items()},
    )
