"""The list of trades: the first and the last of them where they are many."""

from cryptostream.backtest.report.markup import Cell, escaped, table
from cryptostream.backtest.report.words import UNKNOWN, length, money, price, share, when
from cryptostream.backtest.result import Book, Trip

_HEADS = (
    "",
    "side",
    "opened",
    "closed",
    "held",
    "qty",
    "entry",
    "exit",
    "profit",
    "of entry",
    "fees",
    "why in",
    "why out",
)


def listed(book: Book, most: int) -> str:
    """A table of the round trips of one strategy on one pair; at most so many at either end."""
    count = len(book.trips)
    if not count:
        return f"<h3>{escaped(book.strategy)}: no trades</h3>"
    shown = range(count) if count <= 2 * most else (*range(most), *range(count - most, count))
    rows = [_row(place + 1, book.trips[place], int(book.ts[-1])) for place in shown]
    left = count - len(rows)
    said = f"The first {most:,} and the last {most:,} of {count:,}." if left else ""
    return (
        f"<details{_open(count)}><summary><h3>{escaped(book.strategy)}: {count:,} trades</h3></summary>"
        f'<p class="said">{said} Times are UTC.</p>'
        f"{table(_HEADS, rows, name=f'Trades of {book.strategy} on {book.pair}', sortable=True)}</details>"
    )


def _open(count: int) -> str:
    return " open" if count <= 50 else ""


def _row(place: int, trip: Trip, end: int) -> list[Cell | str]:
    held_s = ((end if trip.closed is None else trip.closed) - trip.opened) / 1e6
    cost = trip.qty * trip.entry_price
    gained = trip.pnl / cost if cost else None
    return [
        str(place),
        "▲ long" if trip.side == "long" else "▼ short",
        when(trip.opened),
        "still open" if trip.closed is None else when(trip.closed),
        Cell(length(held_s), held_s),
        *(Cell(price(value), value) for value in (trip.qty, trip.entry_price, trip.exit_price)),
        Cell(money(trip.pnl), trip.pnl),
        Cell(UNKNOWN if gained is None else share(gained), gained),
        Cell(money(trip.fees), trip.fees),
        trip.reason_in,
        trip.reason_out,
    ]
