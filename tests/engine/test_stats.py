"""Counters of several feeds and sinks, as one."""

from cryptostream.engine.stats import FeedStats, Histogram, PublisherStats, merged


def observed(*values: float) -> Histogram:
    made = Histogram((1.0, 2.0))
    for value in values:
        made.observe(value)
    return made


def test_counters_add_up_and_the_worst_lag_is_shown() -> None:
    one = FeedStats(total_messages=5, lag_ms=3.0, reconnects_by={"closed": 1})
    other = FeedStats(total_messages=7, lag_ms=9.0, reconnects_by={"closed": 2, "silent": 1})
    whole = merged([FeedStats(), one, other])
    assert (whole.total_messages, whole.lag_ms, whole.reconnects_by) == (12, 9.0, {"closed": 3, "silent": 1})


def test_the_first_trouble_is_told() -> None:
    parts = [PublisherStats(), PublisherStats(trouble="no answer", published=1), PublisherStats(published=2)]
    assert (merged(parts).trouble, merged(parts).published) == ("no answer", 3)


def test_histograms_add_up_bound_by_bound_and_the_parts_stay_as_they_are() -> None:
    parts = [
        FeedStats(exchange_to_socket=observed(0.5, 7.0)),
        FeedStats(exchange_to_socket=observed(1.5, 0.1)),
    ]
    whole = merged(parts).exchange_to_socket
    assert (whole.counts, whole.total, whole.sum) == ([2, 1, 1], 4, 9.1)
    assert parts[0].exchange_to_socket.counts == [1, 0, 1]


def test_a_value_on_a_bound_belongs_to_it() -> None:
    assert observed(1.0, 2.0).counts == [1, 1, 0]
