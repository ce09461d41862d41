"""What a process is to run: consumers and alerts of its configuration, and strategies that were started by request."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from pydantic import ValidationError

from cryptostream import logs, registry
from cryptostream.bus import operate
from cryptostream.bus.admin import ConsumerRow
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.forget import forget
from cryptostream.config import Config, ConsumerConfig
from cryptostream.config.alerts import AlertConfig
from cryptostream.config.sinks import Params
from cryptostream.config.strategies import AS, Wish, wish
from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.model.instrument import Channel, Subscription, parse_pair
from cryptostream.registry import did_you_mean
from cryptostream.web import shown
from cryptostream.wiring.alerts import alert, groups
from cryptostream.wiring.basics import keys
from cryptostream.wiring.consumers import Consuming, Until, consumers
from cryptostream.wiring.hosting.making import apart, check
from cryptostream.wiring.hosting.wished import NOTHING, Wished
from cryptostream.wiring.roster import BARS, roster

Opens = Callable[[], AbstractAsyncContextManager[Consuming]]
_log = logs.get("control")


@dataclass(frozen=True)
class Planned:
    """One consumer as it is to be: equal plans are the same consumer in the same state.

    What one that `is_contained` fails at is its own affair, and it is tried again; any other ends its process.
    """

    told: ConsumerConfig | AlertConfig
    is_paused: bool
    is_contained: bool
    row: ConsumerRow = field(compare=False)
    open: Opens = field(compare=False)

    @property
    def strategies(self) -> dict[str, Wish]:
        """Its strategies by the names of their signals."""
        told = self.told.strategies if isinstance(self.told, ConsumerConfig) else ()
        return {each.label: each for each in map(wish, told)}


class Plans:
    """Makes plans of a configuration and of what was wished beside it; `names` and `alerts` are those that run here."""

    def __init__(self, config: Config, bus: Bus, names: Sequence[str], alerts: Sequence[str]) -> None:
        self.config = config
        self._bus = bus
        self._consumers = names
        self._alerts = {group: name for name in alerts for group in groups(name, config.alerts[name])}

    @property
    def names(self) -> list[str]:
        """What is configured, by the names of their groups."""
        return [*self._consumers, *self._alerts]

    def configured(self, name: str, wished: Wished = NOTHING) -> Planned:
        """One of the configuration's."""
        if name in self._alerts:
            return self._alert(name, wished)
        told = _with(self.config.consumers[name], wished.parameters)
        return self._consumer(name, told, wished, "configuration")

    def requested(self, name: str, wished: Wished) -> Planned:
        """A strategy that was started by request. Raises UsageError for one that cannot be made."""
        start = _set(started(wished.start), wished.parameters.get(name, {}))
        return self._consumer(name, self.consumer(name, start), wished, "request")

    def failing(self, name: str, wished: Wished) -> Planned:
        """The same of one that cannot be made: it fails at that, as long as it cannot. Raises UsageError."""
        start = _set(started(wished.start), wished.parameters.get(name, {}))
        strategy = {start.strategy: {**start.parameters, AS: name}}
        told = ConsumerConfig.model_construct(read=[], write=[], strategies=[strategy])
        return Planned(
            told, wished.state == "paused", True, wished.shown(name), partial(self._opened_late, name, wished)
        )

    def consumer(self, name: str, start: shown.Start) -> ConsumerConfig:
        """The consumer that a request stands for, checked as one of a configuration is. Raises UsageError."""
        check_installed(start.strategy)
        if AS in start.parameters:
            raise UsageError(f'strategy {start.strategy} has no parameter "{AS}"', hint="its name is told beside them")
        told = {
            "read": [self._stream(symbol) for symbol in start.symbols] or [str(Channel.TRADES)],
            "strategies": [{start.strategy: {**start.parameters, AS: name}}],
            "bars": start.bars,
            "start": "new",
            "write": ["bus"],
        }
        try:
            plugins = self.config.plugins.model_dump()
            whole = Config.model_validate({"consumers": {name: told}, "plugins": plugins, "data_dir": "."})
        except ValidationError as error:
            raise UsageError("; ".join(found["msg"] for found in error.errors(include_url=False))) from error
        for each in whole.consumers[name].strategies:
            check(wish(each), self.config.plugins.paths)
        return whole.consumers[name]

    def _stream(self, symbol: str) -> str:
        """The trades of a pair: `BTCUSDT`, or `kraken:BTCUSD`."""
        pair = parse_pair(symbol)
        if pair.exchange not in (known := registry.names("venues")):
            raise UsageError(f'unknown venue "{pair.exchange}"', hint=did_you_mean(pair.exchange, known))
        return keys(self.config)(Subscription(pair.exchange, Channel.TRADES, pair.name))

    def _consumer(self, name: str, told: ConsumerConfig, wished: Wished, by: Any) -> Planned:
        wishes = [wish(each) for each in told.strategies]
        row = ConsumerRow(
            name=name,
            state="waiting",
            reads=told.read,
            writes=[next(iter(sink)) for sink in told.write],
            bars=(told.bars or BARS) if wishes else None,
            strategies={each.label: each.name for each in wishes},
            parameters=self._parameters(told),
            started_by=by,
        )
        is_asked_for = bool(wished.start or wished.parameters)
        config = self.config.model_copy(update={"consumers": {**self.config.consumers, name: told}})
        if by == "request":
            # Whoever was paused for so long that another has his strategies by now must not read beside him.
            leased = {"ownership": "lease", "shard": None}
            config = config.model_copy(update={"consume": config.consume.model_copy(update=leased)})
        opens = partial(self._opened, name, config, anew=is_asked_for)
        return Planned(told, wished.state == "paused", is_asked_for, row, opens)

    def _alert(self, group: str, wished: Wished) -> Planned:
        name = self._alerts[group]
        rule = self.config.alerts[name]
        row = ConsumerRow(name=group, state="waiting", reads=rule.read, writes=[groups(name, rule)[group].kind])
        return Planned(rule, wished.state == "paused", False, row, partial(alert, name, group, self.config, self._bus))

    def _parameters(self, told: ConsumerConfig) -> dict[str, dict[str, Any]]:
        """What each strategy is set to, defaults too, as far as that can be known."""
        try:
            found: Mapping[str, Mapping[str, Any]] = roster(self.config, told).params
        except CryptostreamError:
            found = {each.label: each.params for each in map(wish, told.strategies)}
        plain: dict[str, dict[str, Any]] = msgspec.to_builtins(
            {label: Params(params).masked() for label, params in found.items()}, str_keys=True, enc_hook=str
        )
        return plain

    @asynccontextmanager
    async def _opened_late(self, name: str, wished: Wished) -> AsyncIterator[Consuming]:
        planned = await apart(self.requested, name, wished)
        async with planned.open() as made:
            yield made

    @asynccontextmanager
    async def _opened(self, name: str, config: Config, *, anew: bool) -> AsyncIterator[Consuming]:
        """The consumer itself; `anew`, what its strategies remember of other parameters is dropped before."""
        told = config.consumers[name]
        if anew and told.strategies:
            await self._forget_others(name, roster(config, told).fingerprint)
        async with consumers(config, [name], self._bus, Until()) as made:
            yield made[0]

    async def _forget_others(self, group: str, fingerprint: str) -> None:
        streams = await operate.saved(self._bus, group, ())
        dropped = await forget(self._bus, group, streams, but=fingerprint)
        if dropped:
            _log.info("control.begins_anew", consumer=group, streams=dropped)


def started(told: Mapping[str, Any] | None) -> shown.Start:
    """A request to start a strategy, read. Raises UsageError."""
    try:
        return shown.Start.model_validate(told)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
        raise UsageError("; ".join(found)) from error


def _set(start: shown.Start, parameters: Mapping[str, Any]) -> shown.Start:
    return start.model_copy(update={"parameters": {**start.parameters, **parameters}})


def check_installed(strategy: str) -> None:
    """Raise UsageError for a strategy that is not registered: files and modules are for who writes configurations."""
    known = registry.names("strategies")
    if strategy not in known:
        hint = did_you_mean(strategy, known) or f"known: {', '.join(known)}"
        raise UsageError(f'no strategy "{strategy[:64]}" is installed', hint=hint)


def _with(told: ConsumerConfig, parameters: Mapping[str, Mapping[str, Any]]) -> ConsumerConfig:
    """A consumer whose strategies have some parameters beside their own, by the names of their signals."""
    if not parameters:
        return told
    found = [wish(each) for each in told.strategies]
    made = [{each.name: {**each.params, **parameters.get(each.label, {}), AS: each.label}} for each in found]
    return told.model_copy(update={"strategies": made})
