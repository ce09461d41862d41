"""Probes and commands without a bus: what they answer is plain data that a test may change, and wishes are kept."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptostream.errors import CryptostreamError, NotFound
from cryptostream.model.events import Entry
from cryptostream.web import shown

TS = "2024-11-14T17:30:00.123000"
TS_MS = 1_731_605_400_123
PAIRS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")


class FakeProbes:
    """See `web.probes.Probes`. `failing` is raised by every probe that may ask the bus; `arrive` is what comes."""

    def __init__(self, pairs: Sequence[str] = PAIRS) -> None:
        self.pairs = list(pairs)
        self.reasons: list[str] = []
        self.failing: CryptostreamError | None = None
        self.told_quotes = [quote(pair) for pair in self.pairs]
        self.told_consumers = [consumer()]
        self.told_strategies = [strategy(), installed()]
        self.told_letters = [letter()]
        self.told_reports = [report()]
        self.told_jobs = [shown.Job(id="j1", state="done", done=1.0, said="2 of 2", report="first")]
        self.pages: dict[str, Path] = {}
        self.readers = 0
        """How many read `events` now."""
        self._arrived: list[asyncio.Queue[Sequence[Entry]]] = []

    def arrive(self, *entries: Entry) -> None:
        """Hand a batch to everybody who reads `events`."""
        for queue in self._arrived:
            queue.put_nowait(entries)

    def about(self) -> shown.About:
        return shown.About(
            version="0.1.0",
            description="Market data from exchanges to Redis Streams.",
            running=["ingest here:7"],
            started=f"{TS[:23]}Z",
            dashboard=None,
            docs=None,
            paths=[],
        )

    def health(self) -> shown.Health:
        return shown.Health(
            status="degraded" if self.reasons else "ok",
            redis_connected=not self.reasons,
            ws_connected=True,
            symbols_tracked=len(self.pairs),
            tick_count=12_345,
            last_tick_time=f"{TS[:23]}Z",
            reasons=list(self.reasons),
        )

    def stats(self) -> Mapping[str, Any]:
        return {"pairs": list(self.pairs), "total_messages": 12_345, "published": 12_300}

    def quotes(self) -> Sequence[shown.Quote]:
        return self.told_quotes

    def streams(self) -> Sequence[shown.Stream]:
        return [stream(f"trades:{pair}") for pair in self.pairs]

    def groups(self) -> Sequence[shown.Group]:
        return [group for each in self.streams() for group in each.groups]

    def pipeline(self) -> shown.Pipeline:
        return shown.Pipeline(
            wrong=list(self.reasons),
            redis_connected=not self.reasons,
            bus="embedded",
            ingesters=[ingester()],
            messages_per_s=200.0,
            published_per_s=190.0,
            latency=shown.Latency(p50_ms=4.0, p99_ms=21.0),
            gaps_open=[],
            dead_letters={"dlq:ingest": 1},
        )

    def consumers(self) -> Sequence[shown.Consumer]:
        return self.told_consumers

    def strategies(self) -> Sequence[shown.Strategy]:
        return self.told_strategies

    def realtime(self) -> shown.Realtime:
        status = "degraded" if self.reasons else "ok"
        return shown.Realtime(status=status, reasons=list(self.reasons), consumers=list(self.told_consumers))

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return b"cryptostream_up 1\n", "text/plain; version=0.0.4; charset=utf-8"

    async def indicators(self, symbol: str) -> Sequence[shown.Indicators]:
        self._known(symbol)
        values = {"momentum": {"rsi": 28.5, "macd": -1.25}}
        return [shown.Indicators(exchange="binance", pair=symbol, interval="1m", ts=TS, price=45_123.5, values=values)]

    async def signals(
        self, symbol: str | None, *, strategy: str | None = None, since_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Signal]:
        self._known(symbol)
        made = [signal(pair) for pair in ([symbol] if symbol else self.pairs)]
        return [one for one in made if (strategy or "momentum") == one.strategy and (since_ms or 0) <= TS_MS][:limit]

    async def trades(
        self, pair: str, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Trade]:
        self._known(pair)
        return [trade(pair, 7 + at) for at in range(min(limit, 3))]

    async def bars(
        self,
        pair: str,
        interval: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> Sequence[shown.Bar]:
        self._known(pair)
        return [bar(at, closed=at < 59) for at in range(60)][-limit:]

    async def events(self, streams: Sequence[str]) -> AsyncIterator[Sequence[Entry]]:
        self._fail()
        queue: asyncio.Queue[Sequence[Entry]] = asyncio.Queue()
        self._arrived.append(queue)
        self.readers += 1
        try:
            while True:
                yield await queue.get()
        finally:
            self.readers -= 1
            self._arrived.remove(queue)

    async def letters(self, limit: int = 100) -> Sequence[shown.Letter]:
        self._fail()
        return self.told_letters[:limit]

    async def reports(self) -> Sequence[shown.Report]:
        return self.told_reports

    async def curves(self, name: str) -> shown.Curves:
        self._report(name)
        times = [TS_MS + 60_000 * at for at in range(4)]
        equity, drawdown = [10_000.0, 10_100.0, 10_050.0, 10_200.0], [0.0, 0.0, -0.005, 0.0]
        return shown.Curves(name=name, times_ms=times, equity={"macd_rsi": equity}, drawdown={"macd_rsi": drawdown})

    async def page(self, name: str) -> Path:
        self._report(name)
        if name not in self.pages:
            raise NotFound(f"report {name} has no page")
        return self.pages[name]

    async def recordings(self) -> Sequence[str]:
        return ["recordings/november.parquet"]

    def jobs(self) -> Sequence[shown.Job]:
        return self.told_jobs

    def _known(self, pair: str | None) -> None:
        self._fail()
        if pair is not None and pair.rpartition(":")[2] not in self.pairs:
            raise NotFound(f"no such pair: {pair}", hint="did you mean BTCUSDT?")

    def _report(self, name: str) -> None:
        if all(one.name != name for one in self.told_reports):
            raise NotFound(f"no report {name}")

    def _fail(self) -> None:
        if self.failing is not None:
            raise self.failing


class FakeCommands:
    """See `web.probes.Commands`. `wished` is what was asked, in order; what begins with `NO` is refused."""

    def __init__(self) -> None:
        self.wished: list[tuple[str, Any]] = []
        self.failing: CryptostreamError | None = None
        self.unanswered: list[str] = []

    async def watchlist(self, wanted: shown.Watchlist) -> shown.Answered:
        return self._obey("watchlist", wanted, *wanted.add, *wanted.remove, *(wanted.replace or ()))

    async def start(self, wanted: shown.Start) -> shown.Answered:
        return self._obey("start", wanted, wanted.name or wanted.strategy)

    async def stop(self, name: str) -> shown.Answered:
        return self._obey("stop", name, name)

    async def parameters(self, name: str, parameters: Mapping[str, Any]) -> shown.Answered:
        return self._obey("parameters", (name, dict(parameters)), name)

    async def pause(self, consumer: str) -> shown.Answered:
        return self._obey("pause", consumer, consumer)

    async def resume(self, consumer: str) -> shown.Answered:
        return self._obey("resume", consumer, consumer)

    async def retry(self, queue: str, ids: Sequence[str]) -> shown.Retried:
        self._obey("retry", (queue, list(ids)))
        left = ["its stream was trimmed"] if any(one.startswith("0-") for one in ids) else []
        return shown.Retried(retried=sum(not one.startswith("0-") for one in ids), left=left)

    async def backtest(self, wanted: shown.Backtest) -> shown.Job:
        self._obey("backtest", wanted)
        return shown.Job(id="j2", state="running", done=0.0, said="starting", report=None)

    def _obey(self, verb: str, wanted: Any, *what: str) -> shown.Answered:
        if self.failing is not None:
            raise self.failing
        self.wished.append((verb, wanted))
        verdicts = [verdict(each) for each in dict.fromkeys(what or (verb,))]
        return shown.Answered(request="1731605400123-0", verdicts=verdicts, unanswered=list(self.unanswered))


def verdict(what: str) -> shown.Verdict:
    no = what.startswith("NO")
    return shown.Verdict(what=what, accepted=not no, why="no such symbol" if no else "", by=["here:7"])


def quote(pair: str, price: str = "45123.50000000", change: float | None = 0.0125) -> shown.Quote:
    return shown.Quote(
        exchange="binance",
        pair=pair,
        stream=f"trades:{pair}",
        state="live",
        price=price,
        qty="0.12300000",
        side="buy",
        ts=TS,
        rate_per_s=4.5,
        change=change,
        change_since=f"{TS[:23]}Z",
        spark=[45_000.0, 45_100.0, 45_123.5],
    )


def stream(name: str) -> shown.Stream:
    return shown.Stream(
        stream=name,
        length=10_000,
        first=f"{TS[:23]}Z",
        last=f"{TS[:23]}Z",
        rate_per_s=4.5,
        memory_bytes=1_048_576,
        groups=[shown.Group(group="momentum", stream=name, consumers=1, pending=2, lag=3)],
        entries_added=20_000,
    )


def ingester() -> shown.Ingester:
    return shown.Ingester(
        process="here:7",
        connections=2,
        messages=12_345,
        published=12_300,
        duplicates=45,
        errors=0,
        reconnects=1,
        gaps_opened=1,
        gaps_filled=1,
        gaps_unfillable=0,
        spool_bytes=0,
        lag_ms=1.5,
        trouble="",
    )


def consumer(name: str = "momentum") -> shown.Consumer:
    return shown.Consumer(
        name=name,
        process="here:8",
        state="running",
        reads=["trades:*"],
        writes=["bus"],
        bars="1m",
        strategies=["momentum"],
        parameters={"momentum": {"rsi_period": 14}},
        started_by="configuration",
        read=12_300,
        acked=12_298,
        pending=2,
        lag=3,
        dead_letters=0,
        lost=0,
    )


def strategy(name: str = "momentum") -> shown.Strategy:
    return shown.Strategy(
        name=name,
        kind="macd_rsi",
        consumer="momentum",
        state="running",
        parameters={"rsi_period": 14},
        reads=["trades:*"],
        bars="1m",
        last_signal=TS,
    )


def installed() -> shown.Strategy:
    return shown.Strategy(
        name="ma_cross", kind="ma_cross", consumer="", state="installed", parameters={}, reads=[], bars=None
    )


def trade(pair: str, trade_id: int) -> shown.Trade:
    return shown.Trade(
        id=f"{TS_MS}-{trade_id}",
        kind="trade",
        exchange="binance",
        pair=pair,
        ts=TS,
        price="45123.50000000",
        qty="0.12300000",
        side="sell" if trade_id % 2 else "buy",
        trade_id=trade_id,
    )


def bar(at: int, *, closed: bool = True, gap: bool = False) -> shown.Bar:
    opened = 1_731_605_400_000 + 60_000 * at
    return shown.Bar(
        open_time_ms=opened,
        close_time_ms=opened + 59_999,
        open=100.0 + at,
        high=102.0 + at,
        low=99.0 + at,
        close=101.0 + at,
        volume=10.0,
        trades=25,
        closed=closed,
        gap=gap,
    )


def signal(pair: str) -> shown.Signal:
    return shown.Signal(
        id=f"{TS_MS}-7",
        strategy="momentum",
        exchange="binance",
        pair=pair,
        side="buy",
        price=45_123.5,
        strength=0.8,
        reason="rsi below 30",
        ts=TS,
        values={"rsi": 28.5},
    )


def letter() -> shown.Letter:
    return shown.Letter(
        id=f"{TS_MS}-0",
        queue="dlq:momentum",
        stream="trades:BTCUSDT",
        entry=f"{TS_MS}-7",
        error="ValueError: not a price",
        ts=f"{TS[:23]}Z",
    )


def report() -> shown.Report:
    return shown.Report(
        name="first",
        made=f"{TS[:23]}Z",
        source="trades:BTCUSDT",
        strategies=["macd_rsi"],
        page="/reports/first",
        figures={"macd_rsi": {"total_return": 0.02, "sharpe": None}},
    )


def entry(pair: str = "BTCUSDT", trade_id: int = 7) -> Entry:
    """An entry of a trade, as it stands on the bus."""
    fields = {
        "exchange": "binance",
        "pair": pair,
        "price": "45123.50000000",
        "qty": "0.12300000",
        "ts": TS,
        "side": "buy",
        "trade_id": str(trade_id),
    }
    return Entry(f"trades:{pair}", f"{TS_MS}-{trade_id}", fields)
