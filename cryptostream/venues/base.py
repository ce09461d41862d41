"""What every venue's language offers: addresses, a conversation without a socket, REST requests and their answers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from cryptostream.errors import BadFrame
from cryptostream.model.events import KlineRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel, Instrument, Subscription


class Rule(StrEnum):
    """What the ids of a channel's trades promise: each is the one before plus one, each is higher, or nothing."""

    CONTIGUOUS = "contiguous"
    MONOTONIC = "monotonic"
    NONE = "none"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue allows, and how long its silence means nothing. Rates are per connection unless said."""

    streams_per_connection: int
    control_per_s: float
    control_bytes: int
    connects: int
    """Connection attempts per IP within `connects_window_s`."""
    connects_window_s: float
    idle_s: float = 14.0
    """Silence after which we ping."""
    pong_s: float = 5.0
    """Silence after our ping that means a dead socket."""
    ack_s: float = 10.0
    """Time within which a control message has to be answered."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One REST call as data; `weight` is what it costs of the venue's budget."""

    url: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    weight: int = 1


class Notice(msgspec.Struct, frozen=True):
    """Something a session learnt that is not data: `acknowledged`, `refused`, `closing`.

    `streams` are what it is about, as the venue names them; `subscriptions` are the same in our words.
    """

    kind: str
    detail: str
    streams: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()


OnBad = Callable[[bytes, BadFrame], Record]


class Session(Protocol):
    """One conversation with a venue: bytes in, records out; no socket, no clock."""

    notices: list[Notice]
    """What happened beside the data; whoever reads it empties it."""
    ignored: int
    """Frames that are well-formed and not ours to publish."""

    @property
    def url(self) -> str: ...

    @property
    def subscriptions(self) -> Sequence[Subscription]: ...

    @property
    def event_time(self) -> int:
        """Time of the newest event, microseconds since the epoch; 0 before the first."""

    def hello(self) -> list[str]:
        """The control messages that open the conversation, in order; forgets what an earlier socket was asked."""

    def resubscribe(self, wanted: Collection[Subscription]) -> list[str]:
        """The control messages that end some of the subscriptions and begin them anew, in order."""

    def receive(self, frame: bytes, received_at: int) -> Sequence[Record]:
        """Read one frame. `received_at` is nanoseconds since the epoch. Raises BadFrame."""

    def receive_all(self, frames: Sequence[bytes], received_at: int, on_bad: OnBad) -> list[Record]:
        """What `receive` gives of each frame of one read of the socket; of a bad one, what `on_bad` makes of it.

        `each` does it for a venue that knows no faster way.
        """

    def unanswered(self) -> Sequence[str]:
        """Streams whose subscription was sent and not yet acknowledged."""


def each(session: Session, frames: Sequence[bytes], received_at: int, on_bad: OnBad) -> list[Record]:
    """Read frames one by one."""
    made: list[Record] = []
    for frame in frames:
        try:
            made += session.receive(frame, received_at)
        except BadFrame as error:
            made.append(on_bad(frame, error))
    return made


class Venue(Protocol):
    """One exchange's language."""

    name: str
    limits: Limits
    weight_header: str
    """The header of a REST answer that tells how much of `weight_per_minute` is used."""
    weight_per_minute: int

    def session(self, subscriptions: Sequence[Subscription]) -> Session:
        """One conversation about just these subscriptions."""

    def replay(self) -> Session:
        """A session that reads recorded frames of any stream, with or without their envelope."""

    def instruments_request(self) -> Request: ...

    def instruments(self, payload: bytes) -> Sequence[Instrument]: ...

    def prices_request(self) -> Request: ...

    def prices(self, payload: bytes) -> Mapping[str, float]:
        """Last price by the venue's own symbol. Raises BadFrame."""

    def time_request(self) -> Request: ...

    def server_time(self, payload: bytes) -> int:
        """The venue's clock, milliseconds since the epoch."""

    def rule(self, channel: Channel) -> Rule:
        """What this venue's ids promise on a channel; for klines always NONE, they go by their open time."""

    def trades_request(self, wanted: Subscription, first_id: int, limit: int = 1000) -> Request | None:
        """Trades of one subscription from an id on, at most `limit`; None where ids cannot be asked for."""

    def trades(self, wanted: Subscription, payload: bytes, received_at: int) -> Sequence[TradeRecord]:
        """The trades of such an answer in the order of ids, marked as filled; `received_at` as for a session.

        Raises BadFrame if any row is not a trade that `Session.receive` would have taken.
        """

    def newest_at_once(self, channel: Channel) -> int:
        """How many subscriptions of a channel one request for their newest trade ids may name; 0: there is none."""

    def newest_request(self, wanted: Sequence[Subscription]) -> Request:
        """The newest trade id of subscriptions of one channel, at most `newest_at_once`."""

    def newest(self, wanted: Sequence[Subscription], payload: bytes) -> Mapping[Subscription, int]:
        """The newest trade ids of such an answer, without those who never traded. Raises BadFrame."""

    def klines_request(self, wanted: Subscription, first_open_ms: int, limit: int = 1000) -> Request | None:
        """Klines of one subscription from an open time on, milliseconds since the epoch."""

    def klines(self, wanted: Subscription, payload: bytes, received_at: int) -> Sequence[KlineRecord]:
        """The klines of such an answer by time; closed are those that a later row follows, or whose window ended ten
        seconds before `received_at`, the venue's own time. Raises BadFrame.
        """
