"""What a report shows, that nothing in it can run or leave it, and that it holds up in a real browser."""

import json
import re
import sys
from base64 import b64decode
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("plotly", reason="the extra report is not installed")

from msgspec.structs import replace as with_figures

from cryptostream.backtest.report import page, sections, thin
from cryptostream.backtest.report.panes import arranged, follows_price
from cryptostream.backtest.result import Figures, Result
from cryptostream.backtest.sweep import Cell, Sweep, grid, parse_param
from cryptostream.backtest.walk import Step, Walk, windows
from cryptostream.errors import ConfigError
from tests.backtest import browser
from tests.backtest.results import candles, result, values, wave

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\"'<a href='http://x'>&"
DRAWN = """
new Promise((done) => {
  const all = () => [...document.querySelectorAll(".chart")].every((box) => box.querySelector(".main-svg"));
  const look = () => (all() ? done() : requestAnimationFrame(look));
  look();
})
"""
SMALL = result(bars=120, gaps=(50,))


class Read(HTMLParser):
    """The tags of a page with their attributes, and the text of its scripts and of all else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open != "style":
            self.text += data + "\n"

    @property
    def charts(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def column(packed: dict[str, str]) -> list[float]:
    return list(np.frombuffer(b64decode(packed["bdata"]), packed["dtype"]).tolist())


def traces(read: Read, chart: str) -> dict[str, Any]:
    return {trace["name"]: trace for trace in read.charts[chart]["data"]}


def swept(text: list[str], of: Figures) -> Sweep:
    params = [parse_param(each) for each in text]
    made = [Cell(each, "macd_rsi", with_figures(of, sharpe=float(n))) for n, each in enumerate(grid(params))]
    return Sweep(params, made)


def walked(of: Result) -> Walk:
    figures = of.curves[0].figures
    steps = [Step(each, {"rsi_period": 7}, figures, figures) for each in windows("1h/15m", figures.start, figures.end)]
    return Walk("1h/15m", "sharpe", "macd_rsi", [*steps, Step(steps[0].window, None, None, None)], of.curves[0])


def test_page_shows_the_figures_beside_buy_and_hold() -> None:
    text = Read(page(SMALL)).text
    for told in ("macd_rsi on BTCUSDT", "data/parquet", "2024-11-14 00:01 to 2024-11-14 02:00 UTC", "1m, 120"):
        assert told in text
    for told in ("rsi_period 14, level 0.5", "fee bps", "2 gaps", "buy & hold", "Sharpe", "max drawdown"):
        assert told in text


def test_candles_of_the_chart_are_those_of_the_result() -> None:
    price = traces(Read(page(SMALL)), "chart-pair-0")["price"]
    made = SMALL.pairs[0].candles
    assert column(price["x"]) == made.open_time.tolist()
    for name in ("open", "high", "low", "close"):
        assert column(price[name]) == getattr(made, name).tolist()


def test_fills_are_told_apart_by_their_shape() -> None:
    shown = traces(Read(page(SMALL)), "chart-pair-0")
    fills = SMALL.pairs[0].books["macd_rsi"].fills
    assert column(shown["buy"]["x"]) == [fill.ts / 1000 for fill in fills if fill.side == "buy"]
    assert column(shown["sell"]["y"]) == [fill.price for fill in fills if fill.side == "sell"]
    assert set(shown["buy"]["marker"]["symbol"]) == {"triangle-up"}
    assert set(shown["sell"]["marker"]["symbol"]) == {"triangle-down-open"}
    assert "macd above its signal" in shown["buy"]["text"][0]


def test_equity_and_drawdown_are_those_of_the_strategy_and_the_benchmark() -> None:
    drawn = Read(page(SMALL)).charts["chart-equity"]["data"]
    assert [(trace["name"], trace["yaxis"]) for trace in drawn] == [
        ("macd_rsi", "y"),
        ("macd_rsi", "y2"),
        ("buy &amp; hold", "y"),
        ("buy &amp; hold", "y2"),
    ]
    assert column(drawn[0]["y"]) == SMALL.curves[0].equity.tolist()
    assert min(column(drawn[1]["y"])) == pytest.approx(SMALL.curves[0].figures.max_drawdown)


def test_gaps_are_shaded_where_they_are() -> None:
    gap = traces(Read(page(SMALL)), "chart-pair-0")["missing trades"]
    assert column(gap["x"]) == [SMALL.pairs[0].candles.open_time[50]]
    assert column(gap["width"]) == [60_000]
    assert "missing trades" not in traces(Read(page(result(bars=30, gaps=()))), "chart-pair-0")


def test_indicators_of_the_prices_size_are_drawn_over_it_and_others_below() -> None:
    made = candles(300)
    panes = arranged(made, {"macd_rsi": values(made.close)}, 8)
    assert [line.name for line in panes.over] == ["sma", "upper", "lower"]
    below = {title: [line.name for line in lines] for title, lines in panes.below.items()}
    assert below == {"rsi": ["rsi"], "macd": ["macd", "macd_signal", "macd_histogram"]}
    assert [line.as_bars for line in panes.below["macd"]] == [False, False, True]


@pytest.mark.parametrize("level", [60_000.0, 1.0, 0.00001])
def test_an_indicator_follows_the_price_at_any_height(level: float) -> None:
    made = candles(300, level)
    assert follows_price(made, made.close * 1.02)
    assert not follows_price(made, made.close * 0.001)
    assert not follows_price(made, np.full(300, 10 * level))
    assert not follows_price(made, np.full(300, np.nan))


def test_an_indicator_within_the_range_of_the_price_need_not_follow_it() -> None:
    made = candles(300, 20.0)
    made.close[:], made.low[:], made.high[:] = (
        np.linspace(10, 30, 300),
        np.linspace(9, 29, 300),
        np.linspace(11, 31, 300),
    )
    assert follows_price(made, made.close - 1)
    assert not follows_price(made, np.full(300, 45.0))


def test_indicator_that_strategies_share_is_drawn_once_and_too_many_panes_are_told() -> None:
    made = candles(100)
    shared = {"rsi": np.full(100, 50.0), "empty": np.full(100, np.nan)}
    panes = arranged(made, {"a": shared, "b": {**shared, "atr": np.full(100, 3.0)}}, 1)
    assert [(line.strategy, line.name) for line in panes.below["rsi"]] == [("", "rsi")]
    assert panes.left_out == ["atr"]


def test_many_bars_are_drawn_together_and_the_page_says_so() -> None:
    made = result(bars=12_001, gaps=(7,))
    read = Read(page(made))
    drawn = column(traces(read, "chart-pair-0")["price"]["high"])
    assert len(drawn) == 4_001
    assert max(drawn) == made.pairs[0].candles.high.max()
    assert "12,001 bars are drawn by 3 at a time." in read.text
    assert "12,001 marks are drawn by 3 at a time" in read.text


def test_bars_drawn_together_keep_their_extremes_and_their_volume() -> None:
    made = candles(10, gaps=(4,))
    three = thin.candles(made, 3)
    assert three.open.tolist() == made.open[[0, 3, 6, 9]].tolist()
    assert three.close.tolist() == made.close[[2, 5, 8, 9]].tolist()
    assert three.high.tolist() == [made.high[start : start + 3].max() for start in (0, 3, 6, 9)]
    assert three.low.tolist() == [made.low[start : start + 3].min() for start in (0, 3, 6, 9)]
    assert three.volume.sum() == pytest.approx(made.volume.sum())
    assert three.gap.tolist() == [False, True, False, False]


def test_page_stays_small_whatever_it_shows() -> None:
    names = tuple(f"strategy_{number}" for number in range(4))
    made = result(bars=2_500, pairs=tuple(f"PAIR{number}" for number in range(4)), strategies=names)
    for pair in made.pairs:
        for nth, named in enumerate(pair.values.values()):
            named.update({f"own_{nth}": wave(2_500) + nth})
    many = replace(made, pairs=made.pairs * 20)
    html = page(many)
    assert len(html) < 10_000_000
    assert Read(html).charts.keys() == {"chart-equity", *(f"chart-pair-{n}" for n in range(sections.MOST_PAIRS))}
    assert "50 more pairs have no chart here." in html


def test_long_list_of_trades_shows_its_ends() -> None:
    made = result(bars=600)
    book = made.pairs[0].books["macd_rsi"]
    book.trips = book.trips * 200
    text = Read(page(made)).text
    assert "The first 1,000 and the last 1,000 of 3,000." in text
    assert "still open" in text


def test_sweep_of_two_parameters_is_a_heat_map_of_one_a_line_of_three_a_table() -> None:
    of = SMALL.curves[0].figures
    heat = Read(page(SMALL, sweep=swept(["rsi_period=7..21:7", "level=0.1,0.2", "fixed=3"], of)))
    [trace] = heat.charts["chart-sweep-0"]["data"]
    assert (trace["type"], trace["x"], trace["y"]) == ("heatmap", ["7", "14", "21"], ["0.1", "0.2"])
    assert trace["z"] == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    [line] = Read(page(SMALL, sweep=swept(["rsi_period=7..21:7"], of))).charts["chart-sweep-0"]["data"]
    assert (line["type"], line["y"]) == ("scatter", [0.0, 1.0, 2.0])
    three = Read(page(SMALL, sweep=swept(["a=1,2", "b=1,2", "c=1,2"], of)))
    assert "chart-sweep-0" not in three.charts
    assert "8 combinations, ranked by Sharpe." in three.text


def test_combination_that_could_not_be_run_is_empty_and_says_why() -> None:
    sweep = swept(["fast=1,2", "slow=1,2"], SMALL.curves[0].figures)
    failed = Cell(sweep.cells[3].params, "macd_rsi", None, "fast is not below slow")
    read = Read(page(SMALL, sweep=replace(sweep, cells=[*sweep.cells[:3], failed])))
    assert read.charts["chart-sweep-0"]["data"][0]["z"] == [[0.0, 2.0], [1.0, None]]
    assert "fast is not below slow" in read.text
    assert "1 could not be run" in read.text


def test_walk_shows_its_windows_and_what_each_chose() -> None:
    read = Read(page(SMALL, walk=[walked(SMALL)]))
    assert "Walk-forward: macd_rsi" in read.text
    assert "2024-11-14 00:01 to 2024-11-14 01:01" in read.text
    assert "2024-11-14 01:01 to 2024-11-14 01:16" in read.text
    assert "nothing" in read.text
    assert len(read.charts["chart-walk-0"]["layout"]["shapes"]) == 4


def test_result_without_bars_and_trades_has_a_page() -> None:
    empty = result(bars=1, gaps=())
    none = replace(empty, pairs=[], curves=[], of_pairs={}, params={}, notes=())
    assert "no trades" in page(empty)
    assert "no strategy on nothing" in page(none)


def test_same_result_gives_the_same_bytes() -> None:
    one, other = (page(result(bars=50), walk=[walked(SMALL)]) for _ in range(2))
    assert one == other


def test_nothing_is_fetched_and_only_the_two_scripts_may_run() -> None:
    html = page(SMALL, walk=[walked(SMALL)])
    read = Read(html)
    policy = next(told["content"] for tag, told in read.tags if "http-equiv" in told)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert len(re.findall("sha256-", policy)) == len(read.scripts) - 1 == 2
    for tag, told in read.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert "src" not in told
        assert (told.get("href") or "#").startswith("#")
    without = html.replace(read.scripts[1], "")
    assert "http:" not in without
    assert "https:" not in without
    assert "url(" not in without


def test_words_of_feeds_and_users_never_become_markup() -> None:
    pages = []
    for word in ("harmless", HOSTILE):
        made = result(120, (word, "ETHUSDT"), (word, "other"), word, source=word, notes=(word,), terms={word: word})
        made.params[word] = {word: word}
        made.pairs[0].exchange = word
        for name in (word, "other"):
            made.pairs[0].values[name][word] = made.pairs[0].candles.close
        sweep = swept(["a=1,2", "b=1,2"], made.curves[0].figures)
        cell = Cell({"a": word, "b": word}, word, None, word)
        walk = walked(made)
        walk.steps = [Step(walk.steps[0].window, {word: word}, None, None)]
        walk.strategy = walk.spec = word
        pages.append(Read(page(made, sweep=replace(sweep, cells=[*sweep.cells, cell]), walk=[walk])))
    plain, read = pages
    assert "<" not in read.scripts[0]
    assert Counter(tag for tag, _ in read.tags) == Counter(tag for tag, _ in plain.tags)
    assert {name for _, told in read.tags for name in told} == {name for _, told in plain.tags for name in told}
    assert read.text.count("onerror") == plain.text.count("harmless")
    labels = [text for chart in read.charts.values() for text in _texts(chart) if "hacked" in text]
    assert labels
    assert not [text for text in labels if "<" in text]


def _texts(told: Any) -> list[str]:
    if isinstance(told, dict):
        told = list(told.values())
    if isinstance(told, list):
        return [text for each in told for text in _texts(each)]
    return [told] if isinstance(told, str) else []


def test_every_chart_is_one_that_plotly_knows() -> None:
    go = import_module("plotly.graph_objects")
    sweep = swept(["rsi_period=7..21:7", "level=0.1,0.2"], SMALL.curves[0].figures)
    charts = Read(page(SMALL, sweep=sweep, walk=[walked(SMALL)])).charts
    line = Read(page(SMALL, sweep=swept(["rsi_period=7..21:7"], SMALL.curves[0].figures))).charts["chart-sweep-0"]
    for chart in (*charts.values(), line):
        go.Figure(chart["data"], chart["layout"])


def test_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ConfigError) as raised:
        page(SMALL)
    assert raised.value.hint == "pip install 'cryptostream[report]'"


@pytest.mark.skipif(browser.FOUND is None, reason="there is no chromium")
def test_browser_draws_it_without_a_word_and_asks_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    made = result(240, (HOSTILE,), (HOSTILE,), HOSTILE)
    trips = made.pairs[0].books[HOSTILE].trips
    file.write_text(page(made, sweep=swept(["a=1,2", "b=1,2"], made.curves[0].figures)))
    with browser.browsing(tmp_path / "profile") as seen:
        seen.look(width=1200, height=3600)
        seen.open(file)
        seen.run(DRAWN)
        seen.run("dispatchEvent(new Event('beforeprint'))")
        assert _range_after(seen, "ArrowRight") != _range_after(seen, "0")
        assert _sorted_by(seen, 9) == sorted((trip.pnl for trip in trips), reverse=True)
        assert _sorted_by(seen, 9) == sorted(trip.pnl for trip in trips)
        seen.look(width=390, height=900, dark=True, touch=True)
        assert seen.run("document.documentElement.scrollWidth") == 390
        assert seen.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
        assert seen.run("window.hacked") is None
        assert seen.said == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []


def _range_after(seen: browser.Page, key: str) -> Any:
    seen.run("document.querySelector('#chart-pair-0').focus()")
    seen.press(key)
    return seen.run("document.querySelector('#chart-pair-0').layout.xaxis.range.map(String)")


def _sorted_by(seen: browser.Page, column: int) -> Any:
    seen.run(f"document.querySelector('#pair-0 details th:nth-child({column}) button').click()")
    cells = f"document.querySelectorAll('#pair-0 details td:nth-child({column})')"
    return seen.run(f"[...{cells}].map((cell) => +cell.dataset.v)")
