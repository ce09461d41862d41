"""Who is let in, with what, and how often: the guard before an application that tells what reached it."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from starlette.types import Message, Receive, Scope, Send

from cryptostream.config import load
from cryptostream.errors import ConfigError
from cryptostream.testing import ManualClock
from cryptostream.web import secret
from cryptostream.web.guard import Guard, Limits
from cryptostream.web.health import check_served
from cryptostream.web.rates import Rates
from cryptostream.web.rights import Rights

TOKEN, READ_TOKEN = "canary-that-may-write", "canary-that-may-read"
TEXT = "<p>&lt;script&gt;</p><script>1</script><script type='module' src='x'></script>"
BROWSER = {"accept": "text/html,application/xhtml+xml"}


class Inside:
    """An application that answers with what it was asked, and keeps each scope."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await self._socket(receive, send)
        elif scope["path"] == "/broken":
            raise RuntimeError(f"canary {scope['query_string']!r}")
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        is_page = scope["path"].startswith(("/dashboard", "/reports"))
        headers = [(b"content-type", b"text/html; charset=utf-8" if is_page else b"application/json")]
        if scope["path"].startswith("/reports"):
            headers.append((b"content-security-policy", b"sandbox"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in (TEXT[:30], TEXT[30:]) if is_page else ("{", "}"):
            await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
        await send({"type": "http.response.body"})

    async def _socket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            self.bodies.append(b"")


class Asking:
    """A guard on a clock that obeys, and who asks it."""

    def __init__(self, clock: ManualClock, *, host: str, token: str | None, read_token: str | None, **limits: Any):
        self.inside = Inside()
        rights = Rights(clock, token=token, read_token=read_token, secret="s" * 64)
        self.guard = Guard(self.inside, rights, clock, host=host, limits=Limits(**limits))

    async def __call__(self, path: str = "/stats", method: str = "GET", **wanted: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.guard)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, **wanted)

    async def status(self, path: str = "/stats", method: str = "GET", **wanted: Any) -> int:
        return (await self(path, method, **wanted)).status_code

    async def socket(self, *messages: Message, **headers: str) -> list[Message]:
        """What a websocket gets that says these things and then leaves."""
        said: list[Message] = [{"type": "websocket.connect"}, *messages, {"type": "websocket.disconnect", "code": 1000}]
        got: list[Message] = []

        async def receive() -> Message:
            return said.pop(0)

        async def send(message: Message) -> None:
            got.append(message)

        told = {"host": "127.0.0.1:8000", **headers}
        scope = {
            "type": "websocket",
            "path": "/ws",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in told.items()],
            "extensions": {"websocket.http.response": {}},
        }
        await self.guard(scope, receive, send)
        return got


Ask = Callable[..., Asking]


@pytest.fixture
def made(clock: ManualClock) -> Ask:
    def make(*, host: str = "127.0.0.1", token: str | None = None, read_token: str | None = None, **limits: Any) -> Any:
        return Asking(clock, host=host, token=token, read_token=read_token, **limits)

    return make


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# --- from where


NOT_OURS = ["evil.example", "127.0.0.1.evil.example", "[::1].evil.example", "[127.0.0.1]evil", "[::1"]
NOT_OURS += ["127.0.0.1:18100@evil.example", "localhost:evil.example", "localhost:", "localhost:8000:1", "::1", ""]


@pytest.mark.parametrize(("told", "status"), [("[::1]:9", 200), ("LOCALHOST", 200), *((one, 421) for one in NOT_OURS)])
async def test_another_hosts_name_reaches_nothing(made: Ask, told: str, status: int) -> None:
    ask = made()
    assert await ask.status(headers={"host": told}) == status
    assert (await ask.socket(host=told))[0].get("status", 200) == status
    assert len(ask.inside.scopes) == (0 if status == 421 else 2)


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
async def test_other_sites_neither_write_nor_open_a_socket(made: Ask, headers: dict[str, str], may: bool) -> None:
    ask = made()
    assert await ask.status("/subscribe", "POST", json=["BTCUSDT"], headers=headers) == (200 if may else 403)
    opened = await ask.socket(**{name.replace("-", "_"): value for name, value in headers.items()})
    assert opened[0]["type"] == ("websocket.accept" if may else "websocket.http.response.start")


LED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.row(36)
@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, True),
        (LED, True),
        ({**LED, "sec-fetch-dest": "iframe"}, False),
        ({**LED, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, False),
        ({**LED, "sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, False),
        ({"origin": "https://evil.example"}, False),
    ],
)
async def test_other_sites_may_lead_here_and_read_nothing(made: Ask, headers: dict[str, str], may: bool) -> None:
    ask = made(requests_per_s=0.01, burst=3)
    found = [await ask.status(path, headers=headers) for path in ("/api/v1/events", "/dashboard/", "/health")]
    assert found == [200 if may else 403] * 3
    assert [await ask.status() for _ in range(3)] == [429 if may else 200] * 3, "who is refused uses nothing up"
    assert await ask.status("/subscribe", "POST", json=["BTCUSDT"], headers=LED) in (403, 429)


async def test_nothing_says_that_another_origin_may_read(made: Ask) -> None:
    answer = await made()(headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


# --- who


@pytest.mark.parametrize(
    ("token", "read_token", "shown", "reads", "writes"),
    [
        (None, None, None, 200, 200),
        (TOKEN, None, None, 401, 401),
        (TOKEN, None, TOKEN, 200, 200),
        (TOKEN, None, TOKEN[:-1], 401, 401),
        (TOKEN, READ_TOKEN, READ_TOKEN, 200, 403),
        (TOKEN, READ_TOKEN, TOKEN, 200, 200),
        (None, READ_TOKEN, None, 401, 401),
        (None, READ_TOKEN, READ_TOKEN, 200, 403),
    ],
)
async def test_reads_and_writes_have_tokens_of_their_own(
    made: Ask, token: str | None, read_token: str | None, shown: str | None, reads: int, writes: int
) -> None:
    ask = made(token=token, read_token=read_token)
    headers = bearer(shown) if shown else {}
    assert await ask.status(headers=headers) == reads
    assert await ask.status("/subscribe", "DELETE", headers=headers) == writes
    assert ("status" not in (await ask.socket(**headers))[0]) == (reads == 200)
    assert await ask.status("/health") == 200
    assert await ask.status("/health", "POST", headers={}) == (401 if token or read_token else 200)


async def test_what_a_refusal_says_names_no_token(made: Ask) -> None:
    answer = await made(token=TOKEN)(headers=bearer("wrong"))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "canary" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_the_api_is_described_on_this_machine_alone(made: Ask, host: str) -> None:
    ask = made(host=host, token=TOKEN)
    found = {await ask.status(path, headers=bearer(TOKEN)) for path in ("/docs", "/redoc", "/openapi.json")}
    assert found == ({200} if host == "127.0.0.1" else {404})


async def test_a_browser_shows_its_token_once_and_has_a_cookie_then(made: Ask, clock: ManualClock) -> None:
    ask = made(token=TOKEN, read_token=READ_TOKEN)
    sent = await ask("/dashboard/pipeline", headers=BROWSER)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/dashboard/pipeline")
    form = await ask(sent.headers["location"])
    assert 'value="/dashboard/pipeline"' in form.text
    entered = await ask("/login", "POST", data={"token": READ_TOKEN, "next": "/dashboard/pipeline"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/dashboard/pipeline")
    cookie = entered.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "canary" not in cookie
    headers = {"cookie": cookie.partition(";")[0]}
    assert await ask.status("/dashboard/", headers=headers) == 200
    assert ask.inside.scopes[-1]["state"] == {"may_write": False}
    assert await ask.status("/subscribe", "DELETE", headers=headers) == 403
    clock.advance(8 * 86_400)
    assert await ask.status("/stats", headers=headers) == 401


@pytest.mark.parametrize("how", ["another right", "another end", "another token", "no signature"])
async def test_a_cookie_that_was_not_made_here_opens_nothing(made: Ask, clock: ManualClock, how: str) -> None:
    own = Rights(clock, token=TOKEN, read_token=READ_TOKEN, secret="s" * 64)
    right, until, signed = own.cookie("read").split(".")
    forged = {
        "another right": f"write.{until}.{signed}",
        "another end": f"{right}.{int(until) + 1}.{signed}",
        "another token": Rights(clock, token=TOKEN, read_token="x" * 16, secret="s" * 64).cookie("read"),
        "no signature": f"{right}.{until}.",
    }
    ask = made(token=TOKEN, read_token=READ_TOKEN)
    assert await ask.status(headers={"cookie": f"cryptostream={own.cookie('read')}"}) == 200
    assert await ask.status(headers={"cookie": f"cryptostream={forged[how]}"}) == 401


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example", '"><script>'])
async def test_a_login_leads_nowhere_else(made: Ask, then: str) -> None:
    ask = made(token=TOKEN)
    assert 'value="/dashboard/"' in (await ask("/login", params={"next": then})).text
    entered = await ask("/login", "POST", data={"token": TOKEN, "next": then})
    assert entered.headers["location"] == "/dashboard/"


async def test_a_wrong_token_gets_the_form_again(made: Ask) -> None:
    answer = await made(token=TOKEN)("/login", "POST", data={"token": "canary"})
    assert (answer.status_code, "set-cookie" in answer.headers, "canary" in answer.text) == (403, False, False)


# --- how much, and how often


@pytest.mark.row(36)
@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"content": b"[" + b" " * (64 * 1024 - 2) + b"]"}, 200),
        ({"content": b"[" + b" " * (64 * 1024 - 1) + b"]"}, 413),
        ({"content": b"[]", "headers": {"content-length": "9" * 40}}, 413),
        ({"content": b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"}, 200),
        ({"content": b"[" * 33 + b"]" * 33}, 422),
        ({"content": b'["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]'}, 200),
        ({"content": b"[]", "headers": {"content-type": "text/plain"}}, 415),
        ({"data": {"a": "b"}}, 415),
        ({}, 200),
    ],
)
async def test_a_body_is_small_flat_json(made: Ask, wanted: dict[str, Any], status: int) -> None:
    ask = made()
    kind = {"content-type": "application/json"} if "content" in wanted else {}
    answer = await ask("/subscribe", "POST", **{**wanted, "headers": {**kind, **wanted.get("headers", {})}})
    assert answer.status_code == status, answer.text
    assert ask.inside.bodies == ([wanted.get("content", b"")] if status == 200 else [])


@pytest.mark.row(36)
async def test_answers_are_counted_by_status(made: Ask) -> None:
    asking = made()
    for path in ("/stats", "/stats", "/broken"):
        await asking(path)
    await asking("/stats", headers={"host": "evil.example"})
    assert asking.guard.answers == {200: 2, 500: 1, 421: 1}


async def test_a_body_without_a_length_is_bounded_too(made: Ask) -> None:
    async def endless() -> Any:
        while True:
            yield b"x" * 10_000

    answer = await made()("/subscribe", "POST", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.row(36)
async def test_a_body_that_does_not_come_is_not_waited_for(made: Ask) -> None:
    got: list[Message] = []

    async def never() -> Message:
        return await asyncio.Future[Message]()

    async def send(message: Message) -> None:
        got.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"2")]
    scope = {"type": "http", "method": "POST", "path": "/subscribe", "headers": headers, "scheme": "http"}
    ask = made()
    await ask.guard(scope, never, send)
    assert (got[0]["status"], ask.inside.scopes) == (408, [])


@pytest.mark.row(36)
async def test_writes_are_twenty_a_minute(made: Ask, clock: ManualClock) -> None:
    ask = made(token=TOKEN)
    found = [await ask.status("/subscribe", "DELETE", headers=bearer(TOKEN)) for _ in range(20)]
    refused = await ask("/subscribe", "DELETE", headers=bearer(TOKEN))
    assert (set(found), refused.status_code, refused.headers["retry-after"]) == ({200}, 429, "3")
    assert await ask.status(headers=bearer(TOKEN)) == 200
    clock.advance(3)
    again = [await ask.status("/subscribe", "DELETE", headers=bearer(TOKEN)) for _ in range(2)]
    assert again == [200, 429]


@pytest.mark.row(36)
async def test_a_flood_is_refused_and_has_to_wait_for_that(made: Ask, clock: ManualClock) -> None:
    ask = made(burst=5, requests_per_s=1.0)
    assert [await ask.status("/health") for _ in range(6)] == [200] * 5 + [429]
    assert clock.monotonic() == 1.0
    assert [await ask.status("/health") for _ in range(2)] == [200, 429]
    assert len(ask.inside.scopes) == 6


@pytest.mark.row(36)
async def test_pages_have_a_rate_of_their_own(made: Ask, clock: ManualClock) -> None:
    ask = made()
    pages = ("/dashboard/", "/dashboard/pipeline", "/dashboard/nothing", "/dashboard")
    assert {await ask.status(path, headers=BROWSER) for path in pages * 5} == {200}
    told = await ask("/dashboard/", headers=BROWSER)
    assert (told.status_code, told.headers["retry-after"], clock.monotonic()) == (429, "1", 1.0)
    assert ("<p" in told.text, 'http-equiv="refresh" content="1"' in told.text) == (True, True)
    for path in ("/dashboard/_nicegui/3/static/a.js", "/dashboard/assets/a.css", "/dashboard/_nicegui_ws/", "/stats"):
        assert await ask.status(path) == 200
    assert await ask.status("/dashboard/") == 200, "there is one a second, and one is waited for"
    assert (await ask("/dashboard/")).json() == {"error": "too many pages", "hint": ""}


@pytest.mark.row(36)
@pytest.mark.parametrize("where", ["headers", "path", "query"])
async def test_a_head_is_bounded_also_where_it_comes_at_once(made: Ask, where: str) -> None:
    ask, long = made(), "x" * 17_000
    path = {"path": f"/{long}", "query": f"/stats?{long}"}.get(where, "/stats")
    answer = await ask(path, headers={"x": long} if where == "headers" else {})
    assert (answer.status_code, ask.inside.scopes) == (431, [])


async def test_a_socket_is_read_no_faster_than_it_may_send(made: Ask, clock: ManualClock) -> None:
    ask = made(messages_per_s=1.0)
    await ask.socket(*[{"type": "websocket.receive", "text": "x"}] * 10)
    assert (len(ask.inside.bodies), clock.monotonic()) == (10, 8.0)  # the connect and the end are messages, too


def test_rates_remember_a_bounded_number_of_clients(clock: ManualClock) -> None:
    rates = Rates(clock, per_s=1, burst=1, most=100)
    found = [rates.wait_s(str(client)) for client in range(1000)]
    assert (set(found), len(rates._left)) == ({0.0}, 100)


# --- what answers say


async def test_a_page_runs_its_own_scripts_alone(made: Ask) -> None:
    answer = await made()("/dashboard/", headers={**BROWSER, "accept-encoding": "gzip"})
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    nonce = policy["script-src"].split("'nonce-")[1].split("'")[0]
    assert answer.text.count(f'<script nonce="{nonce}"') == 2
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert (policy["default-src"], policy["frame-ancestors"], policy["object-src"]) == ("'self'", "'none'", "'none'")
    assert "unsafe-inline" not in policy["script-src"]
    again = await made()("/dashboard/", headers=BROWSER)
    assert nonce not in again.headers["content-security-policy"]


async def test_pages_are_asked_for_unpacked(made: Ask) -> None:
    ask = made()
    await ask("/dashboard/", headers={**BROWSER, "accept-encoding": "gzip"})
    assert b"accept-encoding" not in dict(ask.inside.scopes[0]["headers"])


async def test_a_report_keeps_the_policy_it_has(made: Ask) -> None:
    answer = await made()("/reports/first", headers=BROWSER)
    assert (answer.headers["content-security-policy"], answer.text) == ("sandbox", TEXT)
    assert "x-frame-options" not in answer.headers


@pytest.mark.parametrize("how", ["an answer", "a refusal"])
async def test_every_answer_is_sealed(made: Ask, how: str) -> None:
    answer = await made(token=TOKEN if how == "a refusal" else None)()
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert (answer.headers["x-content-type-options"], answer.headers["x-frame-options"]) == ("nosniff", "DENY")
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "same-origin")


async def test_our_own_fault_is_told_in_the_log_without_what_was_asked_for(made: Ask) -> None:
    with structlog.testing.capture_logs() as told:
        answer = await made()("/broken")
    assert (answer.status_code, "canary" in answer.text) == (500, False)
    assert [(line["event"], line["path"]) for line in told] == [("web.failed", "/broken")]


# --- where it is configured


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "trade.lan"])
def test_an_exposed_address_wants_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="anybody") as caught:
        load([], sets=[f"serve.host={host}"], flags={}, env={})
    assert (caught.value.exit_code, "serve.token" in str(caught.value)) == (78, True)
    for name in ("TOKEN", "READ_TOKEN"):
        load([], sets=[f"serve.host={host}"], flags={}, env={f"CRYPTOSTREAM_SERVE__{name}": TOKEN})


def test_one_token_cannot_be_both() -> None:
    with pytest.raises(ConfigError, match="the same"):
        check_served("127.0.0.1", [TOKEN, TOKEN])


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "web-secret"
    first = secret.kept(file)
    assert (len(first), secret.kept(file), stat.S_IMODE(file.stat().st_mode)) == (64, first, 0o600)
    assert [one.name for one in file.parent.iterdir()] == ["web-secret"]
    file.chmod(0o644)
    assert secret.kept(file) != first


def test_a_secret_is_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "web-secret").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="cannot be kept"):
        secret.kept(tmp_path / "web-secret")
