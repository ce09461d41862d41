from pathlib import Path

import pytest
from msgspec.structs import replace

from cryptostream.engine.machine import MachineFacts, findings, look
from cryptostream.model.finding import Level

GOOD = MachineFacts(
    python=(3, 11, 7),
    packages={"picows": "2.3.1", "uvloop": "0.23.0"},
    data_dir=Path("/data"),
    unwritable="",
    free_bytes=10 << 30,
)

CASES = {
    "an old Python": ({"python": (3, 10, 9)}, "python", Level.FAIL, "3.11"),
    "a package is missing": ({"packages": {"picows": None, "uvloop": "1"}}, "extra fast", Level.WARN, "[fast]"),
    "a folder of somebody else's": ({"unwritable": "Permission denied"}, "data folder", Level.FAIL, "--data-dir"),
    "little room": ({"free_bytes": 500 << 20}, "disk", Level.WARN, "/data"),
    "no room": ({"free_bytes": 50 << 20}, "disk", Level.FAIL, "/data"),
}


def test_a_machine_that_is_fit_has_nothing_but_good_findings() -> None:
    assert {finding.level for finding in findings(GOOD)} == {Level.OK}


@pytest.mark.parametrize(("differs", "what", "level", "fix"), CASES.values(), ids=CASES.keys())
def test_each_doubt_is_told_with_what_mends_it(differs: dict[str, object], what: str, level: Level, fix: str) -> None:
    found = {finding.what: finding for finding in findings(replace(GOOD, **differs))}
    assert found[what].level is level
    assert fix in found[what].fix


def test_a_data_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    facts = look(tmp_path / "a" / "b")
    assert facts.unwritable == ""
    assert (tmp_path / "a" / "b").is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    facts = look(tmp_path / "file" / "data")
    assert facts.unwritable
    assert facts.free_bytes > 0
