"""A recorder that is killed again and again, at any byte it writes: `python -m tests.tape.killed FOLDER KILLS SEED`.

Each life is a process of its own: it takes what is not acknowledged, as a group would redeliver it, records it, and
acknowledges what is safe. A life ends by SIGKILL in the middle of a write, before an fsync or a rename, or after one.
The last is left alone. Prints how many ended how.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cryptostream.model.events import Entry
from cryptostream.tape.record import Parquet
from tests.tape.recording import trades

COUNT = 3000
PAIRS = ("BTCUSDT", "ETHUSDT")


def truth() -> list[Entry]:
    """What has to be recorded, in the order it is delivered."""
    ordered = [trades(COUNT, pair) for pair in PAIRS]
    return [entry for both in zip(*ordered, strict=True) for entry in both]


def main(folder: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    for _ in range(kills):
        ends[_live(folder, random.Random(chance.random()), kill=True)] += 1
    ends[_live(folder, chance, kill=False)] += 1
    print(dict(ends))


def _live(folder: Path, chance: random.Random, *, kill: bool) -> str:
    pid = os.fork()
    if pid == 0:
        if kill:
            _doom(chance)
        asyncio.run(_record(folder, chance, everything=not kill))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return "killed" if os.WIFSIGNALED(status) else f"exit {os.waitstatus_to_exitcode(status)}"


async def _record(folder: Path, chance: random.Random, *, everything: bool) -> None:
    acked = _acked(folder)
    left = [entry for entry in truth() if (entry.stream, entry.entry_id) not in acked]
    wanted = left if everything else left[: chance.randint(1, 400)]
    async with Parquet(str(folder / "data"), compact="0s") as sink:
        for start in range(0, len(wanted), 100):
            page = wanted[start : start + 100]
            await sink.write(page)
            await sink.flush()
            assert not sink.held()
            _ack(folder, page)


def _acked(folder: Path) -> set[tuple[str, str]]:
    with (folder / "acked").open() as file:
        return {(stream, entry_id) for stream, entry_id in (line.split() for line in file)}


def _ack(folder: Path, entries: list[Entry]) -> None:
    with (folder / "acked").open("a") as file:
        file.writelines(f"{entry.stream} {entry.entry_id}\n" for entry in entries)


def _doom(chance: random.Random) -> None:
    """Die after some bytes, or at some call."""
    fate = {"bytes": chance.randint(0, 20_000), "calls": chance.randint(1, 40)}
    real: dict[str, Any] = {name: getattr(os, name) for name in ("write", "fsync", "rename", "mkdir")}

    def write(descriptor: int, data: Any) -> int:
        if len(data) > fate["bytes"]:
            real["write"](descriptor, data[: fate["bytes"]])
            os.kill(os.getpid(), signal.SIGKILL)
        fate["bytes"] -= len(data)
        return int(real["write"](descriptor, data))

    def counted(name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            fate["calls"] -= 1
            if fate["calls"] == 0 and chance.random() < 0.5:
                os.kill(os.getpid(), signal.SIGKILL)
            done = real[name](*arguments, **named)
            if fate["calls"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return call

    os.write = write  # type: ignore[assignment]
    for name in ("fsync", "rename", "mkdir"):
        setattr(os, name, counted(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
