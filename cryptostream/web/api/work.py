"""Work of this machine: dead letters to try again, backtests to run, reports to read."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path

from cryptostream.errors import NotFound
from cryptostream.transforms.bars import parse_bars
from cryptostream.web import shown
from cryptostream.web.api import asked
from cryptostream.web.probes import Commands, Probes

_LETTERS, _BACKTESTS, _REPORTS = "/api/v1/dead-letters", "/api/v1/backtests", "/api/v1/reports"
_NAMED: dict[int | str, dict[str, Any]] = {404: {"model": shown.Failure, "description": "There is none of that name."}}
_BUSY: dict[int | str, dict[str, Any]] = {409: {"model": shown.Failure, "description": "Not now."}}


def routes(probes: Probes, commands: Commands) -> APIRouter:
    """What is done here, rather than by the processes that ingest and consume."""
    router = APIRouter()
    _letters(router, probes, commands)
    _backtests(router, probes, commands)
    return router


def _letters(router: APIRouter, probes: Probes, commands: Commands) -> None:
    @router.get(_LETTERS, summary="The newest dead letters of all queues", tags=["dead letters"])
    async def letters(limit: asked.Limit = 100) -> Sequence[shown.Letter]:
        """Entries that nobody could handle and frames that nobody could read, with what was wrong."""
        return await probes.letters(limit)

    @router.post(
        f"{_LETTERS}/retry", summary="Have entries handled again", tags=["dead letters"], responses={**_NAMED, **_BUSY}
    )
    async def retry(wanted: shown.Retry) -> shown.Retried:
        """They are delivered to their group once more, and leave the queue."""
        asked.texts([wanted.queue, *wanted.ids])
        return await commands.retry(wanted.queue, list(dict.fromkeys(wanted.ids)))


def _backtests(router: APIRouter, probes: Probes, commands: Commands) -> None:
    told: dict[str, Any] = {"tags": ["backtests"]}

    @router.get(_BACKTESTS, summary="Backtests that were asked for here, newest first", **told)
    async def backtests() -> Sequence[shown.Job]:
        return probes.jobs()

    @router.post(_BACKTESTS, status_code=202, summary="Run a backtest", responses={**_NAMED, **_BUSY}, **told)
    async def backtest(wanted: shown.Backtest) -> shown.Job:
        """One at a time, in a process of its own. Its report is listed once it is done."""
        asked.texts([*wanted.sources, *wanted.strategies, *wanted.parameters])
        parse_bars(wanted.bars)
        return await commands.backtest(wanted)

    @router.get(f"{_BACKTESTS}/{{job}}", summary="How far a backtest is", responses=_NAMED, **told)
    async def backtest_status(job: Annotated[str, Path(pattern=shown.NAME)]) -> shown.Job:
        for one in probes.jobs():
            if one.id == job:
                return one
        raise NotFound(f"there is no backtest {job}")

    @router.get(_REPORTS, summary="Reports in the data folder, newest first", **told)
    async def reports() -> Sequence[shown.Report]:
        return await probes.reports()

    @router.get(f"{_REPORTS}/{{name}}/curves", summary="Equity and drawdown of a report", responses=_NAMED, **told)
    async def curves(name: asked.Name) -> shown.Curves:
        return await probes.curves(name)
