"""A desk of strategies for each stream: its signals, its latest values and its state are one commit of the consumer.

With which state a strategy began on a stream is written once, before its first signal, to `seed:<signals stream>`:

    upto    the id right before the first trade or closed kline that it was given
    state   msgpack of its desk's state, of this strategy alone, before that entry
    config  what this strategy was set to, in a word
    from    with what they had been warmed up
    at      when it began, UTC
    group   of the consumer, and
    stream  what it reads: together they name its state, which says how far it has come

So a backtest that begins there on the same entries gives the same signals.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

import msgspec

from cryptostream.bus.effects.hashes import Kept
from cryptostream.bus.effects.letter import letter, letters_key
from cryptostream.bus.effects.state import check_plain, packed
from cryptostream.bus.group.place import before
from cryptostream.bus.keys import indicators_key, seed_key, signals_key
from cryptostream.client.handlers import Made
from cryptostream.errors import StrategyFailed
from cryptostream.model import memory
from cryptostream.model.codec import decimal, iso, signal_fields
from cryptostream.model.events import Bar, Entry, Event, Gap, Kline, Latest, Output, Trade
from cryptostream.model.ports import Clock
from cryptostream.strategies.desk import Desk

_MARKET = frozenset({Trade, Kline, Gap})


class Desks:
    """Makes the keyed handler of one consumer's strategies for each stream.

    `desk` makes the strategies of a pair anew, `config` says in a word what each of them is set to, by its name. Latest
    values live `ttl_s` seconds after the last bar. In a cluster keys are `tagged` with the pair.
    """

    __name__ = "desk"  # their states are saved by it

    def __init__(
        self,
        desk: Callable[[str], Desk],
        *,
        group: str,
        config: Mapping[str, str],
        ttl_s: float,
        clock: Clock,
        tagged: bool = False,
    ) -> None:
        self.desk = desk
        self.group = group
        self.config = config
        self.ttl_s = ttl_s
        self.tagged = tagged
        self.clock = clock

    def __call__(self) -> "LiveDesk":
        return LiveDesk(self)

    def signals(self, events: Iterable[Event | Entry]) -> list[str]:
        """The streams of signals that a desk of these events writes; none where they do not say whose it is."""
        first = next(filter(_opens, events), None)
        return [self.signals_key(name, first.exchange, first.pair) for name in self.config] if first else []

    def signals_key(self, strategy: str, exchange: str, pair: str) -> str:
        """Where one of the strategies writes what it says of a pair."""
        return signals_key(strategy, exchange, pair, tagged=self.tagged)


class LiveDesk:
    """The strategies of one stream at work. Its pair is that of the first event that it is given."""

    def __init__(self, room: Desks) -> None:
        self._room = room
        self._stream = ""
        self._desk: Desk | None = None
        self._exchange = self._pair = ""
        self._has_begun = False
        self._past: dict[str, Any] = {}
        self._skipping: dict[str, dict[str, str]] = {}
        self._packed: bytes | None = None

    def __call__(self, event: Event | Entry) -> list[Made]:
        """The signals that an event gives, and the newest indicators where it closes a bar. Raises StrategyFailed."""
        desk = self._desk or self._opened(event)
        if desk is None or type(event) not in _MARKET:
            return []
        made = self._begun(desk, event.entry_id) if not self._has_begun and is_taken_in(event) else []
        if self._skipping:
            desk.skipping = self._skipping.get(event.entry_id, {})
        bar = desk.bar
        for signal in desk.on(event):
            made.append(Output(self._signals(signal.strategy), signal_fields(signal), signal.entry_id))
        if desk.bar is not bar and desk.bar is not None:
            # Here and not when it is saved: whoever cannot be is to blame for this entry, and the others go on.
            self._packed = None if desk.wants_trades else _packed(desk, desk.bar)
            made.append(self._latest(desk, desk.bar))
        return made

    def of_stream(self, name: str) -> None:
        """Which stream this is; its state is saved under that name."""
        self._stream = name

    def warm(self, event: Event) -> None:
        """Take in what came before. Raises StrategyFailed."""
        desk = self._desk or self._opened(event)
        if desk is not None:
            desk.on(event)
            self._packed = None
            self._remember(event)

    def set_aside(self, entry: Entry, error: Exception) -> list[Made] | None:
        """Have the strategy that failed leave the entry out, for a dead letter; None where it does that already."""
        if not isinstance(error, StrategyFailed):
            return None
        skipping = self._skipping.setdefault(entry.entry_id, {})
        if error.strategy in skipping:
            return None
        skipping[error.strategy] = entry.entry_id
        told = f"{type(error).__name__}: {error}"
        fields = letter(entry, told, deliveries=1, now_ns=self._room.clock.now_ns())
        return [Output(letters_key(self._room.group), fields)]

    def __getstate__(self) -> dict[str, Any]:
        """What the strategies know is packed, and only when they were given something since: that is most of it."""
        state = {"exchange": self._exchange, "pair": self._pair, "has_begun": self._has_begun}
        if not self._has_begun:
            state["past"] = self._past
        if self._desk is None:
            return state
        if self._packed is None or self._desk.wants_trades:
            self._packed = _packed(self._desk, self._desk.bar)
        return {**state, "bars": memory.remembered(self._desk.bars), "strategies": self._packed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._exchange, self._pair, self._has_begun = state["exchange"], state["pair"], state["has_begun"]
        self._past = state.get("past", {})
        if "strategies" in state:
            self._desk = self._room.desk(self._pair)
            known = msgspec.msgpack.decode(state["strategies"])
            self._desk.__setstate__({"bars": state["bars"], "strategies": known})

    def _opened(self, event: Event | Entry) -> Desk | None:
        """The desk, once an event says whose; a loss that nobody can place does not."""
        if _opens(event):
            self._exchange, self._pair = event.exchange, event.pair
            self._desk = self._room.desk(event.pair)
        return self._desk

    def _begun(self, desk: Desk, first: str) -> list[Made]:
        """The seeds: what each strategy knows before its first entry."""
        self._has_begun = True
        state = desk.__getstate__()
        told = {
            "upto": before(first),
            "from": _past_in_words(self._past),
            "at": iso(self._room.clock.now_ns() // 1000),
            "group": self._room.group,
            "stream": self._stream,
        }
        return [
            self._seed(name, packed({**state, "strategies": {name: known}}), told)
            for name, known in state["strategies"].items()
        ]

    def _seed(self, strategy: str, state: bytes, told: Mapping[str, str]) -> Kept:
        fields: dict[str, str | bytes] = {**told, "config": self._room.config[strategy], "state": state}
        return Kept(seed_key(self._signals(strategy)), fields)

    def _latest(self, desk: Desk, bar: Bar) -> Latest:
        fields = {"ts": iso(bar.ts), "price": decimal(bar.close), "interval": bar.interval}
        for strategy, values in desk.values.items():
            for name, value in values.items():
                if value is not None:
                    fields[f"{strategy}.{name}"] = repr(value)
        key = indicators_key(self._exchange, self._pair, tagged=self._room.tagged)
        return Latest(key, fields, self._room.ttl_s)

    def _signals(self, strategy: str) -> str:
        return self._room.signals_key(strategy, self._exchange, self._pair)

    def _remember(self, event: Event) -> None:
        past = self._past or {"first": event.entry_id, "counts": {}}
        kind = type(event).__name__.lower()
        past["counts"][kind] = past["counts"].get(kind, 0) + 1
        past["last"] = event.entry_id
        self._past = past


def _packed(desk: Desk, bar: Bar | None) -> bytes:
    """What the strategies of a desk remember. Raises StrategyFailed for one that remembers what cannot be saved."""
    known = desk.__getstate__()["strategies"]
    for name, remembered in known.items():
        try:
            check_plain(remembered, name)
        except TypeError as error:
            raise desk.failed(name, bar.entry_id if bar is not None else "", error) from error
    return packed(known)


def is_taken_in(event: Event | Entry) -> bool:
    """Whether strategies begin with this: a trade, or a kline that has closed. What is still open says nothing yet."""
    return isinstance(event, Trade) or (isinstance(event, Kline) and event.closed)


def _opens(event: Event | Entry) -> TypeGuard[Trade | Kline | Gap]:
    """Whether an event says whose stream this is."""
    return isinstance(event, Trade | Kline | Gap) and bool(event.pair)


def _past_in_words(past: dict[str, Any]) -> str:
    """With what a desk was warmed.

    >>> _past_in_words({"first": "1-1", "last": "9-9", "counts": {"kline": 1, "trade": 12}})
    '1 kline, 12 trades, from 1-1 to 9-9'
    >>> _past_in_words({})
    'nothing'
    """
    if not past:
        return "nothing"
    counted = [f"{count} {kind}{'s' * (count != 1)}" for kind, count in past["counts"].items()]
    return f"{', '.join(counted)}, from {past['first']} to {past['last']}"
