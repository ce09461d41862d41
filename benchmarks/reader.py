"""A reader of the streams in a process of its own: notes when each entry became visible to XREAD BLOCK.

By hand on a blocking socket, since a slow client would measure itself. Told `start`, it forgets what it saw before.
"""

import argparse
import socket
import time
from typing import Any

import hiredis

from benchmarks.market import pairs
from benchmarks.meter import listen
from cryptostream.bus.resp import command
from cryptostream.model.codec import micros


class Seen:
    """When entries became visible, and the time each of them carries."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, bytes]] = []

    def add(self, now_us: int, ts: bytes) -> None:
        self._seen.append((now_us, ts))

    def answer(self, word: str) -> dict[str, Any]:
        """`start` begins anew; anything else gives the percentiles in milliseconds."""
        seen, self._seen = self._seen, []
        if word == "start" or not seen:
            return {"entries": len(seen)}
        delays = sorted((now_us - micros(ts.decode())) / 1e3 for now_us, ts in seen)
        share = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
        return {"entries": len(delays), "max": delays[-1]} | {n: delays[int(len(delays) * s)] for n, s in share.items()}


def follow(port: int, keys: list[str], seen: Seen) -> None:
    """Read for ever."""
    replies = hiredis.Reader()
    newest = dict.fromkeys(keys, "$")
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            wire.sendall(command("XREAD", "BLOCK", 0, "STREAMS", *newest, *newest.values()).encode())
            while (reply := replies.gets()) is False:
                replies.feed(wire.recv(1 << 18))
            now_us = time.time_ns() // 1000
            for key, entries in reply:
                newest[key.decode()] = entries[-1][0].decode()
                for _, fields in entries:
                    seen.add(now_us, fields[9])  # exchange pair price qty *ts*


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--channel", default="agg_trades")
    parser.add_argument("--pairs", type=int, default=50)
    chosen = parser.parse_args()
    seen = Seen()
    listen(seen.answer)
    follow(chosen.redis_port, [f"{chosen.channel}:{pair}" for pair in pairs(chosen.pairs)], seen)


if __name__ == "__main__":
    main()
