"""The ledger as a person reads it: what `cryptostream tail events:binance` shows."""

import pytest

from cryptostream.cli import entries
from cryptostream.model import codec
from cryptostream.model.events import LEDGER_EVENTS, Entry, Ledger, LedgerRecord, Micros

START = Micros(1_731_605_400_123_000)  # 2024-11-14T17:30:00.123Z


def told(event: str, **facts: object) -> Entry:
    """A line of the ledger as its stream holds it."""
    record = LedgerRecord(Ledger("binance"), event, START, **facts)  # type: ignore[arg-type]
    return Entry("events:binance", "1731605400123-0", codec.fields(record))


def lines(*made: Entry, colour: bool = False) -> list[str]:
    return entries.Table([], colour=colour)(made).splitlines()


def test_each_line_says_what_happened_to_which_ids_and_why() -> None:
    shown = lines(
        told("disconnected", cause="closed 1006", url="wss://stream.example/ws", ingester="here:7"),
        told("gap_opened", pair="BTCUSDT", channel="trades", gap_from=5, gap_to=9, count=5),
        told("gap_filled", pair="BTCUSDT", channel="trades", gap_from=5, gap_to=9, count=5, seconds=0.8125004),
    )
    at = "2024-11-14 17:30:00.123 events:binance"
    assert [" ".join(line.split()) for line in shown] == [
        "time (UTC) stream event pair channel ids count seconds cause",
        f"{at} disconnected closed 1006 wss://stream.example/ws",
        f"{at} gap_opened BTCUSDT trades 5 to 9 5",
        f"{at} gap_filled BTCUSDT trades 5 to 9 5 0.813",
    ]
    assert shown[2].index("BTCUSDT") == shown[3].index("BTCUSDT") == shown[0].index("pair")


@pytest.mark.parametrize("event", LEDGER_EVENTS)
def test_every_event_of_the_ledger_has_this_layout(event: str) -> None:
    assert " event " in lines(told(event))[0]


def test_what_is_lost_stands_out_and_what_is_mended_is_green() -> None:
    colours = {event: lines(told(event), colour=True)[1] for event in ("gap_unfillable", "gap_filled", "gap_opened")}
    assert "\x1b[1;33mgap_unfillable" in colours["gap_unfillable"]
    assert "\x1b[32mgap_filled" in colours["gap_filled"]
    assert "\x1b" not in colours["gap_opened"]


def test_a_cause_cannot_steer_a_terminal() -> None:
    (_, line) = lines(told("disconnected", cause="a\x1b[2Jb", url="ws://\x07x"))
    assert line.endswith("a[2Jb ws://x")
