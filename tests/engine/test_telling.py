"""Alerts to one target: tried until it takes them, each once, dropped when it refuses or they are too old."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from cryptostream import logs
from cryptostream.engine.telling import FAILURES, OPEN_S, NotNow, NotTaken, Target, Telling
from cryptostream.errors import BusUnavailable
from cryptostream.model.events import Micros
from cryptostream.testing import ManualClock
from cryptostream.transforms.alerts import Alert


class Listener(Target):
    """Takes alerts, but for what it was told to answer first."""

    def __init__(self, clock: ManualClock, *answers: Exception | None) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.told: list[Alert] = []
        self.asked_s: list[float] = []

    async def tell(self, alert: Alert) -> None:
        self.asked_s.append(self.clock.monotonic())
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        self.told.append(alert)


class Noted:
    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.ids: list[str] = []

    async def has(self, alert: Alert) -> bool:
        return alert.id in self.ids

    async def note(self, alert: Alert) -> None:
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        self.ids.append(alert.id)


def alert(number: int, clock: ManualClock, held_back: int = 0) -> Alert:
    ts = Micros(clock.now_ns() // 1000)
    return Alert("r", "signals:x:BTCUSDT", f"{number}-0", ts, {}, f"r: {number}", held_back)


def telling(target: Listener, noted: Noted | None = None, *, max_age_s: float = 3600.0) -> Telling:
    return Telling("a", target, noted or Noted(), max_age_s=max_age_s, clock=target.clock, random=Random(1))


def texts(target: Listener) -> list[str]:
    return [one.text for one in target.told]


def pauses_of(target: Listener) -> list[float]:
    """Seconds from each try to the next."""
    return [after - before for before, after in pairwise(target.asked_s)]


async def test_alerts_are_told_in_their_order_and_noted(clock: ManualClock) -> None:
    target, noted = Listener(clock), Noted()
    sink = telling(target, noted)
    await sink.write([alert(1, clock), alert(2, clock)])
    assert texts(target) == ["r: 1", "r: 2"]
    assert noted.ids == ["signals:x:BTCUSDT/1-0", "signals:x:BTCUSDT/2-0"]
    assert (sink.trouble, sink.counts.told) == ("", 2)


async def test_what_was_told_before_is_not_told_again(clock: ManualClock) -> None:
    target, noted = Listener(clock), Noted()
    sink = telling(target, noted)
    await sink.write([alert(1, clock)])
    await sink.write([alert(1, clock), alert(2, clock)])
    assert texts(target) == ["r: 1", "r: 2"]
    assert (sink.counts.told, sink.counts.repeated) == (2, 1)


async def test_a_target_that_is_down_is_tried_until_it_is_back_at_growing_pauses(clock: ManualClock) -> None:
    target = Listener(clock, *[NotNow("down")] * 8)
    await telling(target).write([alert(1, clock), alert(2, clock)])
    assert texts(target) == ["r: 1", "r: 2"]
    pauses = pauses_of(target)
    assert all(0.25 <= pause <= 8.0 for pause in pauses[: FAILURES - 1])
    assert pauses[FAILURES - 1 :] == pytest.approx([OPEN_S] * (8 - FAILURES + 1) + [0.0])


async def test_the_circuit_stays_open_from_one_alert_to_the_next(clock: ManualClock) -> None:
    target = Listener(clock, *[NotNow("down")] * FAILURES)
    sink = telling(target, max_age_s=30.0)
    await sink.write([alert(1, clock)])
    assert sink.counts.too_old == 1
    target.answers = [NotNow("still down")]
    before_s = clock.monotonic()
    await sink.write([alert(2, clock)])
    assert clock.monotonic() - before_s == pytest.approx(OPEN_S)


async def test_once_it_was_well_the_pauses_are_short_again(clock: ManualClock) -> None:
    target = Listener(clock, *[NotNow("down")] * (FAILURES - 1), None, NotNow("down"))
    sink = telling(target)
    await sink.write([alert(1, clock)])
    before_s = clock.monotonic()
    await sink.write([alert(2, clock)])
    assert clock.monotonic() - before_s <= 0.5
    assert sink.counts.told == 2


async def test_trouble_says_why_and_is_over_when_it_is(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(log_format="json")
    seen: list[str] = []

    class Curious(Listener):
        async def tell(self, alert: Alert) -> None:
            seen.append(sink.trouble)
            await super().tell(alert)

    sink = telling(Curious(clock, NotNow("down", hint="call them"), NotNow("down")))
    await sink.write([alert(1, clock)])
    assert [*seen, sink.trouble] == ["", "down; call them", "down", ""]
    logged = capsys.readouterr().err
    assert logged.count('"alerts.waiting"') == logged.count('"alerts.resumed"') == 1


async def test_a_pause_that_the_target_asks_for_is_kept(clock: ManualClock) -> None:
    target = Listener(
        clock, NotNow("429", delay_s=120.0), *[NotNow("429")] * (FAILURES - 1), NotNow("429", delay_s=90.0)
    )
    await telling(target).write([alert(1, clock)])
    pauses = pauses_of(target)
    assert (pauses[0], pauses[-1]) == pytest.approx((120.0, 90.0))


@pytest.mark.parametrize("asked_s", [0.0, 0.1, 59.0])
async def test_a_target_that_asks_for_less_does_not_close_the_circuit(clock: ManualClock, asked_s: float) -> None:
    target, untold = Listener(clock, *[NotNow("503", delay_s=asked_s)] * 10), Listener(clock, *[NotNow("503")] * 10)
    await telling(target).write([alert(1, clock)])
    await telling(untold).write([alert(1, clock)])
    own = pauses_of(untold)
    assert pauses_of(target) == pytest.approx([max(asked_s, pause) for pause in own])
    assert pauses_of(target)[FAILURES - 1 :] == pytest.approx([OPEN_S] * (10 - FAILURES + 1))


async def test_what_the_target_refuses_is_dropped_counted_and_told_with_the_next(clock: ManualClock) -> None:
    target = Listener(clock, NotTaken("401"), NotTaken("401"))
    sink = telling(target)
    await sink.write([alert(1, clock), alert(2, clock, held_back=3), alert(3, clock), alert(4, clock)])
    assert texts(target) == ["r: 3 (and 5 more)", "r: 4"]
    assert (sink.counts.told, sink.counts.refused) == (2, 2)


async def test_what_is_too_old_is_dropped_counted_and_told_with_the_next(clock: ManualClock) -> None:
    target = Listener(clock)
    sink = telling(target)
    old = [alert(number, clock) for number in (1, 2, 3)]
    clock.advance(3601.0)
    await sink.write([*old, alert(4, clock)])
    assert texts(target) == ["r: 4 (and 3 more)"]
    assert (sink.counts.told, sink.counts.too_old) == (1, 3)


async def test_nothing_is_too_old_where_there_is_no_age(clock: ManualClock) -> None:
    target, old = Listener(clock), alert(1, clock)
    clock.advance(10**9)
    await telling(target, max_age_s=0.0).write([old])
    assert texts(target) == ["r: 1"]


async def test_an_alert_that_could_not_be_noted_is_noted_before_the_next_is_told(clock: ManualClock) -> None:
    target, noted = Listener(clock), Noted(BusUnavailable("away"), BusUnavailable("away"))
    sink = telling(target, noted)
    await sink.write([alert(1, clock), alert(2, clock)])
    assert texts(target) == ["r: 1", "r: 2"]
    assert len(noted.ids) == 2
    assert sink.trouble == ""


async def test_once_stopped_no_other_alert_is_begun_nor_accepted(clock: ManualClock) -> None:
    class Stopping(Listener):
        async def tell(self, alert: Alert) -> None:
            sink.stop()
            await super().tell(alert)

    target = Stopping(clock)
    sink = telling(target)
    writing = asyncio.create_task(sink.write([alert(1, clock), alert(2, clock)]))
    while not sink.trouble:
        await clock.sleep(0)
    assert texts(target) == ["r: 1"]
    assert not writing.done()
    assert "stopped" in sink.trouble
    writing.cancel()
    await asyncio.wait({writing})
