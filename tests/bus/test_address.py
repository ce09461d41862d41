from pathlib import Path

import pytest

from cryptostream.bus.address import options
from cryptostream.errors import ConfigError
from cryptostream.logs import mask

CANARY = "hunter2canary"

BAD = {
    "sentinel": ("redis+sentinel://h:26379/mymaster", "redis+sentinel:// is not supported yet"),
    "cluster": ("redis+cluster://h:6379", "redis+cluster:// is not supported yet"),
    "another scheme": (f"http://u:{CANARY}@h", "not a bus URL"),
    "no scheme": ("localhost:6379", "not a bus URL"),
    "nothing": ("", "not a bus URL"),
    "a port that is no number": (f"redis://u:{CANARY}@h:port", "not a bus URL"),
    "a slash in the password": (f"redis://u:{CANARY}/x@h", "not a database number"),
    "a slash after digits in the password": (f"redis://u:1/{CANARY}@h", "not a database number"),
    "a hash in the password": (f"redis://u:1#{CANARY}@h", "not a database number"),
    "a database by name": ("redis://h/market", "not a database number"),
    "an unknown option": (f"redis://u:{CANARY}@h?ssl_ca_cert=x", 'unknown option "ssl_ca_cert"'),
    "an option of the wrong type": (f"redis://u:{CANARY}@h?db=x", "not a bus URL"),
    "a CA file that is not there": (f"rediss://u:{CANARY}@h?ssl_ca_certs=/no/such", "there is no file /no/such"),
    "a broken address": (f"redis://u:{CANARY}@[::1", "not a bus URL"),
}


@pytest.mark.parametrize(("url", "words"), BAD.values(), ids=BAD.keys())
def test_a_url_that_cannot_be_used_is_named_before_any_connection(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(url)
    assert words in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_an_option_with_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        options("rediss://h?ssl_ca_cert=x")
    assert caught.value.hint == 'did you mean "ssl_ca_certs"?'


SHOWN = {
    "redis://h:6379/0": "redis://h:6379/0",
    "redis://user:secret@h": "redis://***@h",
    "redis://:se@cr@et@h": "redis://***@h",
    "wss://stream:9443/ws/btcusdt@trade": "wss://stream:9443/ws/btcusdt@trade",
    "unix:///run/redis.sock?password=secret": "unix:///run/redis.sock?password=***",
    "rediss://h?ssl_password=sec@ret&db=1": "rediss://h?ssl_password=***&db=1",
}


@pytest.mark.parametrize(("url", "printed"), SHOWN.items())
def test_a_secret_is_never_printed(url: str, printed: str) -> None:
    assert mask(url) == printed


def test_a_percent_encoded_password_is_sent_decoded() -> None:
    assert options("redis://ann:a%2Fb%40c@h/3") | {"retry": None} == options("redis://h") | {
        "username": "ann",
        "password": "a/b@c",
        "host": "h",
        "db": 3,
        "retry": None,
    }


def test_a_unix_socket_keeps_its_path_and_database() -> None:
    made = options("unix:///run/my%20redis.sock?db=2")
    assert (made["path"], made["db"]) == ("/run/my redis.sock", 2)


def test_tls_checks_the_certificate_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").touch()
    made = options(f"rediss://h?ssl_ca_certs={tmp_path}/ca.crt")
    connection = made.pop("connection_class")(**made)
    assert (connection.cert_reqs.name, connection.check_hostname) == ("CERT_REQUIRED", True)
