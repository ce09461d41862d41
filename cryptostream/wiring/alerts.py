"""Alerts: for each rule and each of its targets a consumer of its own, so that one that is down holds up no other."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from cryptostream import logs
from cryptostream.bus.alerted import Alerted, AlertStream
from cryptostream.bus.connect import Bus
from cryptostream.bus.group.member import member
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.config import Config
from cryptostream.config.alerts import AlertConfig
from cryptostream.config.targets import MailTarget, StreamTarget, WebhookTarget, secret
from cryptostream.config.targets import Target as Told
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.telling import Target, Telling
from cryptostream.errors import ConfigError
from cryptostream.model.times import place
from cryptostream.transforms import where
from cryptostream.transforms.alerts import Alert, Rule
from cryptostream.wiring.consumers import Consuming, Until, patterns

_AT_ONCE = 20
"""Entries that one read takes from a stream: of these some may have to wait for a target that is slow."""
_log = logs.get("alerts")


class LogTarget(Target):
    """Writes alerts into the log, as warnings."""

    async def tell(self, alert: Alert) -> None:
        """One line."""
        _log.warning("alert", rule=alert.rule, stream=alert.stream, entry=alert.entry_id, text=alert.text)


class Alarm(Pipeline):
    """A pipeline that ends after the alert it is telling, and leaves the others of its batch pending."""

    def __init__(self, name: str, source: Group, rule: Rule, telling: Telling, *, until: Until, config: Config) -> None:
        self.rule = rule
        self.telling = telling
        super().__init__(
            name,
            source,
            [telling],
            transform=rule,
            limit=until.entries,
            until_idle_s=until.idle_s,
            slow_after_s=config.consume.deadline,
            clock=SystemClock(),
        )

    def stop(self) -> None:
        """Read nothing new, and begin no other alert."""
        self.telling.stop()
        super().stop()


@asynccontextmanager
async def alerts(
    rules: Mapping[str, AlertConfig],
    config: Config,
    on: Bus,
    until: Until = Until(),  # noqa: B008 - frozen
    env: Mapping[str, str] = os.environ,
) -> AsyncIterator[list[Consuming]]:
    """A consumer for each target of each rule, ready to run.

    Raises ConfigError for a secret that cannot be had, BusUnavailable, BusRefused.
    """
    async with AsyncExitStack() as opened:
        yield [
            await _consumer(name, group, target, rule, config, on, until, env, opened)
            for name, rule in rules.items()
            for group, target in groups(name, rule).items()
        ]


@asynccontextmanager
async def alert(name: str, group: str, config: Config, on: Bus) -> AsyncIterator[Consuming]:
    """One of these consumers: that of the target of a rule whose group is so called. Raises as `alerts`."""
    rule = config.alerts[name]
    async with AsyncExitStack() as opened:
        target = groups(name, rule)[group]
        yield await _consumer(name, group, target, rule, config, on, Until(), os.environ, opened)


def groups(name: str, rule: AlertConfig) -> dict[str, Told]:
    """What the groups of a rule's targets are called: `alert-strong-webhook`, a second one `alert-strong-webhook-2`."""
    found: dict[str, Told] = {}
    for target in rule.to:
        number = 1 + sum(other.kind == target.kind for other in found.values())
        found[f"alert-{name}-{target.kind}{f'-{number}' if number > 1 else ''}"] = target
    return found


async def _consumer(
    name: str,
    group: str,
    target: Told,
    rule: AlertConfig,
    config: Config,
    on: Bus,
    until: Until,
    env: Mapping[str, str],
    opened: AsyncExitStack,
) -> Consuming:
    clock = SystemClock()
    me = await opened.enter_async_context(member(config.data_dir, group, config.consume.name))
    settings = GroupSettings(
        start=place("new"),
        count=min(_AT_ONCE, config.consume.batch),
        claim_idle_s=config.consume.claim_idle,
        max_deliveries=config.consume.max_deliveries,
    )
    source = Group(on, patterns(rule.read), group=group, consumer=me, clock=clock, settings=settings)
    telling = Telling(
        group,
        _target(name, target, group, on, env),
        Alerted(on, group),
        max_age_s=rule.max_age,
        clock=clock,
        random=Random(),  # noqa: S311 - jitter, not a secret
    )
    made = Rule(name, where.compile(rule.when), rule.at_most)
    return Consuming(Alarm(group, source, made, telling, until=until, config=config), lambda: source.stats, me)


def _target(name: str, told: Told, group: str, on: Bus, env: Mapping[str, str]) -> Target:
    given = told.target
    if isinstance(given, StreamTarget):
        return AlertStream(on, group, given.name)
    if not isinstance(given, WebhookTarget | MailTarget):
        return LogTarget()
    try:
        word = secret(given, env)
    except ConfigError as error:
        raise ConfigError(f"alerts.{name}.to: {told.kind}: {error}", hint=error.hint) from error
    return _webhook(given, word) if isinstance(given, WebhookTarget) else _mail(given, word)


def _webhook(given: WebhookTarget, word: str) -> Target:
    from cryptostream.web.webhook import Webhook

    return Webhook(given.url.get_secret_value(), secret=word, allow_private=given.allow_private, ca_file=given.ca_file)


def _mail(given: MailTarget, word: str) -> Target:
    from cryptostream.web.mail import Mail

    return Mail(
        given.host,
        sender=given.sender,
        to=given.to,
        port=given.port,
        user=given.user or "",
        password=word,
        tls=given.tls,
        ca_file=given.ca_file,
    )
