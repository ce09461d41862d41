"""Which symbols of a request can be followed, and why the others cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptostream.bus.control import Verdict
from cryptostream.errors import VenueUnavailable
from cryptostream.model.instrument import Pair
from cryptostream.registry import did_you_mean
from cryptostream.wiring.listings import Listings
from cryptostream.wiring.plans import Plan, untraded
from cryptostream.wiring.watchlist import ADDED, ALL, REMOVED, Asked, named

MOST_PAIRS = 2000
"""How many pairs a process may be asked to follow."""
WATCHLIST = "watchlist"
"""What is told of a request that names no symbol."""
_SUGGESTED = 3
"""How many symbols of a request are told what they are close to; to look for that takes milliseconds."""


@dataclass(frozen=True)
class Judged:
    """What is wished from now on, what is told about each symbol, and which pairs were asked for by name."""

    wishes: Mapping[str, str]
    verdicts: Sequence[Verdict]
    again: frozenset[Pair] = frozenset()


class Judging:
    """One request, judged against what is wished, what is `followed`, and what the venues of these plans trade."""

    def __init__(
        self, plans: Sequence[Plan], listings: Listings, wishes: Mapping[str, str], followed: Sequence[Pair]
    ) -> None:
        self._plans = {plan.venue.name: plan for plan in plans}
        self._listings = listings
        self._wishes = wishes
        self._followed = dict.fromkeys(followed)
        self._suggestions = _SUGGESTED

    async def judged(self, asked: Asked) -> Judged:
        """What becomes of a request."""
        if asked.reset:
            return Judged({}, [Verdict(WATCHLIST, True, "what is configured is followed")])
        if asked.replace is not None:
            return await self._replaced(asked.replace)
        added, refused = await self._addable(asked.add, MOST_PAIRS - len(self._followed))
        removed, unfollowed = self._removable(asked.remove)
        signs = {**{one.key: ADDED for one in added}, **{one.key: REMOVED for one in removed}}
        verdicts = [*self._accepted(added), *refused, *(Verdict(str(one), True) for one in removed), *unfollowed]
        return Judged({**self._wishes, **signs}, verdicts, frozenset(added))

    async def _replaced(self, words: Sequence[str]) -> Judged:
        """These and nothing else; where not one of ours can be followed, everything stays as it is."""
        asked, _ = _named(words)
        added, refused = await self._addable(words, MOST_PAIRS)
        elsewhere = [one for one in asked if one.exchange not in self._plans]
        if words and not added and not elsewhere:
            return Judged(self._wishes, refused)
        others = {one.key: ADDED for one in elsewhere if self._wishes.get(one.key) == ADDED}  # others accepted them
        wishes = {ALL: REMOVED, **others, **{one.key: ADDED for one in added}}
        verdicts = [*self._accepted(added), *refused] or [Verdict(WATCHLIST, True, "nothing is followed")]
        return Judged(wishes, verdicts, frozenset(added))

    def _accepted(self, added: Sequence[Pair]) -> list[Verdict]:
        return [Verdict(str(one), True, "followed already" if one in self._followed else "") for one in added]

    async def _addable(self, words: Sequence[str], room: int) -> tuple[list[Pair], list[Verdict]]:
        """Those that can be followed where there is room for so many new ones, and a refusal for each that cannot."""
        asked, refused = _named(words)
        added: list[Pair] = []
        for one in asked:
            if one in self._followed:
                added.append(one)
            elif why := await self._hindrance(one, room):
                refused.append(Verdict(str(one), False, why))
            else:
                added.append(one)
                room -= 1
        return added, refused

    async def _hindrance(self, one: Pair, room: int) -> str:
        """Why a pair cannot be followed; empty where it can."""
        plan = self._plans.get(one.exchange)
        if plan is None:
            return f"no feed follows {one.exchange} here; those that run follow {', '.join(sorted(self._plans))}"
        try:
            listed = await self._listings.of(plan)
        except VenueUnavailable as error:
            return str(error)
        why = self._told(untraded(one.name, listed), one.name, listed)
        return why or ("" if room > 0 else f"{MOST_PAIRS:,} pairs are followed, and that is the most")

    def _told(self, why: str, pair: str, known: Mapping[str, object]) -> str:
        if not why or pair in known or not self._suggestions:
            return why
        self._suggestions -= 1
        return "; ".join(filter(None, (why, did_you_mean(pair, known))))

    def _removable(self, words: Sequence[str]) -> tuple[list[Pair], list[Verdict]]:
        asked, refused = _named(words)
        known = {str(one): one for one in self._followed}
        removed = [one for one in asked if one in self._followed or self._wishes.get(one.key) == ADDED]
        for one in asked:
            if one not in removed:
                refused.append(Verdict(str(one), False, self._told("is not followed", str(one), known)))
        return removed, refused


def _named(words: Sequence[str]) -> tuple[list[Pair], list[Verdict]]:
    """The pairs that words name, each once, and a refusal for each that names none."""
    found, unlike = named(words)
    return found, [Verdict(word, False, why) for word, why in unlike.items()]
