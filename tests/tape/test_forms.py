"""One line of a tape, in each of its forms."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.model.events import Entry
from cryptostream.tape.forms import CRYPTOFEED, ENTRIES, FORMS, FRAMES, Form, frame_line, read_frame

AT = 1723161253937085768
WRAPPED = b'%d {"stream":"base64","data":{"e":"base64","frame":"' % AT


@given(st.integers(0, 2**63 - 1), st.binary())
def test_any_frame_comes_back_byte_for_byte(at: int, frame: bytes) -> None:
    line = frame_line(at, frame)

    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    line.decode()
    assert read_frame(line[:-1]) == (at, frame)


FITTING = {
    "a trade": b'{"stream":"btcusdt@trade","data":{"e":"trade"}}',
    "text that is no JSON": b"pong",
    "spaces around": b'  {"a": 1} ',
    "a carriage return at the end": b"{}\r",
    "letters of any script": '{"s":"币安人生USDT"}'.encode(),
}
ODD = {
    "a newline": b'{\n"e":"trade"}',
    "no bytes": b"",
    "not UTF-8": b"\x00\xff",
    "what looks wrapped": b'{"stream":"base64","data":{"e":"base64","frame":"eA=="}}',
}


@pytest.mark.parametrize("frame", FITTING.values(), ids=FITTING)
def test_a_frame_that_fits_stands_as_it_came(frame: bytes) -> None:
    assert frame_line(AT, frame) == b"%d %b\n" % (AT, frame)


@pytest.mark.parametrize("frame", ODD.values(), ids=ODD)
def test_a_frame_that_does_not_fit_is_wrapped_as_an_unknown_event(frame: bytes) -> None:
    line = frame_line(AT, frame)

    assert line.startswith(WRAPPED)
    assert json.loads(line[20:])["data"]["e"] == "base64"
    assert read_frame(line[:-1]) == (AT, frame)


BAD_FRAMES = {
    "no number": b'{"e":"trade"}',
    "no frame": b"%d" % AT,
    "an empty frame": b"%d " % AT,
    "blank": b"",
    "a signed number": b"-5 {}",
    "a number with an underscore": b"1_000 {}",
    "a number beyond 64 bits": b"9" * 20 + b" {}",
    "a wrapping that is not base64": WRAPPED + b'%%%"}}',
    "a wrapping that is cut": WRAPPED + b"eA",
}


@pytest.mark.parametrize("line", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_line_that_holds_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        read_frame(line)


CRYPTOFEED_LINES = {
    "connect": (b"wss://stream.binance.com:9443/stream?streams=a@trade <-> 1633998511.159679", None),
    "sent": (b'wss://ws.okx.com:8443/ws/v5/public <- 1652459225.2987883: {"op":"subscribe"}', None),
    "REST answer": (b'https://api.binance.com/api/v3/depth?symbol=A -> 1633998512.320639: {"bids":[]}', None),
    "blank": (b"", None),
    "frame": (b'1633998512.0633569: {"stream":"x"}', (1633998512_063356900, b'{"stream":"x"}')),
    "list": (b"1618678132.5: [1]", (1618678132_500000000, b"[1]")),
}


@pytest.mark.parametrize(("line", "expected"), CRYPTOFEED_LINES.values(), ids=CRYPTOFEED_LINES)
def test_cryptofeed_samples_give_their_frames(line: bytes, expected: Any) -> None:
    assert CRYPTOFEED.read(line) == expected


def test_a_strange_line_in_a_cryptofeed_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="receive time"):
        CRYPTOFEED.read(b'{"stream":"x"}')


def test_an_entry_keeps_its_fields_in_their_order() -> None:
    read = ENTRIES.read(b'{"stream":"trades:BTCUSDT","id":"1731605400123-42","price":"1.10","pair":"BTCUSDT"}')

    assert read == (
        1731605400123_000_000,
        Entry("trades:BTCUSDT", "1731605400123-42", {"price": "1.10", "pair": "BTCUSDT"}),
    )
    assert read is not None and list(read[1].fields) == ["price", "pair"]


BAD_ENTRIES = {
    "not JSON": b"{",
    "a number, which is no text": b'{"stream":"a","id":"1-1","price":1.10}',
    "no id": b'{"stream":"a"}',
    "no stream": b'{"id":"1-1"}',
    "an id that is none": b'{"stream":"a","id":"now"}',
    "an id without its second half": b'{"stream":"a","id":"5"}',
    "not an object": b"[]",
}


@pytest.mark.parametrize("line", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_a_line_that_is_no_entry_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="entry"):
        ENTRIES.read(line)


LOOKS = {
    "hftbacktest": (b'1723161253937085768 {"stream":"x"}', FRAMES),
    "text frames": (b"1723161253937085768 pong", FRAMES),
    "cryptofeed, connect": (b"wss://ws.kraken.com <-> 1618678132.368463", CRYPTOFEED),
    "cryptofeed, frame": (b"1618678132.831468: {}", CRYPTOFEED),
    "entries": (b'{"stream":"a","id":"1-1","x":"y"}', ENTRIES),
    "a numbered page": (b"1 In the beginning", None),
    "JSON": (b'{"symbols": []}', None),
    "CSV": (b"1723161253,1.0,2.0", None),
    "blank": (b"", None),
}


@pytest.mark.parametrize(("line", "form"), LOOKS.values(), ids=LOOKS)
def test_a_form_is_told_by_a_line(line: bytes, form: Form[Any] | None) -> None:
    assert [known for known in FORMS if known.looks(line)] == ([form] if form else [])
