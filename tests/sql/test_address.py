"""Where PostgreSQL is, and that nobody is shown how to get in."""

from pathlib import Path

import pytest

from cryptostream.errors import ConfigError
from cryptostream.sql.address import address

pytest.importorskip("psycopg", reason="the extra postgres is not installed")

CANARY = "c4n4ry"


def refusal(url: str | None, url_env: str | None, env: dict[str, str]) -> str:
    """What the error says, hint, causes and all."""
    with pytest.raises(ConfigError) as refused:
        address(url, url_env, env)
    error: BaseException | None = refused.value
    said = refused.value.hint
    while error is not None:
        said += f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    return said


def test_it_is_in_the_variable_that_is_named() -> None:
    found = address(None, "DB", {"DB": f"postgresql://me:{CANARY}@db.example:5433/market"})
    assert f"password={CANARY}" in found.conninfo
    assert found.shown == "postgresql://db.example:5433/market"
    assert CANARY not in repr(found)


def test_it_is_in_the_file_that_the_variable_with_file_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"\ufeffhost=db.example dbname=market password={CANARY}\n")
    found = address(None, "DB", {"DB": "", "DB_FILE": str(tmp_path / "secret")})
    assert f"password={CANARY}" in found.conninfo
    assert found.shown == "postgresql://db.example/market"


def test_a_url_without_a_password_may_be_written_down() -> None:
    assert "host=/run/postgresql" in address("postgresql:///market?host=/run/postgresql", None, {}).conninfo


@pytest.mark.parametrize(
    "url", [f"postgresql://me:{CANARY}@h/db", f"host=h password={CANARY}", f"postgresql://h/db?sslpassword={CANARY}"]
)
def test_a_url_with_a_password_may_not(url: str) -> None:
    said = refusal(url, None, {})
    assert "url_env" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    "text",
    [
        f"{CANARY}",
        f"redis://me:{CANARY}@h/0",
        f"postgresql://me:a/{CANARY}@h/db",
        f"postgresql://me:a?{CANARY}@h/db",
        f"postgresql://me:a#{CANARY}@h/db",
        f"postgresql://me:1/{CANARY}@h/db",
        f"postgresql://me:1?user={CANARY}@h/db",
        f"postgresql://me:a@{CANARY}@h/db",
        f"postgresql://me:{CANARY}/db",
        f"postgresql://me:%zz{CANARY}@h/db",
        f"postgresql://me@h/db?passwrod={CANARY}",
        f"host=h password=a {CANARY}",
        f"host=h passwrod={CANARY}",
    ],
)
def test_what_cannot_be_read_is_not_quoted(text: str) -> None:
    said = refusal(None, "DB", {"DB": text})
    assert "env DB" in said
    assert "percent-encode" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    ("url", "url_env", "env", "said"),
    [
        (None, None, {}, "url_env: DATABASE_URL"),
        ("postgresql://h/db", "DB", {}, "either url_env"),
        (None, "DB", {}, "env DB is not set"),
        (None, "DB", {"DB": "postgresql://h/db", "DB_FILE": "/x"}, "both set"),
        (None, "DB", {"DB_FILE": "/no/such/file"}, "env DB_FILE: the file cannot be read"),
        (None, f"postgresql://me:{CANARY}@h/db", {}, "the name of a variable"),
        (None, 5, {}, "the name of a variable"),
        (5, None, {}, "url is not the address"),
    ],
)
def test_what_is_missing_is_told(url: str | None, url_env: str | None, env: dict[str, str], said: str) -> None:
    assert said in refusal(url, url_env, env)
    assert CANARY not in refusal(url, url_env, env)


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"\xff", "not UTF-8"), (b"x" * 65_537, "too large")])
def test_a_file_that_holds_no_address_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert said in refusal(None, "DB", {"DB_FILE": str(tmp_path / "secret")})


def test_several_hosts_are_one_address() -> None:
    assert "host=a,b" in address("postgresql://a:5432,b/db?target_session_attrs=read-write", None, {}).conninfo


def test_a_silent_server_is_noticed_unless_told_otherwise() -> None:
    assert "connect_timeout=10" in address("postgresql://h/db", None, {}).conninfo
    assert "connect_timeout=3" in address("postgresql://h/db?connect_timeout=3", None, {}).conninfo
