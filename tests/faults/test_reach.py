"""Names that do not resolve, certificates that are not valid, a ranking that is down, keys without rights."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cryptostream.engine.clock import SystemClock
from tests.chaos.rig import Rig, until
from tests.faults.conftest import Figure, Rigs

CLOCK = SystemClock()


@pytest.fixture
async def impostor(tmp_path: Path) -> AsyncIterator[int]:
    """A TLS server whose certificate nobody vouches for; its port."""
    crt, key = tmp_path / "server.crt", tmp_path / "server.key"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-subj", "/CN=elsewhere", "-out", str(crt), "-keyout", str(key)]
    subprocess.run(["openssl", *made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.row(33)
async def test_a_certificate_nobody_vouches_for_ends_the_start_at_once(rig: Rig, impostor: int) -> None:
    ingester = rig.process(settings={"venues.binance.ws_url": f"wss://127.0.0.1:{impostor}"})
    assert await ingester.ended() == 5
    told = ingester.log.read_text()
    assert "certificate" in told
    assert "plain-text" in told
    assert "Traceback" not in told
    assert not rig.exchange.attempts


@pytest.mark.row(33)
@pytest.mark.chaos
async def test_a_name_that_does_not_resolve_is_tried_until_the_start_is_over(rig: Rig) -> None:
    settings = {"venues.binance.ws_url": "wss://stream.nowhere.invalid", "bus.connect_timeout": "2s"}
    ingester = rig.process(settings=settings)
    assert await ingester.ended() == 5
    told = ingester.log.read_text()
    assert "stream.nowhere.invalid" in told
    assert "Traceback" not in told
    assert len(ingester.told("feed.unreachable")) >= 2


@pytest.mark.row(32)
@pytest.mark.chaos
@pytest.mark.parametrize("answer", ["503", "junk"])
async def test_a_ranking_that_is_down_costs_no_start(shared_rig: Rigs, answer: str, figure: Figure) -> None:
    async with shared_rig() as rig:
        rig.exchange.faults.inject(f"coingecko,answer={answer}")
        began = CLOCK.monotonic()
        ingester = rig.process("--top", "2", settings={"discovery.fallback_pairs": "BTCUSDT,ETHUSDT"}, start=False)
        ingester.start()
        await rig.flows()
        took_s = CLOCK.monotonic() - began
        await rig.judged()
        assert await ingester.stop() == 0
    assert took_s <= 10.0
    figure(f"{answer}: trades after {took_s:.1f} s, from the fallback pairs")


@pytest.mark.row(21)
async def test_a_password_that_changed_is_told_and_costs_nothing(own_rig: Rigs, figure: Figure) -> None:
    async with own_rig() as rig:
        ingester = rig.process()
        await rig.flows()
        await rig.client.config_set("requirepass", "changed")
        rig.link.reset()

        async def refused() -> bool:
            status, reasons = await ingester.get("/health")
            return status == 503 and "asks for a password" in reasons

        await until(refused, 5.0, "the refusal to be told")
        await rig.client.config_set("requirepass", "")
        await rig.judged()
        assert await ingester.stop() == 0
    assert "Traceback" not in ingester.log.read_text()
    figure("at the start one line and 78 or 5; later spooled, told, `/health` 503, 0 lost")
