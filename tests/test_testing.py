import asyncio

from cryptostream.engine.clock import SystemClock
from cryptostream.model.ports import Batch
from cryptostream.testing import ListSink, ListSource, ManualClock


async def test_a_sleep_moves_both_clocks_without_waiting(clock: ManualClock) -> None:
    start_ns = clock.now_ns()
    await clock.sleep(86_400)
    assert (clock.monotonic(), clock.now_ns() - start_ns) == (86_400.0, 86_400 * 10**9)


async def test_sleepers_wake_in_the_order_of_their_deadlines(clock: ManualClock) -> None:
    woke: list[tuple[str, float]] = []

    async def beat(name: str, every_s: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(every_s)
            woke.append((name, clock.monotonic()))

    await asyncio.gather(beat("slow", 2.5, 1), beat("quick", 1.0, 3))
    assert woke == [("quick", 1.0), ("quick", 2.0), ("slow", 2.5), ("quick", 3.0)]


async def test_a_cancelled_sleep_does_not_move_time(clock: ManualClock) -> None:
    sleeper = asyncio.create_task(clock.sleep(60))
    await SystemClock().sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    await clock.sleep(1)
    assert clock.monotonic() == 1.0


async def test_a_source_hands_over_everything_in_order_and_notes_what_is_committed() -> None:
    seen = []
    async with ListSource([1, 2, 3, 4, 5], batch_size=2) as source:
        async for batch in source.batches():
            seen.append(list(batch.events))
            await source.commit(batch)
    assert seen == [[1, 2], [3, 4], [5]]
    assert source.committed == [1, 2, 3, 4, 5]


async def test_a_stopped_source_ends_before_its_next_batch() -> None:
    source = ListSource([1, 2, 3], batch_size=1)
    seen: list[Batch[int]] = []
    async for batch in source.batches():
        seen.append(batch)
        source.stop()
    assert [list(batch.events) for batch in seen] == [[1]]


async def test_a_sink_keeps_what_it_is_given() -> None:
    async with ListSink() as sink:
        await sink.write([1])
        await sink.write([2, 3])
    assert sink.events == [1, 2, 3]
