"""kill -9 at any moment, what was not acknowledged delivered again: every entry is one row, whole."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from cryptostream.sql.rows import rows
from tests.sql import writer
from tests.sql.conftest import Database

KILLS = 10


def start(database: Database, acked: Path, seed: str) -> subprocess.Popen[str]:
    target = database.target if database.kind == "sqlite" else "DATABASE_URL"
    command = [sys.executable, writer.__file__, database.kind, target, str(acked), seed]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str], chance: random.Random) -> str:
    """End a writer a moment after it has told a few things; what it told last."""
    assert process.stdout is not None
    with process, process.stdout as told:
        seen = [told.readline() for _ in range(chance.randint(1, 20))]
        try:
            process.wait(chance.uniform(0, 0.01))
        except subprocess.TimeoutExpired:
            process.kill()
        return [*seen, *told][-1].strip()


@pytest.mark.row(24)
def test_a_consumer_that_is_killed_again_and_again_leaves_each_entry_once(database: Database, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acked = tmp_path / "acked"
    last = [killed(start(database, acked, f"{seed}-{number}"), chance) for number in range(KILLS)]
    between = acked.read_text()
    with start(database, acked, "to the end") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0

    for name, expected in rows(writer.ENTRIES).items():
        assert database.ask(f"SELECT count(*) FROM {name}") == [(len(expected),)], f"seed {seed}"
        found = {entry_id for (entry_id,) in database.ask(f"SELECT entry_id FROM {name}")}
        assert found == {made[2] for made in expected}, f"seed {seed}"
    assert int(between) < len(writer.ENTRIES), "every kill came before the end"
    assert "writing" in last, f"seed {seed}: some kills came in the middle of a write"
