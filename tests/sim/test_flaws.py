import json

import pytest

from cryptostream.sim import flaws
from cryptostream.sim.faults import GARBAGE

TRADE = b'{"e":"trade","E":2,"s":"BTCUSDT","t":7,"p":"1.00000000","q":"2.00000000","T":1,"m":true,"M":true}'
KLINE = b'{"e":"kline","E":2,"s":"BTCUSDT","k":{"t":1,"o":"1.0"}}'


def test_a_field_can_go_missing_at_the_top_and_in_a_candle():
    assert "p" not in json.loads(flaws.without(TRADE, "p"))
    assert json.loads(flaws.without(KLINE, "o"))["k"] == {"t": 1}


def test_a_field_can_change_its_type():
    assert json.loads(flaws.retyped(TRADE, "p"))["p"] == ["1.00000000"]
    assert json.loads(flaws.retyped(TRADE, "t"))["t"] == "7"


def test_new_fields_leave_the_old_ones_alone():
    assert json.loads(TRADE).items() <= json.loads(flaws.extended(TRADE)).items()


def test_an_unknown_event_is_well_formed():
    assert json.loads(flaws.unknown(TRADE))["e"] == "tradeV9"


def test_a_giant_frame_is_well_formed_and_as_large_as_asked():
    frame = flaws.giant(10_000)
    assert abs(len(frame) - 10_000) < 10
    assert json.loads(frame)["e"] == "trade"


@pytest.mark.parametrize("how", [how for how in GARBAGE if how not in ("any", "deep")])
def test_garbage_is_not_json(how):
    with pytest.raises(ValueError):  # a decoding error of either kind
        json.loads(flaws.garbage(TRADE, how, pick=lambda _: 0))


def test_any_garbage_is_picked_by_lot():
    assert flaws.garbage(TRADE, "any", pick=lambda count: count - 1) == flaws.garbage(TRADE, "deep", pick=lambda _: 0)
