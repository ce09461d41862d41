"""A backtest in the data folder, where the dashboard finds it: its figures and curves, and its page."""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cryptostream.backtest.report import kept
from cryptostream.cli import results
from cryptostream.cli.backtesting import Made
from cryptostream.cli.told import drafted, write_page
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.model.codec import iso


@dataclass(frozen=True)
class Place:
    """Two files of one name."""

    page: Path
    facts: Path

    @classmethod
    def of(cls, data_dir: Path, name: str) -> "Place":
        """Where a name is kept; its folder is made. Raises UsageError for what is no name, CryptostreamError."""
        if not kept.is_name(name):
            hint = "letters and digits without accents, and ._-, at most 80; no .html or .json at its end"
            raise UsageError(f"--keep {name[:80]!a} is no name for a report", hint=hint)
        folder = data_dir / kept.FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CryptostreamError(f"{folder} cannot be made: {error.strerror}") from error
        return cls(folder / f"{name}.html", folder / f"{name}.json")


def keep(made: Made, place: Place) -> None:
    """Write both; the page only where the extra `report` is installed. Raises CryptostreamError."""
    if find_spec("plotly") is not None:
        write_page(made, place.page)
    walk = [made.walk] if made.walk is not None else []
    told = results.answer(made.result, sweep=made.sweep, walk=walk)
    stamp = f"{iso(SystemClock().now_ns() // 1_000)[:23]}Z"
    with drafted(place.facts) as file:
        file.write(json.dumps({"made": stamp, **told, "curves": kept.curves(made.result)}).encode())
