"""What the page of backtests is told, and what its form asks for."""

from cryptostream.errors import UsageError
from cryptostream.web import shown
from cryptostream.web.dashboard.backtests import answered, parameters, wanted
from cryptostream.web.dashboard.reviewing import Reviewing
from tests.web.probes import FakeCommands, FakeProbes, stream


def job(state: str) -> shown.Job:
    return shown.Job(id="j2", state=state, done=0.25, said="running", report="first")  # type: ignore[arg-type]


async def test_reports_jobs_and_what_the_form_offers_are_told_once() -> None:
    probes = FakeProbes()
    reviewing = Reviewing(probes)
    first = await reviewing.message()
    assert first["reports"]["put"]["first"]["total_return_text"] == "2.00 %"
    form = first["form"]["put"]["form"]
    assert form["sources"][:2] == ["recordings/november.parquet", "trades:BTCUSDT"]
    assert form["strategies"] == {
        "ma_cross": {"runs": False, "parameters": "", "bars": ""},
        "macd_rsi": {"runs": True, "parameters": "rsi_period=14", "bars": "1m"},
    }
    assert form["liveliest"] == "trades:BTCUSDT"
    assert await reviewing.message() == {}


async def test_the_form_proposes_a_pair_of_which_strategies_speak() -> None:
    probes = FakeProbes()
    streams = [*probes.streams(), stream("signals:macd_rsi:ETHUSDT")]
    probes.streams = lambda: streams  # type: ignore[method-assign]
    assert (await Reviewing(probes).message())["form"]["put"]["form"]["liveliest"] == "trades:ETHUSDT"


async def test_the_list_is_read_again_as_soon_as_a_job_ends() -> None:
    probes = FakeProbes()
    probes.told_jobs = [job("running")]
    reviewing = Reviewing(probes)
    await reviewing.message()
    probes.told_jobs = [job("done")]
    probes.told_reports = []
    message = await reviewing.message()
    assert message["jobs"]["put"] == {"j2": {"state": "done"}}
    assert message["reports"]["gone"] == ["first"]


async def test_an_opened_report_has_curves_and_figures_as_people_read_them() -> None:
    reviewing = Reviewing(FakeProbes())
    await reviewing.message()
    opened = (await reviewing.opened("first"))["open"]
    assert ["return", "2.00 %"] in opened["table"]
    assert ["Sharpe", "–"] in opened["table"]
    assert len(opened["times_ms"]) == len(opened["equity"]["macd_rsi"]) == 4
    assert "failed" in (await reviewing.opened("../first"))["open"]


async def test_of_several_values_those_that_won_are_told_and_the_notes_with_the_figures() -> None:
    probes = FakeProbes()
    won = {"parameters": {"macd_rsi": {"fast": 8, "slow": 21}}, "tried": 6, "notes": ["less than a day"], "bars": "1s"}
    probes.told_reports = [report.model_copy(update=won) for report in probes.told_reports]
    reviewing = Reviewing(probes)
    row = (await reviewing.message())["reports"]["put"]["first"]
    assert row["with"] == "1s, fast=8, slow=21"
    opened = (await reviewing.opened("first"))["open"]
    assert (opened["ran"], opened["tried"]) == ([["macd_rsi", "fast=8, slow=21"]], 6)
    assert opened["notes"] == ["less than a day"]


async def test_a_form_becomes_a_backtest_or_says_what_is_wrong_with_it() -> None:
    filled = {"sources": "trades:A, trades:B", "strategies": ["macd_rsi"], "parameters": "fast=8,12 slow=30", "fee": 5}
    assert wanted(filled) == shown.Backtest(
        sources=["trades:A", "trades:B"], strategies=["macd_rsi"], parameters=["fast=8,12", "slow=30"], fee_bps=5
    )
    commands = FakeCommands()
    assert await answered(commands, filled) == {"job": "j2"}
    assert "sources" in (await answered(commands, {**filled, "sources": ""}))["failed"]
    assert "fee_bps" in (await answered(commands, {**filled, "fee": "much"}))["failed"]
    commands.failing = UsageError("a backtest is running already")
    assert (await answered(commands, filled))["failed"] == "a backtest is running already"


def test_a_comma_separates_parameters_or_the_values_of_one() -> None:
    assert parameters("fast=8,12,slow=21..34:13") == ["fast=8,12", "slow=21..34:13"]
    assert parameters(None) == []
