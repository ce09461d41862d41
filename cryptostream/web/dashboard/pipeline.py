"""The page of the pipeline: what is wrong now, the way from sockets to readers, dead letters and their way back."""

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from cryptostream.errors import CryptostreamError
from cryptostream.web.dashboard.frame import frame
from cryptostream.web.dashboard.rights import may_write
from cryptostream.web.dashboard.telling import Message, Wish
from cryptostream.web.dashboard.verdicts import failed, verdicts
from cryptostream.web.dashboard.view import ASSETS, MODULES, Page, View, linked
from cryptostream.web.dashboard.working import MOST_LETTERS, Working
from cryptostream.web.probes import Commands, Probes

STYLE = linked("pipeline.css")
_EVERY_S = 1.0
_LONGEST = 128


class PipelineView(View, component=str(ASSETS / "pipeline.js"), esm=MODULES):
    """The page's body."""

    def __init__(self) -> None:
        super().__init__()
        self.props["writes"] = may_write()


class _Page(Page):
    def __init__(self, probes: Probes, commands: Commands) -> None:
        self._commands = commands
        self._working = Working(probes)
        super().__init__(PipelineView(), self._working, every_s=_EVERY_S)

    async def wished(self, kind: str, wish: Wish) -> None:
        """Streams to find, or a command."""
        if kind == "find":
            await self._telling.tell(partial(self._working.find, _text(wish, "text")))
        else:
            self._view.send({"answer": await answered(self._commands, kind, wish)})
            await self._telling.tell()


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/pipeline")
    def pipeline() -> None:
        ui.add_head_html(STYLE)
        with frame(probes, "pipeline"):
            _Page(probes, commands)


async def answered(commands: Commands, kind: str, wish: Wish) -> Message:
    """What became of a wish."""
    asks: dict[str, Callable[[Wish], Awaitable[Message]]] = {
        "pause": lambda wish: verdicts(commands.pause(_text(wish, "name"))),
        "resume": lambda wish: verdicts(commands.resume(_text(wish, "name"))),
        "retry": lambda wish: _retried(commands, _text(wish, "queue"), wish.get("ids")),
    }
    ask = asks.get(kind)
    if ask is None:
        return {"to": kind[:_LONGEST], "failed": "there is no such wish"}
    try:
        return {"to": kind, **await ask(wish)}
    except CryptostreamError as error:
        return {"to": kind, **failed(error)}


async def _retried(commands: Commands, queue: str, ids: object) -> Message:
    wanted = [str(each)[:_LONGEST] for each in ids][:MOST_LETTERS] if isinstance(ids, list) else []
    answer = await commands.retry(queue, wanted)
    done, group = answer.retried, queue.removeprefix("dlq:")
    said = f"{done} given back to {group}, which handles {'it' if done == 1 else 'them'} again"
    if not answer.left:
        return {"said": said}
    return {"said": said, "left": f"{len(wanted) - done} could not be: {'; '.join(answer.left)}"}


def _text(wish: Wish, name: str) -> str:
    return str(wish.get(name, ""))[:_LONGEST]
