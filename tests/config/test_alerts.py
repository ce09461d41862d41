"""Rules and targets as people write them: each mistake located, secrets never shown, nothing opened."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cryptostream import logs
from cryptostream.config.alerts import AlertConfig, mistakes
from cryptostream.config.section import Section
from cryptostream.config.targets import MailTarget, WebhookTarget, secret
from cryptostream.errors import ConfigError
from cryptostream.transforms.alerts import Rate

CANARY = "CaNaRy9d1"
WHEN = 'strategy == "macd_rsi" and strength > 0.8'


def rule(**told: Any) -> AlertConfig:
    return AlertConfig.model_validate({"when": WHEN, "to": "log", **told})


def webhook(url: str = "https://hooks.example.org/x", **told: Any) -> dict[str, Any]:
    return {"to": [{"webhook": {"url": url, **told}}]}


def mail(**told: Any) -> dict[str, Any]:
    return {"to": [{"mail": {"host": "mail.example.org", "from": "a@example.org", "to": "b@example.org", **told}}]}


def test_what_is_not_said_is_signals_and_the_ledger_thirty_a_minute_for_an_hour() -> None:
    made = rule()
    assert (made.read, made.at_most, made.max_age) == (["signals", "events"], Rate(30, 60.0), 3600.0)
    assert [target.kind for target in made.to] == ["log"]


def test_a_rule_with_every_target() -> None:
    made = rule(
        to=["log", {"stream": None}, {"stream": {"name": "urgent"}}, *webhook()["to"], *mail()["to"]],
        at_most="5/1m",
        max_age="2h",
        read="signals",
    )
    assert [target.kind for target in made.to] == ["log", "stream", "stream", "webhook", "mail"]
    assert [target.stream.name for target in made.to if target.stream] == ["alerts", "urgent"]
    assert made.at_most == Rate(5, 60.0)


def test_it_is_written_as_it_is_read() -> None:
    made = rule(to=["log", {"stream": {"name": "urgent"}}, *mail(tls="tls")["to"]], at_most="5/1m")
    written = json.loads(made.model_dump_json())
    assert written["to"] == [
        "log",
        {"stream": {"name": "urgent"}},
        {"mail": {"host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org"], "tls": "tls"}},
    ]
    assert written["at_most"] == "5/1m"
    assert AlertConfig.model_validate(written) == made


BAD: dict[str, tuple[dict[str, Any], tuple[int | str, ...], str]] = {
    "condition": ({"when": "strenght > 0.8"}, ("when",), 'did you mean "strength"?'),
    "no condition": ({"when": ""}, ("when",), "it is empty"),
    "channel": ({"read": "tradse"}, ("read", 0), 'did you mean "trades"?'),
    "no limit": ({"at_most": "often"}, ("at_most",), "as in 5/1m"),
    "limit of none": ({"at_most": "0/1m"}, ("at_most",), "from 1 to 1,000"),
    "number as limit": ({"at_most": 5}, ("at_most",), "as in 5/1m, got 5"),
    "age": ({"max_age": "31d"}, ("max_age",), "0s to 30d"),
    "no targets": ({"to": []}, ("to",), "at least 1"),
    "target": ({"to": "webhok"}, ("to", 0), 'unknown target "webhok"; did you mean "webhook"?'),
    "two in one": ({"to": [{"log": {}, "stream": {}}]}, ("to", 0), "one name with its settings"),
    "setting": (webhook(sekret="x"), ("to", 0, "webhook", "sekret"), "Extra inputs"),
    "log with settings": ({"to": [{"log": {"level": "x"}}]}, ("to", 0, "log", "level"), "Extra inputs"),
    "stream among signals": ({"to": [{"stream": {"name": "signals:x"}}]}, ("to", 0, "stream", "name"), "their own"),
    "stream with a space": ({"to": [{"stream": {"name": "a b"}}]}, ("to", 0, "stream", "name"), "name of a stream"),
    "webhook without address": ({"to": ["webhook"]}, ("to", 0, "webhook", "url"), "Field required"),
    "plain http": (webhook("http://example.org/x"), ("to", 0, "webhook"), "should start with https://"),
    "plain http, allowed private": (
        webhook("http://example.org/x", allow_private=True),
        ("to", 0, "webhook"),
        "for this machine only",
    ),
    "loopback": (webhook("https://127.0.0.1/x"), ("to", 0, "webhook"), "127.0.0.1 is a loopback address"),
    "localhost": (webhook("https://localhost/x"), ("to", 0, "webhook"), "is a loopback address"),
    "metadata": (webhook("https://[fd00:ec2::254]/x"), ("to", 0, "webhook"), "a metadata address; allow_private"),
    "user": (webhook(f"https://u:{CANARY}@h/x"), ("to", 0, "webhook", "url"), "without user"),
    "scheme": (webhook(f"ftp://h/{CANARY}"), ("to", 0, "webhook", "url"), "https://host/path"),
    "port": (webhook(f"https://h:99999/{CANARY}"), ("to", 0, "webhook", "url"), "not an address"),
    "newline": (webhook(f"https://h/\r\nx: {CANARY}"), ("to", 0, "webhook", "url"), "https://host/path"),
    "letters": (webhook("https://bücher.example/"), ("to", 0, "webhook", "url"), "https://host/path"),
    "two secrets": (webhook(secret=CANARY, secret_env="X"), ("to", 0, "webhook"), "use one of them"),
    "empty secret": (webhook(secret=""), ("to", 0, "webhook", "secret"), "at least 1"),
    "address as target": ({"to": [f"https://h/{CANARY}"]}, ("to", 0), "unknown target"),
    "address of mail": (mail(to=["b@example.org\nBcc: c@x"]), ("to", 0, "mail", "to", 0), "one e-mail address"),
    "sender": (mail(**{"from": "Bot <a@x>"}), ("to", 0, "mail", "from"), "one e-mail address"),
    "mail in the clear": (mail(tls="none"), ("to", 0, "mail"), "this machine only"),
    "user alone": (mail(user="u"), ("to", 0, "mail"), "go together"),
    "password alone": (mail(password=CANARY), ("to", 0, "mail"), "go together"),
    "mail host": (mail(host="a b"), ("to", 0, "mail", "host"), "name or the address"),
}


@pytest.mark.parametrize(("told", "place", "words"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_told_with_its_place_and_without_secrets(
    told: dict[str, Any], place: tuple[int | str, ...], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        rule(**told)
    found = [(one["loc"], one["msg"]) for one in caught.value.errors()]
    assert [where for where, _ in found] == [place]
    assert words in found[0][1]
    assert CANARY not in str(caught.value)


def test_a_private_address_may_be_allowed() -> None:
    assert rule(**webhook("http://127.0.0.1:8080/x", allow_private=True)).to[0].kind == "webhook"
    assert rule(**webhook("https://10.0.0.1/x", allow_private=True)).to[0].kind == "webhook"


def test_nothing_that_is_printed_holds_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"https://hooks.example.org/services/{CANARY}?key={CANARY}"
    made = rule(
        to=[*webhook(address, secret=CANARY)["to"], *mail(user="u", password=CANARY)["to"]],
    )
    logs.configure(log_format="json")
    logs.get("config").info("loaded", alerts=made, url=made.to[0].target)
    shown = [repr(made), str(made), str(made.model_dump()), made.model_dump_json(), capsys.readouterr().err]
    assert [text for text in shown if CANARY in text] == []
    assert "https://hooks.example.org/***" in made.model_dump_json()
    hook = made.to[0].webhook
    assert hook is not None
    assert hook.url.get_secret_value() == address


@pytest.mark.parametrize(
    ("read", "name"), [("alerts", "alerts"), ("*", "alerts"), ("urg*", "urgent"), ("a:b", "a:b")], ids=str
)
def test_alerts_that_would_cause_alerts_are_a_mistake(read: str, name: str) -> None:
    wrong = {"one": rule(read=[read] if read != "alerts" else ["alerts*"]), "two": rule(to={"stream": {"name": name}})}
    ((place, why),) = mistakes(wrong)
    assert place == ("alerts", "two", "to", 0)
    assert f'writes to "{name}", which alerts.one reads' in why


def test_rules_that_read_what_nobody_of_them_writes_are_fine() -> None:
    fine = {"one": rule(read=["signals", "events", "BTCUSDT"]), "two": rule(to=["log", "stream"])}
    assert list(mistakes(fine)) == []


def hook(**told: Any) -> WebhookTarget:
    return WebhookTarget.model_validate({"url": "https://h/x", **told})


def test_a_secret_may_be_kept_in_four_places(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{CANARY}\n")
    told: list[WebhookTarget | MailTarget] = [
        hook(),
        hook(secret="a"),
        hook(secret_file=file),
        hook(secret_env="HOOK"),
        MailTarget.model_validate(
            {"host": "h", "from": "a@b", "to": "c@d", "user": "u", "password_file": str(file)},
        ),
    ]
    assert [secret(one, {"HOOK": "b"}) for one in told] == ["", "a", CANARY, "b", CANARY]


@pytest.mark.parametrize("content", [b"", b"\xff" + CANARY.encode(), CANARY.encode() * 10_000, None])
def test_a_secret_that_cannot_be_read_is_an_error_without_it(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match="secret_file") as caught:
        secret(hook(secret_file=tmp_path / "secret"), {})
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigError, match="HOOK is not set"):
        secret(hook(secret_env="HOOK"), {})


def test_every_setting_says_what_it_does() -> None:
    def undescribed(section: type[Section]) -> list[str]:
        return [name for name, field in section.model_fields.items() if not field.description]

    assert [undescribed(each) for each in (AlertConfig, WebhookTarget, MailTarget)] == [[], [], []]
