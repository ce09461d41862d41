"""Print trades as they come, until Ctrl-C: `python examples/print_trades.py [URL]`."""

import asyncio
import sys
from contextlib import suppress

from cryptostream import Consumer, Trade


async def main(url: str) -> None:
    async with Consumer(url, group="print-trades", streams="trades:*", from_="new") as consumer:
        async for event in consumer:
            if isinstance(event, Trade):
                print(f"{event.pair:12} {event.side:4} {event.qty:>14.8f} @ {event.price:.8f}")
            else:
                print(event)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:] or ["embedded://"]))
