"""Clients that never retry by themselves, waits that end, and refusals in words a person can act on."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions as redis_errors

from cryptostream.bus.connect import Bus, connect, translate
from cryptostream.bus.resp import command
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable, CryptostreamError
from cryptostream.testing import ManualClock
from tests.conftest import RedisServer, free_port

Servers = Callable[..., RedisServer]
CANARY = "hunter2canary"


async def test_both_clients_and_a_raw_connection_reach_one_bus(
    bus_url: str, clock: ManualClock, data_dir: Path
) -> None:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as bus:
        await bus.command.xadd("trades:BTCUSDT", {"price": "1.0"}, id="1-1")
        found = await bus.blocking.xread({"trades:BTCUSDT": "0"}, block=100)
        assert found == [["trades:BTCUSDT", [("1-1", {"price": "1.0"})]]]
        assert await _raw(bus, "XLEN", "trades:BTCUSDT") == b":1\r\n"


async def test_a_blocking_read_that_finds_nothing_raises_nothing(
    bus_url: str, clock: ManualClock, data_dir: Path
) -> None:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as bus:
        assert not await bus.blocking.xread({"quiet": "$"}, block=50)


async def test_a_blocking_client_outlasts_the_block_it_was_made_for(
    real_redis_url: str, clock: ManualClock, data_dir: Path
) -> None:
    async with connect(real_redis_url, data_dir=data_dir, clock=clock) as bus:
        timeouts = [
            client.connection_pool.connection_kwargs["socket_timeout"]
            for client in (bus.command, bus.blocking, bus.blocking_for(60))
        ]
    assert timeouts == [5.0, 10.0, 65.0]


async def test_a_lost_reply_is_reported_and_never_sent_again(clock: ManualClock, data_dir: Path) -> None:
    sent: list[bytes] = []

    async def answer_pings_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.read(65536):
            sent.append(words)
            if b"PING" not in words:
                break
            writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(answer_pings_only, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"redis://127.0.0.1:{port}", data_dir=data_dir, clock=clock) as bus:
            with pytest.raises(redis_errors.ConnectionError):
                await bus.command.xadd("s", {"a": "1"})
    assert sum(b"XADD" in words for words in sent) == 1


async def test_nothing_but_the_command_itself_is_sent(clock: ManualClock, data_dir: Path) -> None:
    sent: list[bytes] = []

    async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.read(65536))
        writer.write(b"+PONG\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(pong, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"redis://127.0.0.1:{port}", data_dir=data_dir, clock=clock):
            pass
    assert sent == [b"*1\r\n$4\r\nPING\r\n"]


async def test_a_unix_socket_is_greeted_once(clock: ManualClock, data_dir: Path, tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.read(65536):
            sent.append(words)
            writer.write(b"+PONG\r\n" if b"PING" in words else b"+OK\r\n")
        writer.close()

    url = f"unix://:{CANARY}@{tmp_path}/s"
    server = await asyncio.start_unix_server(accept, tmp_path / "s")
    async with server, connect(url, data_dir=data_dir, clock=clock):
        pass
    assert [b"AUTH" in words for words in sent] == [True, False]


async def test_an_absent_server_is_waited_for_and_then_named(clock: ManualClock, data_dir: Path) -> None:
    url = f"redis://user:{CANARY}@127.0.0.1:{free_port()}"
    with pytest.raises(BusUnavailable, match=r"no answer from redis://\*\*\*@127.0.0.1:\d+: nothing listens") as caught:
        async with connect(url, data_dir=data_dir, connect_timeout_s=30, clock=clock):
            pytest.fail("there is no server")
    assert clock.monotonic() == 30.0
    assert caught.value.exit_code == 5
    assert caught.value.hint


async def test_a_server_that_comes_up_in_time_is_used(
    redis_server: Servers, clock: ManualClock, data_dir: Path
) -> None:
    server = redis_server(start=False)

    class StartingClock(ManualClock):
        async def sleep(self, delay_s: float) -> None:
            server.start()
            await super().sleep(delay_s)

    async with connect(server.url, data_dir=data_dir, clock=StartingClock()) as bus:
        assert await bus.command.ping()


async def test_a_server_that_is_loading_is_waited_for(clock: ManualClock, data_dir: Path) -> None:
    replies = [b"-LOADING Redis is loading the dataset in memory\r\n", b"-BUSY Redis is busy\r\n", b"+PONG\r\n"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(replies.pop(0))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"redis://127.0.0.1:{port}", data_dir=data_dir, clock=clock):
            pass
    assert not replies
    assert 0 < clock.monotonic() < 30


async def test_a_server_that_takes_no_writes_since_its_disk_is_full_can_be_read(
    redis_server: Servers, clock: ManualClock, data_dir: Path
) -> None:
    server = redis_server("--save", "3600 100000", start=False)
    gone = server.folder / "gone"
    gone.mkdir()
    server._command += ["--dir", str(gone)]
    server.start()
    server.call("XADD", "s", "1-1", "a", "1")
    gone.rmdir()
    server.call("BGSAVE")
    while not server.call("PING").startswith(b"-MISCONF"):
        assert server._pause(0.01)
    async with connect(server.url, data_dir=data_dir, clock=clock) as bus:
        assert await bus.command.xlen("s") == 1
        with pytest.raises(redis_errors.ResponseError) as caught:
            await bus.command.xadd("s", {"a": "2"})
    assert isinstance(translate(caught.value, bus.url), BusUnavailable)
    assert clock.monotonic() == 0


REFUSALS = {
    "wrong password": ("redis://:nope{canary}@127.0.0.1:{port}", "refuses the user or the password"),
    "wrong user": ("redis://nobody:{canary}@127.0.0.1:{port}", "refuses the user or the password"),
    "no password": ("redis://127.0.0.1:{port}", "asks for a password"),
    "no password on a unix socket": ("unix://{path}", "asks for a password"),
    "wrong password on a unix socket": ("unix://:nope{canary}@{path}", "refuses the user or the password"),
    "no such database": ("redis://:{canary}@127.0.0.1:{port}/99", "has no such database"),
    "a user without rights": ("redis://idle:{canary}@127.0.0.1:{port}", "does not allow this to our user"),
}


@pytest.mark.parametrize(("url", "words"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_ends_the_wait_at_once(
    url: str, words: str, redis_server: Servers, clock: ManualClock, data_dir: Path
) -> None:
    server = redis_server("--user", "idle", "on", f">{CANARY}", "-@all", password=CANARY)
    url = url.format(canary=CANARY, port=server.port, path=server.socket_path)
    with pytest.raises(BusRefused, match=words) as caught:
        async with connect(url, data_dir=data_dir, clock=clock):
            pytest.fail("it should have been refused")
    assert clock.monotonic() == 0
    assert CANARY not in f"{caught.value} {caught.value.hint} {caught.value!r}"
    assert "\n" not in str(caught.value)


async def test_an_ingesters_least_rights_are_enough_to_connect(
    redis_server: Servers, clock: ManualClock, data_dir: Path
) -> None:
    rights = ("~trades:*", "-@all", "+ping", "+hello", "+auth", "+xadd")
    server = redis_server("--user", "ingester", "on", f">{CANARY}", *rights, password="admin")
    async with connect(f"redis://ingester:{CANARY}@127.0.0.1:{server.port}", data_dir=data_dir, clock=clock) as bus:
        await bus.command.xadd("trades:BTCUSDT", {"a": "1"})
        assert (await _raw(bus, "XADD", "trades:BTCUSDT", "*", "a", "2")).startswith(b"$")
        assert (await _raw(bus, "XLEN", "trades:BTCUSDT")).startswith(b"-NOPERM")
        assert CANARY not in f"{bus!r} {bus.url} {bus.command!r}"


async def test_a_port_that_is_no_redis_is_refused(clock: ManualClock, data_dir: Path) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BusRefused, match="does not speak Redis's protocol"):
            async with connect(f"redis://127.0.0.1:{port}", data_dir=data_dir, clock=clock):
                pytest.fail("it is a web server")


async def test_the_bus_works_again_after_the_server_came_back(redis_server: Servers, data_dir: Path) -> None:
    server = redis_server()
    async with connect(server.unix_url, data_dir=data_dir, clock=SystemClock()) as bus:
        server.kill()
        with pytest.raises(redis_errors.ConnectionError):
            await bus.command.ping()
        with pytest.raises(BusUnavailable):
            await bus.raw_connection()
        server.start()
        assert await bus.command.ping()
        assert await _raw(bus, "PING") == b"+PONG\r\n"


async def test_closing_the_bus_closes_raw_connections_too(
    real_redis_url: str, clock: ManualClock, data_dir: Path
) -> None:
    async with connect(real_redis_url, data_dir=data_dir, clock=clock) as bus:
        connection = await bus.raw_connection()
    assert not connection.is_connected


async def test_an_entry_that_is_not_utf8_can_still_be_read(bus_url: str, clock: ManualClock, data_dir: Path) -> None:
    async with connect(bus_url, data_dir=data_dir, clock=clock) as bus:
        await bus.command.xadd("s", {"a": b"\xff"})
        assert (await bus.command.xrange("s"))[0][1] == {"a": "\\xff"}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server certificate for 127.0.0.1 by it, and a CA of somebody else."""
    folder = tmp_path_factory.mktemp("tls")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    try:
        for name in ("ca", "other"):
            _openssl(
                folder, f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"
            )
        _openssl(folder, f"req {key} -subj /CN=redis -keyout redis.key -out redis.csr")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            folder,
            "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out redis.crt",
        )
    except FileNotFoundError:
        pytest.skip("no openssl on PATH to make certificates with")
    return folder


@pytest.fixture
def tls_port(redis_server: Servers, certificates: Path) -> int:
    """A server that speaks TLS alone on this port, and asks for a client certificate."""
    port = free_port()
    files = ("--tls-cert-file", "redis.crt", "--tls-key-file", "redis.key", "--tls-ca-cert-file", "ca.crt")
    server = redis_server(start=False)
    options = [str(certificates / word) if (certificates / word).exists() else word for word in files]
    server._command += ["--tls-port", str(port), "--tls-auth-clients", "yes", *options]
    server.start()
    return port


async def test_tls_with_the_right_ca_and_a_client_certificate(
    tls_port: int, certificates: Path, clock: ManualClock, data_dir: Path
) -> None:
    files = (
        f"ssl_ca_certs={certificates}/ca.crt&ssl_certfile={certificates}/redis.crt&ssl_keyfile={certificates}/redis.key"
    )
    async with connect(f"rediss://127.0.0.1:{tls_port}?{files}", data_dir=data_dir, clock=clock) as bus:
        assert await bus.command.ping()
        assert await _raw(bus, "PING") == b"+PONG\r\n"


TLS_REFUSALS = {
    "no CA": ("rediss://127.0.0.1:{port}", "is not trusted"),
    "somebody else's CA": ("rediss://127.0.0.1:{port}?ssl_ca_certs={folder}/other.crt", "is not trusted"),
    "another host": ("rediss://localhost:{port}?ssl_ca_certs={folder}/ca.crt", "is not trusted: Hostname mismatch"),
}


@pytest.mark.parametrize(("url", "words"), TLS_REFUSALS.values(), ids=TLS_REFUSALS.keys())
async def test_tls_that_is_not_trusted_is_refused_at_once_and_never_goes_on_in_plain_text(
    url: str, words: str, tls_port: int, certificates: Path, clock: ManualClock, data_dir: Path
) -> None:
    with pytest.raises(BusRefused, match=words):
        async with connect(url.format(port=tls_port, folder=certificates), data_dir=data_dir, clock=clock):
            pytest.fail("it should not be trusted")
    assert clock.monotonic() == 0


async def test_a_server_that_wants_a_client_certificate_is_no_bus_without_one(
    tls_port: int, certificates: Path, clock: ManualClock, data_dir: Path
) -> None:
    url = f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={certificates}/ca.crt"
    with pytest.raises(CryptostreamError) as caught:  # TLS 1.3: the socket may close before its alert is read
        async with connect(url, data_dir=data_dir, clock=clock):
            pytest.fail("it should not be let in")
    assert "client certificate" in caught.value.hint


def _openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


async def _raw(bus: Bus, *words: str) -> bytes:
    connection: Any = await bus.raw_connection()
    connection._writer.write(command(*words).encode())
    reply: bytes = await connection._reader.read(1000)
    await connection.disconnect()
    return reply
