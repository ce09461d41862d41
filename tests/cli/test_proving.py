"""What happens around the audit while `verify` reads: streams that are trimmed meanwhile, venues nobody knows."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis

from cryptostream.bus.connect import Bus, connect
from cryptostream.cli.origins import OnBus, Span
from cryptostream.cli.proving import Venues, prove
from cryptostream.config import load
from cryptostream.engine.clock import SystemClock
from cryptostream.model.instrument import Channel
from cryptostream.transforms.audit import Audit
from cryptostream.venues.base import Rule
from tests.cli.test_verify import kept, trade


@pytest.fixture
async def bus(real_redis_url: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with connect(real_redis_url, data_dir=tmp_path, clock=SystemClock()) as made:
        yield made


class Trimmed(OnBus):
    """Streams that lose their beginning after the first page has been read."""

    def __init__(self, bus: Bus, url: str, keep: int) -> None:
        super().__init__(bus, ["trades:BTCUSDT"], Span())
        self._url = url
        self._keep = keep

    async def stream(self, name: str, top: str) -> AsyncIterator[list]:  # type: ignore[override]
        async for page in super().stream(name, top):
            yield page
            with redis.Redis.from_url(self._url) as client:
                client.xtrim("trades:BTCUSDT", maxlen=self._keep, approximate=False)


async def test_a_stream_trimmed_under_its_reader_has_no_hole(bus: Bus, real_redis_url: str) -> None:
    kept(real_redis_url, "trades:BTCUSDT", [trade(n) for n in range(1, 5001)])
    audit = Audit(lambda exchange, channel: Rule.CONTIGUOUS)
    await prove(Trimmed(bus, real_redis_url, 1500), audit, None, SystemClock())

    [report] = audit.reports()
    assert (report.failures, report.first_id, report.last_id) == ({}, 3501, 5000)


async def test_a_real_hole_stays_one_however_often_it_is_read(bus: Bus, real_redis_url: str) -> None:
    kept(real_redis_url, "trades:BTCUSDT", [trade(n) for n in range(1, 5001) if n != 4321])
    audit = Audit(lambda exchange, channel: Rule.CONTIGUOUS)
    await prove(Trimmed(bus, real_redis_url, 1500), audit, None, SystemClock())

    assert audit.reports()[0].holes.first == [(4321, 4321)]


async def test_of_a_venue_that_nobody_knows_nothing_is_promised() -> None:
    async with AsyncExitStack() as opened:
        venues = Venues(load().config, SystemClock(), opened)

        assert venues.rule("binance", Channel.TRADES) is Rule.CONTIGUOUS
        assert venues.rule("nowhere", Channel.TRADES) is Rule.NONE
