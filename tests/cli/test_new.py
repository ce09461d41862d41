"""`cryptostream new strategy` writes one that works, whose test passes, and never over what is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cryptostream.cli import new  # noqa: F401 - it registers itself
from cryptostream.cli.main import app
from cryptostream.strategies.loading import find, make, params


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["new", "strategy", *words])


def test_what_is_written_works_and_passes_its_own_test_under_plain_pytest(tmp_path: Path) -> None:
    done = run("my_breakout", "--dir", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert [Path(row["file"]).name for row in json.loads(done.stdout)] == ["my_breakout.py", "test_my_breakout.py"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--doctest-modules", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    assert "11 passed" in ran.stdout


def test_it_can_be_loaded_by_its_file_and_shows_its_parameters(tmp_path: Path) -> None:
    run("my_breakout", "--dir", str(tmp_path))
    kind = find("my_breakout.py", paths=[tmp_path])
    assert kind.__name__ == "MyBreakout"
    assert [str(each) for each in params(kind)] == ["period=20", "margin=0.001"]
    assert make(kind, {"period": "5"}).warm_up == 5


def test_what_is_written_is_in_the_style_of_the_house(tmp_path: Path) -> None:
    run("my_breakout", "--dir", str(tmp_path))
    config = ["--config", str(Path(__file__).parents[2] / "pyproject.toml"), "--no-cache"]
    for words in (["check", "--ignore", "S101,D103,S311", *config], ["format", "--check", *config]):
        ran = subprocess.run([sys.executable, "-m", "ruff", *words, "."], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout


def test_it_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("mine")
    assert done.exit_code == 0
    assert "pytest test_mine.py" in done.stderr
    assert "cryptostream backtest-stream trades:BTCUSDT --strategy ./mine.py" in done.stderr
    assert f"plugins: {{paths: [{tmp_path}]}}" in done.stderr
    assert "strategies: [mine.py]" in done.stderr


def test_it_makes_the_folder(tmp_path: Path) -> None:
    assert run("mine", "--dir", str(tmp_path / "a" / "b")).exit_code == 0
    assert (tmp_path / "a" / "b" / "test_mine.py").exists()


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    done = run("mine", "--dir", str(tmp_path))
    assert done.exit_code == 2
    assert "is there already" in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "precious")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-breakout", "cannot name a Python file"),
        ("2fast", "cannot name a Python file"),
        ("a/b", "cannot name a Python file"),
        ("../up", "cannot name a Python file"),
        ("", "cannot name a Python file"),
        ("class", "cannot name a Python file"),
        ("grün", "cannot name a Python file"),
        ("_private", "cannot name a Python file"),
        ("mine.py", "cannot name a Python file"),
        ("test_mine", "would be taken for a test"),
        ("random", "is the name of a module that is installed"),
        ("cryptostream", "is the name of a module that is installed"),
        ("bar", "would be a class Bar"),
    ],
)
def test_names_that_would_not_work_are_refused(tmp_path: Path, name: str, words: str) -> None:
    done = run(name, "--dir", str(tmp_path))
    assert done.exit_code == 2
    assert words in done.stderr
    assert not list(tmp_path.iterdir())
