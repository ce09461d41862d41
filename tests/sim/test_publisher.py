import json

import pytest

from cryptostream.sim.faults import Faults
from cryptostream.sim.protocol import Address, Conversation
from cryptostream.sim.publisher import Listener, Publisher


class Count:
    """A stream of numbers, one at each of the given times."""

    pair = "BTCUSDT"

    def __init__(self, *times):
        self._times = list(times)
        self.due_us = self._times[0]

    def take(self, until_us):
        due = [Number(time) for time in self._times if time <= until_us]
        self._times = [time for time in self._times if time > until_us]
        self.due_us = self._times[0] if self._times else 10**18
        return due


class Number:
    def __init__(self, number):
        self.number = number
        self.worded = 0

    def payload(self, unit_us):
        self.worded += 1
        return json.dumps({"e": "number", "n": self.number, "unit": unit_us}).encode()


@pytest.fixture
def faults():
    return Faults(1, lambda: 0.0)


def published(faults, **streams):
    return Publisher(streams.get, faults)


def listener(*, combined=False, unit_us=1_000):
    return Listener(Conversation(Address((), combined, unit_us)))


def heard(one):
    """The numbers that wait in an outbox, which is emptied."""
    events = [json.loads(frame[2:]) for frame in one.outbox]
    one.outbox.clear()
    return [event.get("data", event)["n"] for event in events]


def test_events_of_all_streams_leave_in_order_of_time(faults):
    publisher, one = published(faults, a=Count(1, 4, 5), b=Count(2, 3, 6)), listener()
    publisher.listen(one, ["a", "b", "nope"])
    publisher.tick(5)
    assert heard(one) == [1, 2, 3, 4, 5]
    publisher.tick(6)
    assert heard(one) == [6]
    assert publisher.streams == 2


def test_everybody_hears_an_event_in_the_form_they_asked_for(faults):
    publisher = published(faults, a=Count(1))
    raw, wrapped, fine = listener(), listener(combined=True), listener(unit_us=1)
    for one in (raw, wrapped, fine):
        publisher.listen(one, ["a"])
    publisher.tick(1)
    assert json.loads(raw.outbox[0][2:]) == {"e": "number", "n": 1, "unit": 1_000}
    assert json.loads(wrapped.outbox[0][2:]) == {"stream": "a", "data": {"e": "number", "n": 1, "unit": 1_000}}
    assert json.loads(fine.outbox[0][2:])["unit"] == 1


def test_listeners_of_one_form_share_one_frame(faults):
    publisher, one, two = published(faults, a=Count(1)), listener(), listener()
    publisher.listen(one, ["a"])
    publisher.listen(two, ["a"])
    publisher.tick(1)
    assert one.outbox[0] is two.outbox[0]


def test_a_stream_ends_with_its_last_listener(faults):
    publisher, one = published(faults, a=Count(1, 2)), listener()
    publisher.listen(one, ["a"])
    publisher.leave(one, ["a", "nope"])
    publisher.tick(2)
    assert publisher.streams == 0 and heard(one) == []


def test_a_swapped_event_follows_the_next_one_even_when_the_fault_is_over(faults):
    publisher, one = published(faults, a=Count(1, 2, 3)), listener()
    publisher.listen(one, ["a"])
    faults.inject("swap")
    publisher.tick(1)
    assert heard(one) == []
    faults.strike()
    publisher.tick(3)
    assert heard(one) == [2, 1, 3]
