"""The documentation names every setting as the schema does, and the examples are true."""

from pathlib import Path

import pytest
import yaml

from cryptostream.config import load
from cryptostream.config.settings import leaves
from tests.config import reference

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_tables_of_the_documentation_are_those_of_the_schema() -> None:
    lines = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    wanted = [*reference.rows(), *reference.plain_rows()]
    tables = [line for line in lines if line.startswith("| `")]
    assert tables == wanted, "run: python tests/config/reference.py"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_and_loads_again_as_it_is_shown(path: Path, tmp_path: Path) -> None:
    first = load([path])
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(first.plain(reveal=True)))
    assert first.config.feeds or first.config.consumers
    assert load([again]).config == first.config


def test_the_full_example_has_every_setting_at_its_default() -> None:
    full = load([ROOT / "configs" / "full.yaml"])
    missing = [path for path, _ in leaves() if full.origin(path) == "default"]
    defaults, shown = load().plain(), full.plain()
    assert missing == []
    for section in ("bus", "feed", "discovery", "ingest", "consume"):
        assert shown[section] == defaults[section]
    assert set(shown["feeds"][0]["binance"]) == {"symbols", "channels", "discover", "key"}


def test_the_full_example_says_what_each_setting_does() -> None:
    lines = (ROOT / "configs" / "full.yaml").read_text().splitlines()
    names = {path.rpartition(".")[2] for path, _ in reference.settings()}
    uncommented = {name for name in names if not any(f"{name}:" in line for line in lines)}
    assert uncommented == set()
