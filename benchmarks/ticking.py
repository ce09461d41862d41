"""A market in a process of its own: so many pairs tick straight into Redis, as an ingester would write them."""

import argparse
import socket
import time
from itertools import count
from typing import Any

import hiredis

from benchmarks.market import pairs
from benchmarks.meter import listen
from cryptostream.bus.resp import command
from cryptostream.model.codec import iso

_BATCH_S = 0.02
_FRAME = '{"stream":"coin@aggTrade","data":' + '{"e":"aggTrade","E":1731605400123,"s":"COIN","a":1}' * 4 + "}"


def tick(port: int, names: list[str], rate: int) -> None:
    """Write for ever, every pair in its turn."""
    replies = hiredis.Reader()
    numbers = count(1)
    sent, began = 0, time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as wire:
        while True:
            due = round((time.monotonic() - began) * rate) - sent
            now_us = time.time_ns() // 1000
            if due > 0:
                wire.sendall("".join(_trade(names, next(numbers), now_us) for _ in range(due)).encode())
                while due:
                    replies.feed(wire.recv(1 << 16))
                    while replies.gets() is not False:
                        due, sent = due - 1, sent + 1
            time.sleep(_BATCH_S)


def _trade(names: list[str], number: int, now_us: int) -> str:
    pair = names[number % len(names)]
    told: list[Any] = ["exchange", "binance", "pair", pair, "price", f"{100 + number % 977 / 10:.8f}"]
    told += ["qty", "0.12300000", "ts", iso(now_us), "side", "buy", "trade_id", number, "raw_json", _FRAME]
    return command("XADD", f"trades:{pair}", "MAXLEN", "~", 1000, f"{now_us // 1000}-{number}", *told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    chosen = parser.parse_args()
    listen(lambda _word: {})
    tick(chosen.redis_port, pairs(chosen.pairs), chosen.rate)


if __name__ == "__main__":
    main()
