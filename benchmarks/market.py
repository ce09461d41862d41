"""The market that every benchmark plays, seeded: pairs, and Binance's combined `aggTrade` frames."""

from collections.abc import Iterator
from itertools import count
from random import Random

_FIRST_MS = 1_731_605_400_000
_TRADES_PER_MS = 10
_LONG = 126  # RFC 6455, section 5.2: the length follows in two bytes


def pairs(number: int) -> list[str]:
    """So many pairs, with names of one length.

    >>> pairs(2)
    ['COIN000USDT', 'COIN001USDT']
    """
    return [f"COIN{place:03d}USDT" for place in range(number)]


class Ticks:
    """Trades of a seeded market as websocket frames; ids count up without a hole, pair by pair."""

    def __init__(self, names: list[str], seed: int = 1) -> None:
        self._random = Random(seed)
        self._heads = [f'{{"stream":"{name.lower()}@aggTrade","data":{{"e":"aggTrade","E":' for name in names]
        self._middles = [f',"s":"{name}","a":' for name in names]
        self._ids = [count(1_000_000) for _ in names]

    def frame(self, pair: int, time: int) -> bytes:
        """The next trade of a pair, stamped with a time in the venue's unit, as one unmasked text frame."""
        number, random = next(self._ids[pair]), self._random.random()
        price, qty = 100 + 900 * random, 0.001 + random
        maker = "true" if number & 1 else "false"
        text = (
            f'{self._heads[pair]}{time}{self._middles[pair]}{number},"p":"{price:.8f}","q":"{qty:.8f}",'
            f'"f":{number},"l":{number},"T":{time},"m":{maker},"M":true}}}}'
        )
        return text_frame(text.encode())

    def flood(self, trades: int) -> Iterator[bytes]:
        """So many trades of random pairs, ten of them in each millisecond of market time."""
        choose, number = self._random.randrange, len(self._heads)
        for place in range(trades):
            yield self.frame(choose(number), _FIRST_MS + place // _TRADES_PER_MS)


def text_frame(payload: bytes) -> bytes:
    r"""An unmasked text frame, as servers send them.

    >>> text_frame(b"{}")
    b'\x81\x02{}'
    """
    size = len(payload)
    return (bytes((0x81, size)) if size < _LONG else b"\x81\x7e" + size.to_bytes(2, "big")) + payload
