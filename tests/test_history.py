"""The judge is judged: every way in which a stream can be wrong is found, and counted to the trade."""

from collections.abc import Callable

import pytest

from cryptostream.model.codec import iso
from cryptostream.sim.exchange import LocalExchange
from tests.history import History, Truth, check_history, truth_of

START_MS = 1_731_605_400_000
Stored = list[tuple[str, dict[str, str]]]
TRUTH: dict[int, Truth] = {n: (f"{100 + n}.50", "0.10", START_MS + n, "buy" if n % 2 else "sell") for n in range(1, 11)}


def entry(number: int, ms: int | None = None, **changed: str) -> tuple[str, dict[str, str]]:
    price, qty, traded_ms, side = TRUTH.get(number, ("1", "1", START_MS + number, "buy"))
    fields = {"price": price, "qty": qty, "ts": iso(traded_ms * 1000), "side": side, "trade_id": str(number)}
    return f"{traded_ms if ms is None else ms}-{number}", {**fields, **changed}


def gap(first: int, last: int) -> tuple[str, dict[str, str]]:
    fields = {"kind": "gap", "gap_from": str(first), "gap_to": str(last), "cause": "deadline"}
    return f"{START_MS + first - 1}-{first}", fields


def stream(*numbers: int) -> Stored:
    return [entry(number) for number in numbers]


FLAWS: dict[str, tuple[Stored, Callable[[History], object], object]] = {
    "a trade is lost": (stream(1, 2, 4, 5), lambda found: found.lost, [3]),
    "trades are lost at both ends": (stream(3, 4), lambda found: found.lost, [1, 2, 5]),
    "a gap is recorded": ([*stream(1, 2), gap(3, 4), *stream(5)], lambda found: found.recorded, [3, 4]),
    "a gap tells a lie": ([*stream(1, 2), gap(3, 3), *stream(3, 4, 5)], lambda found: found.false_gaps, [3]),
    "a trade is there twice": (stream(1, 2, 2, 2, 3, 4, 5), lambda found: found.duplicated, [2, 2]),
    "an early copy comes late": (stream(1, 2, 3, 1, 4, 5), lambda found: found.duplicated, [1]),
    "neighbours are swapped": (stream(1, 3, 2, 4, 5), lambda found: found.disordered, [f"{START_MS + 2}-2"]),
    "a trade was never made": (stream(1, 2, 3, 4, 5, 77), lambda found: found.invented, [77]),
    "a digit is gone": (
        [*stream(1, 2, 3, 4), entry(5, price="105.5")],
        lambda found: [text.partition(":")[0] for text in found.differing],
        ["5"],
    ),
    "a side is turned round": ([*stream(1, 2, 3, 4), entry(5, side="sell")], lambda found: len(found.differing), 1),
    "an entry stands at another time": (
        [*stream(1, 2, 3, 4), entry(5, ms=START_MS + 9)],
        lambda found: found.differing,
        [f"entry id {START_MS + 9}-5 instead of {START_MS + 5}-5"],
    ),
}


@pytest.mark.parametrize(("stored", "found", "expected"), FLAWS.values(), ids=FLAWS)
def test_every_flaw_is_found_and_counted(stored: Stored, found: Callable[[History], object], expected: object) -> None:
    history = check_history(TRUTH, stored, first=1, last=5)

    assert found(history) == expected
    with pytest.raises(AssertionError):
        history.assert_clean()


def test_a_whole_stream_is_clean_and_its_own_ends_bound_it() -> None:
    history = check_history(TRUTH, stream(*range(3, 8)))

    history.assert_clean()
    assert (history.first, history.last, history.trades) == (3, 7, 5)


def test_a_recorded_gap_passes_only_where_it_may() -> None:
    history = check_history(TRUTH, [*stream(1, 2), gap(3, 4), *stream(5)], first=1, last=5)

    history.assert_clean(gaps=True)
    assert history.gaps == [(3, 4, "deadline")]


def test_a_trade_whose_time_steps_back_stands_at_the_time_before_it() -> None:
    truth = {**TRUTH, 2: ("102.50", "0.10", START_MS - 5, "sell")}
    late = entry(2, ms=START_MS + 1, ts=iso((START_MS - 5) * 1000))

    check_history(truth, [entry(1), late, entry(3)], first=1, last=3).assert_clean()


def test_an_empty_stream_has_lost_all_that_had_to_be_there() -> None:
    assert check_history(TRUTH, [], first=1, last=4).lost == [1, 2, 3, 4]
    assert check_history(TRUTH, []).clean


async def test_the_truth_is_what_the_local_exchange_traded() -> None:
    async with LocalExchange(seed=1, pairs=["BTCUSDT"], rate=100.0) as exchange:
        ids = exchange.sent("BTCUSDT")
        truth = truth_of(exchange, "BTCUSDT")
        made = next(exchange.trades("BTCUSDT", ids[5], ids[5]))

        assert truth(ids[5]) == (made.price, made.qty, made.time_us // 1000, "sell" if made.buyer_is_maker else "buy")
        with pytest.raises(LookupError):
            truth(ids[0] - 1)
