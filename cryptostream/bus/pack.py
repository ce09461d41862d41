"""One record becomes one XADD: the constant part of a stream is packed once, the rest by one f-string.

`codec.fields` says what an entry holds; a test holds the fast way for trades to the same bytes.
"""

from collections.abc import Callable
from typing import cast

from cryptostream.bus.keys import DEAD_LETTERS, kline_id, ledger_key, stream_key
from cryptostream.bus.resp import bulk
from cryptostream.model import codec
from cryptostream.model.events import Entry, GapRecord, KlineRecord, Ledger, Record, TradeRecord
from cryptostream.model.instrument import Subscription
from cryptostream.model.intervals import closes
from cryptostream.model.text import MAX_DIGITS

Source = Subscription | Ledger | None
"""What a record comes from, and with it where it goes; None is a frame that nobody could read."""

_TRADE_FIELDS = 7
_DEAD_LETTERS_KEPT = 1000
LEDGER_KEPT = 10_000
# Text of a number's length is half of what packing it costs. Venues let nothing longer through.
_SIZES = [f"${size}\r\n" for size in range(MAX_DIGITS + 1)]
_SIDES = {side: f"{bulk('side')}{bulk(side)}" for side in ("buy", "sell")}


class Stream:
    """One stream as its writer knows it: the packed constants, and the time that the next entry must not precede.

    `ms` is the clamp of the contract: milliseconds of the newest entry.
    """

    __slots__ = ("_arguments", "_constants", "_head", "_trade", "_trade_raw", "key", "ms")

    def __init__(self, key: str, subscription: Subscription | None, *, maxlen: int) -> None:
        trim = f"{bulk('MAXLEN')}{bulk('~')}{bulk(str(maxlen))}" if maxlen else ""
        self.key = key
        self.ms = 0
        self._arguments = 6 if maxlen else 3
        self._head = f"{bulk('XADD')}{bulk(key)}{trim}"
        self._trade = self._command(_TRADE_FIELDS)
        self._trade_raw = self._command(_TRADE_FIELDS + 1)
        self._constants = _constants(subscription) if subscription else ""

    def pack(self, record: Record) -> str:
        """The XADD of a record; moves the clamp on."""
        if type(record) is not TradeRecord:
            return self._pack_any(self.entry_id(record), codec.fields(record))
        # The hot path: what `entry_id` says, without its calls.
        ms = record.ts // 1000
        if ms < self.ms:
            ms = self.ms
        else:
            self.ms = ms
        trade_id = str(record.trade_id)
        entry_id = f"{ms}-{trade_id}"
        price, qty, raw = record.price, record.qty, record.raw_json
        entry = (
            f"{self._trade_raw if raw else self._trade}{_SIZES[len(entry_id)]}{entry_id}\r\n"
            f"{self._constants}{_SIZES[len(price)]}{price}\r\n$3\r\nqty\r\n{_SIZES[len(qty)]}{qty}\r\n"
            f"$2\r\nts\r\n$26\r\n{codec.iso(record.ts)}\r\n{_SIDES[record.side]}"
            f"$8\r\ntrade_id\r\n{_SIZES[len(trade_id)]}{trade_id}\r\n"
        )
        return f"{entry}$8\r\nraw_json\r\n{bulk(raw)}" if raw else entry

    def entry_id(self, record: Record) -> str:
        """The id a record's entry gets here, `*` where the server chooses; moves the clamp on."""
        if isinstance(record, TradeRecord):
            return f"{self._clamped(record.ts)}-{record.trade_id}"
        if (own := window_id(record)) is not None:
            return own
        if isinstance(record, GapRecord):  # at the trade before it, which the stream knows better than the record
            return f"{self.ms or record.ts // 1000}-{record.gap_from}"
        return "*"

    def _clamped(self, ts: int) -> int:
        """Milliseconds of a time that never steps back: identity and order are the id's, the true time is in `ts`."""
        self.ms = max(self.ms, ts // 1000)
        return self.ms

    def _pack_any(self, entry_id: str, fields: dict[str, str]) -> str:
        body = "".join(f"{bulk(name)}{bulk(value)}" for name, value in fields.items())
        return f"{self._command(len(fields))}{bulk(entry_id)}{body}"

    def _command(self, fields: int) -> str:
        return f"*{self._arguments + 2 * fields}\r\n{self._head}"


def stream_of(source: Source, key_of: Callable[[Subscription], str], *, maxlen: int) -> Stream:
    """The stream of a source. That of unreadable frames and a ledger are numbered by the server, and short."""
    if source is None:
        return Stream(DEAD_LETTERS, None, maxlen=_DEAD_LETTERS_KEPT)
    if isinstance(source, Ledger):
        return Stream(ledger_key(source), None, maxlen=LEDGER_KEPT)
    return Stream(key_of(source), source, maxlen=maxlen)


class Entries:
    """Records as the entries they become in streams that were empty before; asks no Redis."""

    def __init__(self, key_of: Callable[[Subscription], str] = stream_key) -> None:
        self._key_of = key_of
        self._streams: dict[Source, Stream] = {}

    def __call__(self, record: Record) -> Entry:
        """The entry of the next record; clamps its id as the publisher does."""
        wanted = record.subscription
        stream = self._streams.get(wanted)
        if stream is None:
            stream = self._streams[wanted] = stream_of(wanted, self._key_of, maxlen=0)
        return Entry(stream.key, stream.entry_id(record), codec.fields(record))


def window_id(record: Record) -> str | None:
    """The id of a kline's entry, and of a gap of klines: the same in every stream, whoever writes it; else None.

    A gap stands where the closed kline of its last missing window would: above all that may stand before it, below all
    that comes after it, and in the place of what another writer may have had after all.
    """
    if isinstance(record, KlineRecord):
        return kline_id(record.ts // 1000, record.close_time, closed=record.closed)
    if isinstance(record, GapRecord) and (interval := record.subscription.interval):
        return kline_id(0, closes(interval, record.gap_to), closed=True)
    return None


def number(record: Record) -> int:
    """The second half of a record's entry id where it is the venue's own: a trade id, the first id of a gap."""
    if isinstance(record, TradeRecord):
        return record.trade_id
    return cast(GapRecord, record).gap_from


def _constants(subscription: Subscription) -> str:
    """What stands before the price in every trade of one stream."""
    named = ("exchange", subscription.exchange, "pair", subscription.pair, "price")
    return "".join(map(bulk, named))
