"""The tape that ships with the repository: the same entries, to the byte, at every speed and batch size."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Run

FIXTURES = str(Path(__file__).parents[2] / "fixtures")
DIGEST = "f086f1c77831b88d7eb487d3aded2169e21189c09e896e29413949dfaa353213"


@pytest.mark.parametrize(
    "how", [["--batch", "1"], ["--batch", "7"], ["--batch", "500"], ["--speed", "25x"]], ids=" ".join
)
def test_the_digest_is_the_same_however_it_is_played(run: Run, how: list[str]) -> None:
    done = run("replay", FIXTURES, "--to", "stdout", *how)
    summary = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, summary["sha256"], summary["entries"]) == (0, DIGEST, 672)
    assert len(done.stdout.splitlines()) == 672


@pytest.mark.usefixtures("held_bus")
def test_playing_it_twice_adds_nothing(run: Run) -> None:
    first, second = (json.loads(run("replay", FIXTURES).stdout) for _ in range(2))
    assert (first["published"], first["already_there"]) == (672, 0)
    assert (second["published"], second["already_there"]) == (0, 672)
    assert first["sha256"] == second["sha256"] == DIGEST
