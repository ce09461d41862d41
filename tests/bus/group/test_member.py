"""Names of members: the machine's, one for each process, free again however a process ends."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cryptostream.bus.group.member import member
from cryptostream.errors import ConfigError

_HOLD = """
import asyncio, sys
from pathlib import Path
from cryptostream.bus.group.member import member
async def hold():
    async with member(Path(sys.argv[1]), "g") as name:
        print(name, flush=True)
        sys.stdin.read()
asyncio.run(hold())
"""


async def test_a_process_is_named_after_its_machine(tmp_path: Path) -> None:
    async with member(tmp_path, "g") as name:
        assert name == socket.gethostname()


async def test_a_second_one_gets_another_name_and_a_third_the_first_that_is_free(tmp_path: Path) -> None:
    async with member(tmp_path, "g", "desk"):
        async with member(tmp_path, "g", "desk") as second, member(tmp_path, "g", "desk") as third:
            assert (second, third) == ("desk-2", "desk-3")
        async with member(tmp_path, "g", "desk") as again:
            assert again == "desk-2"


async def test_groups_have_names_of_their_own(tmp_path: Path) -> None:
    async with member(tmp_path, "one", "desk") as mine, member(tmp_path, "other", "desk") as theirs:
        assert mine == theirs == "desk"


async def test_a_name_is_free_again_once_its_process_was_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        theirs = holder.stdout.readline().strip()
        async with member(tmp_path, "g") as meanwhile:
            assert meanwhile == f"{theirs}-2"
        holder.kill()
        holder.wait(10)
    async with member(tmp_path, "g") as name:
        assert name == theirs


async def test_names_of_groups_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with member(folder, "../../up", ".."):
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
        assert [path.name for path in (folder / "members").iterdir()] == ["%2E%2E%2F%2E%2E%2Fup"]


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "members").write_text("a file")
    with pytest.raises(ConfigError, match="members"):
        async with member(tmp_path, "g"):
            pytest.fail("nothing can be locked there")
