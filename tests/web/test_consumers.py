"""Health of consumers: in words, as counters, and over HTTP while a handler holds up everything else."""

import asyncio
import contextlib
import http.client
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.stall import Stall
from cryptostream.engine.stats import ConsumerFacts, GroupStats
from cryptostream.model.ports import Sink
from cryptostream.testing import ListSource
from cryptostream.web import app, metrics
from cryptostream.web.apart import Apart
from cryptostream.web.health import of_consumers, watched
from cryptostream.web.server import Endpoint, listening

SOON_S = 0.04
GROUP = GroupStats(
    group="momentum",
    streams=2,
    read=1000,
    acked=900,
    redelivered=30,
    claimed=20,
    rejected=5,
    dead_letters=1,
    lost=17,
    resets=3,
)


def facts(name: str = "momentum", **told: Any) -> ConsumerFacts:
    return ConsumerFacts(**{"name": name, "group": GROUP, "events": 950, "held": 50, **told})


def away(why: str = "no answer from redis://10.0.0.3:6379: timed out") -> GroupStats:
    return msgspec.structs.replace(GROUP, trouble=why)


# --- why it is unwell


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (facts(), []),
        (facts(started=False), ["momentum: starting: nothing has been read yet"]),
        (facts(group=away()), ["momentum: the bus gives nothing: no answer from the server: timed out"]),
        (facts(troubles=["parquet: No space left on device"]), ["momentum: parquet: No space left on device"]),
        (facts(troubles=["postgres: no answer from db.lan:5432"]), ["momentum: postgres: no answer from the server"]),
    ],
    ids=["well", "starting", "bus", "disk", "address"],
)
def test_a_consumer_is_unwell_with_its_name_and_without_addresses(one: ConsumerFacts, why: list[str]) -> None:
    assert of_consumers([facts("other"), one]) == why


def test_what_was_lost_or_set_aside_is_counted_and_is_no_illness() -> None:
    assert of_consumers([facts()]) == []


def test_a_stalled_loop_is_told_first_and_keeps_the_line_it_hangs_in() -> None:
    stalled = "nothing else has run for 12 s because of on_trade, line 120 of momentum.py"
    assert of_consumers([facts(troubles=["x: y"])], stalled=stalled) == [stalled, "momentum: x: y"]


# --- counters


def samples(*consumers: ConsumerFacts) -> dict[str, float]:
    text = metrics.exposed(watched(lambda: consumers, Stall()))[0].decode()
    return {
        " ".join([sample.name.removeprefix("cryptostream_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_counter_of_a_group_has_its_sample() -> None:
    found = samples(facts(), facts("recorder", group=away(), troubles=["parquet: disk full"]))
    expected = {
        "group_read_entries_total momentum": 1000,
        "group_acknowledged_entries_total momentum": 900,
        "group_redelivered_entries_total momentum": 30,
        "group_claimed_entries_total momentum": 20,
        "group_rejected_entries_total momentum": 5,
        "group_dead_letters_total momentum": 1,
        "group_lost_entries_total momentum": 17,
        "group_resets_total momentum": 3,
        "group_streams momentum": 2,
        "group_held_entries momentum": 50,
        "group_bus_available momentum": 1,
        "group_working momentum": 1,
        "consumed_events_total momentum": 950,
        "group_bus_available recorder": 0,
        "group_working recorder": 0,
        "healthy": 0,
    }
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize("field", sorted(set(GroupStats.__struct_fields__) - {"group"}))
def test_no_counter_is_forgotten(field: str) -> None:
    """Whatever is counted one day changes what is scraped. The group is the consumer's name."""
    changed = msgspec.structs.replace(GROUP, **{field: "away" if field == "trouble" else 12_345})
    assert samples(facts(group=changed)) != samples(facts())


def test_a_consumer_alone_shows_nothing_of_an_ingest() -> None:
    assert not [name for name in samples(facts()) if "pair" in name or "spool" in name]


# --- over HTTP


async def ask(path: str, *consumers: ConsumerFacts) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app.make(watched(lambda: consumers, Stall()), host="127.0.0.1"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8099") as client:
        return await client.get(path)


async def test_health_is_200_or_503_with_the_reasons() -> None:
    assert (await ask("/health", facts())).json() == {"status": "ok"}
    unwell = await ask("/health", facts(troubles=["parquet: disk full"]))
    assert (unwell.status_code, unwell.json()["reasons"]) == (503, ["momentum: parquet: disk full"])


async def test_stats_show_every_consumer_by_name() -> None:
    found = (await ask("/stats", facts(), facts("recorder", troubles=["parquet: disk full"]))).json()
    assert (found["stalls"], found["stalled"]) == (0, "")
    momentum, recorder = found["consumers"]["momentum"], found["consumers"]["recorder"]
    assert (momentum["read"], momentum["lost"], momentum["events"], momentum["held"]) == (1000, 17, 950, 50)
    assert recorder["troubles"] == ["parquet: disk full"]


async def test_pairs_are_an_ingests_and_the_paths_that_there_are_get_told() -> None:
    answer = await ask("/pairs", facts())
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "no such path; there are /health, /metrics, /stats",
    )


# --- while everything else stands still


@contextlib.asynccontextmanager
async def apart(*pipelines: Pipeline, stall: Stall) -> AsyncIterator[str]:
    """Health in its own thread, which has answered once; gives its host and port."""
    shown = watched(lambda: [one.facts(GROUP) for one in pipelines], stall)
    endpoint = Apart(Endpoint(app.make(shown, host="127.0.0.1"), listening("127.0.0.1", 0)))
    serving = asyncio.ensure_future(endpoint())
    try:
        address = endpoint.url.removeprefix("http://")
        await asyncio.to_thread(health, address)
        yield address
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def health(address: str) -> list[str]:
    """The reasons that are told, asked without a loop."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=5)) as connection:
        connection.request("GET", "/health")
        told: list[str] = msgspec.json.decode(connection.getresponse().read()).get("reasons", [])
        return told


@contextlib.contextmanager
def asking(address: str, told: list[str]) -> Iterator[threading.Event]:
    """A thread that asks until something is told; the event says that it has ended."""
    ended = threading.Event()

    def ask() -> None:
        try:
            while not told:
                told.extend(health(address))
        finally:
            ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield ended
    finally:
        thread.join()


@pytest.mark.row(29)
@pytest.mark.parametrize("how", ["eats the CPU", "blocks"])
async def test_health_answers_and_names_the_handler_that_holds_up_everything(how: str) -> None:
    def on_trade(trade: object) -> tuple[object, ...]:
        with asking(address, told) as answered:
            while not (answered.is_set() if how == "eats the CPU" else answered.wait(0.01)):
                pass
        return (trade,)

    told: list[str] = []
    pipeline = Pipeline("momentum", ListSource([1]), [], transform=on_trade)
    began_s = SystemClock().monotonic()
    async with Stall(after_s=SOON_S) as stall, apart(pipeline, stall=stall) as address:
        await pipeline.run()
    assert "because of on_trade, line" in told[0]
    assert SystemClock().monotonic() - began_s < 10.0


@pytest.mark.row(29)
async def test_health_names_a_sink_that_waits_for_ever() -> None:
    class Postgres(Sink):
        trouble = ""

        async def write(self, events: Sequence[Any]) -> None:
            self.trouble = "no answer"
            await asyncio.Event().wait()

    pipeline = Pipeline("momentum", ListSource([1]), [Postgres()])
    async with Stall() as stall, apart(pipeline, stall=stall) as address:
        running = asyncio.ensure_future(pipeline.run())
        while not (told := await asyncio.to_thread(health, address)) or "starting" in told[0]:
            pass
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert told == ["momentum: postgres: no answer"]


async def test_it_ends_with_the_program_and_gives_its_port_back() -> None:
    async with Stall() as stall, apart(stall=stall) as address:
        assert await asyncio.to_thread(health, address) == []
    assert "health" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ConnectionRefusedError):
        health(address)


async def test_what_ends_the_endpoint_is_told() -> None:
    class Broken(Endpoint):
        async def __call__(self) -> None:
            self.close()
            raise OSError("no more sockets")

    with pytest.raises(OSError, match="no more sockets"):
        await Apart(Broken(app.make(watched(list, Stall()), host="127.0.0.1"), listening("127.0.0.1", 0)))()
