"""Names of streams and ids of entries: section 3 of the contract, and nothing else."""

from cryptostream.model.events import Ledger
from cryptostream.model.instrument import DEFAULT_VENUE, Subscription

DEAD_LETTERS = "dlq:ingest"


def stream_key(subscription: Subscription, template: str | None = None, *, tagged: bool = False) -> str:
    """The stream a subscription is published to; `template` may hold {exchange} {channel} {pair} {interval}.

    `tagged` is for clusters: the pair is the key's hash tag there, so that what belongs to it shares a slot.

    >>> from cryptostream.model.instrument import Channel
    >>> stream_key(Subscription("binance", Channel.TRADES, "BTCUSDT"))
    'trades:BTCUSDT'
    >>> stream_key(Subscription("kraken", Channel.TRADES, "BTCUSD"))
    'trades:kraken:BTCUSD'
    >>> stream_key(Subscription("binance", Channel.TRADES, "BTCUSDT"), "market_data_stream:{pair}")
    'market_data_stream:BTCUSDT'
    >>> stream_key(Subscription("binance", Channel.TRADES, "BTCUSDT"), tagged=True)
    'trades:{BTCUSDT}'
    """
    exchange, channel, interval = subscription.exchange, subscription.channel, subscription.interval or ""
    if template:
        pair = _named(subscription.pair, tagged)
        return template.format(exchange=exchange, channel=channel, pair=pair, interval=interval)
    return ":".join((_key(channel, exchange, subscription.pair, tagged), *((interval,) if interval else ())))


def signals_key(strategy: str, exchange: str, pair: str, *, tagged: bool = False) -> str:
    """The stream of a strategy's signals on a pair.

    >>> signals_key("macd_rsi", "binance", "BTCUSDT"), signals_key("macd_rsi", "kraken", "BTCUSD")
    ('signals:macd_rsi:BTCUSDT', 'signals:macd_rsi:kraken:BTCUSD')
    >>> signals_key("macd_rsi", "binance", "BTCUSDT", tagged=True)
    'signals:macd_rsi:{BTCUSDT}'
    """
    return _key(f"signals:{strategy}", exchange, pair, tagged)


def indicators_key(exchange: str, pair: str, *, tagged: bool = False) -> str:
    """The hash of a pair's latest indicator values.

    >>> indicators_key("binance", "BTCUSDT"), indicators_key("kraken", "BTCUSD", tagged=True)
    ('indicators:BTCUSDT', 'indicators:kraken:{BTCUSD}')
    """
    return _key("indicators", exchange, pair, tagged)


def seed_key(signals: str) -> str:
    """The hash that says in what state the strategy began whose signals are in a stream.

    >>> seed_key(signals_key("macd_rsi", "binance", "BTCUSDT"))
    'seed:signals:macd_rsi:BTCUSDT'
    """
    return f"seed:{signals}"


def of_pair(pair: str) -> list[str]:
    """Globs of every stream of a pair, whatever is in it.

    >>> of_pair("BTCUSDT")
    ['*:BTCUSDT', '*:BTCUSDT:*', '*:{BTCUSDT}', '*:{BTCUSDT}:*']
    """
    return [f"*:{name}{rest}" for name in (pair, f"{{{pair}}}") for rest in ("", ":*")]


def ledger_key(ledger: Ledger) -> str:
    """The stream of a venue's ledger.

    >>> ledger_key(Ledger("binance"))
    'events:binance'
    """
    return f"events:{ledger.exchange}"


def kline_id(event_ms: int, close_time: int, *, closed: bool) -> str:
    """`<close_time>-1` for a closed kline, `<min(event time, close_time)>-0` for an update; times in ms.

    >>> kline_id(1733561824006, 1733561823999, closed=True), kline_id(1733561823500, 1733561823999, closed=False)
    ('1733561823999-1', '1733561823500-0')
    """
    return f"{close_time}-1" if closed else f"{min(event_ms, close_time)}-0"


def _key(start: str, exchange: str, pair: str, tagged: bool) -> str:
    venue = () if exchange == DEFAULT_VENUE else (exchange,)
    return ":".join((start, *venue, _named(pair, tagged)))


def _named(pair: str, tagged: bool) -> str:
    """A pair as it stands in a key."""
    return f"{{{pair}}}" if tagged else pair
