"""A small SMTP server on loopback, which takes letters, refuses them, or says nothing (RFC 5321)."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.web.hooks import listening


class Letter(NamedTuple):
    sender: str
    to: list[str]
    text: bytes
    encrypted: bool


class Post:
    """`refuses` gives an answer other than the usual one by the command it is to: {"RCPT": b"550 no"}."""

    def __init__(self, **refuses: bytes) -> None:
        self.letters: list[Letter] = []
        self.logins: list[bytes] = []
        self.said: list[str] = []
        self.refuses = refuses
        self.port = 0

    def refusal(self, word: str) -> bytes:
        """The unusual answer to a command; empty where there is none."""
        return self.refuses.get(word, b"")

    @asynccontextmanager
    async def serving(
        self, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator["Post"]:
        self._starttls = starttls
        async with listening(self._talk, tls) as self.port:
            yield self

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        encrypted, sender, to = writer.get_extra_info("ssl_object") is not None, "", list[str]()
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().rstrip():
            word = line[:4].upper()
            self.said.append(line)
            if refusal := self.refusal(word):
                writer.write(refusal + b"\r\n" if refusal != b"silence" else b"")
            elif word == "EHLO":
                offered = b"" if encrypted or not self._starttls else b"250-STARTTLS\r\n"
                writer.write(b"250-here\r\n" + offered + b"250 AUTH PLAIN\r\n")
            elif word == "STAR" and self._starttls is not None:
                writer.write(b"220 go\r\n")
                await writer.start_tls(self._starttls)
                encrypted = True
            elif word == "AUTH":
                self.logins.append(base64.b64decode(line.split()[2]))
                writer.write(b"235 in\r\n")
            elif word == "DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                self.letters.append(Letter(sender, to, text.removesuffix(b".\r\n"), encrypted))
                writer.write((self.refusal("TEXT") or b"250 taken") + b"\r\n")
            else:
                sender = line[10:] if word == "MAIL" else sender
                to = [*to, line[8:]] if word == "RCPT" else to
                writer.write(b"250 fine\r\n")
            await writer.drain()
