from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection

from cryptostream.bus.address import Node, parse
from cryptostream.errors import ConfigError
from cryptostream.logs import mask

CANARY = "hunter2canary"

BAD = {
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
    "sentinels without a master": (f"redis+sentinel://u:{CANARY}@h", "no name of a master"),
    "sentinels and a database by name": ("redis+sentinel://h/market/x", "no name of a master"),
    "a slash in the password of sentinels": (f"redis+sentinel://u:1/{CANARY}@h/market", "no name of a master"),
    "a sentinel whose port is no number": (f"redis+sentinel://u:{CANARY}@h:1,h:port/m", "not a bus URL"),
    "a list with a hole in it": (f"redis+cluster://u:{CANARY}@h:1,,h:2", "not a bus URL"),
    "a cluster of nobody": ("redis+cluster://", "not a bus URL"),
    "a database of a cluster": (f"redis+cluster://u:{CANARY}@h/2", "a cluster has no database but 0"),
    "a database of a cluster as an option": ("redis+cluster://h?db=2", "a cluster has no database but 0"),
    "a slash in the password of a cluster": (f"redis+cluster://u:1/{CANARY}@h", "not a database number"),
    "a cluster on a unix socket": ("unix+cluster:///run/redis.sock", "not a bus URL"),
    "sentinels' password for a cluster": (f"redis+cluster://h?sentinel_password={CANARY}", "unknown option"),
}


@pytest.mark.parametrize(("url", "words"), BAD.values(), ids=BAD.keys())
def test_a_url_that_cannot_be_used_is_named_before_any_connection(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert words in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_an_option_with_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("rediss://h?ssl_ca_cert=x")
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
    assert parse("redis://ann:a%2Fb%40c@h/3").options | {"retry": None} == parse("redis://h").options | {
        "username": "ann",
        "password": "a/b@c",
        "host": "h",
        "db": 3,
        "retry": None,
    }


def test_a_unix_socket_keeps_its_path_and_database() -> None:
    made = parse("unix:///run/my%20redis.sock?db=2").options
    assert (made["path"], made["db"]) == ("/run/my redis.sock", 2)


def test_tls_checks_the_certificate_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").touch()
    made = parse(f"rediss://h?ssl_ca_certs={tmp_path}/ca.crt").options
    connection = made.pop("connection_class")(**made)
    assert (connection.cert_reqs.name, connection.check_hostname) == ("CERT_REQUIRED", True)


def test_a_cluster_is_some_of_its_nodes_and_what_connects_to_all_of_them() -> None:
    found = parse("redis+cluster://ann:a%2Fb@h1,[::1]:7001?client_name=me")
    assert found.nodes == (Node("h1", 6379), Node("::1", 7001))
    assert [found.options[name] for name in ("username", "password", "client_name")] == ["ann", "a/b", "me"]
    assert found.options.keys().isdisjoint({"host", "port", "db"})


def test_sentinels_are_asked_without_the_password_of_the_servers_and_not_for_long() -> None:
    found = parse("redis+sentinel://ann:secret@h1,h2:1/market/3?sentinel_password=other&client_name=me")
    assert (found.nodes, found.master) == ((Node("h1", 26379), Node("h2", 1)), "market")
    assert [found.options[name] for name in ("username", "password", "db")] == ["ann", "secret", 3]
    assert "sentinel_password" not in found.options
    assert (found.sentinel["password"], found.sentinel["client_name"]) == ("other", "me")
    assert found.sentinel.keys().isdisjoint({"username", "db"})
    assert found.sentinel["socket_timeout"] < 2


@pytest.mark.parametrize("url", ["rediss+cluster://h", "rediss+sentinel://h/market"])
def test_tls_is_one_letter_for_clusters_and_sentinels_too(url: str, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").touch()
    found = parse(f"{url}?ssl_ca_certs={tmp_path}/ca.crt")
    for made in filter(None, (found.options, found.sentinel)):
        assert made["connection_class"] is SSLConnection
        assert made["ssl_ca_certs"] == f"{tmp_path}/ca.crt"


@pytest.mark.parametrize("url", ["redis+cluster://h", "redis+sentinel://h/market"])
def test_nothing_retries_by_itself(url: str) -> None:
    found = parse(url)
    for made in filter(None, (found.options, found.sentinel)):
        assert made["retry"].get_retries() == 0


def test_a_node_prints_as_it_is_written() -> None:
    assert (str(Node("h", 1)), str(Node("::1", 2))) == ("h:1", "[::1]:2")
