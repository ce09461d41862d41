"""The scripts of the pages by themselves: where things are on a chart, what a lost message does, what keys do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nicegui
import pytest
from playwright.sync_api import Browser, Route, expect

from cryptostream.web.dashboard.view import ASSETS
from tests.pages.stage import Seen

_HERE = "http://127.0.0.1/"
_FILES = {"vue.js": Path(nicegui.__file__).parent / "static" / "vue.esm-browser.prod.js"}
_PAGE = f"""<!doctype html><html lang="en"><title>Scripts</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="{_HERE}dashboard.css"><link rel="stylesheet" href="{_HERE}market.css">
<script type="importmap">{{"imports": {{"vue": "{_HERE}vue.js", "cryptostream/": "{_HERE}"}}}}</script><main></main>"""

Run = Callable[..., Any]

_CANDLES = """
const candles = (from, to) => Array.from({ length: to - from }, (_, at) =>
  [(from + at) * 1000, 10, 12, 9, 11, 1, 1, 0, ...Array(8).fill(null)]);
const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
"""
_PLOT = (
    _CANDLES
    + """
const { Plot } = await import("cryptostream/plot.js");
const plot = async (count) => {
  const box = Object.assign(document.createElement("div"), { style: "width: 800px; height: 400px" });
  const canvas = box.appendChild(document.createElement("canvas"));
  document.querySelector("main").replaceChildren(box);
  let read;
  const made = new Plot(canvas, (row) => { read = row; });
  made.read = () => read;
  made.take({ rows: candles(0, count), whole: true });
  while (!made.box) await frame();
  return made;
};
"""
)
_MOUNT = """
const { createApp, h, nextTick, ref } = await import("vue");
const mount = (component, props) => createApp({ render: () => h(component, props) }).mount("main");
"""


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    """An empty page of a phone's size that can import the scripts."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.route(f"{_HERE}**", _answer)
    made = Seen(context.new_page())
    made.page.goto(_HERE)
    yield made
    context.close()
    assert made.complaints == []


@pytest.fixture
def run(seen: Seen) -> Run:
    """What the body of a script gives back, for what it is given as `given`."""
    return lambda body, given=None: seen.page.evaluate(f"async (given) => {{ {body} }}", given)


def _answer(route: Route) -> None:
    name = route.request.url.removeprefix(_HERE)
    if name:
        route.fulfill(path=_FILES.get(name, ASSETS / name))
    else:
        route.fulfill(body=_PAGE, content_type="text/html")


@pytest.mark.parametrize(
    ("low", "high", "count", "found"),
    [
        (0.0, 10.0, 5, ["0", "2", "4", "6", "8", "10"]),
        (0.0, 0.3, 3, ["0.0", "0.1", "0.2", "0.3"]),
        (-0.21, 0.1, 4, ["-0.2", "-0.1", "0.0", "0.1"]),
        (45_120.3, 45_121.1, 4, ["45,120.4", "45,120.6", "45,120.8", "45,121.0"]),
        (1_002_000.0, 1_006_500.0, 4, ["1.002M", "1.004M", "1.006M"]),
        (5.0, 5.0, 4, []),
    ],
)
def test_ticks_are_round_within_and_told_apart(run: Run, low: float, high: float, count: int, found: list[str]) -> None:
    body = 'const { ticks, tickTexts } = await import("cryptostream/scale.js"); return tickTexts(ticks(...given));'
    assert run(body, [low, high, count]) == found


def test_numbers_are_written_with_what_they_say(run: Run) -> None:
    told = run("""const { digitsFor, money, percent, count, stamp } = await import("cryptostream/scale.js");
    const priced = (value) => money(value, digitsFor(value));
    const shares = [percent(-0.0125), percent(0.00001)];
    return [priced(-3), priced(0.00123), ...shares, count(null), stamp("2026-11-21T12:00:00.123Z")];""")
    assert told == ["-3.00", "0.001230", "−1.25%", "0.00%", "–", "2026-11-21 12:00:00"]


def test_a_time_lies_in_the_candle_that_opened_last_before_it(run: Run) -> None:
    found = run(
        _PLOT + "const on = await plot(10); return [-1, 0, 999, 1000, 9999, 99000].map((ms) => on.candleAt(ms));"
    )
    assert found == [-1, 0, 0, 1, 9, 9]


def test_the_newest_candle_is_in_sight_until_one_looks_elsewhere(run: Run) -> None:
    found = run(
        _PLOT
        + """const on = await plot(200), told = [on.end];
        on.take({ rows: candles(200, 201), whole: false }); await frame(); told.push(on.end);
        on.pan(-50); on.take({ rows: candles(201, 202), whole: false }); await frame(); told.push(on.end, on.follows);
        on.pan(9999); await frame(); told.push(on.follows, on.end >= 201);
        on.reset(); await frame(); return [...told, on.end];"""
    )
    assert found == [202, 203, 153, False, True, True, 204]


def test_zoom_holds_what_is_under_the_pointer_and_has_its_bounds(run: Run) -> None:
    found = run(
        _PLOT
        + """const on = await plot(400);
        on.pan(-150); await frame();
        const at = on.indexAt(300), before = on.x(at);
        on.zoom(1.5, before); await frame();
        const moved = Math.abs(on.x(at) - before), steps = [];
        for (const factor of [1e9, 1e-9]) { on.zoom(factor); steps.push(on.step); }
        return [moved < 0.01, ...steps];"""
    )
    assert found == [True, 48, 2]


def test_other_candles_fill_the_chart_until_somebody_has_zoomed(run: Run) -> None:
    found = run(
        _PLOT
        + """const on = await plot(400), told = [on.step < 10];
        on.take({ rows: candles(0, 36), whole: true }); await frame(); told.push(on.step > 10);
        on.zoom(0.5); on.take({ rows: candles(0, 400), whole: true }); await frame(); const held = on.step;
        on.take({ rows: candles(0, 36), whole: true }); await frame();
        return [...told, on.touched, on.step === held];"""
    )
    assert found == [True, True, True, True]


def test_the_candle_that_is_pointed_at_stays_so_while_older_ones_go(run: Run) -> None:
    found = run(
        _PLOT
        + """const on = await plot(500);
        on.point(400, 10); await frame();
        const told = [on.read()[0]];
        on.take({ rows: candles(499, 520), whole: false }); await frame(); told.push(on.read()[0], on.rows.length);
        on.take({ rows: candles(100, 520), whole: true }); await frame(); told.push(on.read()[0]);
        on.take({ rows: candles(520, 950), whole: false }); await frame();
        return [...told, on.cursor];"""
    )
    assert found == [400_000, 400_000, 500, 400_000, None]


def test_a_message_that_is_missing_has_the_whole_asked_for_and_answers_are_told_anyway(run: Run) -> None:
    heard = run(
        _MOUNT
        + """const { told } = await import("cryptostream/told.js");
        const heard = [], messages = ref([]);
        const methods = {
          begin: (what) => heard.push(`begin ${what}`),
          take: (message) => heard.push(message.n),
          answered: (answer) => heard.push(answer),
        };
        const page = { mixins: [told], methods, render: () => h("p") };
        const onWish = (wish) => heard.push(wish.wish);
        createApp({ render: () => h(page, { messages: messages.value, onWish }) }).mount("main");
        for (const each of given) { messages.value = each; await nextTick(); }
        return heard;""",
        [
            [{"n": 1, "anew": "all"}],
            [{"n": 1, "anew": "all"}, {"n": 2, "anew": "pair"}],
            [{"n": 4}],
            [{"n": 5, "answer": "yes"}],
            [{"n": 7}],
            [{"n": 8, "anew": "all"}, {"n": 9}],
        ],
    )
    assert heard == ["begin all", 1, "begin pair", 2, "whole", "yes", "begin all", 8, 9]


def test_another_of_a_kind_that_runs_is_started_under_a_name_of_its_own(seen: Seen, run: Run) -> None:
    row = {
        "kind": "macd_rsi",
        "why": "",
        "parameters": {"fast": 4},
        "bars": "5m",
        "last_signal": None,
        "installed": True,
    }
    rows = {
        "demo/macd_rsi": {**row, "key": "demo/macd_rsi", "name": "macd_rsi", "consumer": "demo", "state": "running"},
        "macd_rsi_2": {**row, "key": "macd_rsi_2", "name": "macd_rsi_2", "consumer": "macd_rsi_2", "state": "failed"},
        "mine": {**row, "key": "mine", "name": "mine", "consumer": "mine", "state": "running", "installed": False},
    }
    run(
        _MOUNT
        + """const { Strategies } = await import("cryptostream/strategies.js");
        const now = { pair: "BTCUSDT", interval: "1s", may_write: true, arrived: true };
        const onWish = (wish) => { window.wished = wish; };
        mount(Strategies, { rows: given, now, intervals: ["1m", "5m"], busy: false, answer: null, onWish });""",
        rows,
    )
    page = seen.page
    expect(page.get_by_role("button", name="Start another")).to_have_count(2)
    page.get_by_role("button", name="Start another macd_rsi").last.click()
    expect(page.get_by_label("Name")).to_have_value("macd_rsi_3")
    page.get_by_label("fast").fill("7")
    page.get_by_role("button", name="Start", exact=True).click()
    start = {
        "strategy": "macd_rsi",
        "name": "macd_rsi_3",
        "symbols": ["BTCUSDT"],
        "bars": "5m",
        "parameters": {"fast": 7},
    }
    assert page.evaluate("window.wished") == {"wish": "start", "start": start}


_STRATEGIES = (
    _MOUNT
    + """const { reactive } = await import("vue");
    const { Strategies } = await import("cryptostream/strategies.js");
    const row = { kind: "k", why: "", parameters: { fast: 4 }, bars: "1m", last_signal: null, installed: true };
    const of = (name, state) => ({ ...row, key: `demo/${name}`, name, consumer: "demo", state });
    const rows = reactive({ "demo/a": of("a", "running"), "demo/b": of("b", "running") });
    const now = { pair: "BTCUSDT", interval: "1s", may_write: true, arrived: true };
    window.props = reactive({ rows, now, intervals: ["1m"], busy: false, answer: null });
    window.become = (name, state) => { rows[`demo/${name}`] = of(name, state); };
    createApp({ render: () => h(Strategies, { ...window.props, rows: { ...rows } }) }).mount("main");"""
)


def test_the_keyboard_stays_where_it_is_through_a_stop_and_a_form(seen: Seen, run: Run) -> None:
    run(_STRATEGIES)
    page = seen.page
    page.get_by_role("button", name="Stop a").press("Enter")
    page.evaluate("window.props.busy = true")
    expect(page.get_by_role("button", name="Stop a")).to_be_focused()
    page.evaluate("window.props.busy = false; window.become('a', 'paused')")
    expect(page.get_by_role("button", name="Start a", exact=True)).to_be_focused()  # though its row is another one now
    setting = page.get_by_role("button", name="Set b")
    for leave in ("Escape", "Enter"):
        setting.press("Enter")
        field = page.get_by_label("fast")
        field.press(leave)
        expect(field).to_have_count(0)
        expect(setting).to_be_focused()


def test_of_many_pairs_one_is_a_stop_and_keys_do_the_rest(seen: Seen, run: Run) -> None:
    run(
        _MOUNT
        + """const { reactive } = await import("vue");
        const { Watchlist } = await import("cryptostream/watchlist.js");
        const row = (key, state) => ({ key, state, price: "1.5", digits: 2, change: 0, rate: 1, spark: [], note: "" });
        const quotes = reactive({});
        for (const key of ["AUSDT", "BUSDT", "CUSDT"]) quotes[key] = row(key, key === "CUSDT" ? "quiet" : "live");
        window.gone = (key) => { delete quotes[key]; };
        window.wished = [];
        const onWish = (wish) => window.wished.push(wish);
        const now = { pair: "BUSDT", may_write: true, arrived: true, ingesters: true };
        const props = () => ({ quotes: { ...quotes }, now, answer: null, busy: false, onWish });
        createApp({ render: () => h(Watchlist, props()) }).mount("main");"""
    )
    page = seen.page
    stops = page.locator(".pairs [tabindex='0']")
    expect(stops).to_have_count(2)
    expect(stops.first).to_have_attribute("data-pair", "BUSDT")
    field = page.get_by_label("Find a pair, or symbols to add")
    field.fill("b")
    field.press("Escape")
    expect(field).to_have_value("")
    stops.first.press("Delete")
    stops.first.press("ArrowDown")
    page.keyboard.press("Insert")
    page.evaluate("window.gone('CUSDT')")
    expect(page.locator("[data-pair=BUSDT]")).to_be_focused()
    field.fill("aus")
    field.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(field).to_have_value("")
    assert page.evaluate("window.wished") == [
        {"wish": "remove", "text": "BUSDT"},
        {"wish": "add", "text": "CUSDT"},
        {"wish": "watch", "pair": "AUSDT"},
    ]


def test_long_names_and_errors_leave_a_table_its_shape(seen: Seen, run: Run) -> None:
    run(
        _MOUNT
        + """const { Rows } = await import("cryptostream/tables.js");
        document.head.insertAdjacentHTML("beforeend", '<link rel="stylesheet" href="/pipeline.css">');
        const columns = [{ key: "stream" }, { key: "error", wide: true }, { key: "n", kind: "count" }];
        const row = { key: "a", stream: "trades:" + "X".repeat(300), error: "no ".repeat(900), n: 1 };
        const rows = new Map([["a", row]]);
        document.querySelector("main").className = "work";
        mount(Rows, { name: "Streams", columns, rows, by: "n" });"""
    )
    seen.page.set_viewport_size({"width": 1440, "height": 900})
    box = seen.page.get_by_role("cell", name="1", exact=True).bounding_box()
    assert box is not None
    assert box["height"] < 90
    assert box["x"] + box["width"] < 1440
    assert len(seen.page.get_by_role("cell").first.get_attribute("title") or "") == 307


def test_a_server_that_is_gone_is_told_on_every_page(seen: Seen, run: Run) -> None:
    run("""document.querySelector("main").innerHTML = `<a class="state fine">live, 5 pairs</a>
      <div class="banner grave lost" role="alert">No connection</div><div id="popup" aria-hidden="true"></div>`;""")
    banner = seen.page.get_by_role("alert")
    expect(banner).to_be_hidden()
    run('document.querySelector("#popup").ariaHidden = "false";')
    expect(banner).to_be_visible()
    colour = run('return getComputedStyle(document.querySelector(".state"), "::after").content;')
    assert colour == '"no connection"'


def test_on_a_phone_what_a_candle_says_stands_above_the_candles(run: Run) -> None:
    legend, drawing, first = run(
        _CANDLES
        + _MOUNT
        + """const { Chart } = await import("cryptostream/chart.js");
        const chart = ref(null), now = { pair: "BTCUSDT", asked: "auto", interval: "1m", arrived: true };
        mount(Chart, { ref: chart, now, quote: null, intervals: ["1m"], digits: 2 });
        document.querySelector("main").className = "market-grid";
        const box = (name) => {
          const { bottom, top } = document.querySelector(name).getBoundingClientRect();
          return [top, bottom];
        };
        while (!chart.value.plot.box) await frame();
        const before = box(".drawing");
        const values = [104123.45, 104130.5, 104100.25, 104120.75, 1234.5, 987, 2, ...Array(8).fill(104111.11)];
        const rows = candles(0, 60).map((row) => [row[0], ...values]);
        chart.value.toggle("bands");
        chart.value.take({ rows, whole: true });
        await frame();
        return [box(".legend"), box(".drawing"), before];"""
    )
    assert legend[1] - legend[0] > 20
    assert legend[1] <= drawing[0]
    assert drawing == first
