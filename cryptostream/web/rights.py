"""Who may read and who may write: tokens, and the cookie that a browser has instead of one.

A cookie holds no token: what it may, until when, and a signature that nobody makes without the secret of this install
and the token that was shown. So a token that is changed ends its cookies.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Literal

from cryptostream.model.ports import Clock

COOKIE = "cryptostream"
_LASTS_S = 7 * 86_400

Right = Literal["read", "write"]


class Rights:
    """What a request may. Without any token, whoever gets here may read and write."""

    def __init__(self, clock: Clock, *, token: str | None, read_token: str | None, secret: str) -> None:
        self._clock = clock
        self._tokens: dict[Right, bytes] = {}
        for right, given in (("write", token), ("read", read_token)):
            if given:
                self._tokens[right] = given.encode()  # type: ignore[index]
        self._secret = secret.encode()

    @property
    def asked_for(self) -> bool:
        """Whether it takes a token to read."""
        return bool(self._tokens)

    @property
    def writable(self) -> bool:
        """Whether anybody may write."""
        return not self._tokens or "write" in self._tokens

    def of(self, headers: Mapping[bytes, bytes]) -> Right | None:
        """What the sender of these headers may do, None for nothing."""
        if not self._tokens:
            return "write"
        if b"authorization" in headers:
            scheme, _, given = headers[b"authorization"].partition(b" ")
            return self.of_token(given.strip()) if scheme.lower() == b"bearer" else None
        return self._of_cookie(headers.get(b"cookie", b"").decode("latin-1"))

    def of_token(self, given: bytes) -> Right | None:
        """What the holder of a token may do; every token takes the same time."""
        found: Right | None = None
        for right, token in self._tokens.items():
            if hmac.compare_digest(given, token):
                found = found or right
        return found

    def cookie(self, right: Right) -> str:
        """The value of a cookie for somebody who has shown the token of this right."""
        told = f"{right}.{self._now_s() + _LASTS_S}"
        return f"{told}.{self._signed(right, told)}"

    def _of_cookie(self, header: str) -> Right | None:
        try:
            found = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return None
        told, _, signed = (found.value if found else "").rpartition(".")
        for right in self._tokens:
            kind, _, until = told.partition(".")
            if kind == right and hmac.compare_digest(signed.encode(), self._signed(right, told).encode()):
                return right if int(until) > self._now_s() else None
        return None

    def _signed(self, right: Right, told: str) -> str:
        return hmac.new(self._secret + self._tokens[right], told.encode(), sha256).hexdigest()

    def _now_s(self) -> int:
        return self._clock.now_ns() // 10**9
