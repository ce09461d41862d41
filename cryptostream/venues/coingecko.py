"""CoinGecko, which ranks coins by market value: how to ask for a page of the ranking and how to read the answer.

Sources: coingecko/coingecko-api-oas (demo-api.json, pro-api.json) and docs.coingecko.com "Errors & Rate Limits".
A key belongs to one host: Demo keys to the public one, Pro keys to the pro one. Both start with `CG-`, so the kind of
a key cannot be told by looking at it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from cryptostream.errors import BadFrame
from cryptostream.venues.base import Request
from cryptostream.venues.ranking import Coin

PUBLIC_URL = "https://api.coingecko.com/api/v3"
PRO_URL = "https://pro-api.coingecko.com/api/v3"
PER_PAGE = 250
"""The most coins the provider puts on a page."""

ALIASES: Mapping[str, str] = {
    "iota": "IOTA",  # ticker MIOTA until 2023
    "nano": "XNO",  # was NANO
    "terra-luna": "LUNC",  # the first Terra; the coin whose ticker is LUNA now is terra-luna-2
    "matic-network": "POL",  # was MATIC
    "eos": "A",  # Vaulta
    "render-token": "RENDER",  # was RNDR
}
"""The base a venue lists a coin under, by coin id, where its ticker would mislead."""

_MOST_BYTES = 4 * 1024 * 1024
"""More than any page takes (250 rows are 250 KB): what is longer is not looked at."""
_MOST_ROWS = 1000
_MOST_BYTES_SAID = 64 * 1024
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_WRONG_KEY = {10002, 10005, 10010, 10011}
_TAGS = re.compile(r"<[^>]{0,200}>")


class _Row(msgspec.Struct):
    # {"id":"bitcoin","symbol":"btc","name":"Bitcoin","current_price":77671,"market_cap":1555886872303,
    #  "market_cap_rank":1,"roi":null, ... 20 more}
    id: str
    symbol: str
    name: str | None = None
    current_price: float | None = None
    market_cap: float | None = None
    market_cap_rank: int | None = None


_rows = msgspec.json.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(max_length=_MOST_ROWS)]).decode
_row = msgspec.json.Decoder(_Row).decode


def markets_request(
    page: int,
    per_page: int = PER_PAGE,
    *,
    url: str = PUBLIC_URL,
    api_key: str | None = None,
    pro_api_key: str | None = None,
) -> Request:
    """One page of coins by market value, prices in dollars; pages count from 1.

    A Pro key turns the public host into the pro host; any other `url` is used as it is given.
    """
    base = url.rstrip("/")
    headers: dict[str, str] = {}
    if pro_api_key:
        base = PRO_URL if base == PUBLIC_URL else base
        headers["x-cg-pro-api-key"] = pro_api_key
    elif api_key:
        headers["x-cg-demo-api-key"] = api_key
    params = {
        "vs_currency": "usd",
        "order": "market_cap_desc",
        "per_page": str(per_page),
        "page": str(page),
        "sparkline": "false",
    }
    return Request(url=f"{base}/coins/markets", params=params, headers=headers)


def coins(payload: bytes) -> list[Coin]:
    """The coins of one page in its order; a row without an id and a ticker is skipped. Raises BadFrame."""
    if len(payload) > _MOST_BYTES:
        raise BadFrame(f"{len(payload):,} bytes are no page of {PER_PAGE} coins")
    try:
        rows = _rows(payload)
    except _UNREADABLE as error:
        raise BadFrame(complaint(payload)[1] or str(error)) from error
    made = [coin for row in rows if (coin := _coin(row)) is not None]
    if rows and not made:
        raise BadFrame("a page without a single coin that can be read")
    return made


def _coin(raw: msgspec.Raw) -> Coin | None:
    try:
        row = _row(raw)
    except _UNREADABLE:
        return None
    if not row.id or not row.symbol:
        return None
    price = row.current_price if row.current_price is not None and row.current_price > 0 else None
    return Coin(
        id=row.id,
        symbol=row.symbol,
        name=row.name or "",
        price=price,
        rank=row.market_cap_rank,
        market_cap=row.market_cap,
    )


def complaint(payload: bytes) -> tuple[int | None, str]:
    """The error code and text of an answer that is no ranking: three JSON shapes, or the words of an HTML page.

    >>> complaint(b'{"error":{"status":{"error_code":10011,"error_message":"wrong host"}}}')
    (10011, 'wrong host')
    >>> complaint(b'{"error":"coin not found"}')
    (None, 'coin not found')
    """
    try:
        answer = msgspec.json.decode(payload[:_MOST_BYTES_SAID])
    except _UNREADABLE:
        return None, _words(payload)
    status = _inside(answer, "error", "status") or _inside(answer, "status")
    if isinstance(status, dict):
        code = status.get("error_code")
        return (code if isinstance(code, int) else None), str(status.get("error_message") or "")[:200]
    error = _inside(answer, "error")
    return None, (error[:200] if isinstance(error, str) else "")


def _inside(answer: Any, *path: str) -> Any:
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def _words(payload: bytes) -> str:
    """What a page for people says, without its tags."""
    text = payload[:4096].decode("utf-8", "replace")
    return " ".join(_TAGS.sub(" ", text).split())[:80] if text.lstrip().startswith("<") else ""


def advice(status: int, payload: bytes = b"") -> str:
    """What to do about an answer with this HTTP status; empty where there is nothing to be done."""
    if complaint(payload)[0] in _WRONG_KEY or status == 401:
        return "COINGECKO_API_KEY holds a Demo key, discovery.pro_api_key a Pro key; each works on its own host only"
    if status == 429:
        return "a free Demo key raises the limit: set COINGECKO_API_KEY"
    return ""
