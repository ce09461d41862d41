"""The page on consuming says what is so: each of its examples runs, and the programs in examples/ do."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cryptostream import Consumer
from tests.client.conftest import Market

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "consuming.md").read_text(), re.DOTALL)


@pytest.fixture
def bus_url(real_redis_url: str) -> str:
    """A real server alone: some examples count what is trimmed."""
    return real_redis_url


async def test_every_example_on_the_page_runs(
    market: Market, bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4, 5)
    await market.gap("BTCUSDT", 6, 9)
    monkeypatch.setitem(Consumer.__init__.__kwdefaults__, "until_idle_s", 0.1)
    monkeypatch.setitem(Consumer.__init__.__kwdefaults__, "data_dir", tmp_path)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        text = block.replace("redis://localhost", bus_url).replace("until_idle_s=5", "until_idle_s=0.1")
        code = compile(text, "docs/consuming.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
    printed = capsys.readouterr().out
    assert "BTCUSDT 1.0 1.0 buy" in printed
    assert "missing BTCUSDT 6 9 drop" in printed
    assert "told of 6 9" in printed
    assert [fields["price"] for _, fields in await market.entries("signals:momentum:BTCUSDT")] == ["4.0"]


@pytest.mark.parametrize("name", ["momentum.py"])
async def test_an_example_program_ends_on_sigterm_and_has_done_its_work(
    name: str, market: Market, bus_url: str, tmp_path: Path
) -> None:
    await market.trades("BTCUSDT", 1, 2, 3, 4)
    command = [sys.executable, str(ROOT / "examples" / name), bus_url]
    program = subprocess.Popen(command, env={"CRYPTOSTREAM_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)})
    try:
        while not await market.entries("signals:momentum:BTCUSDT"):
            assert program.poll() is None
        program.terminate()
        assert program.wait(10) == 0
    finally:
        program.kill()
        program.wait()
