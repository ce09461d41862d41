"""Alerts as e-mail: over TLS, plain text, nothing injected, tried again or dropped by the server's answer."""

import ssl
import threading
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream import logs
from cryptostream.engine.telling import NotNow, NotTaken
from cryptostream.model.events import Entry, Micros
from cryptostream.testing import ManualClock
from cryptostream.transforms.alerts import Alert, line
from cryptostream.web import mail
from cryptostream.web.mail import Mail, written
from tests.web.hooks import alert, certificates, server_tls
from tests.web.letters import Post

__all__ = ["certificates", "server_tls"]

CANARY = "CaNaRy9d1"


@pytest.fixture(autouse=True)
def no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda *_: "localhost")


async def send(post: Post, clock: ManualClock, **told: Any) -> None:
    options = {"sender": "bot@example.org", "to": ["ops@example.org", "me@example.org"], "tls": "none", **told}
    async with Mail("localhost", port=post.port, clock=clock, **options) as made:
        await made.tell(alert(3, held_back=2, price="45123.5"))


def read(text: bytes) -> EmailMessage:
    found = message_from_bytes(text, policy=default)
    assert isinstance(found, EmailMessage)
    return found


async def test_a_letter(clock: ManualClock) -> None:
    async with Post().serving() as post:
        await send(post, clock)
    (sent,) = post.letters
    assert (sent.sender, sent.to) == ("<bot@example.org>", ["<ops@example.org>", "<me@example.org>"])
    letter = read(sent.text)
    assert letter["Subject"] == "strong: macd_rsi says buy BTCUSDT, number 3 (and 2 more)"
    assert letter["From"] == "bot@example.org"
    assert letter["To"] == "ops@example.org, me@example.org"
    assert letter["Date"] == "Thu, 14 Nov 2024 17:30:00 +0000"
    assert letter["Message-ID"] == mail.message_id(alert(3), "bot@example.org")
    assert letter["Message-ID"].startswith("<1731605400000-3.")
    assert letter.get_content_type() == "text/plain"
    assert letter.get_content().splitlines() == [
        "strong: macd_rsi says buy BTCUSDT, number 3 (and 2 more)",
        "",
        "rule: strong",
        "entry: signals:macd_rsi:BTCUSDT/1731605400000-3",
        "time: 2024-11-14T17:30:00.000000 UTC",
        "",
        "strategy: macd_rsi",
        "pair: BTCUSDT",
        "side: buy",
        "price: 45123.5",
    ]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_over_tls_the_server_is_checked_before_the_login(
    tls: Any, server_tls: ssl.SSLContext, certificates: Path, clock: ManualClock
) -> None:
    async with Post().serving(**{tls: server_tls}) as post:
        await send(post, clock, tls=tls, ca_file=certificates / "ca.crt", user="me", password=CANARY)
        with pytest.raises(NotNow, match=f"certificate of localhost:{post.port} is refused"):
            await send(post, clock, tls=tls, user="me", password=CANARY)
    assert [letter.encrypted for letter in post.letters] == [True]
    assert post.logins == [f"\0me\0{CANARY}".encode()]


async def test_a_server_without_starttls_is_sent_nothing(clock: ManualClock) -> None:
    async with Post().serving() as post:
        with pytest.raises(NotNow, match="does not offer"):
            await send(post, clock, tls="starttls", user="me", password=CANARY)
    assert (post.letters, post.logins) == ([], [])


ANSWERS: dict[str, tuple[dict[str, bytes], type[Exception], str]] = {
    "login": ({"AUTH": b"535 no, " + CANARY.encode()}, NotNow, r"refuses the login \(535\)"),
    "busy": ({"MAIL": b"421 busy"}, NotNow, "answered 421"),
    "sender later": ({"MAIL": b"450 later"}, NotNow, "answered 450"),
    "sender": ({"MAIL": b"550 " + CANARY.encode()}, NotTaken, "answered 550"),
    "recipients later": ({"RCPT": b"451 later"}, NotNow, r"refuses every recipient \(451\)"),
    "recipients": ({"RCPT": b"550 unknown"}, NotTaken, r"refuses every recipient \(550\)"),
    "data": ({"DATA": b"451 no"}, NotNow, "answered 451"),
    "letter later": ({"TEXT": b"452 full"}, NotNow, "answered 452"),
    "letter": ({"TEXT": b"554 spam"}, NotTaken, "answered 554"),
    "nonsense": ({"EHLO": b"hello?", "HELO": b"hello?"}, NotNow, "answered|broke"),
}


@pytest.mark.parametrize(("refuses", "kind", "words"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_decides_what_becomes_of_a_letter(
    refuses: dict[str, bytes], kind: type[Exception], words: str, clock: ManualClock
) -> None:
    async with Post(**refuses).serving() as post:
        with pytest.raises(kind, match=words) as caught:
            await send(post, clock, user="me", password=CANARY)
    assert CANARY not in f"{caught.value!r}"


async def test_one_recipient_that_is_refused_is_told_and_the_others_have_it(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    class Picky(Post):
        def refusal(self, word: str) -> bytes:
            return b"550 unknown" if word == "RCPT" and "me@" in self.said[-1] else b""

    logs.configure(log_format="json")
    async with Picky().serving() as post:
        await send(post, clock)
    assert [letter.to for letter in post.letters] == [["<ops@example.org>"]]
    assert '"recipients": 1, "of": 2' in capsys.readouterr().err


@pytest.mark.parametrize("word", ["EHLO", "TEXT"])
async def test_a_silent_server_is_given_up_and_the_thread_ends(
    word: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "TIMEOUT_S", 0.1)
    async with Post(**{word: b"silence" if word == "EHLO" else b""}).serving() as post:
        if word == "TEXT":
            post.refuses = {"DATA": b"silence"}
        with pytest.raises(NotNow, match=r"within 0\.1 s"):
            await send(post, clock)
        for thread in threading.enumerate():
            if thread.name == "aside":
                thread.join(2)  # less than the seconds that one step may take
                assert not thread.is_alive()


async def test_a_goodbye_that_is_not_answered_does_not_undo_a_letter(clock: ManualClock) -> None:
    async with Post(QUIT=b"silence").serving() as post:
        await send(post, clock)
    assert len(post.letters) == 1


async def test_nobody_there_is_tried_again(clock: ManualClock) -> None:
    async with Post().serving() as post:
        pass
    with pytest.raises(NotNow, match="Connection refused"):
        await send(post, clock)


@given(st.dictionaries(st.text(), st.text(), max_size=4), st.text(min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_whatever_a_feed_says_a_letter_has_the_head_it_should(fields: dict[str, str], stream: str) -> None:
    told = Alert("r", stream, "1-1", Micros(0), fields, line("r", Entry(stream, "1-1", fields)))
    head = written(told, "a@example.org", ["b@example.org"], 0).as_bytes().partition(b"\r\n\r\n")[0]
    names = [each.partition(b":")[0] for each in head.split(b"\r\n") if not each.startswith((b" ", b"\t"))]
    assert sorted(names) == [
        b"Auto-Submitted",
        b"Content-Transfer-Encoding",
        b"Content-Type",
        b"Date",
        b"From",
        b"MIME-Version",
        b"Message-ID",
        b"Subject",
        b"To",
    ]


def test_a_line_break_in_feed_text_ends_no_line_of_the_head() -> None:
    entry = Entry("notes\r\nBcc: x@example.org", "1-1", {"text": "hi\r\nBcc: y@example.org\r\n\r\n<script>"})
    told = Alert("r", entry.stream, "1-1", Micros(0), entry.fields, line("r", entry))
    letter = read(written(told, "a@example.org", ["b@example.org"], 0).as_bytes())
    assert letter["Bcc"] is None
    assert letter["Subject"] == "r: notes Bcc: x@example.org: text hi Bcc: y@example.org <script>"
    assert "text: hi Bcc: y@example.org <script>" in letter.get_content().splitlines()


def test_a_letter_sent_twice_has_one_id_and_that_of_another_rule_another() -> None:
    one, other = (
        alert(1),
        Alert("other", *[getattr(alert(1), name) for name in ("stream", "entry_id", "ts", "fields", "what")]),
    )
    assert mail.message_id(one, "a@b") == mail.message_id(alert(1, held_back=5), "a@b")
    assert mail.message_id(one, "a@b") != mail.message_id(other, "a@b")
