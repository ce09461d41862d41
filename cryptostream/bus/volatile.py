"""A Redis that keeps nothing: fakeredis' TCP server on loopback, for machines without a real one and for tests."""

from typing import Any

from fakeredis import TcpFakeServer
from fakeredis._clients._tcp_server import TCPFakeRequestHandler, _get_exception_prefix
from fakeredis._helpers import SimpleError
from redis.exceptions import ResponseError


class _Connection(TCPFakeRequestHandler):
    """fakeredis 2.40 hangs up after every error reply and puts ERR before its code; a server does neither."""

    def setup(self) -> None:
        super().setup()
        read = self.current_client.read_response

        def reply(*arguments: Any, **options: Any) -> Any:
            try:
                return read(*arguments, **options)
            except ResponseError as error:
                return _with_code(error)

        self.current_client.read_response = reply  # type: ignore[method-assign]


class VolatileServer(TcpFakeServer):
    """Listens on a loopback port, 0 for a free one; `serve_forever` in a thread, then `shutdown`."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port))
        self.RequestHandlerClass = _Connection


def _with_code(error: ResponseError) -> SimpleError:
    text = str(error)
    return SimpleError(text if text.partition(" ")[0].isupper() else f"{_get_exception_prefix(error)} {text}")
