"""What Prometheus and Grafana are given: every metric that they name is one that a live process shows."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cryptostream import config, wiring
from cryptostream.bus import admin
from cryptostream.bus.connect import Bus
from cryptostream.engine.stats import ConsumerFacts, FeedStats, GroupStats, PairFacts, PublisherStats
from cryptostream.web import busmetrics
from cryptostream.web.health import Watched
from cryptostream.wiring import serving
from tests.chaos.rig import Rig, open_rig, until
from tests.conftest import RedisServer
from tests.web.probes import FakeProbes

CONFIGS = Path(__file__).parents[1] / "configs"
ALERTS = CONFIGS / "prometheus" / "alerts.yml"
RULES_TEST = Path(__file__).with_name("alerts_test.yml")
BOARD = json.loads((CONFIGS / "grafana" / "overview.json").read_text())
_METRIC = re.compile(r"\b(cryptostream_[a-z0-9_]+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
_BY = re.compile(r"\bby \(([^)]*)\)")
_TARGETS = {"job", "instance"}
"""Labels that Prometheus puts to everything it scrapes."""


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    """Every query of the panels, the variables and the alerts."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    chosen = [one["query"]["query"] for one in BOARD["templating"]["list"] if one["type"] == "query"]
    return [*shown, *chosen, *(rule["expr"] for rule in rules())]


def named() -> dict[str, set[str]]:
    """Every metric that is named anywhere, and the labels that it is asked for."""
    found: dict[str, set[str]] = {}
    for query in queries():
        grouped = {label.strip() for told in _BY.findall(query) for label in told.split(",")}
        for metric, chosen in _METRIC.findall(query):
            found.setdefault(metric, set()).update(_LABEL.findall(chosen), grouped)
    return found


@pytest.fixture
async def rig(_shared_redis: RedisServer, real_redis_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(_shared_redis, tmp_path) as made:
        yield made


def scraped(text: str) -> dict[str, set[str]]:
    """Every sample of a scrape, with its labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: set(sample.labels) | _TARGETS for sample in samples}


@asynccontextmanager
async def looking(made: serving.Site) -> AsyncIterator[None]:
    """The companions of a site at work."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_endless(companion)) for companion in made.companions]
        yield
        for task in tasks:
            task.cancel()


async def _endless(companion: Any) -> None:
    await companion()


async def somebody_consumes(rig: Rig, bus: Bus) -> None:
    """What a process that consumes shows, a group of its own, and a letter it set aside."""
    row = admin.ConsumerRow(name="momentum", state="running", reads=["trades:*"], read=2, acked=1)
    await admin.write_consumers(bus, "here:7", admin.Consumers(at=1, host="here", pid=7, consumers=[row]))
    stream = f"trades:{rig.exchange.pairs[0]}"
    await rig.client.xgroup_create(stream, "momentum", "0")
    await rig.client.xreadgroup("momentum", "one", {stream: ">"}, count=1)
    await rig.client.xadd("dlq:momentum", {"stream": stream, "entry": "1-1", "error": "ValueError: odd"})


async def test_every_metric_and_label_that_grafana_and_the_alerts_name_is_in_a_live_scrape(rig: Rig) -> None:
    told = {"bus": {"url": rig.bus_url}, "data_dir": str(rig.folder / "data")}
    settings = config.load([], flags=told, env={}).config
    wanted, found = named(), {"up": _TARGETS}
    async with rig.inside() as stage, wiring.bus(settings) as bus:
        await rig.flows()
        await somebody_consumes(rig, bus)
        rig.exchange.faults.inject("drop")
        counting = wiring.Counting(bus, stage)

        async def shows_all() -> bool:
            made.probes.answers = {200: 1}
            await counting.write()
            found.update(scraped(made.probes.metrics("")[0].decode()))
            return wanted.keys() <= found.keys()

        async with serving.site(settings, watched=wiring.counted(counting)) as made, looking(made):
            await until(shows_all, 15.0, lambda: f"metrics {sorted(wanted.keys() - found.keys())}")
    assert {metric: labels - found[metric] for metric, labels in wanted.items() if labels - found[metric]} == {}


def test_panels_say_what_they_show_and_ask_the_data_source_that_was_chosen() -> None:
    told = [(panel["title"], panel["description"]) for panel in panels()]
    assert len(dict(told)) == len(told) >= 25
    sources = {str(panel["datasource"]["uid"]) for panel in panels()}
    sources |= {str(target["datasource"]["uid"]) for panel in panels() for target in panel["targets"]}
    assert sources == {"${datasource}"}
    assert BOARD["id"] is None, "an id is given where it is imported"
    assert all(re.search(r"\{job=~", target["expr"]) for panel in panels() for target in panel["targets"])


def test_panels_do_not_lie_upon_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert max(x for x, _ in taken) < 24


@pytest.fixture
def promtool() -> str:
    return shutil.which("promtool") or pytest.skip("no promtool on PATH: it comes with Debian's prometheus")


def run(*words: str, given: str | None = None) -> str:
    done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_configuration_and_the_rules(promtool: str) -> None:
    run(promtool, "check", "config", "--syntax-only", str(CONFIGS / "prometheus" / "prometheus.yml"))
    run(promtool, "check", "rules", "--lint-fatal", str(ALERTS))


def test_promtool_finds_nothing_to_say_about_our_metrics(promtool: str) -> None:
    watched = Watched(
        feed=lambda: FeedStats(lag_ms=1.0, reconnects_by={"closed": 1}),
        published=PublisherStats,
        pairs=lambda: [PairFacts(exchange="binance", channel="trades", pair="BTCUSDT", last_id=1, ts=1)],
        stats=dict,
        reasons=list,
        consumers=lambda: [ConsumerFacts(name="momentum", group=GroupStats())],
    )
    run(promtool, "check", "metrics", given=busmetrics.exposed(FakeProbes(), watched=watched)[0].decode())


def test_alerts_fire_when_they_should_and_are_silent_while_all_is_well(promtool: str) -> None:
    run(promtool, "test", "rules", str(RULES_TEST))


def test_every_alert_says_what_happened_and_how_bad_it_is() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    assert {rule["labels"]["severity"] for rule in rules()} == {"info", "warning", "critical"}
    assert all(rule["annotations"]["summary"] for rule in rules())
    tried = yaml.safe_load(RULES_TEST.read_text())["tests"][-1]["promql_expr_test"][0]["exp_samples"]
    told = (CONFIGS.parent / "docs" / "operating.md").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"].removeprefix("Cryptostream") not in told] == []
    assert {one["labels"] for one in tried} == {f'{{alertname="{rule["alert"]}"}}' for rule in rules()}, (
        "each fires once"
    )
