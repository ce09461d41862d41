"""`cryptostream doctor`: what is wrong here, and what to do about it, before data is lost over it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import BadFrame, CheckFailed, ConfigError, CryptostreamError
from cryptostream.model.finding import Finding, Level, fail, ok

if TYPE_CHECKING:
    from cryptostream.config import Config, Loaded

_SIGNS = {Level.OK: "✓", Level.WARN: "!", Level.FAIL: "✗"}
_LONGEST_WAIT_S = 5.0
_FALLBACK_FIX = "check the network between here and there"


@command("doctor")
async def doctor(
    call: Call,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask any exchange.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail, too.")] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print the findings.")] = Output.AUTO,
) -> None:
    """Check Python, the configuration, the bus and the exchanges; exit 3 if something is wrong."""
    found = await check_up(call, offline=offline)
    _print(found, output)
    bad = [finding for finding in found if finding.level is Level.FAIL or (strict and finding.level is Level.WARN)]
    if bad:
        names = dict.fromkeys(finding.what for finding in bad)
        raise CheckFailed(f"{len(bad)} of {len(found)} checks failed: {', '.join(names)}")


async def check_up(call: Call, *, offline: bool) -> Sequence[Finding]:
    """Look at everything there is; where the configuration cannot be read, its mistakes are all there is."""
    try:
        loaded = call.load()
    except ConfigError as error:
        return [fail("config", line, error.hint) for line in str(error).splitlines()]
    config = loaded.config
    found = [ok("config", _config_told(loaded)), *_machine(config)]
    found += await _or_failed("bus", lambda: _bus(config))
    for name in [] if offline else _venues(config):
        found += await _or_failed(name, lambda name=name: _venue(config, name))  # type: ignore[misc]
    return found


async def _or_failed(what: str, look: Callable[[], Awaitable[Sequence[Finding]]]) -> Sequence[Finding]:
    """What a look finds, or as the one finding why it could not look."""
    try:
        return await look()
    except (CryptostreamError, BadFrame) as error:
        return [fail(what, str(error), getattr(error, "hint", "") or _FALLBACK_FIX)]


def _machine(config: "Config") -> Sequence[Finding]:
    from cryptostream.engine import machine

    return machine.findings(machine.look(config.data_dir))


async def _bus(config: "Config") -> Sequence[Finding]:
    from cryptostream import wiring
    from cryptostream.bus import health
    from cryptostream.engine.clock import SystemClock

    patience_s = min(config.bus.connect_timeout, _LONGEST_WAIT_S)
    hasty = config.model_copy(update={"bus": config.bus.model_copy(update={"connect_timeout": patience_s})})
    async with wiring.bus(hasty) as bus:
        return health.findings(await health.look(bus, SystemClock()))


def _venues(config: "Config") -> Sequence[str]:
    """The exchanges that are to be listened to, or all there are."""
    from cryptostream import registry

    return list(dict.fromkeys(feed.venue for feed in config.feeds)) or registry.names("venues")


async def _venue(config: "Config", name: str) -> Sequence[Finding]:
    from cryptostream import wiring
    from cryptostream.engine.clock import SystemClock
    from cryptostream.feed import reach

    venue = wiring.venue(config, name)
    async with wiring.rest(venue) as rest:
        return reach.findings(await reach.look(venue, rest, SystemClock()))


def _config_told(loaded: "Loaded") -> str:
    files = ", ".join(map(str, loaded.files)) or "no file, the defaults"
    return f"{files}: {len(loaded.config.feeds)} feeds, {len(loaded.config.consumers)} consumers"


def _print(found: Sequence[Finding], output: Output) -> None:
    if render.chosen(output) is not Output.TABLE:
        render.rows([msgspec.to_builtins(finding) for finding in found], output)
        return
    render.rows([_row(finding) for finding in found], Output.TABLE, columns=("", "what", "detail", "fix"))


def _row(finding: Finding) -> dict[str, Any]:
    return {"": _SIGNS[finding.level], **msgspec.to_builtins(finding)}
