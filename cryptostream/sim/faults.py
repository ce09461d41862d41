"""What can go wrong on request: faults by name, when each one strikes, and how often. No socket; chance is seeded.

A fault is written `kind[:chance][@start][,option=value...]`: `drop@5s`, `halfopen@10s,for=20s`, `duplicate:10%`,
`close,code=1012`, `rest,answer=429,retry_after=3,path=klines`. Every kind takes `for` (how long it lasts), `count`
(how often at most), `every` (strike again), `pair` and `path` (where). There are three sorts:

* a *strike* hits the connections that are live at that moment, once (or `every` so often);
* a *flaw* spoils events on their way out: the next one only, unless a chance, `for` or `count` says otherwise;
* a *state* holds until it is cleared, or for as long or as often as it says.
"""

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from zlib import crc32

from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds
from cryptostream.registry import did_you_mean

Sort = Literal["strike", "flaw", "state"]

_SPEC = re.compile(r"(?P<kind>[a-z_]+)(?::(?P<chance>[\d.]+%?))?(?:@(?P<start>[\w.]+))?(?P<rest>(?:,[^,]+)*)")


@dataclass(frozen=True)
class Kind:
    """One kind of fault: its sort, its own options with their defaults, and what it does."""

    sort: Sort
    what: str
    options: Mapping[str, str] = field(default_factory=dict)


_ANSWERS = {"answer": "503", "retry_after": "", "bytes": str(16 * 1024 * 1024)}

KINDS: dict[str, Kind] = {
    "drop": Kind("strike", "reset live connections without a close frame; only=N of them", {"only": "0"}),
    "close": Kind(
        "strike", "close live connections with a code", {"code": "1008", "reason": "Too many requests", "only": "0"}
    ),
    "halfopen": Kind("strike", "live connections fall silent, no pong, no FIN; new ones too with for=", {"only": "0"}),
    "shutdown": Kind("strike", "send serverShutdown, then close after lead=", {"lead": "5s", "only": "0"}),
    "duplicate": Kind("flaw", "send the event twice"),
    "swap": Kind("flaw", "send the event after the one that follows it"),
    "late": Kind("flaw", "send the event up to by= later, out of order", {"by": "1s"}),
    "skip": Kind("flaw", "never send the event; REST has it"),
    "extra": Kind("flaw", "send the event with fields nobody knows"),
    "missing": Kind("flaw", "send the event without one field", {"field": "p"}),
    "mistype": Kind("flaw", "send the event with one field of another type", {"field": "p"}),
    "unknown": Kind("flaw", "send an event of an unknown type beside it"),
    "garbage": Kind("flaw", "send a bad frame beside it: how=any|text|truncated|utf8|html|deep", {"how": "any"}),
    "giant": Kind("flaw", "send a giant frame beside it", {"bytes": str(8 * 1024 * 1024)}),
    "hole": Kind("state", "a share of the ids, fixed by the seed, exists neither on the stream nor in REST"),
    "silent": Kind("state", "subscriptions are acknowledged, no data comes"),
    "nopings": Kind("state", "the server sends no pings"),
    "refuse": Kind("state", "nobody listens: connection refused"),
    "handshake": Kind("state", "refuse websocket handshakes with an HTTP status", {"status": "503", "retry_after": ""}),
    "accept_close": Kind("state", "accept websocket connections, then reset them at once"),
    "rest": Kind("state", "answer REST with answer=<status>|junk|huge|cut", _ANSWERS),
    "slow": Kind("state", "REST waits by= before it answers", {"by": "5s"}),
    "lag": Kind("state", "the database of REST (trades, klines) is by= behind the stream", {"by": "5s"}),
    "break": Kind("state", "exchangeInfo says BREAK for pair=, and its streams fall silent"),
    "coingecko": Kind("state", "answer CoinGecko with answer=<status>|junk|huge|cut", _ANSWERS),
}
GARBAGE = ("any", "text", "truncated", "utf8", "html", "deep")
"""How a garbage frame can be bad."""
_COMMON = ("for", "count", "every", "pair", "path")


@dataclass
class Fault:
    """One fault that was asked for. Times are seconds of the exchange's monotonic clock."""

    id: int
    kind: str
    starts_s: float
    for_s: float | None
    every_s: float | None
    count: float
    chance: float
    options: dict[str, str]
    fired: int = 0

    @property
    def ends_s(self) -> float:
        return math.inf if self.for_s is None else self.starts_s + self.for_s

    def option(self, name: str) -> str:
        return self.options.get(name, KINDS[self.kind].options.get(name, ""))

    def number(self, name: str) -> int:
        """An option as a whole number. Checked when the fault was made."""
        return int(self.option(name) or 0)

    def duration_s(self, name: str) -> float:
        """An option as a duration. Checked when the fault was made."""
        return seconds(self.option(name))

    def holds(self, now_s: float, pair: str = "", path: str = "") -> bool:
        """Whether it is on at a time and place."""
        if not self.starts_s <= now_s < self.ends_s or self.fired >= self.count:
            return False
        return self.option("pair") in ("", pair) and self.option("path") in path

    def over(self, now_s: float) -> bool:
        return now_s >= self.ends_s or self.fired >= self.count

    def told(self) -> dict[str, Any]:
        """What the control endpoint says about it."""
        return {"id": self.id, "fault": self.kind, "fired": self.fired, "chance": self.chance, **self.options}


class Faults:
    """The faults of one exchange: `inject` by text, asked by the exchange wherever something could go wrong."""

    def __init__(self, seed: int, now_s: Callable[[], float]) -> None:
        self._random = random.Random(seed)  # noqa: S311  # chance that has to be repeatable, not secret
        self._seed = seed
        self._now_s = now_s
        self._made = 0
        self.active: list[Fault] = []
        self.on_strike: Callable[[Fault], None] = lambda _: None

    def inject(self, spec: str, **options: Any) -> Fault:
        """Add a fault. One that starts now has struck when this returns.

        `options` are those of the spec, with `_` appended where Python reserves the word: `for_="5s"`.
        Raises UsageError with what is wrong in the spec.
        """
        self._made += 1
        given = {name.rstrip("_"): str(value) for name, value in options.items()}
        fault = parse(spec, given, fault_id=self._made, now_s=self._now_s())
        self.active.append(fault)
        self.strike()
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """End one fault, or all of them; returns how many."""
        ended = [fault for fault in self.active if fault_id in (None, fault.id)]
        self.active = [fault for fault in self.active if fault not in ended]
        return len(ended)

    def strike(self) -> None:
        """Let every strike that is due hit, and forget what is over."""
        now_s = self._now_s()
        for fault in list(self.active):
            if KINDS[fault.kind].sort == "strike" and self._due(fault, now_s):
                fault.fired += 1
                self.on_strike(fault)
        self.active = [fault for fault in self.active if not fault.over(now_s)]

    def _due(self, fault: Fault, now_s: float) -> bool:
        if fault.fired >= fault.count or not fault.starts_s <= now_s < fault.ends_s:
            return False
        return fault.fired == 0 or (fault.every_s is not None and now_s >= fault.starts_s + fault.fired * fault.every_s)

    @property
    def flawed(self) -> bool:
        """Whether any event could be spoiled now: the fast path asks only this."""
        return any(KINDS[fault.kind].sort == "flaw" for fault in self.active)

    def state(self, kind: str, *, pair: str = "", path: str = "") -> Fault | None:
        """The fault of this kind that holds here and now. Counts as one time that it struck."""
        fault = self.holding(kind, pair=pair, path=path)
        if fault and (fault.chance >= 1 or self._random.random() < fault.chance):
            fault.fired += 1
            return fault
        return None

    def holding(self, kind: str, *, pair: str = "", path: str = "") -> Fault | None:
        """Like `state`, without the counting."""
        now_s = self._now_s()
        return next((one for one in self.active if one.kind == kind and one.holds(now_s, pair, path)), None)

    def flaws(self, pair: str) -> list[Fault]:
        """The flaws that hit the next event of a pair, each counted."""
        now_s = self._now_s()
        hit = []
        for fault in self.active:
            if KINDS[fault.kind].sort == "flaw" and fault.holds(now_s, pair) and self._random.random() < fault.chance:
                fault.fired += 1
                hit.append(fault)
        return hit

    def lost(self, pair: str, trade_id: int) -> bool:
        """Whether a `hole` fault says that this id was never traded; the answer is the same whenever it is asked."""
        fault = self.holding("hole", pair=pair)
        if fault is None:
            return False
        return crc32(f"{self._seed}/{pair}/{trade_id}".encode()) < fault.chance * 2**32

    def pick(self, of: int) -> int:
        """A number below `of`."""
        return self._random.randrange(of)

    def part(self) -> float:
        """A number from 0 to 1."""
        return self._random.random()


def parse(spec: str, options: Mapping[str, str], *, fault_id: int = 0, now_s: float = 0.0) -> Fault:
    """Read one fault. Raises UsageError that names the part that is wrong."""
    found = _SPEC.fullmatch(spec.strip())
    if not found:
        raise UsageError(f'not a fault: "{spec}"', hint="write kind[:chance][@start][,option=value...], as in drop@5s")
    kind = found["kind"]
    if kind not in KINDS:
        raise UsageError(f'unknown fault "{kind}"', hint=did_you_mean(kind, KINDS) or f"known: {', '.join(KINDS)}")
    given = dict(options) | _options(kind, found["rest"])
    _check_options(kind, given)
    chance = _chance(found["chance"]) if found["chance"] else 1.0
    for_s, every_s, count = _limits(kind, given, repeats=found["chance"] is not None)
    start_s = seconds(found["start"]) if found["start"] else 0.0
    return Fault(fault_id, kind, now_s + start_s, for_s, every_s, count, chance, given)


def _options(kind: str, rest: str) -> dict[str, str]:
    given = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f'fault "{kind}": option "{part}" has no value', hint="write name=value")
        given[name.strip()] = value.strip()
    return given


def _check_options(kind: str, given: Mapping[str, str]) -> None:
    for name, value in given.items():
        _check_option(kind, name, value)
    if kind == "break" and not given.get("pair"):
        raise UsageError('fault "break" needs pair=', hint="write break,pair=SOLUSDT")


def _check_option(kind: str, name: str, value: str) -> None:
    known = (*KINDS[kind].options, *_COMMON)
    if name not in known:
        raise UsageError(f'fault "{kind}" has no option "{name}"', hint=f"it has {', '.join(known)}")
    if name in _DURATIONS:
        seconds(value)
    for wants, names, fits in _VALUES:
        if name in names and not fits(value):
            raise UsageError(f'fault "{kind}": {name} is {wants}, got "{value}"')


def _whole(value: str) -> bool:
    return value.isdecimal()


def _refusing(value: str) -> bool:
    return value.isdecimal() and 400 <= int(value) <= 599


def _sendable(value: str) -> bool:
    code = int(value) if value.isdecimal() else 0
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


_DURATIONS = ("lead", "by", "for", "every")
_VALUES: tuple[tuple[str, tuple[str, ...], Callable[[str], bool]], ...] = (
    ("a whole number", ("bytes", "only", "count", "retry_after"), _whole),
    ("a close code that may be sent", ("code",), _sendable),
    ("a status from 400 to 599", ("status",), _refusing),
    ("a status, junk, huge or cut", ("answer",), lambda value: value in ("junk", "huge", "cut") or _refusing(value)),
    (f"one of {', '.join(GARBAGE)}", ("how",), lambda value: value in GARBAGE),
)


def _chance(text: str) -> float:
    try:
        chance = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise UsageError(f'not a chance: "{text}"', hint="write 10% or 0.1") from error
    if not 0 <= chance <= 1:
        raise UsageError(f"a chance is from 0 to 100%, got {text}")
    return chance


def _limits(kind: str, given: Mapping[str, str], *, repeats: bool) -> tuple[float | None, float | None, float]:
    """How long, how often, and how many times at most."""
    for_s = seconds(given["for"]) if "for" in given else None
    every_s = seconds(given["every"]) if "every" in given else None
    once = KINDS[kind].sort == "flaw" and not repeats and for_s is None
    count = float(given["count"]) if "count" in given else (1.0 if once else math.inf)
    if KINDS[kind].sort == "strike" and for_s is None and every_s is None:
        count = 1.0
    return for_s, every_s, count
