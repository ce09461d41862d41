"""What the API answers and the dashboard shows, as typed bodies; times are RFC 3339 in UTC unless a name says `_ms`.

Prices and quantities of single trades stay the venue's own text. What is unknown is null, never zero.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Side = Literal["buy", "sell"]
Opinion = Literal["buy", "sell", "exit"]

MOST = 500
"""How many a list may hold that is asked for, or sent."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$"
"""What a strategy, a consumer, a report is called."""
STREAM_LONGEST = 200
STREAM = rf"[\w.\-:{{}}*?]{{1,{STREAM_LONGEST}}}"
"""What a stream is called, or a glob of streams."""


class Body(BaseModel):
    """A body that does not change once it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class About(Body):
    """`GET /`: what answers here."""

    name: Literal["cryptostream"] = "cryptostream"
    version: str
    description: str
    running: list[str] = Field(
        description="Processes that work on this bus now: `ingest host:pid`, `consume host:pid`."
    )
    started: str
    dashboard: str | None = Field(description="Where the dashboard is; null without the extra `dashboard`.")
    docs: str | None = Field(description="Where these pages are described; null where others can reach them.")
    paths: list[str]


class Health(Body):
    """`GET /health`: 200 while `status` is ok, else 503."""

    status: Literal["ok", "degraded"]
    redis_connected: bool
    ws_connected: bool = Field(description="Whether an ingester has a connection to an exchange.")
    symbols_tracked: int
    tick_count: int = Field(description="Messages that the ingesters that run now have received.")
    last_tick_time: str | None
    reasons: list[str]


class Group(Body):
    """How far a consumer group is in one stream; `lag` is null where the server cannot know it."""

    group: str
    stream: str
    consumers: int
    pending: int
    lag: int | None


class Stream(Body):
    """What one stream holds."""

    stream: str
    length: int
    first: str | None
    last: str | None
    rate_per_s: float | None
    memory_bytes: int | None
    groups: list[Group]
    entries_added: int | None = Field(None, description="How many it ever had; null where the server cannot know it.")


class Quote(Body):
    """One pair now. `change` is a fraction of the price since `change_since`, `spark` its last prices, oldest first."""

    exchange: str
    pair: str
    stream: str
    state: str = Field(description="live, filling, silent, left out; quiet where nobody follows it now.")
    price: str | None
    qty: str | None
    side: Side | None
    ts: str | None
    rate_per_s: float | None
    change: float | None
    change_since: str | None
    spark: list[float] = []
    note: str = ""


class Trade(Body):
    """One trade as its entry has it; a hole is told as `kind: gap`."""

    id: str
    kind: Literal["trade", "gap"]
    exchange: str
    pair: str
    ts: str
    price: str | None = None
    qty: str | None = None
    side: Side | None = None
    trade_id: int | None = None
    gap_from: int | None = None
    gap_to: int | None = None
    cause: str | None = None


class Bar(Body):
    """One candle, of the venue's klines or built from trades; `closed: false` is the one that trades still change.

    Times are milliseconds of the exchange. `gap`: trades are missing inside, or right before or after it.
    """

    open_time_ms: int
    close_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    closed: bool
    gap: bool


class Signal(Body):
    """A strategy's opinion, not an order."""

    id: str
    strategy: str
    exchange: str
    pair: str
    side: Opinion
    price: float
    strength: float
    reason: str
    ts: str
    values: dict[str, float]


class Indicators(Body):
    """The newest values of a pair, by strategy; `ts` and `price` are those of the bar they belong to."""

    exchange: str
    pair: str
    interval: str
    ts: str
    price: float
    values: dict[str, dict[str, float]]


class Consumer(Body):
    """A consumer or strategy where it runs; `parameters` by strategy."""

    name: str
    process: str = Field(description="`host:pid` of who runs it; empty where nobody does.")
    state: Literal["running", "paused", "failed", "waiting"]
    why: str = Field("", description="What keeps it from its work.")
    reads: list[str]
    writes: list[str]
    bars: str | None
    strategies: list[str]
    parameters: dict[str, dict[str, Any]]
    started_by: Literal["configuration", "request"]
    read: int
    acked: int
    pending: int | None
    lag: int | None
    dead_letters: int
    lost: int


class Strategy(Body):
    """A strategy that runs, or could: `consumer` is empty for one that is only installed."""

    name: str = Field(description="What its signals are called.")
    kind: str = Field(description="What `list strategies` calls it.")
    consumer: str
    state: Literal["running", "paused", "failed", "waiting", "installed"]
    why: str = ""
    parameters: dict[str, Any]
    reads: list[str]
    bars: str | None
    last_signal: str | None = None


class Realtime(Body):
    """`GET /api/v1/realtime/health`: how the strategies and other consumers are."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    consumers: list[Consumer]


class Ingester(Body):
    """One process that ingests, and what it has counted since it started."""

    process: str
    connections: int
    messages: int
    published: int
    duplicates: int
    errors: int
    reconnects: int
    gaps_opened: int
    gaps_filled: int
    gaps_unfillable: int
    spool_bytes: int
    lag_ms: float | None
    trouble: str


class Latency(Body):
    """From the exchange's time of a record to Redis' answer, of the last minute, in milliseconds."""

    p50_ms: float | None
    p99_ms: float | None


class Pipeline(Body):
    """The whole way from sockets to groups, all processes together; `wrong` says what is wrong now, in words."""

    wrong: list[str]
    redis_connected: bool
    bus: str = Field(description="What the bus is, without its address and secrets.")
    ingesters: list[Ingester]
    messages_per_s: float | None
    published_per_s: float | None
    latency: Latency
    gaps_open: list[str]
    dead_letters: dict[str, int] = Field(description="How many there are, by their stream.")


class Letter(Body):
    """A dead letter: what was set aside, and why."""

    id: str
    queue: str
    stream: str
    entry: str
    error: str
    ts: str | None


class Report(Body):
    """A backtest's report in the data folder. Curves have at most 500 points: [ms, equity]; figures by strategy."""

    name: str
    made: str
    source: str
    strategies: list[str]
    page: str | None = Field(description="Where its page is, if it has one.")
    figures: dict[str, dict[str, float | None]]
    bars: str = ""
    parameters: dict[str, dict[str, Any]] = Field({}, description="By strategy; of several that were tried, the best.")
    tried: int = Field(0, description="How many combinations of parameters were tried, where there were several.")
    notes: list[str] = Field([], description="What to know when reading the figures.")


class Curves(Body):
    """Equity and drawdown (a fraction, at most 0) of one report over time, by strategy."""

    name: str
    times_ms: list[int]
    equity: dict[str, list[float]]
    drawdown: dict[str, list[float]]


class Job(Body):
    """A backtest that was asked for; `done` lies in 0 to 1."""

    id: str
    state: Literal["running", "done", "failed"]
    done: float
    said: str
    report: str | None


class Verdict(Body):
    """What became of one part of a request."""

    what: str = Field(description="The symbol, the strategy, the consumer.")
    accepted: bool
    why: str = ""
    by: list[str] = Field([], description="The processes that said so.")


class Answered(Body):
    """What became of a request: accepted or refused, and why, for each symbol, strategy or consumer it named."""

    request: str = Field(description="Its entry in `control:requests`.")
    verdicts: list[Verdict]
    unanswered: list[str] = Field([], description="Processes that run and did not answer in time.")


class Watchlist(Body):
    """`POST /api/v1/realtime/watchlist`: what to add, what to remove, or what to follow and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    add: list[str] = Field([], max_length=MOST)
    remove: list[str] = Field([], max_length=MOST)
    replace: list[str] | None = Field(None, max_length=MOST, description="Stands alone.")
    reset: bool = Field(False, description="Follow what the configurations say again; stands alone.")


class Start(Body):
    """A strategy to start: an installed one, by its name."""

    strategy: str = Field(max_length=64)
    name: str | None = Field(None, max_length=64, description="What its signals are called, and its consumer.")
    symbols: list[str] = Field([], max_length=MOST, description="All pairs unless given.")
    bars: str | None = Field(None, max_length=32)
    parameters: dict[str, Any] = Field({}, max_length=64)


class Backtest(Body):
    """A backtest to run over what the bus or a recorded folder holds."""

    sources: list[str] = Field(min_length=1, max_length=50)
    strategies: list[str] = Field(min_length=1, max_length=10)
    parameters: list[str] = Field([], max_length=64, description="`rsi_period=14`, or `macd_rsi.fast=8`.")
    bars: str = Field("1m", max_length=32)
    fee_bps: float = Field(10.0, ge=0, le=1000)


class Retry(Body):
    """Dead letters to put back, by the ids they have in their queue."""

    queue: str = Field(min_length=1, max_length=STREAM_LONGEST)
    ids: list[str] = Field(min_length=1, max_length=MOST)


class Retried(Body):
    """How many dead letters were put back, and why the others stay."""

    retried: int
    left: list[str] = Field([], description="Why others were not put back, each reason once.")


class Failure(Body):
    """Why there is no answer."""

    error: str
    hint: str = ""
