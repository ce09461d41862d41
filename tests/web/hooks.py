"""Local servers that alerts are sent to, certificates for them, and an alert."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from cryptostream.model.events import Micros
from cryptostream.transforms.alerts import Alert

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Call(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback, by its port; whoever still talks at the end is hung up on."""
    talking: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        for task in talking:
            task.cancel()
        if talking:
            await asyncio.wait(talking)


class Hook:
    """An HTTP server that answers as it is told, and keeps what it was sent."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[bytes] = []
        self.port = 0

    @asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None) -> AsyncIterator["Hook"]:
        async with listening(self._answer, context) as self.port:
            yield self

    def take(self) -> bytes:
        """What the next call is answered with; nothing at all where it is empty."""
        return self.answers.pop(0) if self.answers else OK

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        named = (each.partition(": ") for each in rest)
        headers = {name.lower(): value for name, _, value in named}
        self.calls.append(Call(line, headers, await reader.readexactly(int(headers["content-length"]))))
        if said := self.take():
            writer.write(said)
            await writer.drain()
        else:
            await reader.read()


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = "".join(f"{each}\r\n" for each in (*headers, f"content-length: {len(body)}"))
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def alert(number: int = 1, *, held_back: int = 0, ts: int = 1_731_605_400_000_000, **fields: str) -> Alert:
    told = {"strategy": "macd_rsi", "pair": "BTCUSDT", "side": "buy", **fields}
    what = f"strong: macd_rsi says buy BTCUSDT, number {number}"
    return Alert("strong", "signals:macd_rsi:BTCUSDT", f"{ts // 1000}-{number}", Micros(ts), told, what, held_back)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and a certificate by it for hook.test and localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    (folder / "ext").write_text("subjectAltName=DNS:hook.test,DNS:localhost\n")
    (folder / "ca.conf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=critical,CA:TRUE\n"
        "keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
    )
    for words in (
        f"req -x509 {key} -days 2 -subj /CN=ca -config ca.conf -keyout ca.key -out ca.crt",
        f"req {key} -subj /CN=hook.test -keyout hook.key -out hook.csr",
        "x509 -req -in hook.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out hook.crt",
    ):
        try:
            subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no openssl on PATH to make certificates with")
    return folder


@pytest.fixture
def server_tls(certificates: Path) -> ssl.SSLContext:
    """What a server of hook.test speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "hook.crt", certificates / "hook.key")
    return context
