"""Consumers as processes, killed, stopped, frozen, left behind by their streams. Rows 13, 14, 23, 26, 27 and 31."""

import json
import signal
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.tape.parquet import Recording
from tests.chaos.rig import Program, Rig, until
from tests.faults.conftest import Figure, Rigs

CLOCK = SystemClock()
RECORD = ("trades", "--group", "recorder", "--sink", "parquet", "--out")
SPLIT = ("trades", "--group", "g", "--sink", "jsonl", "--out")


def recorded(folder: Path, stream: str) -> list[tuple[str, dict[str, str]]]:
    """All that a folder of Parquet has of a stream, in its order."""
    return [(entry.entry_id, entry.fields) for page in Recording(folder).after(stream, "0-0") for entry in page]


def lines(path: Path, stream: str) -> list[str]:
    """The ids of a stream's entries in a file of JSON lines, in its order; a line that a kill cut off is none."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["stream"] == stream and entry.get("kind") != "gap":
            found.append(entry["id"])
    return found


async def recorded_all(rig: Rig, consumer: Program, folder: Path) -> int:
    """Stop the market, let the recorder finish, and compare: what is recorded is the stream, each entry once."""
    await rig.judged()
    await until(lambda: _read_up(rig), 30.0, "the recorder to have read everything")
    assert await consumer.stop() == 0
    entries = 0
    for pair in rig.exchange.pairs:
        stored = await rig.stored(f"trades:{pair}")
        assert recorded(folder, f"trades:{pair}") == stored
        entries += len(stored)
    return entries


async def _read_up(rig: Rig) -> bool:
    for pair in rig.exchange.pairs:
        [group] = await rig.client.xinfo_groups(f"trades:{pair}")
        [(newest, _)] = await rig.client.xrevrange(f"trades:{pair}", count=1)
        if group["last-delivered-id"] != newest:
            return False
    return True


async def _reads(rig: Rig, group: str = "recorder") -> bool:
    """Whether the group has read of every pair."""
    for pair in rig.exchange.pairs:
        if not await rig.client.exists(f"trades:{pair}"):
            return False
        groups = {one["name"]: one for one in await rig.client.xinfo_groups(f"trades:{pair}")}
        if group not in groups or groups[group]["last-delivered-id"] == "0-0":
            return False
    return True


@pytest.mark.row(13)
async def test_a_recorder_whose_redis_is_killed_records_every_entry_once(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig() as rig:
        rig.process()
        await rig.flows()
        folder = rig.folder / "parquet"
        consumer = rig.consumer(*RECORD, str(folder))
        await until(lambda: _reads(rig), 15.0, "the recorder to read")
        for _ in range(3):
            await CLOCK.sleep(0.7)
            rig.server.kill()
            await CLOCK.sleep(0.3)
            await rig.start_redis()
        await rig.caught_up()
        entries = await recorded_all(rig, consumer, folder)
    figure(f"Redis killed 3 times: {entries:,} entries recorded, each once")


@pytest.mark.row(14)
async def test_a_bus_that_comes_back_empty_gets_its_groups_again(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig("--appendonly", "no") as rig:
        rig.process()
        await rig.flows()
        out = rig.folder / "out.jsonl"
        consumer = rig.consumer("trades", "--group", "g", "--sink", "jsonl", "--out", str(out))
        await until(lambda: _reads(rig, "g"), 15.0, "the consumer to read")
        rig.server.kill()
        await rig.start_redis()
        await until(lambda: _reads(rig, "g"), 20.0, "the group to be made again")
        await rig.ends()
        await until(lambda: _read_up(rig), 30.0, "everything to be read")
        assert consumer.told("group.reset")
        assert await consumer.stop() == 0
        for pair in rig.exchange.pairs:
            new = [entry_id for entry_id, entry in await rig.stored(f"trades:{pair}") if entry.get("kind") != "gap"]
            had = lines(out, f"trades:{pair}")
            assert Counter(had).most_common(1)[0][1] == 1, "read twice"
            assert not set(new) - set(had), "never read"
    figure("group made again at the last entry that was read; none twice, none left out")


@pytest.mark.row(23)
async def test_sigterm_at_a_random_moment_leaves_each_entry_recorded_once(own_rig: Rigs, figure: Figure) -> None:
    await _ended_often(own_rig, 2, figure)


@pytest.mark.row(23)
@pytest.mark.chaos
@pytest.mark.timeout(400)
async def test_fifty_ends_of_a_recorder_leave_each_entry_recorded_once(own_rig: Rigs, figure: Figure) -> None:
    await _ended_often(own_rig, 50, figure)


async def _ended_often(own_rig: Rigs, times: int, figure: Figure) -> None:
    random, slowest_s = Random(2), 0.0
    async with own_rig() as rig:
        rig.process()
        await rig.flows()
        folder = rig.folder / "parquet"
        consumer = rig.consumer(*RECORD, str(folder))
        await until(lambda: _reads(rig), 15.0, "the recorder to read")
        for _ in range(times):
            await CLOCK.sleep(random.uniform(0.5, 1.5))  # it has to be our program before it can drain
            began = CLOCK.monotonic()
            assert await consumer.stop() == 0
            slowest_s = max(slowest_s, CLOCK.monotonic() - began)
            consumer.start()
        await CLOCK.sleep(1.0)
        entries = await recorded_all(rig, consumer, folder)
    assert slowest_s <= 10.0
    figure(f"recorder ended {times} times: {entries:,} entries, each once; exit 0 after {slowest_s:.1f} s at most")


@pytest.mark.row(26)
async def test_what_a_killed_member_had_begun_is_taken_over(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig() as rig:
        rig.process()
        await rig.flows()
        outs = [rig.folder / f"out-{number}.jsonl" for number in range(3)]
        members = [
            rig.consumer(
                "trades", "-g", "g", "--sink", "jsonl", "--out", str(out), settings={"consume.claim_idle": "2s"}
            )
            for out in outs
        ]
        await until(lambda: all(lines(out, "trades:BTCUSDT") for out in outs), 20.0, "all three to read")
        members[1].kill()
        died = CLOCK.monotonic()
        await CLOCK.sleep(1.0)
        await rig.judged()
        await until(lambda: _nothing_pending(rig), 45.0, "what it had begun to be finished by others")
        took_s = CLOCK.monotonic() - died
        for member in (members[0], members[2]):
            assert await member.stop() == 0
        for pair in rig.exchange.pairs:
            had = Counter(entry_id for out in outs for entry_id in lines(out, f"trades:{pair}"))
            assert not {entry_id for entry_id, _ in await rig.stored(f"trades:{pair}")} - set(had)
    figure(f"1 of 3 killed: all that it had begun finished by the others {took_s:.0f} s later (claimed after 2 s)")


async def _nothing_pending(rig: Rig) -> bool:
    if not await _read_up(rig):
        return False
    return not any([(await rig.client.xpending(f"trades:{pair}", "g"))["pending"] for pair in rig.exchange.pairs])


@pytest.mark.row(26)
@pytest.mark.chaos
async def test_a_killed_owners_streams_move_and_their_order_is_kept(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig() as rig:
        rig.process()
        await rig.flows()
        outs = [rig.folder / f"out-{number}.jsonl" for number in range(2)]
        owners = [
            rig.consumer("trades", "-g", "g", "--ownership", "lease", "--sink", "jsonl", "--out", str(out))
            for out in outs
        ]
        await until(lambda: all(out.exists() and out.stat().st_size for out in outs), 30.0, "both to own a stream")
        owners[0].kill()
        died = CLOCK.monotonic()
        await CLOCK.sleep(1.0)
        await rig.judged()
        await until(lambda: _nothing_pending(rig), 45.0, "the other one to take over")
        took_s = CLOCK.monotonic() - died
        assert await owners[1].stop() == 0
        for pair in rig.exchange.pairs:
            stored = [entry_id for entry_id, _ in await rig.stored(f"trades:{pair}")]
            had = lines(outs[1], f"trades:{pair}")
            assert had == sorted(had, key=stored.index), "out of order"
            assert set(stored) == set(had) | set(lines(outs[0], f"trades:{pair}"))
    figure(f"an owner killed: its streams moved, in order, {took_s:.0f} s later")


@pytest.mark.row(31)
async def test_the_count_of_what_was_trimmed_unread_is_the_true_loss(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig() as rig:
        rig.process(settings={"bus.maxlen": 100})
        await rig.flows()
        out = rig.folder / "out.jsonl"
        consumer = rig.consumer("trades", "-g", "g", "--from", "new", "--sink", "jsonl", "--out", str(out))
        await until(lambda: all(lines(out, f"trades:{pair}") for pair in rig.exchange.pairs), 15.0, "it to read")
        consumer.signal(signal.SIGSTOP)
        await CLOCK.sleep(3.0)
        consumer.signal(signal.SIGCONT)
        await CLOCK.sleep(1.0)
        await rig.ends()
        await until(lambda: _read_up(rig), 15.0, "everything to be read")
        metrics = await consumer.metrics()
        assert await consumer.stop() == 0
        lost = 0
        for pair in rig.exchange.pairs:
            ids = [int(entry_id.partition("-")[2]) for entry_id in lines(out, f"trades:{pair}")]
            lost += ids[-1] - ids[0] + 1 - len(ids)
            assert ids[-1] == rig.exchange.sent(pair)[-1]
        told = [json.loads(line) for line in out.read_text().splitlines() if '"kind": "gap"' in line]
    assert lost > 300
    assert metrics["cryptostream_group_lost_entries_total"] == lost
    assert sum(int(gap["count"]) for gap in told) == lost
    figure(f"frozen for 3 s with MAXLEN 100: {lost:,} entries lost, {lost:,} told")
