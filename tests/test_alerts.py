"""Rules on live streams, on both engines: every target is told once, and one that is down holds up no other."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryptostream import config, logs
from cryptostream.bus.connect import Bus, connect
from cryptostream.config.alerts import AlertConfig, mistakes
from cryptostream.engine import patience
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.runtime import Runtime
from cryptostream.errors import ConfigError
from cryptostream.model.codec import iso
from cryptostream.wiring.alerts import alerts, groups
from cryptostream.wiring.consumers import Consuming, Until
from tests.web.hooks import Hook, answer
from tests.web.letters import Post

STREAM = "signals:macd_rsi:BTCUSDT"
DOCS = (Path(__file__).parents[1] / "docs" / "alerts.md").read_text()
NOW_MS = SystemClock().now_ns() // 1_000_000


@pytest.fixture
async def bus(bus_url: str, data_dir: Path) -> AsyncIterator[Bus]:
    async with connect(bus_url, data_dir=data_dir, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "GRACE_S", 0.05)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)


async def signal(bus: Bus, number: int, stream: str = STREAM, strength: str = "0.9") -> str:
    """A signal of the last hour."""
    ms = NOW_MS + number
    fields: dict[Any, Any] = {
        "strategy": "macd_rsi",
        "pair": "BTCUSDT",
        "side": "buy",
        "price": "45123.5",
        "strength": strength,
        "reason": "",
        "ts": iso(ms * 1000),
    }
    await bus.command.xadd(stream, fields, id=f"{ms}-{number}")
    return f"{ms}-{number}"


def rule(*to: Any, **told: Any) -> AlertConfig:
    return AlertConfig.model_validate({"read": "signals", "when": "strength > 0.8", "to": list(to), **told})


def hooked(hook: Hook, **told: Any) -> dict[str, Any]:
    return {"webhook": {"url": f"http://127.0.0.1:{hook.port}/in", "allow_private": True, **told}}


@asynccontextmanager
async def made(
    bus: Bus, data_dir: Path, entries: int | None = None, **rules: AlertConfig
) -> AsyncIterator[list[Consuming]]:
    told = config.load([], sets=(), flags={"data_dir": str(data_dir)}, env={}).config
    async with alerts(rules, told, bus, Until(entries=entries), env={}) as running:
        yield running


async def begun(bus: Bus, name: str, rules: AlertConfig) -> None:
    """The groups as they are once the consumers have run: whatever is written from now on is new."""
    for group in groups(name, rules):
        await bus.command.xgroup_create(STREAM, group, id="$", mkstream=True)


async def run(running: Sequence[Consuming]) -> None:
    async with asyncio.timeout(20):
        await asyncio.gather(*(one.pipeline.run() for one in running))


async def pending(bus: Bus, group: str) -> int:
    found: Any = await bus.command.xpending(STREAM, group)
    return int(found["pending"])


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await SystemClock().sleep(0.01)


def ids(hook: Hook) -> list[str]:
    return [call.headers["x-cryptostream-id"] for call in hook.calls]


async def test_each_target_of_a_rule_is_told(bus: Bus, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(log_format="json")
    async with Hook().serving() as hook, Post().serving() as post:
        letter = {"host": "127.0.0.1", "port": post.port, "tls": "none", "from": "a@b", "to": "c@d"}
        strong = rule("log", "stream", hooked(hook), {"mail": letter}, hooked(hook), at_most="2/1m")
        await begun(bus, "strong", strong)
        for number, strength in enumerate(("0.9", "0.7", "0.95", "0.99")):
            await signal(bus, number, strength=strength)
        async with made(bus, data_dir, 2, strong=strong) as running:
            await run(running)
    assert [one.facts().name for one in running] == [
        "alert-strong-log",
        "alert-strong-stream",
        "alert-strong-webhook",
        "alert-strong-mail",
        "alert-strong-webhook-2",
    ]
    wanted = [f"{STREAM}/{NOW_MS + number}-{number}" for number in (0, 2)]
    assert sorted(ids(hook)) == sorted([*wanted, *wanted])
    assert len(post.letters) == 2
    entries: Any = await bus.command.xrange("alerts")
    assert [f"{fields['stream']}/{fields['entry_id']}" for _, fields in entries] == wanted
    assert entries[0][1] == {
        "rule": "strong",
        "stream": STREAM,
        "entry_id": f"{NOW_MS}-0",
        "text": "strong: macd_rsi says buy BTCUSDT at 45123.5, strength 0.9",
        "held_back": "0",
        "ts": iso(NOW_MS * 1000),
        "entry.strategy": "macd_rsi",
        "entry.pair": "BTCUSDT",
        "entry.side": "buy",
        "entry.price": "45123.5",
        "entry.strength": "0.9",
        "entry.reason": "",
        "entry.ts": iso(NOW_MS * 1000),
    }
    logged = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    told = [line for line in logged if line["event"] == "alert"]
    assert [(line["level"], line["rule"], f"{line['stream']}/{line['entry']}") for line in told] == [
        ("warning", "strong", one) for one in wanted
    ]


async def test_a_target_that_is_down_holds_up_no_other_and_is_told_later(bus: Bus, data_dir: Path) -> None:
    async with Hook().serving() as hook:
        hook.answers = [answer(503, "retry-after: 3600")]
        strong = rule("stream", hooked(hook))
        await begun(bus, "strong", strong)
        first = await signal(bus, 1)
        async with made(bus, data_dir, strong=strong) as (stream, webhook):
            running = asyncio.create_task(run([stream, webhook]))
            await until(lambda: webhook.facts().troubles and stream.facts().events)
            assert webhook.facts().troubles == [f"telling: 127.0.0.1:{hook.port} answered HTTP 503"]
            assert stream.facts().troubles == []
            await signal(bus, 2)
            await until(lambda: stream.facts().events == 2)
            for one in (stream, webhook):
                one.pipeline.stop()
            await running
        assert await pending(bus, "alert-strong-webhook") == 1
        async with made(bus, data_dir, 2, strong=strong) as (_, webhook):
            await run([webhook])
        assert ids(hook) == [f"{STREAM}/{first}", f"{STREAM}/{first}", f"{STREAM}/{NOW_MS + 2}-2"]
        assert await pending(bus, "alert-strong-webhook") == 0


async def test_what_was_told_and_not_acknowledged_is_not_told_again(bus: Bus, data_dir: Path) -> None:
    async with Hook().serving() as hook:
        strong = rule(hooked(hook))
        await begun(bus, "strong", strong)
        first = await signal(bus, 1)
        async with made(bus, data_dir, 1, strong=strong) as running:
            (one,) = running
            await bus.command.xreadgroup("alert-strong-webhook", one.member, {STREAM: ">"})
            await bus.command.set(f"alerted:alert-strong-webhook:{STREAM}:{first}", "1")
            await signal(bus, 2)
            await run(running)
            assert ids(hook) == []
        assert await pending(bus, "alert-strong-webhook") == 0
        async with made(bus, data_dir, 1, strong=strong) as running:
            await run(running)
    assert ids(hook) == [f"{STREAM}/{NOW_MS + 2}-2"]
    lasts_s = await bus.command.ttl(f"alerted:alert-strong-webhook:{STREAM}:{NOW_MS + 2}-2")
    assert 86_000 < lasts_s <= 86_400


async def test_killed_between_the_answer_and_the_key_it_is_told_twice_with_one_id(bus: Bus, data_dir: Path) -> None:
    async with Hook().serving() as hook:
        strong = rule(hooked(hook, secret="s"))
        await begun(bus, "strong", strong)
        first = await signal(bus, 1)
        for _ in range(2):
            async with made(bus, data_dir, 1, strong=strong) as running:
                await bus.command.xreadgroup("alert-strong-webhook", running[0].member, {STREAM: ">"})
                await run(running)
            await bus.command.delete(f"alerted:alert-strong-webhook:{STREAM}:{first}")
            await bus.command.xgroup_setid(STREAM, "alert-strong-webhook", "0")
    assert ids(hook) == [f"{STREAM}/{first}"] * 2


async def test_on_sigterm_the_alert_in_hand_is_finished_and_the_others_stay_pending(bus: Bus, data_dir: Path) -> None:
    class Draining(Hook):
        def take(self) -> bytes:
            runtime.drain()
            return super().take()

    async with Draining().serving() as hook:
        strong = rule(hooked(hook))
        await begun(bus, "strong", strong)
        entries = [await signal(bus, number) for number in range(5)]
        async with made(bus, data_dir, strong=strong) as (one,):
            runtime = Runtime([one.pipeline], clock=SystemClock())
            began_s = SystemClock().monotonic()
            assert await runtime.run() == 0
            assert SystemClock().monotonic() - began_s < 5
        assert ids(hook) == [f"{STREAM}/{entries[0]}"]
        assert await pending(bus, "alert-strong-webhook") == 5
        async with made(bus, data_dir, 5, strong=strong) as running:
            await run(running)
        assert ids(hook) == [f"{STREAM}/{entry}" for entry in entries]


async def test_a_new_rule_begins_with_what_is_new(bus: Bus, data_dir: Path) -> None:
    await signal(bus, 1)
    async with made(bus, data_dir, 1, strong=rule("stream")) as running:
        task = asyncio.create_task(run(running))
        await until(lambda: running[0].stats.streams == 1)
        await signal(bus, 3)
        await task
    entries: Any = await bus.command.xrange("alerts")
    assert [fields["entry_id"] for _, fields in entries] == [f"{NOW_MS + 3}-3"]


async def test_the_ledger_is_read_too(bus: Bus, data_dir: Path) -> None:
    told = rule("stream", read="events", when='event in ("gap_unfillable", "trimmed", "overflow")')
    await bus.command.xgroup_create("events:binance", "alert-quality-stream", id="$", mkstream=True)
    for event in ("connected", "gap_unfillable"):
        await bus.command.xadd("events:binance", {"exchange": "binance", "event": event, "pair": "BTCUSDT"})
    async with made(bus, data_dir, 1, quality=told) as running:
        await run(running)
    entries: Any = await bus.command.xrange("alerts")
    assert [fields["text"] for _, fields in entries] == ["quality: gap_unfillable, binance, BTCUSDT"]


async def test_a_secret_that_is_not_there_is_told_by_the_name_of_its_rule(real_redis_url: str, data_dir: Path) -> None:
    strong = rule({"webhook": {"url": "https://h/x", "secret_env": "NOWHERE"}})
    async with connect(real_redis_url, data_dir=data_dir, clock=SystemClock()) as bus:
        with pytest.raises(ConfigError, match=r"alerts\.strong\.to: webhook: secret_env: .* NOWHERE is not set"):
            async with made(bus, data_dir, strong=strong):
                pytest.fail("it should not be made")


def test_the_yaml_of_the_page_is_a_configuration() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    told = {name: AlertConfig.model_validate(each) for name, each in yaml.safe_load(text)["alerts"].items()}
    assert [group for name, each in told.items() for group in groups(name, each)] == [
        "alert-strong-log",
        "alert-strong-stream",
        "alert-strong-webhook",
        "alert-strong-mail",
        "alert-quality-log",
    ]
    assert list(mistakes(told)) == []


async def test_the_program_of_the_page_knows_our_calls_from_others(real_redis_url: str, data_dir: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    names: dict[str, Any] = {}
    exec(text, names)
    async with (
        Hook().serving() as hook,
        connect(real_redis_url, data_dir=data_dir, clock=SystemClock()) as bus,
    ):
        strong = rule(hooked(hook, secret="hunter2"))
        await begun(bus, "strong", strong)
        await signal(bus, 1)
        async with made(bus, data_dir, 1, strong=strong) as running:
            await run(running)
    (call,) = hook.calls
    header, now_s = call.headers["x-cryptostream-signature"], SystemClock().now_ns() / 1e9
    assert names["is_genuine"](header, call.body, b"hunter2", now_s)
    assert not names["is_genuine"](header, call.body, b"hunter3", now_s)
    assert not names["is_genuine"](header, call.body + b" ", b"hunter2", now_s)
    assert not names["is_genuine"](header, call.body, b"hunter2", now_s + 301)
    assert not names["is_genuine"]("v1=x", call.body, b"hunter2", now_s)
