"""One browser is told differences, and the whole where a message was missed or could not be made."""

import asyncio

import pytest

from cryptostream.errors import BusUnavailable
from cryptostream.web.dashboard.differences import Rows
from cryptostream.web.dashboard.reviewing import Reviewing
from cryptostream.web.dashboard.telling import Message, Telling, Watched
from cryptostream.web.dashboard.watching import Watching
from cryptostream.web.dashboard.working import Working
from tests.web.probes import FakeProbes


class Numbers:
    """A number in a row; where `failing` is set, it is marked as told and never gets to the browser."""

    def __init__(self) -> None:
        self.number = 1
        self.failing: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.forget()

    def forget(self) -> None:
        self._rows = Rows()

    async def message(self) -> Message:
        number = self.number
        if self.gate is not None:
            await self.gate.wait()
        told = self._rows.changed({"n": {"is": number}})
        if self.failing is not None:
            raise self.failing
        return {"numbers": told} if told else {}


def whole(number: int) -> Message:
    return {"numbers": {"put": {"n": {"is": number}}, "gone": []}, "anew": "all"}


async def test_first_the_whole_then_what_changes_and_nothing_twice() -> None:
    watched, sent = Numbers(), list[Message]()
    telling = Telling(watched, sent.append)
    await telling.tell()
    await telling.tell()
    watched.number = 2
    await telling.tell()
    assert sent == [whole(1), {"numbers": {"put": {"n": {"is": 2}}, "gone": []}}]


@pytest.mark.parametrize("failing", [BusUnavailable("no answer"), asyncio.CancelledError()])
async def test_what_was_not_sent_is_not_known(failing: BaseException) -> None:
    watched, sent = Numbers(), list[Message]()
    telling = Telling(watched, sent.append)
    await telling.tell()
    watched.number, watched.failing = 2, failing
    with pytest.raises(type(failing)):
        await telling.tell()
    watched.failing = None
    await telling.tell()
    assert sent == [whole(1), whole(2)]


async def test_a_browser_that_missed_a_message_is_told_the_whole() -> None:
    watched, sent = Numbers(), list[Message]()
    telling = Telling(watched, sent.append)
    await telling.tell()
    await telling.tell(telling.forget)
    assert sent == [whole(1), whole(1)]


async def test_nothing_else_is_watched_in_the_middle_of_a_message() -> None:
    watched, sent = Numbers(), list[Message]()
    telling = Telling(watched, sent.append)
    watched.gate = asyncio.Event()
    first = asyncio.ensure_future(telling.tell())
    second = asyncio.ensure_future(telling.tell(lambda: setattr(watched, "number", 2)))
    await asyncio.wait({first, second}, timeout=0.01)
    assert watched.number == 1
    watched.gate.set()
    await asyncio.gather(first, second)
    assert sent == [whole(1), {"numbers": {"put": {"n": {"is": 2}}, "gone": []}}]


@pytest.mark.parametrize("kind", [Watching, Working, Reviewing])
async def test_each_page_tells_the_same_whole_again(kind: type) -> None:
    watched: Watched = kind(FakeProbes())
    sent: list[Message] = []
    telling = Telling(watched, sent.append)
    await telling.tell()
    await telling.tell(telling.forget)
    [first, second] = [{part: told for part, told in each.items() if part != "at"} for each in sent]
    assert first == second
    assert first["anew"] == "all"
