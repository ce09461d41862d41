"""Trades by columns and as events: nothing is lost on the way, wherever a block is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest import block as blocks
from cryptostream.backtest.block import Block
from cryptostream.errors import DataQuality
from cryptostream.model.events import Gap, Micros, Side, Trade


def trade(number: int, ms: int = 0, side: Side = "buy") -> Trade:
    return Trade(f"{ms}-{number}", "kraken", "BTCUSD", 10.5 + number, 0.25, Micros(ms * 1_000 + 7), side, number)


def gap(number: int, ms: int = 0) -> Gap:
    return Gap(f"{ms}-{number}", "kraken", "BTCUSD", number, number, "unfillable", Micros(ms * 1_000))


@st.composite
def streams(draw: st.DrawFn) -> list[Trade | Gap]:
    """Events with rising ids, at least one of them a trade."""
    kinds = draw(st.lists(st.sampled_from(["buy", "sell", "gap"]), max_size=30))
    kinds.insert(draw(st.integers(0, len(kinds))), "buy")
    ms, events = draw(st.integers(0, 1_700_000_000_000)), list[Trade | Gap]()
    for number, kind in enumerate(kinds, draw(st.sampled_from([0, 1, 3_000_000_000]))):
        ms += draw(st.integers(0, 3))
        events.append(gap(number, ms) if kind == "gap" else trade(number, ms, kind))
    return events


@given(streams())
def test_events_become_a_block_and_events_again(events: list[Trade | Gap]) -> None:
    block = Block.of(events)
    assert list(block.events()) == events
    assert [block.entry_id(row) for row in range(len(block))] == block.entry_ids()


def test_events_are_made_of_python_numbers() -> None:
    (made,) = Block.of([trade(1)]).events()
    assert [type(value) for value in (made.price, made.qty, made.ts, made.trade_id, made.side)] == [  # type: ignore[union-attr]
        float,
        float,
        int,
        int,
        str,
    ]


def test_more_trades_than_are_made_at_once_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_AT_ONCE", 2)
    events = [trade(1), trade(2), gap(3), trade(4), trade(5), trade(6), trade(7), gap(8)]
    assert list(Block.of(events).events()) == events


@given(streams(), st.integers(1, 30))
def test_parts_joined_are_the_whole(events: list[Trade | Gap], size: int) -> None:
    block = Block.of(events)
    parts = [block.part(start, min(start + size, len(block))) for start in range(0, len(block), size)]
    assert [event for part in parts for event in part.events()] == events
    assert list(Block.joined(parts).events()) == events


def test_gap_goes_with_the_trade_after_it() -> None:
    block = Block.of([trade(1), gap(2), trade(3), gap(4)])
    assert list(block.part(0, 1).events()) == [trade(1)]
    assert list(block.part(1, 2).events()) == [gap(2), trade(3), gap(4)]


@given(streams(), st.integers(-2, 20), st.integers(-1, 20))
def test_between_takes_what_xrange_would(events: list[Trade | Gap], after: int, length: int) -> None:
    block = Block.of(events)
    since = int(block.ms[0]) + after
    until = since + length
    found = block.between(since, until)
    wanted = [event for event in events if since <= int(event.entry_id.partition("-")[0]) <= until]
    if not any(type(event) is Trade for event in wanted):
        assert found is None
    else:
        assert found is not None
        assert list(found.events()) == wanted


def test_gap_before_the_first_moment_is_left_out_though_its_trade_is_not() -> None:
    found = Block.of([trade(1, 10), gap(2, 10), trade(3, 11), gap(4, 11), trade(5, 12)]).between(11, 11)
    assert found is not None
    assert list(found.events()) == [trade(3, 11), gap(4, 11)]


def test_a_block_without_trades_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one trade"):
        Block.of([gap(1)])


def test_an_entry_id_that_does_not_end_in_its_trades_id_is_refused() -> None:
    odd = Trade("5-0", "kraken", "BTCUSD", 1.0, 1.0, Micros(5_000), "buy", 77)
    with pytest.raises(DataQuality, match="entry 5-0 of BTCUSD does not end in its trade's id, 77"):
        Block.of([trade(1), odd])
