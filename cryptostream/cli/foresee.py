"""`backtest-stream --check-lookahead`: that no signal knows the future, and what warm-up the indicators need."""

from collections.abc import Iterator, Sequence
from typing import Any

from cryptostream.backtest import lookahead
from cryptostream.backtest.columns import BarColumns
from cryptostream.backtest.lookahead import Item, Shown, WarmUp
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
    for one in series:
        items = list(_items(cut(one, wanted.start, wanted.end), roster))
        if not items:
            raise DataQuality(f"{one.stream} has nothing to look at", hint="a longer stretch, or shorter --bars")

        def make(pair: str = one.pair) -> lookahead.Desk:
            return roster.desk(pair)

        shown = lookahead.prefixes(make, items)
        foresight += [(one.pair, shown.foresight)] if shown.foresight else []
        needs = lookahead.warm_ups(make, items, roster.warm_ups)
        found += [_row(one.pair, shown, need) for need in needs]
    render.rows(found, output)
    for pair, what in foresight:
        render.error(f"{pair}: {what}", "the strategy, or what it reads, knows what was not there yet")
    return DataQuality.exit_code if foresight else 0


def _items(series: Any, roster: Roster) -> Iterator[Item]:
    """What the strategies take in: bars, or every trade where one of them wants these."""
    if not hasattr(series, "blocks"):
        yield from series.bars()
        return
    columns, seen = BarColumns(roster.bars), 0
    for block in series.blocks():
        if not roster.wants_trades:
            yield from columns.add(block).bars()
            continue
        seen += len(block)
        if seen > _MOST:
            raise UsageError(f"more than {_MOST:,} trades of {series.pair}", hint="look at a stretch: --since, --until")
        yield from block.events()


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
