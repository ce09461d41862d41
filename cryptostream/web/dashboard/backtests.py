"""The page of backtests: the reports in the data folder, one of them in full, and a form that runs another."""

import re

from nicegui import ui
from pydantic import ValidationError

from cryptostream.errors import CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.frame import frame
from cryptostream.web.dashboard.pipeline import STYLE
from cryptostream.web.dashboard.reviewing import Reviewing
from cryptostream.web.dashboard.rights import may_write
from cryptostream.web.dashboard.telling import Message, Wish
from cryptostream.web.dashboard.verdicts import failed
from cryptostream.web.dashboard.view import ASSETS, MODULES, Page, View
from cryptostream.web.probes import Commands, Probes

_EVERY_S = 0.5
_LONGEST = 2000


class BacktestsView(View, component=str(ASSETS / "backtests.js"), esm=MODULES):
    """The page's body."""

    def __init__(self) -> None:
        super().__init__()
        self.props["writes"] = may_write()


class _Page(Page):
    def __init__(self, probes: Probes, commands: Commands) -> None:
        self._commands = commands
        self._reviewing = Reviewing(probes)
        super().__init__(BacktestsView(), self._reviewing, every_s=_EVERY_S)

    async def wished(self, kind: str, wish: Wish) -> None:
        """A report to open, or a backtest to run."""
        if kind == "open":
            self._view.send({"answer": await self._reviewing.opened(str(wish.get("name"))[:_LONGEST])})
        elif kind == "run":
            self._view.send({"answer": await answered(self._commands, wish)})
            await self._telling.tell()


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/backtests")
    def backtests() -> None:
        ui.add_head_html(STYLE)
        with frame(probes, "backtests"):
            _Page(probes, commands)


async def answered(commands: Commands, wish: Wish) -> Message:
    """The job that a form began, or why there is none."""
    try:
        job = await commands.backtest(wanted(wish))
    except CryptostreamError as error:
        return failed(error)
    except ValidationError as error:
        first = error.errors()[0]
        return {"failed": f"{first['loc'][0]}: {first['msg']}"}
    return {"job": job.id}


def wanted(wish: Wish) -> shown.Backtest:
    """A form as it was filled in. Raises ValidationError."""
    fee = wish.get("fee")
    return shown.Backtest.model_validate(
        {
            "sources": words(wish.get("sources")),
            "strategies": words(wish.get("strategies")),
            "parameters": parameters(wish.get("parameters")),
            "bars": str(wish.get("bars") or "1m").strip(),
            **({} if fee in (None, "") else {"fee_bps": fee}),
        }
    )


def words(told: object) -> list[str]:
    """What is written with commas or spaces between.

    >>> words("trades:BTCUSDT, trades:ETHUSDT"), words(["macd_rsi"])
    (['trades:BTCUSDT', 'trades:ETHUSDT'], ['macd_rsi'])
    """
    if isinstance(told, list):
        return [str(each)[:_LONGEST] for each in told]
    return re.findall(r"[^\s,]+", str(told or "")[:_LONGEST])


def parameters(told: object) -> list[str]:
    """Parameters as they are typed: a comma between two of them, or between the values of one.

    >>> parameters("fast=8,12, slow=21..34:13")
    ['fast=8,12', 'slow=21..34:13']
    """
    found: list[str] = []
    for word in words(told):
        if "=" in word or not found:
            found.append(word)
        else:
            found[-1] += f",{word}"
    return found
