"""A consumer that is made to be killed: writes entries in batches and notes how many are acknowledged, as Redis would.

`python writer.py KIND TARGET ACKED SEED`: goes on behind what the file ACKED says, and tells of each write on stdout.
"""

import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cryptostream.model.events import Entry
from cryptostream.sql.postgres import Postgres
from cryptostream.sql.sqlite import Sqlite
from tests.sql.market import gap, kline, signal, trade

ENTRIES: Sequence[Entry] = [make(number) for number in range(700) for make in (trade, kline, signal)] + [gap(9, 11)]


async def main(kind: str, target: str, acked: Path, seed: str) -> None:
    """Write what is not acknowledged yet, in batches of any size."""
    chance = random.Random(seed)
    done = int(acked.read_text()) if acked.exists() else 0
    async with Sqlite(target) if kind == "sqlite" else Postgres(url_env=target) as sink:
        while done < len(ENTRIES):
            batch = ENTRIES[done : done + chance.randint(1, 20)]
            print("writing", flush=True)
            await sink.write(batch)
            print("written", flush=True)
            done += len(batch)
            acked.with_suffix(".new").write_text(str(done))
            acked.with_suffix(".new").rename(acked)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
