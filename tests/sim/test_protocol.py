import json

import pytest

from cryptostream.model.instrument import Interval
from cryptostream.sim.protocol import (
    MAX_STREAMS,
    Address,
    BadAddress,
    Conversation,
    TooManyStreams,
    address,
    stream_name,
    zone_us,
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/ws", Address()),
        ("/ws/btcusdt@trade", Address(("btcusdt@trade",))),
        ("/ws/btcusdt@trade/ethusdt@trade", Address(("btcusdt@trade", "ethusdt@trade"))),
        ("/stream", Address(combined=True)),
        ("/stream?streams=a@trade/b@trade", Address(("a@trade", "b@trade"), combined=True)),
        ("/stream?streams=a@trade&timeUnit=MICROSECOND", Address(("a@trade",), combined=True, unit_us=1)),
        ("/ws/a%40trade?timeUnit=millisecond", Address(("a@trade",))),
        ("/stream?streams=a@kline_1d@%2B08:00", Address(("a@kline_1d@+08:00",), combined=True)),
        ("/ws/%E5%B8%81usdt@trade", Address(("币usdt@trade",))),
    ],
)
def test_addresses(target, expected):
    assert address(target) == expected


@pytest.mark.parametrize("target", ["/", "/wsx", "/ws?timeUnit=NANOSECOND", "/streams?streams=a@trade"])
def test_an_address_that_does_not_exist_is_refused(target):
    with pytest.raises(BadAddress):
        address(target)


def test_stream_names_are_taken_apart():
    assert stream_name("btcusdt@kline_1M").interval is Interval.MO1
    assert stream_name("btcusdt@kline_1d@+08:00").shift_us == zone_us("+08:00")
    assert stream_name("btcusdt@aggTrade").kind == "aggTrade"


@pytest.mark.parametrize(
    "name", ["btcusdt", "btcusdt@depth", "btcusdt@kline_2m", "btcusdt@kline", "btcusdt@kline_1d@+09:00"]
)
def test_streams_that_are_not_offered_have_no_name(name):
    assert stream_name(name) is None


VARIANTS = "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ('{"method":"SUBSCRIBE","params":["b@trade"],"id":1}', {"result": None, "id": 1}),
        ('{"method":"UNSUBSCRIBE","params":["a@trade"],"id":312}', {"result": None, "id": 312}),
        ('{"method":"SUBSCRIBE","params":["no-such@thing"],"id":"x1"}', {"result": None, "id": "x1"}),
        ('{"method":"LIST_SUBSCRIPTIONS","id":3}', {"result": ["a@trade"], "id": 3}),
        ('{"method":"LIST_SUBSCRIPTIONS"}', {"result": ["a@trade"], "id": None}),
        ('{"method":"SET_PROPERTY","params":["combined",true],"id":5}', {"result": None, "id": 5}),
        ('{"method":"GET_PROPERTY","params":["combined"],"id":2}', {"result": False, "id": 2}),
        ('{"method":"GET_PROPERTY","params":["x"],"id":2}', {"code": 0, "msg": "Unknown property", "id": 2}),
        (
            '{"method":"SET_PROPERTY","params":["combined",1],"id":5}',
            {"code": 1, "msg": "Invalid value type: expected Boolean", "id": 5},
        ),
        (
            '{"method":"GET_PROPERTY","params":[1],"id":5}',
            {"code": 2, "msg": "Invalid request: property name must be a string", "id": 5},
        ),
        (
            '{"method":"GET_PROPERTY","params":["combined",1],"id":5}',
            {"code": 2, "msg": "Invalid request: too many parameters", "id": 5},
        ),
        (
            '{"method":"SUBSCRIBE","params":["a@trade"],"id":1.5}',
            {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"},
        ),
        (
            '{"method":"FOO","id":1}',
            {"code": 2, "msg": f"Invalid request: unknown variant FOO, {VARIANTS} at line 1 column 15"},
        ),
        ('{"id":1}', {"code": 2, "msg": "Invalid request: missing field `method` at line 1 column 8"}),
        ("nonsense", {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}),
    ],
)
def test_control_messages_get_the_exact_reply(message, reply):
    assert json.loads(Conversation(Address(("a@trade",))).answer(message)) == reply


def test_subscribing_changes_what_is_listened_to():
    conversation = Conversation(Address(("a@trade",)))
    conversation.answer('{"method":"SUBSCRIBE","params":["b@trade","a@trade"],"id":1}')
    conversation.answer('{"method":"UNSUBSCRIBE","params":["a@trade"],"id":2}')
    assert list(conversation.streams) == ["b@trade"]


def test_the_stream_after_the_last_allowed_one_ends_the_conversation():
    conversation = Conversation(Address(tuple(f"s{number}@trade" for number in range(MAX_STREAMS))))
    with pytest.raises(TooManyStreams):
        conversation.answer('{"method":"SUBSCRIBE","params":["more@trade"],"id":1}')


@pytest.mark.parametrize("text", ["", "+15:00", "-13", "8:99", "Berlin"])
def test_what_is_no_time_zone_is_refused(text):
    with pytest.raises(ValueError, match="time zone"):
        zone_us(text)
