"""Alerts as e-mail: one plain-text letter each, over SMTP with TLS."""

import asyncio
import hashlib
import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Literal, Self

from cryptostream import logs
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.telling import NotNow, NotTaken, Target
from cryptostream.model.codec import iso
from cryptostream.model.ports import Clock
from cryptostream.transforms.alerts import Alert, one_line
from cryptostream.web.aside import aside
from cryptostream.web.trust import trusted

Tls = Literal["starttls", "tls", "none"]
PORTS: dict[Tls, int] = {"starttls": 587, "tls": 465, "none": 25}
"""Where a server listens, by how it is spoken to (RFC 6409, RFC 8314)."""
TIMEOUT_S = 7.0
_STEP_S = 5.0
_LONGEST_SUBJECT = 200
_CLOCK = SystemClock()
_log = logs.get("web")


class Mail(Target):
    """Sends alerts through an SMTP server, each over a connection of its own, within TIMEOUT_S.

    The server's certificate is checked, against `ca_file` where there is one, before a password is sent. A letter that
    the server refuses for good (5xx) is NotTaken; a refused login, 4xx and no answer are NotNow.
    """

    def __init__(
        self,
        host: str,
        *,
        sender: str,
        to: Sequence[str],
        port: int | None = None,
        user: str = "",
        password: str = "",
        tls: Tls = "starttls",
        ca_file: Path | None = None,
        clock: Clock = _CLOCK,
    ) -> None:
        self._host = host
        self._port = port or PORTS[tls]
        self._sender = sender
        self._to = list(to)
        self._user = user
        self._password = password
        self._tls = tls
        self._ca_file = ca_file
        self._clock = clock
        self._trusted: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Mail({self._shown!r})"

    @property
    def _shown(self) -> str:
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        if self._tls != "none":
            self._trusted = trusted(self._ca_file)
        return self

    async def tell(self, alert: Alert) -> None:
        """Send one letter. Raises NotNow, NotTaken."""
        letter = written(alert, self._sender, self._to, self._clock.now_ns())
        call = _Call(self._host, self._port)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                refused = await aside(lambda: self._send(letter, call))
        except TimeoutError as error:
            raise NotNow(f"{self._shown} did not take a letter within {TIMEOUT_S:g} s") from error
        except smtplib.SMTPResponseException as error:
            raise self._answered(error) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise self._none_of_them(error) from error
        except ssl.SSLCertVerificationError as error:
            raise NotNow(f"the certificate of {self._shown} is refused ({error.verify_message})") from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotNow(f"{self._shown} does not offer what is wanted: {error}", hint="see tls, user") from error
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise NotNow(f"no letter to {self._shown}: {_reason(error)}") from error
        finally:
            call.end()
        if refused:
            _log.warning("mail.some_refused", server=self._shown, recipients=len(refused), of=len(self._to))

    def _send(self, letter: EmailMessage, call: "_Call") -> dict[str, tuple[int, bytes]]:
        """In a thread: one conversation. The recipients that were refused, if not all were."""
        server = call.begin(self._trusted if self._tls == "tls" else None)
        try:
            if self._tls == "starttls":
                server.starttls(context=self._trusted)
            if self._user:
                server.login(self._user, self._password)
            return server.send_message(letter, self._sender, self._to)
        finally:
            call.part()

    def _answered(self, error: smtplib.SMTPResponseException) -> NotNow | NotTaken:
        """By the code alone: what a server says may repeat what it was sent."""
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return NotNow(f"{self._shown} refuses the login ({error.smtp_code})", hint="check user and password")
        told = f"{self._shown} answered {error.smtp_code}"
        letter = isinstance(error, smtplib.SMTPDataError | smtplib.SMTPSenderRefused)
        return NotTaken(told) if letter and error.smtp_code >= 500 else NotNow(told)

    def _none_of_them(self, error: smtplib.SMTPRecipientsRefused) -> NotNow | NotTaken:
        codes = sorted({code for code, _ in error.recipients.values()})
        told = f"{self._shown} refuses every recipient ({', '.join(map(str, codes))})"
        return NotTaken(told) if codes and codes[0] >= 500 else NotNow(told)


class _Call:
    """One conversation with a server, that can be ended from outside its thread."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server: smtplib.SMTP | None = None
        self._ended = False

    def begin(self, trusted: ssl.SSLContext | None) -> smtplib.SMTP:
        """Connect; over TLS from the first byte where there is a context."""
        if trusted is None:
            self._server = smtplib.SMTP(self._host, self._port, timeout=_STEP_S)
        else:
            self._server = smtplib.SMTP_SSL(self._host, self._port, timeout=_STEP_S, context=trusted)
        if self._ended:
            self._server.close()
            raise TimeoutError
        return self._server

    def part(self) -> None:
        """Say goodbye and hang up: no answer to that may make a letter that was taken one that was not."""
        if self._server is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._server.putcmd("quit")
            self._server.close()

    def end(self) -> None:
        """Wake the thread where it still waits."""
        self._ended = True
        line = getattr(self._server, "sock", None)
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def written(alert: Alert, sender: str, to: Sequence[str], now_ns: int) -> EmailMessage:
    """An alert as a letter; nothing in it can end a line of its head.

    Its Message-ID is made of the rule and the entry, so a letter that was sent twice can be known by it.
    """
    letter = EmailMessage(policy=SMTP)
    letter["From"] = sender
    letter["To"] = ", ".join(to)
    letter["Subject"] = alert.text[:_LONGEST_SUBJECT]
    letter["Date"] = format_datetime(datetime.fromtimestamp(now_ns / 1e9, UTC))
    letter["Message-ID"] = message_id(alert, sender)
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content("\n".join(_lines(alert)), charset="utf-8", cte="quoted-printable")
    return letter


def message_id(alert: Alert, sender: str) -> str:
    """What a letter is known by: the entry's id, a word for rule and stream, the sender's domain.

    >>> from cryptostream.model.events import Micros
    >>> message_id(Alert("strong", "signals:x:BTCUSDT", "1-2", Micros(0), {}, ""), "bot@example.org")
    '<1-2.2817ccd660acc2f5@example.org>'
    """
    word = hashlib.sha256(f"{alert.rule}/{alert.stream}".encode(errors="backslashreplace")).hexdigest()[:16]
    return f"<{alert.entry_id}.{word}@{sender.rpartition('@')[2]}>"


def _lines(alert: Alert) -> list[str]:
    told = [alert.text, "", f"rule: {alert.rule}", f"entry: {one_line(alert.id)}", f"time: {iso(alert.ts)} UTC", ""]
    return [*told, *(f"{one_line(name)}: {one_line(value)}" for name, value in alert.fields.items()), ""]


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:120]
    return "timed out" if isinstance(error, TimeoutError) else "the conversation broke"
