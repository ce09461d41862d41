"""The one line around every page that says whether all is well."""

from cryptostream.web.dashboard.frame import said, word
from tests.web.probes import FakeProbes


def test_what_is_wrong_with_the_data_is_told_where_health_is_fine() -> None:
    health = FakeProbes().health()
    wrong = ["5 gaps are open: binance trades:BTCUSDT", "1 pair is silent: binance trades:ETHUSDT"]
    assert said(health, []) == ("", "", "")
    assert said(health, wrong) == ("Wrong now:", wrong[0], "and 1 more")
    assert (word(health, []), word(health, wrong)) == ("live, 3 pairs", "degraded, 3 pairs")


def test_a_bus_that_is_away_is_told_once() -> None:
    probes = FakeProbes()
    probes.reasons = ["the bus is away: no answer from redis"]
    what, why, more = said(probes.health(), probes.pipeline().wrong)
    assert f"{what} {why}" == "Redis is away: no answer from redis. What is shown is the last that was seen."
    assert (more, word(probes.health(), [])) == ("Pipeline", "Redis is away")
