"""What every answer tells a browser about itself, so that nothing else runs in our pages and nobody else frames them.

A page may run scripts of ours alone: those it loads from here, and those that carry this answer's nonce. Of the pages
here every script is ours: feed text gets into them as data, never as markup. `unsafe-eval` is for Vue, which compiles
the templates of NiceGUI in the browser; `unsafe-inline` is for styles alone.

https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy
"""

import re
from secrets import token_urlsafe

from starlette.types import Message, Send

_PAGE = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_NO_PAGE = b"default-src 'none'; frame-ancestors 'none'"
_POLICY = b"content-security-policy"
_ALWAYS = {
    b"x-content-type-options": b"nosniff",
    # not no-referrer: with that, browsers send the forms of our own pages with `Origin: null`
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_SCRIPT = re.compile(rb"<script(?=[\s>])")


class Sealed:
    """Sends an answer on with what it has to say; a page is held until it is whole, for each script gets the nonce.

    An answer with a policy of its own keeps it.
    """

    def __init__(self, send: Send, *, whole: bool = True) -> None:
        self.status: int | None = None
        self._send = send
        self._whole = whole
        self._nonce = token_urlsafe(16)
        self._page: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """An ASGI `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._start(message)
        elif self._page is not None and message["type"] == "http.response.body":
            await self._gather(self._page, message)
        else:
            await self._send(message)

    async def _start(self, message: Message) -> None:
        told = {name.lower(): value for name, value in message["headers"]}
        is_page = told.get(b"content-type", b"").startswith(b"text/html")
        added = {**_ALWAYS, b"cache-control": b"no-store"}
        if _POLICY not in told:
            added[_POLICY] = _PAGE.format(nonce=self._nonce).encode() if is_page else _NO_PAGE
            added[b"x-frame-options"] = b"DENY"
        headers = [*message["headers"], *((name, value) for name, value in added.items() if name not in told)]
        sealed = {**message, "headers": headers}
        if is_page and self._whole and _POLICY not in told and b"content-encoding" not in told:
            self._page = sealed
        else:
            await self._send(sealed)

    async def _gather(self, page: Message, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = _SCRIPT.sub(b'<script nonce="%s"' % self._nonce.encode(), bytes(self._body))
        kept = [(name, value) for name, value in page["headers"] if name.lower() != b"content-length"]
        await self._send({**page, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})
