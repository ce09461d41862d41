"""Consumers and strategies as they are where they run, and the strategies that could."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cryptostream import logs, registry
from cryptostream.bus.admin import ConsumerRow
from cryptostream.errors import CryptostreamError
from cryptostream.strategies import loading
from cryptostream.web import shown
from cryptostream.web.health import without_addresses
from cryptostream.wiring.serving.board import Look
from cryptostream.wiring.serving.named import named
from cryptostream.wiring.serving.times import stamp

_DEEPEST = 8
_log = logs.get("web")


def consumers(look: Look) -> list[shown.Consumer]:
    """Every consumer of every process, by name."""
    rows = [(row, f"{one.host}:{one.pid}") for one in look.consumers for row in one.consumers]
    return [_consumer(row, process, look) for row, process in sorted(rows, key=lambda each: (each[0].name, each[1]))]


def strategies(look: Look) -> list[shown.Strategy]:
    """Every strategy of every consumer, then those that are installed and that nobody runs."""
    newest = _last_signals(look)
    found: dict[tuple[str, str], shown.Strategy] = {}
    for one in look.consumers:
        for row in one.consumers:
            for label, kind in row.strategies.items():
                found.setdefault((label, row.name), _strategy(row, label, kind, newest.get(label)))
    running = [found[key] for key in sorted(found)]
    kinds = {one.kind for one in running}
    return [*running, *(one for one in _installed() if one.kind not in kinds)]


def _consumer(row: ConsumerRow, process: str, look: Look) -> shown.Consumer:
    groups = look.groups.get(row.name, ())
    lags = [one.lag for one in groups]
    return shown.Consumer(
        name=row.name,
        process=process,
        state=row.state,
        why=without_addresses(row.why),
        reads=row.reads,
        writes=row.writes,
        bars=row.bars,
        strategies=list(row.strategies),
        parameters={label: _plain(told) for label, told in row.parameters.items()},
        started_by=row.started_by,
        read=row.read,
        acked=row.acked,
        pending=sum(one.pending for one in groups) if groups else None,
        lag=None if not lags or None in lags else sum(lag for lag in lags if lag is not None),
        dead_letters=row.dead_letters,
        lost=row.lost,
    )


def _strategy(row: ConsumerRow, label: str, kind: str, last_ms: int | None) -> shown.Strategy:
    return shown.Strategy(
        name=label,
        kind=kind,
        consumer=row.name,
        state=row.state,
        why=without_addresses(row.why),
        parameters=_plain(row.parameters.get(label, {})),
        reads=row.reads,
        bars=row.bars,
        last_signal=stamp(last_ms),
    )


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without those that are nested deeper than anybody's."""
    return {name: value for name, value in told.items() if _is_plain(value, _DEEPEST)}


def _is_plain(value: Any, deep: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return deep > 0 and all(_is_plain(each, deep - 1) for each in inner)


def _last_signals(look: Look) -> dict[str, int]:
    """When each strategy spoke last, on any pair."""
    found: dict[str, int] = {}
    for name, glimpse in look.glimpses.items():
        if name.startswith("signals:") and (read := named(name)) is not None and glimpse.last_ms is not None:
            found[read.of] = max(found.get(read.of, 0), glimpse.last_ms)
    return found


@cache
def _installed() -> Sequence[shown.Strategy]:
    """What `list strategies` lists, with the parameters that each has by itself."""
    found = []
    for name in registry.names("strategies"):
        try:
            kind = loading.find(name)
            told = {each.name: each.default for each in loading.params(kind) if each.default is not loading.REQUIRED}
            found.append(_idle(name, told))
        except (CryptostreamError, ImportError, AttributeError) as error:  # somebody else's package
            _log.warning("web.strategy_unreadable", strategy=name, why=f"{type(error).__name__}: {error}"[:200])
    return found


def _idle(name: str, told: dict[str, object]) -> shown.Strategy:
    return shown.Strategy(
        name=name, kind=name, consumer="", state="installed", parameters=told, reads=[], bars=None, last_signal=None
    )
