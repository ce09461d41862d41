"""Commands: what the web may wish for, as requests on the bus and work of this machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptostream.bus import control
from cryptostream.bus.connect import Bus
from cryptostream.bus.control import Outcome, Role
from cryptostream.engine.clock import SystemClock
from cryptostream.web import shown
from cryptostream.wiring.basics import INGESTER
from cryptostream.wiring.serving import letters
from cryptostream.wiring.serving.jobs import Jobs


class BusCommands:
    """See `web.probes.Commands`."""

    def __init__(self, bus: Bus, jobs: Jobs) -> None:
        self._bus = bus
        self._jobs = jobs
        self._clock = SystemClock()

    async def watchlist(self, wanted: shown.Watchlist) -> shown.Answered:
        return await self._ask("watchlist", wanted.model_dump(), "ingest")

    async def start(self, wanted: shown.Start) -> shown.Answered:
        return await self._ask("start", wanted.model_dump(), "consume")

    async def stop(self, name: str) -> shown.Answered:
        return await self._ask("stop", {"name": name}, "consume")

    async def parameters(self, name: str, parameters: Mapping[str, Any]) -> shown.Answered:
        return await self._ask("parameters", {"name": name, "parameters": dict(parameters)}, "consume")

    async def pause(self, consumer: str) -> shown.Answered:
        return await self._ask("pause", {"name": consumer}, "consume")

    async def resume(self, consumer: str) -> shown.Answered:
        return await self._ask("resume", {"name": consumer}, "consume")

    async def retry(self, queue: str, ids: Sequence[str]) -> shown.Retried:
        return await letters.retry(self._bus, queue, ids)

    async def backtest(self, wanted: shown.Backtest) -> shown.Job:
        return await self._jobs.ask(wanted)

    async def _ask(self, verb: str, args: Mapping[str, Any], role: Role) -> shown.Answered:
        outcome = await control.ask(self._bus, verb, args, role=role, by=INGESTER, clock=self._clock)
        return answered(outcome)


def answered(outcome: Outcome) -> shown.Answered:
    """All answers as one: accepted where anybody accepted, else every reason that was given."""
    told = [(each.by, verdict) for each in outcome.answers for verdict in each.verdicts]
    verdicts = []
    for what in dict.fromkeys(verdict.what for _, verdict in told):
        mine = [(by, verdict) for by, verdict in told if verdict.what == what]
        yes = [(by, verdict) for by, verdict in mine if verdict.accepted]
        whys = dict.fromkeys(verdict.why for _, verdict in yes or mine if verdict.why)
        verdicts.append(
            shown.Verdict(what=what, accepted=bool(yes), why="; ".join(whys), by=[by for by, _ in yes or mine])
        )
    return shown.Answered(request=outcome.request, verdicts=verdicts, unanswered=outcome.unanswered)
