"""What venues list, asked over REST, for symbols that are wished for while feeds run."""

from collections.abc import Mapping

from cryptostream import logs
from cryptostream.engine.clock import within
from cryptostream.errors import BadFrame, VenueUnavailable
from cryptostream.model.instrument import Instrument
from cryptostream.model.ports import Clock
from cryptostream.wiring.plans import Plan

_FRESH_S = 60.0
_WITHIN_S = 3.0
_log = logs.get("wiring")


class Listings:
    """The instruments of each venue by their pairs, at most a minute old; older where the venue does not answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, Mapping[str, Instrument]]] = {}

    async def of(self, plan: Plan) -> Mapping[str, Instrument]:
        """What the venue of a plan lists. Raises VenueUnavailable where it never said, and does not now."""
        exchange = plan.venue.name
        at_s, known = self._known.get(exchange, (0.0, {}))
        if known and self._clock.monotonic() - at_s < _FRESH_S:
            return known
        try:
            payload = await within(self._clock, _WITHIN_S, plan.client.get(plan.venue.instruments_request()))
            found = {one.pair: one for one in plan.venue.instruments(payload)}
        except (VenueUnavailable, BadFrame, TimeoutError) as error:
            why = str(error) or f"no answer in {_WITHIN_S:g} s"
            if not known:
                raise VenueUnavailable(f"{exchange} does not say what it trades: {why}") from error
            _log.warning("symbols.unchecked", venue=exchange, why=why)
            return known
        self._known[exchange] = self._clock.monotonic(), found
        return found
