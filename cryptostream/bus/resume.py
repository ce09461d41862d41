"""Where the streams stand at a start, so that a feed goes on behind what they hold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from cryptostream import logs
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.top import last_id_of
from cryptostream.bus.translate import translate
from cryptostream.model import codec
from cryptostream.model.instrument import Subscription
from cryptostream.model.ports import Position

_AT_ONCE = 500
_log = logs.get("bus")


async def positions(
    bus: Bus, key_of: Callable[[Subscription], str], subscriptions: Sequence[Subscription]
) -> dict[Subscription, Position]:
    """The position of each subscription's stream, told by its newest entry; an empty stream has none.

    A stream whose newest entry is none of ours is left out with a warning. Raises BusRefused, which names the key of
    another type, and BusUnavailable.
    """
    found: dict[Subscription, Position] = {}
    for start in range(0, len(subscriptions), _AT_ONCE):
        heed_cancellation()
        some = subscriptions[start : start + _AT_ONCE]
        for wanted, entries in zip(some, await _newest(bus, [key_of(one) for one in some]), strict=True):
            position = _position(entries[0][1] or {}) if entries else None
            if position is not None:
                found[wanted] = position
            elif entries:
                _log.warning("bus.foreign", stream=key_of(wanted), entry=entries[0][0], why="not an entry of ours")
    return found


async def _newest(bus: Bus, keys: Sequence[str]) -> list[Any]:
    pipeline = bus.command.pipeline(transaction=False)
    for key in keys:
        pipeline.xrevrange(key, count=1)
    with asking(bus):
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    for key, reply in zip(keys, replies, strict=True):
        if isinstance(reply, ResponseError):
            raise translate(reply, bus.url, key=key) from reply
    return replies


def _position(fields: Mapping[str, str]) -> Position | None:
    last_id = last_id_of(fields)
    try:
        return None if last_id is None else Position(last_id, codec.micros(fields["ts"]))
    except (KeyError, ValueError):
        return None
