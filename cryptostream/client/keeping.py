"""Streams whose handlers remember: what they make of entries, their state and the XACK are one transaction.

A handler that raises may have changed its state half-way, so it is made again from what was saved last, and given again
what came before the event that it raised at.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from cryptostream import logs
from cryptostream.bus.effects.transact import Effects, Work
from cryptostream.client.hand import Failed, Hand, Watch
from cryptostream.client.handlers import Handlers, Memory
from cryptostream.errors import Fenced
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry, Event, Output

_log = logs.get("client")


class _Given:
    """One stream's part of a read: its events, the entry behind each, and the ids of the rows."""

    def __init__(self, stream: str, hands: list[Hand]) -> None:
        self.stream = stream
        self.hands = hands
        self.events = [event for hand in hands for event in hand.events[: hand.done]]
        self.done = 0

    def entry(self, place: int) -> Entry | None:
        for hand in self.hands:
            if place < hand.done:
                return hand.entry(place)
            place -= hand.done
        raise IndexError(place)

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
    """The memories of all streams that one consumer owns. `owned` says which of some streams are ours still."""

    def __init__(
        self, effects: Effects, handlers: Handlers, owned: Callable[[Iterable[str]], Collection[str]], watch: Watch
    ) -> None:
        self._effects = effects
        self._handlers = handlers
        self._owned = owned
        self._watch = watch
        self._memories: dict[str, Memory] = {}

    async def work(self, hands: Sequence[Hand], *, fenced_is_fatal: bool) -> tuple[list[Failed], set[str]]:
        """Handle what is `done` of these hands, and commit it.

        Gives the entries that somebody raised at, and the streams that are another member's by now: nothing was done
        to these, or that is raised as Fenced. Raises BusUnavailable, after which `forget` and read again; StateRefused.
        """
        given = [_Given(stream, some) for stream, some in _by_stream(hands).items()]
        ours = set(self._owned([each.stream for each in given]))
        left = {each.stream for each in given} - ours
        given = [each for each in given if each.stream in ours]
        await self._recall([each.stream for each in given])
        failed: list[Failed] = []
        works = [work for each in given if (work := await self._made(each, failed)) is not None]
        refused = await self._effects.commit(works) if works else ()
        for work in works:
            if work.stream not in refused:
                self._memories[work.stream].upto = work.upto
        left |= set(refused)
        self.forget(left)
        if refused and fenced_is_fatal:
            raise Fenced(f"another consumer owns {', '.join(sorted(refused))} now", hint="run one of each shard")
        return failed, left

    def forget(self, streams: Iterable[str]) -> None:
        """What is remembered of these may not be what is saved: it is read again before it is used."""
        for stream in streams:
            self._memories.pop(stream, None)

    async def _recall(self, streams: Iterable[str]) -> None:
        """Own streams, and remember what was saved of them."""
        unknown = [stream for stream in streams if stream not in self._memories]
        if not unknown:
            return
        for stream, saved in (await self._effects.claim(unknown)).items():
            factories = self._handlers.route(stream).factories
            state, upto = saved or (None, "")
            self._memories[stream] = Memory(factories, state, upto, self._watch)

    async def _made(self, given: _Given, failed: list[Failed]) -> Work | None:
        """What is made of one stream's events, up to the first that somebody raises at."""
        events: list[Event | Entry | None] = [*given.events]
        while True:
            outputs, place, error = self._outputs(given, events)
            if error is None:
                return self._work(given, len(events), outputs)
            entry = given.entry(place)
            if entry is not None:
                failed.append(Failed(entry, error))
                events = events[:place]
            else:  # a gap that nobody can handle: it is no entry that could come again
                tell_gap_unhandled(given.stream, error)
                events[place] = None
            self.forget([given.stream])
            await self._recall([given.stream])

    def _outputs(
        self, given: _Given, events: Sequence[Event | Entry | None]
    ) -> tuple[list[Output], int, Exception | None]:
        memory, outputs = self._memories[given.stream], list[Output]()
        self._watch.kept = given
        try:
            for given.done, event in enumerate(events):
                outputs += memory.handle(event) if event is not None else ()
        except Exception as error:  # whatever it is, it is the handler's own
            return outputs, given.done, error
        finally:
            self._watch.kept = None
        return outputs, len(events), None

    def _work(self, given: _Given, count: int, outputs: list[Output]) -> Work | None:
        ids = given.ids(count)
        if not (ids or outputs):
            return None
        memory = self._memories[given.stream]
        known = [entry_id for entry_id in (*ids[-1:], memory.upto) if entry_id]
        upto = max(known, key=parse_id) if known else given.events[count - 1].entry_id
        return Work(given.stream, ids, outputs, memory.state(), upto)


def tell_gap_unhandled(stream: str, error: Exception) -> None:
    """A handler raised at a gap that has no entry of its own, so that it cannot come again."""
    _log.warning("consumer.gap_unhandled", stream=stream, why=repr(error))


def _by_stream(hands: Iterable[Hand]) -> dict[str, list[Hand]]:
    """The hands of each stream, in order."""
    found: dict[str, list[Hand]] = {}
    for hand in hands:
        found.setdefault(hand.stream, []).append(hand)
    return found
