"""`--check-lookahead`: a row for each indicator of each pair, and how it ends."""

import json
from pathlib import Path

import pytest

from cryptostream.backtest.terms import Terms
from cryptostream.cli import foresee
from cryptostream.cli.backtesting import Wanted
from cryptostream.cli.render import Output
from cryptostream.config.strategies import Wish
from cryptostream.errors import DataQuality, UsageError
from cryptostream.transforms.bars import parse_bars
from cryptostream.wiring.roster import Roster
from tests.backtest.traded import Trades, prices

SILENT = '''
class Silent:
    """Says nothing, and shows nothing."""

    warm_up = 3
    values = {}

    def on_%s(self, event):
        return ()
'''
WANTED = Wanted(terms=Terms(), mode="auto", jobs=1, by="sharpe", source="")
EACH = Trades(prices(*(100.0 + number % 7 for number in range(100))))


def roster(folder: Path, wants: str = "bar") -> Roster:
    path = folder / f"silent_{wants}.py"
    path.write_text(SILENT % wants)
    return Roster((Wish(str(path), {}, "silent"), Wish("ma_cross", {}, "ma_cross")), parse_bars("tick:2"), (folder,))


def test_a_strategy_without_indicators_has_a_row_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert foresee.run([EACH], roster(tmp_path), WANTED, Output.JSON) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["strategy"], row["indicator"]) for row in rows] == [
        ("silent", ""),
        ("ma_cross", "fast"),
        ("ma_cross", "slow"),
    ]
    assert {(row["pair"], row["prefixes"], row["foresight"]) for row in rows} == {("BTCUSDT", 20, False)}
    assert (rows[0]["warm_up"], rows[0]["first_value"], rows[0]["settled_1e-06"]) == (3, None, None)


def test_more_trades_than_a_person_waits_for_are_refused_where_each_goes_through_a_strategy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresee, "_MOST", 99)
    with pytest.raises(UsageError, match="more than 99 trades of BTCUSDT"):
        foresee.run([EACH], roster(tmp_path, "trade"), WANTED, Output.JSON)
    assert foresee.run([EACH], roster(tmp_path), WANTED, Output.JSON) == 0


def test_where_no_bar_closes_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(DataQuality, match="trades:BTCUSDT has nothing to look at"):
        foresee.run([Trades(prices(100.0))], roster(tmp_path), WANTED, Output.JSON)
