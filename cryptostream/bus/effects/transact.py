"""What a consumer makes of entries, its state and their XACK: all of it in Redis, once, or nothing of it.

One MULTI/EXEC holds them, so that kill -9 at any instant leaves either the entries pending and the state as it was, or
the work done. Who owns a stream writes a token into its state; each transaction WATCHes the states it changes and looks
whether the tokens still stand. Whoever was paused and comes back finds another's token, or EXEC finds it changed
meanwhile: nothing of his is written. https://redis.io/docs/latest/develop/interact/transactions/

EXEC does not stop at a command that fails: a refused XADD would let the XACK after it pass, and the output would be
lost. What Redis 7 checks while it queues, and again at EXEC, discards all (OOM, READONLY, MISCONF, NOPERM, arguments
that are missing). What it only finds out while it executes is seen to beforehand: the output streams are watched too,
looked at (is it a stream? what is its newest id?) and written only where Redis is sure to take the entry. One thing is
left, a right that is taken away between the XADD and the EXEC; that is told, with the entries it concerns. Hashes are
looked at too (`hashes.py`).
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import hiredis

from cryptostream import logs
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.hashes import Hash, check_hash, merged, writes
from cryptostream.bus.effects.letter import LETTERS_KEPT, letters_key
from cryptostream.bus.effects.look import Look, fence, is_of_another_type, look, standing, stored_states
from cryptostream.bus.effects.outputs import BadOutput, Placed, Placing, Wanted, id_of, place
from cryptostream.bus.effects.state import Id, Saved, Stored, check_plain, new_token, packed, state_key
from cryptostream.bus.effects.work import EffectsStats, Work
from cryptostream.bus.line import Command, Line, Lines
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Latest, Output
from cryptostream.model.ports import Clock

_TRIES = 50
"""Each that fails means that somebody else wrote a state or an output stream of ours between our look and our EXEC."""
_MOST_IDS = 1000
_log = logs.get("bus")

__all__ = ["Effects", "EffectsStats", "Saved", "Work"]


class _Owned(NamedTuple):
    token: bytes
    reached: Id
    """Up to where the work was done at least once."""


class Effects:
    """Writes what one member of a group makes of the streams it owns. Used by any number of tasks.

    `version` and `config` say what made the state: another's is refused. `maxlen` is about how many entries an output
    stream keeps, 0 for all. After any error of `commit` the streams are nobody's until they are claimed again: the work
    may have been done or not, and the saved state knows. On a server a commit is one transaction, in a cluster one for
    each slot; there the name of an output stream or a hash carries the tag of the stream it comes from. Dead letters of
    the group cannot: they are written before the rest there, so that none is lost, and one may be there twice.
    """

    def __init__(
        self,
        bus: Bus,
        group: str,
        *,
        version: str = "1",
        config: str = "",
        maxlen: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.stats = EffectsStats()
        self._bus = bus
        self._group = group
        self._version = version
        self._config = config
        self._maxlen = maxlen
        self._letters = letters_key(group)
        self._clock = clock or SystemClock()
        self._lines = Lines(bus)
        self._turn = asyncio.Lock()
        self._owned: dict[str, _Owned] = {}
        self._told = {self._letters}  # these stand among the group's own, and move up all the time

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up. What is owned stays ours until somebody else claims it."""
        await self._lines.close()

    async def claim(self, streams: Iterable[str]) -> dict[str, Saved | None]:
        """Own streams from now on, whoever did before; the state of each as it was saved last.

        Raises StateRefused where a state is of another version or configuration, BusUnavailable and BusRefused. Of a
        stream whose state is refused nothing is changed: whoever owns it goes on.
        """
        async with self._turn:
            saved: dict[str, Saved | None] = {}
            for part in self._lines.parts(dict.fromkeys(streams)):
                saved |= await self._claim(part)
            return saved

    async def commit(self, work: Sequence[Work]) -> Collection[str]:
        """Write outputs and states and acknowledge the entries; the streams that are not ours any more.

        Nothing of theirs was written, and they are to be let go. Raises BusUnavailable and BusRefused, after which all
        these streams have to be claimed again; BadOutput and TypeError for outputs and states that cannot be written.
        """
        self._check(work)
        async with self._turn:
            refused: set[str] = set()
            works = {one.stream: one for one in work}
            assert len(works) == len(work), "a stream has one work"  # noqa: S101 - the caller's fault, not the data's
            try:
                works = await self._letters_ahead(works)
                for part in self._lines.parts(works):
                    refused |= await self._commit([works[stream] for stream in part])
            except BaseException:
                self.let_go(works)
                raise
            self.let_go(refused)
            return refused

    def let_go(self, streams: Iterable[str]) -> None:
        """Own these streams no more; what is committed of them is refused until they are claimed."""
        for stream in streams:
            self._owned.pop(stream, None)

    # Claiming: nobody is fenced for a state that we cannot read; what is read is what stands once he is.

    async def _claim(self, streams: Sequence[str]) -> dict[str, Saved | None]:
        keys = [state_key(self._group, stream) for stream in streams]
        async with self._lines.to(keys[0]) as line:
            self._read(streams, await stored_states(line, keys))
            tokens = [new_token() for _ in keys]
            stored = await fence(line, dict(zip(keys, tokens, strict=True)))
        saved = self._read(streams, stored)
        for stream, token, found in zip(streams, tokens, stored, strict=True):
            self._owned[stream] = _Owned(token, found.reached())
        return saved

    def _read(self, streams: Sequence[str], stored: Sequence[Stored]) -> dict[str, Saved | None]:
        return {
            stream: found.saved(stream, self._group, version=self._version, config=self._config)
            for stream, found in zip(streams, stored, strict=True)
        }

    # Committing: look, decide, write; begin anew where anything that was looked at has changed.

    async def _letters_ahead(self, works: dict[str, Work]) -> dict[str, Work]:
        """Write those dead letters that cannot be in a transaction with their work; the works without them."""
        left = dict(works)
        letters: list[Output] = []
        for one in works.values():
            told = [output for output in one.outputs if output.stream == self._letters]
            if told and len(self._lines.parts([one.stream, self._letters])) > 1:
                letters += told
                others = [output for output in one.outputs if output.stream != self._letters]
                left[one.stream] = one._replace(outputs=others)
        if letters:
            async with self._lines.to(self._letters) as line:
                for reply in await line.ask([self._xadd(Placed(each, "*")) for each in letters]):
                    line.checked(reply, self._letters)
        return left

    async def _commit(self, work: Sequence[Work]) -> set[str]:
        """Commit works that fit into one transaction; the streams that were refused."""
        refused = {one.stream for one in work if one.stream not in self._owned}
        async with self._lines.to(state_key(self._group, work[0].stream)) as line:
            for _ in range(_TRIES):
                work = [one for one in work if one.stream not in refused]
                if not work:
                    return self._fenced(refused)
                seen = await self._look(line, work)
                refused |= self._lost(seen)
                if not refused.isdisjoint(seen.tokens):
                    await line.ask([("UNWATCH",)])
                elif await self._write(line, work, await self._place(line, work, seen)):
                    return self._fenced(refused)
        raise self._contended([one.stream for one in work])

    async def _look(self, line: Line, work: Sequence[Work]) -> Look:
        states = {one.stream: state_key(self._group, one.stream) for one in work}
        outputs = dict.fromkeys(output.stream for one in work for output in one.outputs)
        hashes = dict.fromkeys(each.key for one in work for each in one.hashes)
        if clash := hashes.keys() & {*states.values(), *outputs}:
            raise BadOutput(f"{min(clash)} is to be a hash, and is a state or an output stream of the same work")
        return await look(line, states, outputs, hashes)

    def _lost(self, seen: Look) -> set[str]:
        """The streams that carry another's token; one without any lost its state with the bus, and is ours still."""
        tokens = seen.tokens.items()
        return {stream for stream, token in tokens if token is not None and token != self._owned[stream].token}

    async def _place(self, line: Line, work: Sequence[Work], seen: Look) -> dict[str, Placing]:
        """Where the outputs go, by stream."""
        wanted: dict[str, list[Wanted]] = {}
        for one in work:
            for output in one.outputs:
                ms, number = seen.tops[output.stream]
                entry_id = id_of(output, one.upto)
                floor = (ms, number + 1) if entry_id <= self._owned[one.stream].reached else (0, 0)
                wanted.setdefault(output.stream, []).append(Wanted(entry_id, output, floor))
        below = [(key, one.entry_id) for key in wanted for one in wanted[key] if one.entry_id <= seen.tops[key]]
        there = await standing(line, below)
        return {key: place(wanted[key], seen.tops[key], there.get(key, {})) for key in wanted}

    def _reached(self, one: Work) -> Id:
        """Up to where the stream's work is done at least once when this is."""
        return max(self._owned[one.stream].reached, parse_id(one.upto))

    async def _write(self, line: Line, work: Sequence[Work], placing: Mapping[str, Placing]) -> bool:
        """The transaction; False where EXEC found that something had changed, and did nothing."""
        adds = [self._xadd(placed) for found in placing.values() for placed in found.written]
        hashes = merged(each for one in work for each in one.hashes)
        at = datetime.fromtimestamp(self._clock.now_ns() // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        saves = [command for one in work for command in self._save(one, at)]
        commands = [*adds, *saves, *writes(hashes.values())]
        replies = await line.execute(commands)
        if replies is None:
            return False
        for command, reply in zip(commands, replies, strict=True):
            self._see_done(command, reply, hashes)
        self._count(placing)
        for one in work:
            self._owned[one.stream] = _Owned(self._owned[one.stream].token, self._reached(one))
        return True

    def _xadd(self, placed: Placed) -> Command:
        output, entry_id = placed
        maxlen = LETTERS_KEPT if output.stream == self._letters else self._maxlen
        trim = ("MAXLEN", "~", maxlen) if maxlen else ()
        return ("XADD", output.stream, *trim, entry_id, *(word for pair in output.fields.items() for word in pair))

    def _save(self, one: Work, at: str) -> Iterable[Command]:
        token, reached = self._owned[one.stream].token, "{}-{}".format(*self._reached(one))
        facts = ("token", token, "upto", one.upto, "version", self._version, "config", self._config, "at", at)
        yield ("HSET", state_key(self._group, one.stream), *facts, "state", packed(one.state), "done", reached)
        for start in range(0, len(one.ids), _MOST_IDS):
            yield ("XACK", one.stream, self._group, *one.ids[start : start + _MOST_IDS])

    def _see_done(self, command: Command, reply: Any, hashes: Mapping[str, Hash]) -> None:
        """Raise for a command that failed while the others were done: see above why it should not.

        Not for a latest value: another comes with the next commit, and that is refused before it is done.
        """
        if isinstance(reply, hiredis.ReplyError):
            name, key = str(command[0]), str(command[1])
            _log.error("effects.torn", command=name, key=key, group=self._group, why=str(reply))
            if not (isinstance(hashes.get(key), Latest) and is_of_another_type(reply)):
                raise self._torn(name, key, reply)

    def _torn(self, name: str, key: str, reply: hiredis.ReplyError) -> BusRefused:
        hint = "the entries are acknowledged without it; give the right back and write it by hand"
        return BusRefused(f"{self._bus.url} refused {name} {key} amid a transaction: {reply}", hint=hint)

    # What is counted and told.

    def _check(self, work: Sequence[Work]) -> None:
        """Raise for what Redis could not take, or only while it executes."""
        for one in work:
            for output in one.outputs:
                id_of(output, one.upto)
                if output.stream != self._letters:
                    self._check_slot(one.stream, output.stream)
            for each in one.hashes:
                check_hash(each)
                self._check_slot(one.stream, each.key)
            check_plain(one.state)

    def _check_slot(self, stream: str, key: str) -> None:
        if len(self._lines.parts([stream, key])) > 1:
            raise self._apart(stream, key)

    def _apart(self, stream: str, output: str) -> BusRefused:
        hint = "give both names one tag in braces, as in trades:{BTCUSDT} and signals:{BTCUSDT}"
        return BusRefused(f"{self._bus.url} cannot write {output} together with {stream}: another slot", hint=hint)

    def _fenced(self, refused: set[str]) -> set[str]:
        if refused:
            self.stats.fenced += len(refused)
            _log.warning("effects.fenced", group=self._group, streams=sorted(refused))
        return refused

    def _count(self, placing: Mapping[str, Placing]) -> None:
        self.stats.transactions += 1
        for stream, found in placing.items():
            self.stats.written += len(found.written)
            self.stats.duplicates += found.duplicates
            self.stats.moved += found.moved
            self.stats.late += found.late
            if (found.moved or found.late) and stream not in self._told:
                self._told.add(stream)
                _log.warning("effects.displaced", stream=stream, moved=found.moved, late=found.late)

    def _contended(self, keys: Sequence[str]) -> BusUnavailable:
        hint = "give this consumer output streams of its own"
        return BusUnavailable(f"others write all the time what {', '.join(keys[:3])} needs to stand still", hint=hint)
