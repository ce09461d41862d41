"""`cryptostream run`: every stage of the configuration in one process; `--demo` brings its own exchange."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.config import Config

_DEMO_PAIRS = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT"
_DEMO_RATE = 40.0
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
) -> int:
    """Run the configuration's feeds and consumers together, until they end or you stop them."""
    duration_s = seconds(duration) if duration else None
    if not demo:
        config = call.settings()
        if not config.feeds and not config.consumers:
            raise UsageError("the configuration names no feeds and no consumers", hint="try: cryptostream run --demo")
        return await _run(config, duration_s)
    async with _demo() as given:
        code = await _run(call.settings(**given), duration_s, panel=True)
    render.hints(_NEXT)
    return code


@asynccontextmanager
async def _demo() -> AsyncIterator[dict[str, Any]]:
    """A local exchange and a bus of its own, gone afterwards; gives the settings that point at both."""
    from cryptostream.sim.exchange import LocalExchange

    with tempfile.TemporaryDirectory(prefix="cryptostream-demo-") as folder:
        async with LocalExchange(pairs=_DEMO_PAIRS.split(","), rate=_DEMO_RATE) as exchange:
            render.note(f"exchange {exchange.ws_url} (local, made up), bus embedded in {folder}")
            render.note(f"in another terminal: cryptostream tail BTCUSDT --data-dir {folder}")
            yield {
                "data_dir": folder,
                "bus__url": "embedded://",
                "venues": {"binance": {"ws_url": exchange.ws_url, "rest_url": exchange.rest_url}},
                "feeds": [{"binance": {"symbols": _DEMO_PAIRS, "channels": "trades,klines:1m"}}],
            }


async def _run(config: "Config", duration_s: float | None, *, panel: bool = False) -> int:
    from cryptostream import wiring
    from cryptostream.cli.panel import Panel
    from cryptostream.cli.status import Ticker
    from cryptostream.engine.clock import SystemClock
    from cryptostream.engine.runtime import Runtime

    clock = SystemClock()
    give_up_at = clock.monotonic() + config.bus.connect_timeout
    plans = [await wiring.plan(config, feed, give_up_at) for feed in config.feeds]
    async with AsyncExitStack() as opened:
        bus = await opened.enter_async_context(wiring.bus(config))
        stage = await opened.enter_async_context(
            wiring.ingest(
                config, plans, lambda stats: wiring.publisher(config, bus, stats=stats), give_up_at=give_up_at
            )
        )
        consumers = [wiring.consumer(config, name, bus) for name in config.consumers]
        shown = Panel(clock, bus, stage) if panel else Ticker(clock, stage.read)
        counting = wiring.Counting(bus, stage)
        pipelines = [*stage.pipelines, *consumers]
        code = await Runtime(pipelines, clock=clock, companions=[shown, counting], duration_s=duration_s).run()
        await counting.write()
        if code == 0:
            stage.check()
        return code
