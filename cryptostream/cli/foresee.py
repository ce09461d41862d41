"""`backtest-stream --check-lookahead`: that no signal knows the future, and what warm-up the indicators need."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any

from cryptostream.backtest import lookahead
from cryptostream.backtest.lookahead import Feed, Shown, WarmUp
from cryptostream.cli import render
from cryptostream.cli.backtesting import Series, Wanted
from cryptostream.cli.render import Output
from cryptostream.errors import DataQuality, UsageError
from cryptostream.wiring.backtests import cut
from cryptostream.wiring.roster import Roster

_MOST = 2_000_000


def run(series: Sequence[Series], roster: Roster, wanted: Wanted, output: Output) -> int:
    """Look at every pair; 0 where nothing changed, 6 where something did. Raises UsageError for too many trades."""
    found: list[dict[str, Any]] = []
    foresight = []
    with redirect_stdout(sys.stderr):  # what strategies print is no data
        for one in series:
            feed = Feed(cut(one, wanted.start, wanted.end), roster.bars, wants_trades=roster.wants_trades)
            _check(feed, one)
            make = partial(roster.desk, one.pair)
            shown = lookahead.prefixes(make, feed)
            if not shown.items:
                raise DataQuality(f"{one.stream} has nothing to look at", hint="a longer stretch, or shorter --bars")
            foresight += [(one.pair, shown.foresight)] if shown.foresight else []
            needs = lookahead.warm_ups(make, feed, shown.items, roster.warm_ups)
            found += _rows(one.pair, shown, roster, needs)
    render.rows(found, output)
    for pair, what in foresight:
        render.error(f"{pair}: {what}", "the strategy, or what it reads, knows what was not there yet")
    return DataQuality.exit_code if foresight else 0


def _check(feed: Feed, series: Series) -> None:
    if feed.has_trades and feed.wants_trades and feed.rows > _MOST:
        raise UsageError(f"more than {_MOST:,} trades of {series.pair}", hint="look at a stretch: --since, --until")


def _rows(pair: str, shown: Shown, roster: Roster, needs: Sequence[WarmUp]) -> Iterator[dict[str, Any]]:
    """A row for each indicator, and one for a strategy that has none."""
    for label, declared in roster.warm_ups.items():
        none = WarmUp(label, "", declared, None, dict.fromkeys(lookahead.TOLERANCES))
        for need in [need for need in needs if need.strategy == label] or [none]:
            yield _row(pair, shown, need)


def _row(pair: str, shown: Shown, need: WarmUp) -> dict[str, Any]:
    return {
        "pair": pair,
        "strategy": need.strategy,
        "prefixes": len(shown.cuts),
        "signals": shown.signals,
        "foresight": shown.foresight is not None,
        "indicator": need.name,
        "warm_up": need.declared,
        "first_value": need.first,
        **{f"settled_{tolerance:g}": count for tolerance, count in need.settled.items()},
    }
