"""Fault row 34: bad files, each mistake told with its line and column, all of them at once, before any connection."""

from pathlib import Path

import pytest

from cryptostream.config import load
from cryptostream.errors import ConfigError, NotFound

BAD = {
    # YAML itself
    "unclosed list": ("bus: [1", "1:8", "expected ',' or ']', but got the end of the file"),
    "unclosed quote": ("bus:\n  url: 'redis", "2:14", "unexpected end of stream"),
    "tab indent": ("bus:\n\turl: x", "2:1", "cannot start any token"),
    "two colons": ("bus: url: x", "1:9", "mapping values are not allowed here"),
    "two documents": ("bus: {}\n---\nfeed: {}", "2:1", "another document"),
    "bad indent": ("bus:\n    url: x\n  maxlen: 1", "3:3", "expected <block end>"),
    "undefined alias": ("bus: *nowhere", "1:6", "undefined alias"),
    "control character": ("bus: \x07", "1:6", "U+0007"),
    "object tag": ("bus: !!python/object/apply:os.system [ls]", "1:6", "a tag is not allowed here"),
    "own tag": ("bus:\n  url: !secret x", "2:8", "a tag is not allowed here"),
    "tag that does not fit": ("bus: {maxlen: !!int many}", "1:15", "not a value of its tag"),
    "duplicate key": ("bus: {maxlen: 1}\nfeed: {}\nbus: {maxlen: 2}", "3:1", "a second time, first at line 1"),
    "duplicate key below": ("bus:\n  maxlen: 1\n  maxlen: 2", "3:3", "a second time, first at line 2"),
    "key that is a number": ("bus:\n  1: x", "2:3", "a key should be text"),
    "key that is a list": ("bus:\n  ? [a]\n  : x", "2:5", "a key should be text"),
    "alias of itself": ("feeds: &a [*a]", "1:8", "nested deeper"),
    "too deep": ("bus: " + "[" * 30 + "]" * 30, "1:26", "nested deeper than 20 levels"),
    "much too deep": ("bus: " + "[" * 9000, "1:", "nested too deeply"),
    "list at the top": ("- bus", "1:1", "should be a mapping of settings"),
    "text at the top": ("\n  bus", "2:3", "should be a mapping of settings"),
    # Names
    "unknown section": ("buss: {}", "1:1", 'unknown setting; did you mean "bus"?'),
    "unknown setting": ("bus:\n  maxlan: 5", "2:3", 'bus.maxlan: unknown setting; did you mean "maxlen"?'),
    "two slips": ("feed:\n  tranzportt: auto", "2:3", 'did you mean "transport"?'),
    "swapped letters": ("discovery: {tpo: 5}", "1:13", 'did you mean "top"?'),
    "nothing like it": ("bus: {colour: red}", "1:7", "known: url, maxlen, raw_json, connect_timeout"),
    "unknown in a feed": ("feeds:\n  - binance: {symbol: A}", "2:15", 'did you mean "symbols"?'),
    "unknown in discover": ("feeds: [{binance: {discover: {topp: 5}}}]", "1:31", 'did you mean "top"?'),
    "unknown in a consumer": ("consumers:\n  x: {reed: t:*, read: t:*, write: console}", "2:7", 'did you mean "read"?'),
    "unknown venue": ("feeds:\n- binnance: {symbols: A}", "2:3", 'unknown venue "binnance"; did you mean "binance"?'),
    "unknown venue settings": ("venues:\n  binanse: {}", "2:3", 'unknown venue "binanse"; did you mean "binance"?'),
    "venue far off": ("feeds:\n- nyse: {symbols: A}", "2:3", 'unknown venue "nyse"; known: binance'),
    "unknown channel": (
        "feeds:\n- binance: {symbols: A, channels: [trades, tradse]}",
        "2:44",
        'unknown channel "tradse"; did you mean "trades"?',
    ),
    "unknown interval": (
        "feeds:\n- binance: {symbols: A, channels: [klines:1x]}",
        "2:36",
        'unknown kline interval "1x" in "klines:1x"; known: 1s, 1m',
    ),
    "nearly an interval": ("feeds: [{binance: {symbols: A, channels: klines:1min}}]", "1:42", 'did you mean "1m"?'),
    "klines without interval": ("feeds: [{binance: {symbols: A, channels: klines}}]", "1:42", "unknown kline interval"),
    "trades with interval": ("feeds: [{binance: {symbols: A, channels: 'trades:1m'}}]", "1:42", "has no interval"),
    "unknown sink": (
        "consumers:\n  x: {read: trades, write: [console, consol]}",
        "2:38",
        'unknown sink "consol"; did you mean "console"?',
    ),
    "unknown read": ("consumers:\n  x: {read: [trade], write: console}", "2:14", 'did you mean "trades"?'),
    "unknown placeholder": ('feeds: [{binance: {symbols: A, key: "x:{pairs}"}}]', "1:37", 'did you mean "pair"?'),
    "unknown transport": ("feed: {transport: picow}", "1:19", 'got "picow"; did you mean "picows"?'),
    # Values
    "text for a number": ("bus: {maxlen: many}", "1:15", 'should be a whole number, got "many"'),
    "truth for a number": ("bus: {maxlen: true}", "1:15", "should be a whole number, got true"),
    "fraction for a number": ("bus: {maxlen: 1.5}", "1:15", "should be a whole number, got 1.5"),
    "below zero": ("bus:\n  maxlen: -1", "2:11", "should be at least 0, got -1"),
    "too many": ("feed: {pairs_per_connection: 1025}", "1:30", "should be at most 1,024, got 1025"),
    "not a port": ("ingest: {health_port: 65536}", "1:23", "at most 65,535"),
    "no pairs to find": ("discovery: {top: 0}", "1:18", "should be at least 1"),
    "yes is not true": ("bus: {raw_json: yes}", "1:17", 'should be true or false, got "yes"'),
    "one is not true": ("bus: {raw_json: 1}", "1:17", "should be true or false, got 1"),
    "number for text": ("bus: {url: 5}", "1:12", "should be an address"),
    "duration without sense": ("bus: {connect_timeout: 3 hours}", "1:24", "not a duration: '3 hours'"),
    "duration too long": ("bus: {connect_timeout: 2h}", "1:24", "should be from 1ms to 1h, got 2h"),
    "duration below zero": ("discovery: {refresh: -5}", "1:22", "should be from 1s to 7d"),
    "duration not a number": ("discovery: {refresh: true}", "1:22", "should be a duration"),
    "size without sense": ("feed: {max_frame: 5TB}", "1:19", 'should be a size as in 4MiB, 100MB or 65536, got "5TB"'),
    "size too large": ("feed: {max_frame: 1GiB}", "1:19", "should be from 1KiB to 64MiB, got 1GiB"),
    "bus by HTTP": ("bus: {url: http://host}", "1:12", "should start with redis://"),
    "bus without scheme": ("bus: {url: localhost:6379}", "1:12", "should start with redis://"),
    "bus port": ("bus: {url: redis://host:port}", "1:12", "not an address"),
    "venue in the clear": (
        "venues:\n  binance:\n    ws_url: ws://stream.binance.com",
        "3:13",
        "should start with wss://; ws:// is for 127.0.0.1",
    ),
    "REST in the clear": ("venues: {binance: {rest_url: http://10.0.0.1}}", "1:30", "should start with https://"),
    "venue by another scheme": (
        "venues: {binance: {rest_url: ftp://host}}",
        "1:30",
        "should be an address as in https",
    ),
    "venue without host": ("venues: {binance: {ws_url: 'wss://'}}", "1:28", "should be an address as in wss://host"),
    "venue with a password": ("venues: {binance: {ws_url: wss://u:p@host}}", "1:28", "without user, query or fragment"),
    "discovery in the clear": ("discovery: {url: http://api.coingecko.com}", "1:18", "should start with https://"),
    "empty key": ("discovery: {api_key: ''}", "1:22", "should not be empty"),
    "short token": ("serve: {token: short}", "1:16", "should have at least 16 characters"),
    "no fallback": ("discovery: {fallback_pairs: []}", "1:29", "should not be empty"),
    "not a symbol": ("feeds: [{binance: {symbols: [BTCUSDT, BTC/USDT]}}]", "1:39", "not a symbol: 'BTC/USDT'"),
    "symbol that is a number": ("feeds: [{binance: {symbols: [5]}}]", "1:30", "should be text, got 5"),
    "symbols that are one number": ("feeds: [{binance: {symbols: 5}}]", "1:29", "should be a list, got a number"),
    "symbols of no file": ("feeds: [{binance: {symbols: '@gone.txt'}}]", "1:29", "cannot be read: No such file"),
    # Shapes
    "section that is text": ("bus: redis://u:p@host", "1:6", "should be a mapping of settings, got text"),
    "section that is a list": ("feed:\n  - auto", "2:3", "should be a mapping of settings, got a list"),
    "feeds without dashes": ("feeds:\n  binance: {symbols: A}", "2:3", "should be a list, got a mapping"),
    "feed that is a name": ("feeds: [binance]", "1:9", "should be a mapping of settings, got text"),
    "two venues in a feed": ("feeds:\n- binance: {symbols: A}\n  kraken: {}", "2:3", "should be one venue"),
    "feed that is a list": (
        "feeds: [{binance: [A]}]",
        "1:9",
        "the settings of a venue should be a mapping, got a list",
    ),
    "feed without pairs": ("feeds:\n- binance: {channels: trades}", "2:3", "names no pairs"),
    "feed of nothing": ("feeds:\n- binance:", "2:3", "names no pairs"),
    "no channels": ("feeds: [{binance: {symbols: A, channels: []}}]", "1:42", "should not be empty"),
    "key without pair": ("feeds: [{binance: {symbols: 'A,B', key: x}}]", "1:41", "should have {pair} in it"),
    "key without pair, found": ("feeds: [{binance: {discover: {}, key: x}}]", "1:39", "should have {pair} in it"),
    "key with a space": ("feeds: [{binance: {symbols: A, key: 'x y'}}]", "1:37", "should be text without spaces"),
    "key with attributes": ("feeds: [{binance: {symbols: A, key: '{pair.x}'}}]", "1:37", 'placeholder "pair.x"'),
    "key of our own": (
        "feeds: [{binance: {symbols: A, key: 'stats:{pair}'}}]",
        "1:37",
        "should not begin with dlq:, stats:, events:, signals:",
    ),
    "key of dead letters": ("feeds: [{binance: {symbols: A, key: 'dlq:{pair}'}}]", "1:37", "should not begin with"),
    "key of events": ("feeds: [{binance: {symbols: A, key: 'events:{pair}'}}]", "1:37", "should not begin with"),
    "key of signals": ("feeds: [{binance: {symbols: A, key: 'signals:{pair}'}}]", "1:37", "should not begin with"),
    "key of our own, in two parts": (
        "feeds: [{binance: {symbols: A, key: 'd{interval}lq:{pair}'}}]",
        "1:37",
        "should not begin with",
    ),
    "same stream twice": (
        "feeds:\n- binance: {symbols: 'A,B'}\n- binance: {symbols: [B]}",
        "3:3",
        'the stream "trades:B" is written by feeds[0] already',
    ),
    "same discovery twice": (
        "feeds:\n- binance: {discover: {top: 5}}\n- binance: {discover: {top: 9}}",
        "3:3",
        "is written by feeds[0] already",
    ),
    "templates that collide": (
        "feeds:\n- binance: {symbols: A, key: 'x:{pair}'}\n- binance: {symbols: A, channels: klines:1m, key: x:A}",
        "3:3",
        'the stream "x:A" is written by feeds[0] already',
    ),
    "two kinds in one stream": (
        "feeds:\n- binance: {symbols: A, channels: 'trades,klines:1m', key: 'x:{pair}'}",
        "2:3",
        "would hold both trades and klines:1m",
    ),
    "consumer without read": ("consumers:\n  x: {write: console}", "2:6", "consumers.x.read: is missing"),
    "consumer without write": ("consumers:\n  x: {read: trades}", "2:6", "consumers.x.write: is missing"),
    "consumer by a bad name": ("consumers:\n  a b: {read: trades, write: console}", "2:3", "letters, digits, - and _"),
    "bad filter": ("consumers:\n  x: {read: trades, where: qty >, write: console}", "2:28", "cannot read the filter"),
    "filter of no field": (
        "consumers:\n  x: {read: trades, where: quantity > 1, write: console}",
        "2:28",
        'no entry has a field "quantity"',
    ),
    "sink that is a list": ("consumers: {x: {read: trades, write: [[console]]}}", "1:39", "should be a sink's name"),
    "two sinks in one": (
        "consumers: {x: {read: t:*, write: [{console: {}, jsonl: {}}]}}",
        "1:36",
        "should be a sink's name",
    ),
    "unknown setting of a sink": (
        "consumers: {x: {read: t:*, write: [{parquet: {dri: x}}]}}",
        "1:36",
        'unknown setting of sink parquet: "dri"; did you mean "dir"?',
    ),
    "sink without what it needs": (
        "consumers: {x: {read: t:*, write: [jsonl]}}",
        "1:36",
        "missing a required argument: 'path'",
    ),
    "value that a sink does not take": (
        "consumers: {x: {read: t:*, write: [{parquet: {dir: x, rotate: banana}}]}}",
        "1:36",
        "banana",
    ),
    "sink with text": ("consumers: {x: {read: t:*, write: [{jsonl: x}]}}", "1:36", 'should be a mapping, got "x"'),
}


def told(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load([path])
    assert caught.value.exit_code == 78
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    text, place, fragment = BAD[name]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    message = told(path)
    first = message.splitlines()[0]
    assert first.startswith(f"{path}:{place}" + (": " if not place.endswith(":") else ""))
    assert fragment in message


def test_the_table_is_as_long_as_promised() -> None:
    assert len(BAD) >= 60


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "feeds:\n  - binanse: {symbols: [A/B, C], channels: [trade]}\nbus:\n  maxlan: 1\n  raw_json: no\nbus: {}\n"
    )
    places = [line.removeprefix(f"{path}:").split(": ")[:2] for line in told(path).splitlines()]
    assert places == [
        ["2:5", "feeds[0].binanse"],
        ["2:25", "feeds[0].binanse.symbols[0]"],
        ["2:45", "feeds[0].binanse.channels[0]"],
        ["4:3", "bus.maxlan"],
        ["5:13", "bus.raw_json"],
        ["6:1", "the key bus is here a second time, first at line 3"],
    ]


def test_mistakes_of_every_source_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("feed: {inbox_max: 0}")
    with pytest.raises(ConfigError) as caught:
        load(
            [path],
            sets=["discovery.top=x", "bus", "feeds.0=1"],
            flags={"bus.connect_timeout": "soon"},
            env={"STREAM_MAXLEN": "-5", "CRYPTOSTREAM_BUS_URL": "x", "CRYPTOSTREAM_INGEST": "auto"},
        )
    assert set(str(caught.value).splitlines()) == {
        f"{path}:1:19: feed.inbox_max: should be at least 1, got 0",
        "env STREAM_MAXLEN: bus.maxlen: should be at least 0, got -5",
        'env CRYPTOSTREAM_BUS_URL: bus_url: unknown setting; did you mean "CRYPTOSTREAM_BUS__URL"?',
        "env CRYPTOSTREAM_INGEST: ingest: should be a mapping of settings, got text",
        '--set discovery.top: should be a whole number, got "x"',
        "--set bus: should be A.B=C, as in bus.maxlen=5000",
        "--set feeds.0: sets one item of a list; set the list: --set feeds=[...]",
        "flag bus.connect_timeout: not a duration: 'soon'; a number and its unit, as in 500ms, 30s, 15m, 1h30m",
    }


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    levels = [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)]
    path.write_text("a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(levels))
    assert "more than 50,000 values, aliases expanded" in told(path)


def test_plain_aliases_work(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text("ingest: {symbols: &pairs [A, B]}\ndiscovery: {fallback_pairs: *pairs}")
    loaded = load([path])
    assert loaded.config.discovery.fallback_pairs == ["A", "B"]
    assert loaded.origin("discovery.fallback_pairs[1]") == f"{path}:1:30"


@pytest.mark.parametrize(
    ("content", "place", "fragment"),
    [
        (b"bus:\n  url: \xff", ":2:8", "not UTF-8"),
        (b"#" * ((1 << 20) + 1), "", "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_told(content: bytes, place: str, fragment: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    assert told(path).startswith(f"{path}{place}: {fragment}")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert told(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_missing_file_ends_with_4(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no such file: .*gone\.yaml") as caught:
        load([tmp_path / "gone.yaml"])
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"---\n", b"\xef\xbb\xbfbus: {}\n", b"bus:\nfeeds:\n"])
def test_a_file_that_says_nothing_is_fine(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_bytes(content)
    assert load([path]).config.bus.maxlen == 10_000
