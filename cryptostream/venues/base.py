"""What every venue's language offers: addresses, a conversation without a socket, REST requests and their answers."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from cryptostream.model.events import Record
from cryptostream.model.instrument import Instrument, Subscription


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
    """Something a session learnt that is not data: `acknowledged`, `refused`, `closing`."""

    kind: str
    detail: str
    streams: tuple[str, ...] = ()


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

    def receive(self, frame: bytes, received_at: int) -> Sequence[Record]:
        """Read one frame. `received_at` is nanoseconds since the epoch. Raises BadFrame."""

    def unanswered(self) -> Sequence[str]:
        """Streams whose subscription was sent and not yet acknowledged."""


class Venue(Protocol):
    """One exchange's language."""

    name: str
    limits: Limits
    weight_header: str
    """The header of a REST answer that tells how much of `weight_per_minute` is used."""
    weight_per_minute: int

    def sessions(self, subscriptions: Sequence[Subscription], pairs_per_connection: int) -> Sequence[Session]:
        """Split what is wanted over as few conversations as the venue's limits and the plan allow."""

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
