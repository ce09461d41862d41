"""The page of the pipeline: what is wrong now, the way from sockets to readers, dead letters and their way back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from cryptostream.errors import CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.frame import frame
from cryptostream.web.dashboard.rights import may_write
from cryptostream.web.dashboard.view import ASSETS, MODULES, View, linked
from cryptostream.web.dashboard.working import MOST_LETTERS, Message, Working
from cryptostream.web.probes import Commands, Probes

STYLE = linked("pipeline.css")
_EVERY_S = 1.0
_LONGEST = 128

Wish = Mapping[str, Any]


class PipelineView(View, component=str(ASSETS / "pipeline.js"), esm=MODULES):
    """The page's body."""


class _Page:
    """One browser's page: its timer, and what its buttons ask for."""

    def __init__(self, probes: Probes, commands: Commands) -> None:
        self._commands = commands
        self._working = Working(probes)
        self._view = PipelineView()
        self._view.props["writes"] = may_write()
        self._view.on("wish", self._wished)
        self._one_by_one = asyncio.Lock()
        ui.timer(_EVERY_S, self._tell)

    async def _tell(self, *, whole: bool = False) -> None:
        async with self._one_by_one:
            if whole:
                self._working.forget()
            if message := await self._working.message():
                self._view.send({**message, "whole": whole})

    async def _wished(self, event: GenericEventArguments) -> None:
        wish = event.args if isinstance(event.args, dict) else {}
        if wish.get("wish") == "whole":
            await self._tell(whole=True)
            return
        if wish.get("wish") == "find":
            self._working.find(_text(wish, "text"))
            await self._tell()
            return
        answer = await answered(self._commands, wish)
        self._view.send({"answer": {**answer, "to": str(wish.get("to"))[:_LONGEST]}})
        await self._tell()


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/pipeline")
    def pipeline() -> None:
        ui.add_head_html(STYLE)
        with frame(probes, "pipeline"):
            _Page(probes, commands)


async def answered(commands: Commands, wish: Wish) -> Message:
    """What became of a wish, which may be nonsense: it came from a browser."""
    asks: dict[str, Callable[[Wish], Awaitable[Message]]] = {
        "pause": lambda wish: _verdicts(commands.pause(_text(wish, "name"))),
        "resume": lambda wish: _verdicts(commands.resume(_text(wish, "name"))),
        "retry": lambda wish: _retried(commands, _text(wish, "queue"), wish.get("ids")),
    }
    ask = asks.get(str(wish.get("wish")))
    if ask is None:
        return {"failed": "there is no such wish"}
    try:
        return await ask(wish)
    except CryptostreamError as error:
        return {"failed": " - ".join(filter(None, (str(error), error.hint)))}


async def _verdicts(asked: Awaitable[shown.Answered]) -> Message:
    answer = await asked
    verdicts = [verdict.model_dump(include={"what", "accepted", "why"}) for verdict in answer.verdicts]
    return {"verdicts": verdicts, "unanswered": answer.unanswered}


async def _retried(commands: Commands, queue: str, ids: object) -> Message:
    wanted = [str(each)[:_LONGEST] for each in ids][:MOST_LETTERS] if isinstance(ids, list) else []
    done = await commands.retry(queue, wanted)
    group = queue.removeprefix("dlq:")
    left = f"; {len(wanted) - done} could not be" if done < len(wanted) else ""
    return {"said": f"{done} given back to {group}, which handles {'it' if done == 1 else 'them'} again{left}"}


def _text(wish: Wish, name: str) -> str:
    return str(wish.get(name, ""))[:_LONGEST]
