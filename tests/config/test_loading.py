"""Who wins, where a value comes from, and what each name in the environment sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cryptostream.config import Loaded, load
from cryptostream.errors import ConfigError
from cryptostream.model.instrument import parse_channel


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def env(**variables: str) -> Loaded:
    return load(env=variables)


def mistakes(**given: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**given)
    return str(caught.value).splitlines()


SOURCES: list[tuple[str, dict[str, Any], str]] = [
    # from the weakest to the strongest: what gives bus.maxlen, and where it says that it comes from
    ("default", {}, "default"),
    ("first file", {"files": ["a.yaml"]}, "a.yaml:1:15"),
    ("last file", {"files": ["a.yaml", "b.yaml"]}, "b.yaml:2:11"),
    ("plain name", {"env": {"STREAM_MAXLEN": "3"}}, "env STREAM_MAXLEN"),
    ("own name", {"env": {"CRYPTOSTREAM_BUS__MAXLEN": "4"}}, "env CRYPTOSTREAM_BUS__MAXLEN"),
    ("--set", {"sets": ["bus.maxlen=5"]}, "--set"),
    ("flag", {"flags": {"bus.maxlen": 6}}, "flag"),
]


@pytest.mark.parametrize("strongest", range(len(SOURCES)), ids=[name for name, _, _ in SOURCES])
def test_the_stronger_source_wins_over_all_weaker_ones(strongest: int) -> None:
    written("a.yaml", "bus: {maxlen: 1}")
    written("b.yaml", "bus:\n  maxlen: 2\n")
    given: dict[str, Any] = {"files": [], "env": {}}
    for _, source, _ in SOURCES[: strongest + 1]:
        given = {**given, **source, "env": {**given["env"], **source.get("env", {})}}
    loaded = load(**{**given, "files": [Path(name) for name in given["files"]]})
    assert loaded.config.bus.maxlen == [10_000, 1, 2, 3, 4, 5, 6][strongest]
    assert loaded.origin("bus.maxlen") == SOURCES[strongest][2]


def test_mappings_are_merged_and_lists_are_replaced() -> None:
    written("a.yaml", "bus: {maxlen: 1, raw_json: false}\ndiscovery: {exclude: [A, B], aliases: {one: ONE}}")
    written("b.yaml", "bus: {maxlen: 2}\ndiscovery: {exclude: [C], aliases: {two: TWO}}")
    config = load([Path("a.yaml"), Path("b.yaml")]).config
    assert (config.bus.maxlen, config.bus.raw_json) == (2, False)
    assert config.discovery.exclude == ["C"]
    assert config.discovery.aliases == {"one": "ONE", "two": "TWO"}


def test_an_empty_section_takes_nothing_away() -> None:
    written("a.yaml", "bus: {maxlen: 1}")
    written("b.yaml", "bus:\n")
    assert load([Path("a.yaml"), Path("b.yaml")]).config.bus.maxlen == 1


def test_settings_below_a_plain_value_do_not_hide_it() -> None:
    written("a.yaml", "bus: redis://host")
    assert mistakes(files=[Path("a.yaml")], sets=["bus.maxlen=1"]) == [
        "a.yaml:1:6: bus: should be a mapping of settings, got text"
    ]


def test_the_file_beside_us_is_found_by_itself() -> None:
    written("cryptostream.yaml", "bus:\n  url: redis://x\n  maxlen: 7\n")
    loaded = load()
    assert loaded.config.bus.maxlen == 7
    assert loaded.origin("bus.maxlen") == "cryptostream.yaml:3:11"


def test_a_file_that_is_named_stands_for_the_one_beside_us() -> None:
    written("cryptostream.yaml", "bus: {maxlen: 7}")
    written("other.yaml", "bus: {raw_json: false}")
    assert load([Path("other.yaml")]).config.bus.maxlen == 10_000


def test_each_leaf_knows_where_it_was_written() -> None:
    written(
        "cryptostream.yaml",
        "feeds:\n  - binance: {symbols: [A, B], key: 'x:{pair}'}\nconsumers:\n  c: {read: trades, write: [console]}\n",
    )
    loaded = load(env={"REDIS_URL": "redis://x"}, sets=["feed.transport=picows"], flags={"discovery.top": 5})
    places = {
        "feeds[0].binance.symbols": "cryptostream.yaml:2:24",
        "feeds[0].binance.symbols[1]": "cryptostream.yaml:2:28",
        "feeds.0.binance.key": "cryptostream.yaml:2:37",
        "feeds[0].binance.channels": "default",
        "feeds[0].binance.channels[0]": "default",
        "consumers.c.read[0]": "cryptostream.yaml:4:13",
        "bus.url": "env REDIS_URL",
        "feed.transport": "--set",
        "discovery.top": "flag",
        "discovery.url": "default",
        "data_dir": "default",
    }
    assert {path: loaded.origin(path) for path in places} == places


PLAIN = [
    ({"REDIS_URL": "redis://h:1/2"}, "bus.url", "redis://h:1/2"),
    ({"REDIS_HOST": "h", "REDIS_PORT": "1"}, "bus.url", "redis://h:1"),
    ({"REDIS_HOST": "h"}, "bus.url", "redis://h:6379"),
    ({"REDIS_PORT": "1"}, "bus.url", "redis://127.0.0.1:1"),
    ({"REDIS_HOST": "::1"}, "bus.url", "redis://[::1]:6379"),
    ({"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:6379"}, "bus.url", "redis://h:6379"),
    ({"REDIS_PORT": "tcp://10.0.0.1:6379"}, "bus.url", "embedded://"),
    ({"REDIS_HOST": "h", "REDIS_URL": "redis://wins"}, "bus.url", "redis://wins"),
    ({"STREAM_MAXLEN": "0"}, "bus.maxlen", 0),
    ({"REDIS_STREAMS_MAXLEN": "0"}, "bus.maxlen", 0),
    ({"REDIS_STREAMS_MAXLEN": "1", "STREAM_MAXLEN": "2"}, "bus.maxlen", 2),
    ({"STREAM_MAXLEN": ""}, "bus.maxlen", 10_000),
    ({"BINANCE_WS_URL": "ws://127.0.0.1:1"}, "venues.binance.ws_url", "ws://127.0.0.1:1"),
    ({"BINANCE_REST_URL": "http://localhost:1"}, "venues.binance.rest_url", "http://localhost:1"),
    ({"COINGECKO_URL": "http://[::1]:1/x"}, "discovery.url", "http://[::1]:1/x"),
    ({"COINGECKO_API_KEY": "[CG-1]"}, "discovery.api_key", "[CG-1]"),
    ({"COINGECKO_PRO_API_KEY": "12345"}, "discovery.pro_api_key", "12345"),
    ({"PAIRS_LIMIT": "50"}, "discovery.top", 50),
    ({"FALLBACK_PAIRS": "btcusdt, ETHUSDT"}, "discovery.fallback_pairs", ["BTCUSDT", "ETHUSDT"]),
    ({"DISCOVERY_REFRESH_SEC": "600"}, "discovery.refresh", "10m"),
    ({"DISCOVERY_REFRESH_SEC": "5m"}, "discovery.refresh", "5m"),
    ({"PAIRS_PER_CONNECTION": "7"}, "feed.pairs_per_connection", 7),
    ({"HEALTH_PORT": "9000"}, "ingest.health_port", 9000),
    ({"WATCHLIST_SYMBOLS": "A,B"}, "ingest.symbols", ["A", "B"]),
    ({"CRYPTOSTREAM_BUS__RAW_JSON": "false"}, "bus.raw_json", False),
    ({"CRYPTOSTREAM_DISCOVERY__EXCLUDE": "[A, usd-coin]"}, "discovery.exclude", ["A", "usd-coin"]),
    ({"CRYPTOSTREAM_DISCOVERY__ALIASES": "{matic: POL}"}, "discovery.aliases.matic", "POL"),
    ({"CRYPTOSTREAM_VENUES__BINANCE__WS_URL": "wss://x"}, "venues.binance.ws_url", "wss://x"),
    ({"CRYPTOSTREAM_FEED__MAX_FRAME": "100kB"}, "feed.max_frame", "100000B"),
    ({"CRYPTOSTREAM_DATA_DIR": "/somewhere"}, "data_dir", "/somewhere"),
    ({"XDG_DATA_HOME": "/xdg"}, "data_dir", "/xdg/cryptostream"),
]


@pytest.mark.parametrize(("variables", "path", "value"), PLAIN)
def test_a_name_in_the_environment_sets_its_setting(variables: Mapping[str, str], path: str, value: Any) -> None:
    found: Any = load(env=variables).plain(reveal=True)
    for name in path.split("."):
        found = found[name]
    assert found == value


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"REDIS_PORT": "x"}, "env REDIS_PORT: bus.url: should be the number of a port"),
        ({"REDIS_HOST": "u:p@h"}, "env REDIS_HOST: bus.url: should be a name or an address"),
        ({"PAIRS_LIMIT": "many"}, 'env PAIRS_LIMIT: discovery.top: should be a whole number, got "many"'),
        (
            {"CRYPTOSTREAM_BUS__MAXLAN": "1"},
            'env CRYPTOSTREAM_BUS__MAXLAN: bus.maxlan: unknown setting; did you mean "CRYPTOSTREAM_BUS__MAXLEN"?',
        ),
        ({"CRYPTOSTREAM_FEEDS": "[{]"}, "env CRYPTOSTREAM_FEEDS: feeds: not YAML: expected the node content"),
        ({"COINGECKO_API_KEY_FILE": "gone"}, "env COINGECKO_API_KEY_FILE: discovery.api_key: the file cannot be read"),
        ({"REDIS_URL": "redis://x", "REDIS_URL_FILE": "f"}, "env REDIS_URL_FILE: bus.url: REDIS_URL is set too"),
        ({"FALLBACK_PAIRS": "A,B/C"}, "env FALLBACK_PAIRS: discovery.fallback_pairs[1]: not a symbol: 'B/C'"),
    ],
)
def test_a_wrong_variable_is_named(variables: Mapping[str, str], line: str) -> None:
    assert any(told.startswith(line) for told in mistakes(env=variables)), mistakes(env=variables)


@pytest.mark.parametrize("name", ["REDIS_URL_FILE", "CRYPTOSTREAM_BUS__URL_FILE"])
def test_a_secret_is_read_from_the_file_that_is_named(name: str) -> None:
    written("secret", "redis://:word@host:1\n")
    loaded = env(**{name: "secret"})
    assert loaded.config.bus.url.get_secret_value() == "redis://:word@host:1"
    assert loaded.origin("bus.url") == f"env {name}"


def test_an_empty_secret_file_is_a_mistake() -> None:
    written("secret", "\n")
    assert mistakes(env={"REDIS_URL_FILE": "secret"}) == ["env REDIS_URL_FILE: bus.url: the file is empty"]


def test_an_unknown_variable_that_is_empty_is_not_set() -> None:
    assert env(CRYPTOSTREAM_NONSENSE="").config.feeds == []


def test_no_home_is_no_matter_where_the_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: str) -> str:
        return path

    monkeypatch.setattr("os.path.expanduser", no_home)
    assert mistakes(env={}) == ["default: data_dir: lies in a home folder and there is none; set CRYPTOSTREAM_DATA_DIR"]
    assert env(CRYPTOSTREAM_DATA_DIR="/data").config.data_dir == Path("/data")


def test_a_key_is_not_taken_from_the_command_line() -> None:
    line = mistakes(sets=["discovery.api_key=CANARY"])[0]
    assert line.startswith("--set discovery.api_key: a secret on the command line can be read by every process")
    assert "CANARY" not in line


def test_set_takes_lists_and_mappings() -> None:
    config = load(sets=["feeds=[{binance: {symbols: [A, B], channels: klines:1m}}]", "discovery.exclude=X,Y"]).config
    assert config.feeds[0].symbols == ["A", "B"]
    assert config.feeds[0].channels == [parse_channel("klines:1m")]
    assert config.discovery.exclude == ["X", "Y"]


def test_symbols_come_from_a_list_a_text_or_a_file() -> None:
    written("pairs.txt", "# mine\nbtcusdt ETHUSDT, BTCUSDT\n币安人生USDT # new\n")
    feeds = "[{binance: {symbols: ['@pairs.txt', 'solusdt,XRPUSDT', ADAUSDT]}}]"
    symbols = load(sets=[f"feeds={feeds}"]).config.feeds[0].symbols
    assert symbols == ["BTCUSDT", "ETHUSDT", "币安人生USDT", "SOLUSDT", "XRPUSDT", "ADAUSDT"]


def test_a_file_of_symbols_lies_beside_the_file_that_names_it() -> None:
    Path("sub").mkdir()
    written("sub/pairs.txt", "AAA")
    written("sub/c.yaml", "feeds: [{binance: {symbols: '@pairs.txt'}}]\ningest: {symbols: ['@pairs.txt']}")
    loaded = load([Path("sub/c.yaml")])
    assert loaded.config.feeds[0].symbols == loaded.config.ingest.symbols == ["AAA"]


def test_words_of_old_yaml_are_symbols() -> None:
    written("cryptostream.yaml", "feeds: [{binance: {symbols: [NO, ON, Y, 1INCH]}}]\ndiscovery: {quote: off}")
    config = load().config
    assert config.feeds[0].symbols == ["NO", "ON", "Y", "1INCH"]
    assert config.discovery.quote == "OFF"


def test_the_watch_list_is_a_feed_where_there_is_none() -> None:
    loaded = env(WATCHLIST_SYMBOLS="A,B")
    assert [(feed.venue, feed.symbols) for feed in loaded.config.feeds] == [("binance", ["A", "B"])]
    assert loaded.origin("feeds[0].binance.symbols") == "env WATCHLIST_SYMBOLS"


def test_the_watch_list_fills_feeds_that_name_no_pairs_and_no_others() -> None:
    written(
        "cryptostream.yaml",
        "feeds:\n- binance:\n- binance: {symbols: X, channels: klines:1m}\n"
        "- binance: {discover: {}, channels: agg_trades}\n",
    )
    feeds = env(WATCHLIST_SYMBOLS="A,B").config.feeds
    assert [feed.symbols for feed in feeds] == [["A", "B"], ["X"], []]


def test_a_discovery_takes_what_it_does_not_say_from_the_settings_for_all() -> None:
    written("cryptostream.yaml", "feeds:\n- binance: {discover: {quote: FDUSD}}\ndiscovery: {quote: EUR}")
    loaded = env(PAIRS_LIMIT="33")
    discover = loaded.config.feeds[0].discover
    assert discover is not None
    assert (discover.top, discover.quote) == (33, "FDUSD")
    assert loaded.origin("feeds[0].binance.discover.top") == "env PAIRS_LIMIT"


def test_what_is_shown_loads_again() -> None:
    import yaml

    written(
        "cryptostream.yaml",
        "feeds: [{binance: {symbols: 'A,B', channels: 'trades,klines:1M', key: '{channel}{interval}:{pair}'}}]\n"
        "consumers: {c: {read: 'A,trades:*', where: qty > 1, write: [console, {jsonl: {path: x}}]}}\n"
        "discovery: {refresh: 90s, api_key: abc}\nfeed: {max_frame: 1KiB}",
    )
    first = load()
    written("again.yaml", yaml.safe_dump(first.plain(reveal=True)))
    assert load([Path("again.yaml")]).config == first.config


def test_a_configuration_does_not_change() -> None:
    from pydantic import ValidationError

    config = load().config
    with pytest.raises(ValidationError, match="frozen"):
        config.bus.maxlen = 1  # type: ignore[misc]


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "embedded"])
def test_every_scheme_of_a_bus_is_known(scheme: str) -> None:
    url = f"{scheme}://host"
    assert env(REDIS_URL=url).config.bus.url.get_secret_value() == url


def test_health_that_others_could_read_unasked_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"health on 0\.0\.0\.0 could be read by anybody"):
        load((), sets=["ingest.health_host=0.0.0.0"], flags={}, env={})
    token = {"CRYPTOSTREAM_INGEST__HEALTH_TOKEN": "a-long-enough-secret"}
    assert load((), sets=["ingest.health_host=0.0.0.0"], flags={}, env=token).config.ingest.health_host == "0.0.0.0"
