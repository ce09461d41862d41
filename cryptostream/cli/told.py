"""What a backtest leaves: figures on stdout, and a page and a file of its round trips where they are wanted."""

import os
from pathlib import Path

from cryptostream.cli import render, results
from cryptostream.cli.backtesting import Made
from cryptostream.cli.render import Output


def tell(made: Made, output: Output, *, report: Path | None, trades: Path | None) -> None:
    """Print it, and write what is wanted. Raises OSError."""
    kind = render.chosen(output)
    walk = [made.walk] if made.walk is not None else []
    if report is not None:
        _write_page(made, report)
    if trades is not None:
        from cryptostream.tape import trips

        count = trips.write(trades, [book for pair in made.result.pairs for book in pair.books.values()])
        render.note(f"{trades}: {count:,} round trips")
    if kind is Output.TABLE:
        render.out().print(results.tables(made.result, sweep=made.sweep, walk=walk))
    elif kind is Output.CSV:
        render.rows(_rows(made), Output.CSV)
    else:
        render.answer(results.answer(made.result, sweep=made.sweep, walk=walk))


def _rows(made: Made) -> list[dict[str, object]]:
    if made.walk is not None:
        return results.walk_rows(made.walk)
    if made.sweep is not None:
        return results.sweep_rows(made.sweep)
    told = results.answer(made.result)["strategies"]
    return [{"strategy": name, **figures} for name, figures in told.items()]


def _write_page(made: Made, path: Path) -> None:
    from cryptostream.backtest.report import page

    text = page(made.result, sweep=made.sweep, walk=[made.walk] if made.walk is not None else ())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    render.note(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in a browser")
