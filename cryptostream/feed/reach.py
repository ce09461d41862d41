"""Whether a venue can be reached over REST, and how far its clock is from ours."""

from collections.abc import Sequence

import msgspec

from cryptostream.feed.rest import Rest
from cryptostream.model.finding import Finding, ok, warn
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Venue

_MOST_SKEW_MS = 1000.0


class ReachFacts(msgspec.Struct, frozen=True):
    """How one question to a venue went; `skew_ms` is its clock less ours at the middle of the round trip."""

    venue: str
    round_trip_ms: float
    skew_ms: float


async def look(venue: Venue, rest: Rest, clock: Clock) -> ReachFacts:
    """Ask a venue for its time. Raises VenueUnavailable, BadFrame."""
    before_ns, start_s = clock.now_ns(), clock.monotonic()
    payload = await rest.get(venue.time_request())
    round_trip_ms = (clock.monotonic() - start_s) * 1000
    told_ms = venue.server_time(payload)
    return ReachFacts(venue.name, round_trip_ms, told_ms - before_ns / 1e6 - round_trip_ms / 2)


def findings(facts: ReachFacts) -> Sequence[Finding]:
    """What is to be said about a venue that answered."""
    reached = ok(facts.venue, f"answers in {facts.round_trip_ms:.0f} ms")
    told = f"{abs(facts.skew_ms) / 1000:.3f} s {'ahead of' if facts.skew_ms > 0 else 'behind'} ours"
    if abs(facts.skew_ms) <= _MOST_SKEW_MS:
        return [reached, ok(f"{facts.venue} clock", told)]
    return [reached, warn(f"{facts.venue} clock", told, "set this machine's clock by NTP")]
