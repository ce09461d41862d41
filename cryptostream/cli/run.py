"""`cryptostream run`: every stage of the configuration in one process; `--demo` brings its own exchange."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.live import Wish, asks_for_health, asks_to_serve, live
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import CheckFailed, NotFound, UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.config import Config

_DEMO_PAIRS = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT"
_DEMO_OTHERS = "ADAUSDT,DOGEUSDT,LTCUSDT"
"""What its exchange trades beside them, so that there is something to add."""
_OF_DEMO = ("data_dir", "bus.url", "bus.maxlen", "venues", "feeds", "consumers", "ingest.symbols")
_DEMO_RATE = 40.0
_DEMO_LENGTH = 100_000
_DEMO_STRATEGY = {"macd_rsi": {"fast": 4, "slow": 9, "signal": 3, "rsi_period": 5}}
_NEXT = """
That was a market on this machine, over a real websocket, through a real bus. Next:
  cryptostream ingest --symbols BTCUSDT,ETHUSDT     the same from Binance
  cryptostream tail BTCUSDT                         in another terminal: watch it
  cryptostream discover --top 20                    what to follow
  cryptostream simulate                             the local exchange, for your own tests
"""


@command("run")
async def run(
    call: Call,
    demo: Annotated[
        bool, typer.Option("--demo", help="A local exchange, a private bus, a live panel: needs no network.")
    ] = False,
    duration: Annotated[str | None, typer.Option(help="Stop after this long: 30s, 5m.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of API and dashboard; 0 takes a free one.")
    ] = None,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Without API and dashboard.")] = False,
) -> int:
    """Run the configuration's feeds and consumers together, until they end or you stop them.

    API and dashboard are served meanwhile, on this machine's port 8000 unless something else listens there.
    """
    if no_serve and port is not None:
        raise UsageError("--no-serve leaves out what --port is for", hint="give one of them")
    if demo:
        _check_typed(call)
    wish = Wish(duration_s=seconds(duration) if duration else None, consumers=True)
    if not demo:
        loaded = call.load(serve__port=port)
        if not (loaded.config.feeds or loaded.config.consumers or loaded.config.alerts):
            raise UsageError("the configuration names no feeds and no consumers", hint="try: cryptostream run --demo")
        wish = replace(wish, health=asks_for_health(loaded), serve=asks_to_serve(loaded, off=no_serve))
        return await _run(loaded.config, wish)
    async with _demo() as given:
        loaded = call.load(**given, serve__port=port)
        wish = replace(wish, health=False, serve=asks_to_serve(loaded, off=no_serve), panel=True)
        code = await _run(loaded.config, wish)
        await _certify(loaded.config)
    render.hints(_NEXT)
    return code


def _check_typed(call: Call) -> None:
    """Raises UsageError for what was typed, though the demo brings its own."""
    typed = ["--redis"] if call.redis else []
    typed += ["--data-dir"] if call.data_dir else []
    typed += [f"--set {name}" for name in (text.partition("=")[0].strip() for text in call.set) if _is_of_demo(name)]
    if call.config:
        files, loaded = tuple(map(str, call.config)), call.load()
        typed += [f"{name} of a file" for name in _OF_DEMO if loaded.origin(name).startswith(files)]
    if typed:
        raise UsageError(
            f"--demo brings its own market, bus and data folder, which go with it; it takes no {typed[0]}",
            hint="leave one of them out",
        )


def _is_of_demo(name: str) -> bool:
    """Whether a setting is one that the demo makes, a part of one, or holds one.

    >>> [_is_of_demo(name) for name in ("bus.url", "venues.binance.ws_url", "bus", "bus.key_prefix", "serve.port")]
    [True, True, True, False, False]
    """
    return any(f"{one}.".startswith(f"{name}.") or f"{name}.".startswith(f"{one}.") for one in _OF_DEMO)


@asynccontextmanager
async def _demo() -> AsyncIterator[dict[str, Any]]:
    """A local exchange and a bus of its own, gone afterwards; gives the settings that point at both."""
    from cryptostream.sim.exchange import LocalExchange

    with tempfile.TemporaryDirectory(prefix="cryptostream-demo-") as folder:
        async with LocalExchange(pairs=f"{_DEMO_PAIRS},{_DEMO_OTHERS}".split(","), rate=_DEMO_RATE) as exchange:
            render.note(f"exchange {exchange.ws_url} (local, made up), bus embedded in {folder}")
            render.note(f"in another terminal: cryptostream tail BTCUSDT --data-dir {folder}")
            yield {
                "data_dir": folder,
                "bus__url": "embedded://",
                "bus__maxlen": _DEMO_LENGTH,
                "venues": {"binance": {"ws_url": exchange.ws_url, "rest_url": exchange.rest_url}},
                "feeds": [{"binance": {"symbols": _DEMO_PAIRS, "channels": "trades,klines:1m"}}],
                "consumers": {
                    "demo": {"read": "trades", "bars": "500ms", "strategies": [_DEMO_STRATEGY], "write": "bus"}
                },
            }


async def _certify(config: "Config") -> None:
    """Say whether the strategy, run again over what the bus holds now, says what it said live."""
    from cryptostream.bus.keys import signals_key
    from cryptostream.cli import backtesting, certify, gathered
    from cryptostream.cli.origins import Span
    from cryptostream.model.instrument import DEFAULT_VENUE

    what = backtesting.combinations(config, (), "demo", (), None).only()
    compared = 0
    with tempfile.TemporaryDirectory(prefix="cryptostream-demo-") as folder:
        found = await gathered.gather(config, ["trades:*"], Span(), (), Path(folder), lambda *_: None)
        for series in found:
            stream = signals_key(what.labels[0], DEFAULT_VENUE, series.pair)
            try:
                certificate = await certify.certify(config, found, what, stream)
                certificate.check()
            except (NotFound, CheckFailed, UsageError) as error:
                # over before it began, so long that streams were trimmed, or set to something else while it ran
                render.note(f"parity: not shown for {series.pair}, {error}")
                return
            compared += certificate.facts["compared"]
    told = f"{compared} signals of {what.labels[0]} on {len(found)} pairs"
    render.note(f"parity: {told}, live and in a backtest of the same entries, are equal to the byte")


async def _run(config: "Config", wish: Wish) -> int:
    from cryptostream import wiring

    give_up_at = SystemClock().monotonic() + config.bus.connect_timeout
    async with wiring.plans(config, give_up_at) as plans:
        return await live(config, plans, wish, give_up_at=give_up_at)
