"""The peer: cryptofeed's Binance feed and its TradeStream, pointed at the exchange of the benchmarks.

Runs in cryptofeed's own venv. Its defaults are kept (uvloop, hiredis); its log file alone is switched off.
"""

import argparse
import asyncio
import ssl

from cryptofeed import FeedHandler
from cryptofeed.backends.redis import TradeStream
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols

from benchmarks.market import pairs
from benchmarks.meter import listen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ws", required=True)
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--pairs", type=int, default=50)
    chosen = parser.parse_args()

    symbols = {f"{name.removesuffix('USDT')}-USDT": name for name in pairs(chosen.pairs)}
    Symbols.set("BINANCE", symbols, {"tick_size": {}, "instrument_type": {}})
    options = {"ssl": ssl.create_default_context(cafile=chosen.certificate), "compression": None}

    class Local(Binance):
        websocket_endpoints = [WebsocketEndpoint(chosen.ws, options=options)]

    handler = FeedHandler(config={"uvloop": True, "log": {"disabled": True}})
    stream = TradeStream(host="127.0.0.1", port=chosen.redis_port)
    handler.add_feed(Local(symbols=list(symbols), channels=[TRADES], callbacks={TRADES: stream}))
    asyncio.set_event_loop(asyncio.new_event_loop())  # uvloop's, which no longer makes one when asked for it
    listen()
    handler.run()


if __name__ == "__main__":
    main()
