"""`cryptostream simulate`: a local exchange to test against."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.errors import UsageError
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.sim.exchange import LocalExchange

_PORT = 9443
_MAX_PAIRS = 5_000


@command("simulate")
async def simulate(
    call: Call,  # noqa: ARG001  # every command has one
    pairs: Annotated[
        str, typer.Option(help="Pairs, separated by commas, or a number: so many made-up ones.", metavar="LIST|N")
    ] = "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT",
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    rate: Annotated[float, typer.Option(help="Trades a second and pair.")] = 20.0,
    speed: Annotated[float, typer.Option(help="How much faster than the clock the exchange's time runs.")] = 1.0,
    port: Annotated[int, typer.Option(help="One port for everything; 0 takes a free one.", min=0, max=65_535)] = _PORT,
    host: Annotated[str, typer.Option(help="Where to listen; anything but loopback lets others in.")] = "127.0.0.1",
    tape: Annotated[
        Path | None, typer.Option(help="Play recorded frames (a file or a folder) instead of a made-up market.")
    ] = None,
    history: Annotated[str, typer.Option(help="How long the market has been open at the start.")] = "1h",
    life: Annotated[str, typer.Option(help="How long a connection lives, in the exchange's time.")] = "24h",
    fault: Annotated[
        list[str] | None, typer.Option(help="What goes wrong, and when: drop@5s, duplicate:10%; repeat it.")
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="List the faults there are, and stop.")] = False,
    duration: Annotated[str | None, typer.Option(help="Stop after this long: 30s, 5m.")] = None,
) -> None:
    """Run a local exchange that speaks Binance's and CoinGecko's protocols, with faults on request.

    Point any client at the addresses it prints. Faults can be added while it runs:
    GET /sim/faults?inject=drop@5s, GET /sim/faults?clear=all.
    """
    from cryptostream.sim.exchange import LocalExchange

    if faults:
        return _list_faults()
    stops_after_s = seconds(duration) if duration else None
    exchange = LocalExchange(
        seed=seed,
        pairs=_pairs(pairs),
        rate=rate,
        speed=speed,
        port=port,
        host=host,
        tape=tape,
        life_s=seconds(life),
        history_s=seconds(history),
    )
    for spec in fault or []:
        exchange.faults.inject(spec)
    async with exchange:
        await _serve(exchange, stops_after_s)
    return None


def _pairs(text: str) -> list[str]:
    from cryptostream.model.instrument import check_symbol

    if text.strip().isdecimal():
        if not 1 <= int(text) <= _MAX_PAIRS:
            raise UsageError(f"between 1 and {_MAX_PAIRS} made-up pairs, got {text}")
        return [f"SIM{number:04d}USDT" for number in range(1, int(text) + 1)]
    names = [check_symbol(name.strip().upper()) for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("no pairs", hint="--pairs BTCUSDT,ETHUSDT or --pairs 50")
    return names


def _list_faults() -> None:
    from cryptostream.sim.faults import KINDS

    rows = [
        {
            "fault": name,
            "sort": kind.sort,
            "options": " ".join(f"{option}={value}" for option, value in kind.options.items()),
            "what it does": kind.what,
        }
        for name, kind in KINDS.items()
    ]
    render.rows(rows, render.Output.AUTO)


def _announce(exchange: "LocalExchange") -> None:
    if not sys.stdout.isatty():
        render.line(_addresses(exchange))
        sys.stdout.flush()
        return
    render.note(f"a local exchange with {len(exchange.pairs)} pairs; in another terminal:")
    for name, url in _exports(exchange).items():
        sys.stdout.write(f"export {name}={url}\n")
    render.note(f"then: cryptostream ingest --symbols {exchange.pairs[0]}")
    render.note(f"break something: curl '{exchange.control_url}?inject=drop'   (Ctrl-C ends)")


def _exports(exchange: "LocalExchange") -> dict[str, str]:
    return {
        "BINANCE_WS_URL": exchange.ws_url,
        "BINANCE_REST_URL": exchange.rest_url,
        "COINGECKO_URL": exchange.coingecko_url,
    }


def _addresses(exchange: "LocalExchange") -> dict[str, Any]:
    return {
        "ws_url": exchange.ws_url,
        "rest_url": exchange.rest_url,
        "coingecko_url": exchange.coingecko_url,
        "control_url": exchange.control_url,
        "port": exchange.port,
        "pairs": list(exchange.pairs),
        "env": _exports(exchange),
    }


async def _serve(exchange: "LocalExchange", stops_after_s: float | None) -> None:
    """Tell the addresses, then go on until SIGTERM or the end of the time; a terminal sees each second how it goes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    _announce(exchange)
    try:
        async with asyncio.timeout(stops_after_s):
            if sys.stderr.isatty():
                await _watch(exchange, stop)
            else:
                await stop.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


async def _watch(exchange: "LocalExchange", stop: asyncio.Event) -> None:
    with render.err().status("") as status:
        before = exchange.stats()["events_sent"]
        while not stop.is_set():
            counts = exchange.stats()
            told, before = counts["events_sent"] - before, counts["events_sent"]
            status.update(_line(counts, told))
            try:
                async with asyncio.timeout(1.0):
                    await stop.wait()
            except TimeoutError:
                continue


def _line(counts: dict[str, Any], events_per_s: int) -> str:
    return (
        f"{counts['connections']} connections ({counts['connects']} so far) · {counts['streams']} streams · "
        f"{events_per_s:,} events/s · {counts['rest_requests']:,} REST requests · weight {counts['weight_used']:,}"
    )
