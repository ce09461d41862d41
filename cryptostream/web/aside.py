"""A call that blocks, in a thread of its own that nobody waits for when the program ends."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def aside(call: Callable[[], T]) -> T:
    """The result of a call that may block for long: cancelled, it goes on unheard.

    asyncio's own threads are waited for at the end, and a name server that is silent would hold it up.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            result = call()
        except BaseException as error:
            tell(answer.set_exception, error)
        else:
            tell(answer.set_result, result)

    def tell(how: Callable[..., None], what: object) -> None:
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(lambda: None if answer.done() else how(what))

    Thread(target=work, daemon=True, name="aside").start()
    return await answer
