"""Streams whose handlers remember: what they make of entries, their state and the XACK are one transaction.

A handler that raises may have changed its state half-way, so it is made again from what was saved last, and given again
what came before the event that it raised at. One that can leave an entry out is told which, each time that it is made
again, until what it made of those after it is saved.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from cryptostream import logs
from cryptostream.bus.effects.transact import Effects, Work
from cryptostream.client.hand import Failed, Hand, Watch
from cryptostream.client.handlers import Handlers, Made, Memory
from cryptostream.client.warming import Past, Warming
from cryptostream.engine.stats import GroupStats
from cryptostream.errors import Fenced
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Event, Output

_MOST_ASIDE = 20
"""So often one instance may raise at one entry and set it aside: once for each of the parts that it is made of."""
_log = logs.get("client")


class _Aside(NamedTuple):
    """What an instance raised at and leaves out."""

    who: str
    entry: Entry
    error: Exception


class _Given:
    """One stream's part of a read: its events, the entry behind each, and the ids of the rows."""

    def __init__(self, stream: str, hands: list[Hand]) -> None:
        self.stream = stream
        self.hands = hands
        self.events = [event for hand in hands for event in hand.events[: hand.done]]
        self.done = 0
        self.aside: list[_Aside] = []

    @property
    def first(self) -> str:
        """The id of the first event."""
        return self.events[0].entry_id

    def entry(self, place: int) -> Entry | None:
        for hand in self.hands:
            if place < hand.done:
                return hand.entry(place)
            place -= hand.done
        raise IndexError(place)

    def leave(self, events: Iterable[Event | Entry | None]) -> None:
        """Nothing but these is handled after all."""
        ids = {event.entry_id for event in events if event is not None}
        self.aside = [each for each in self.aside if each.entry.entry_id in ids]

    def ids(self, count: int) -> list[str]:
        """The ids of the rows among the first so many events."""
        found: list[str] = []
        for hand in self.hands:
            found += [row[0] for row in hand.rows[: max(0, min(count, hand.done) - hand.gaps)]]
            count -= hand.done
            if count <= 0:
                break
        return found


class Keeping:
    """The memories of all streams that one consumer owns. `owned` says which of some streams are ours still.

    `past` is what a stream that nothing is saved of is warmed with, until `is_stopped`.
    """

    def __init__(
        self,
        effects: Effects,
        handlers: Handlers,
        owned: Callable[[Iterable[str]], Collection[str]],
        watch: Watch,
        stats: GroupStats,
        *,
        past: Past | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._effects = effects
        self._handlers = handlers
        self._owned = owned
        self._watch = watch
        self._stats = stats
        self._warming = Warming(past, self._begun, is_stopped)
        self._memories: dict[str, Memory] = {}

    async def work(self, hands: Sequence[Hand], *, fenced_is_fatal: bool) -> tuple[list[Failed], set[str]]:
        """Handle what is `done` of these hands, and commit it.

        Gives the entries that somebody raised at, and the streams that are another member's by now: nothing was done
        to these, or that is raised as Fenced. Raises BusUnavailable, after which `forget` and read again; StateRefused.
        """
        given = [_Given(stream, some) for stream, some in _by_stream(hands).items()]
        ours = set(self._owned([each.stream for each in given]))
        left = {each.stream for each in given} - ours
        given = [each for each in given if each.stream in ours and each.events]
        await self._recall(given)
        given = [each for each in given if each.stream in self._memories]
        failed: list[Failed] = []
        works = [work for each in given if (work := await self._made(each, failed)) is not None]
        refused = await self._effects.commit(works) if works else ()
        done = {work.stream: work.upto for work in works if work.stream not in refused}
        for stream, upto in done.items():
            self._memories[stream].upto = upto
            self._warming.forget(stream)
        self._stats.dead_letters += sum(len(each.aside) for each in given if each.stream in done)
        left |= set(refused)
        self.forget(left)
        if refused and fenced_is_fatal:
            raise Fenced(f"another consumer owns {', '.join(sorted(refused))} now", hint="run one of each shard")
        return failed, left

    def forget(self, streams: Iterable[str]) -> None:
        """What is remembered of these may not be what is saved: it is read again before it is used."""
        for stream in streams:
            self._memories.pop(stream, None)

    async def _recall(self, given: Iterable[_Given]) -> None:
        """Own streams, and remember what was saved of them; of the others, what came before their first event.

        Streams at which the warm-up was stopped are not remembered.
        """
        first = {each.stream: each.first for each in given if each.stream not in self._memories}
        if not first:
            return
        found = await self._effects.claim(first)
        for stream, saved in found.items():
            if saved is not None:
                self._memories[stream] = self._begun(stream, saved.state, saved.upto)
        begins = {stream: first[stream] for stream, saved in found.items() if saved is None}
        self._memories |= await self._warming.memories(begins)

    def _begun(self, stream: str, state: Any, upto: str = "") -> Memory:
        return Memory(stream, self._handlers.route(stream).factories, state, upto, self._watch)

    async def _made(self, given: _Given, failed: list[Failed]) -> Work | None:
        """What is made of one stream's events, up to the first that somebody raises at and cannot leave out."""
        events: list[Event | Entry | None] = [*given.events]
        while True:
            made, place, error = self._tried(given, events)
            if error is None:
                return self._work(given, len(events), made)
            who = self._memories[given.stream].who
            memory = await self._made_again(given)
            if memory is None:
                return None
            entry = given.entry(place)
            if entry is None:  # a gap that nobody can handle: it is no entry that could come again
                tell_gap_unhandled(given.stream, error)
                events[place] = None
            elif not self._set_aside(given, memory, _Aside(who, entry, error)):
                failed.append(Failed(entry, error))
                events = events[:place]
                given.leave(events)

    async def _made_again(self, given: _Given) -> Memory | None:
        """The instances as they were saved, and told what they leave out; None where we were stopped meanwhile."""
        self.forget([given.stream])
        await self._recall([given])
        memory = self._memories.get(given.stream)
        if memory is not None:
            for each in given.aside:
                memory.set_aside(*each)
        return memory

    def _set_aside(self, given: _Given, memory: Memory, failed: _Aside) -> bool:
        """Have the instance that raised leave the entry out; whether it will."""
        before = [each for each in given.aside if each[:2] == failed[:2]]
        if len(before) >= _MOST_ASIDE or repr(failed.error) in {repr(each.error) for each in before}:
            return False  # it has said that it would leave it out, and it has not
        who, entry, error = failed
        try:
            if not memory.set_aside(who, entry, error):
                return False
        except Exception as trouble:  # whatever it is, it is the handler's own
            _log.warning(
                "consumer.not_set_aside", stream=given.stream, entry=entry.entry_id, who=who, why=repr(trouble)
            )
            return False
        given.aside.append(failed)
        _log.error("consumer.set_aside", stream=given.stream, entry=entry.entry_id, who=who, why=repr(error))
        return True

    def _tried(self, given: _Given, events: Sequence[Event | Entry | None]) -> tuple[list[Made], int, Exception | None]:
        """What is made of events, and the place of the first that somebody raises at, with what he raised."""
        memory, made = self._memories[given.stream], list[Made]()
        self._watch.kept = given
        try:
            for given.done, event in enumerate(events):
                made += memory.handle(event) if event is not None else ()
        except Exception as error:  # whatever it is, it is the handler's own
            return made, given.done, error
        finally:
            self._watch.kept = None
        return made, len(events), None

    def _work(self, given: _Given, count: int, made: list[Made]) -> Work | None:
        ids = given.ids(count)
        if not (ids or made):
            return None
        memory = self._memories[given.stream]
        known = [entry_id for entry_id in (*ids[-1:], memory.upto) if entry_id]
        upto = max(known, key=parse_id) if known else given.events[count - 1].entry_id
        outputs = [each for each in made if isinstance(each, Output)]
        hashes = [each for each in made if not isinstance(each, Output)]
        return Work(given.stream, ids, outputs, memory.state(), upto, hashes)


def tell_gap_unhandled(stream: str, error: Exception) -> None:
    """A handler raised at a gap that has no entry of its own, so that it cannot come again."""
    _log.warning("consumer.gap_unhandled", stream=stream, why=repr(error))


def _by_stream(hands: Iterable[Hand]) -> dict[str, list[Hand]]:
    """The hands of each stream, in order."""
    found: dict[str, list[Hand]] = {}
    for hand in hands:
        found.setdefault(hand.stream, []).append(hand)
    return found
