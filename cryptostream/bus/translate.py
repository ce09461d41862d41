"""What a Redis server or the way to it has against us, in one line and a hint; whose fault it is decides the error.

`BusUnavailable` can be waited for (it loads, it is full, nobody answers), `BusRefused` needs a person (a password, a
right, TLS, a key of another type). The first word of an error reply is its code:
https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors
"""

import socket
import ssl
from ast import literal_eval
from collections.abc import Iterator

import hiredis
import redis.exceptions as redis_errors
from redis.asyncio.sentinel import MasterNotFoundError

from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.logs import mask

_LONGEST_REPLY = 200
_CA_HINT = "name its CA with ?ssl_ca_certs=FILE, and the host as its certificate does"
_TLS_HINT = "is this its TLS port? does it want a client certificate?"

_SENTINEL_HINT = "are they up, is its name right, do they want ?sentinel_password=?"
_CLUSTER_HINT = "use redis+cluster://host:port"

_Told = tuple[type[BusRefused] | type[BusUnavailable], str, str]

_CODES: dict[str, _Told] = {
    "WRONGPASS": (BusRefused, "{url} refuses the user or the password", "check both in REDIS_URL or bus.url"),
    "NOAUTH": (BusRefused, "{url} asks for a password", "put it into the URL: redis://:PASSWORD@host:6379"),
    "NOPERM": (BusRefused, "{url} does not allow this to our user: {text}", "grant it with ACL SETUSER"),
    "WRONGTYPE": (
        BusRefused,
        "{key} on {url} is not a stream",
        "see redis-cli TYPE; rename it, or the feed's key",
    ),
    "MOVED": (BusRefused, "{url} is a node of a Redis Cluster", _CLUSTER_HINT),
    "ASK": (BusRefused, "{url} is a node of a Redis Cluster", _CLUSTER_HINT),
    "CROSSSLOT": (BusRefused, "{url} is a Redis Cluster", _CLUSTER_HINT),
    "DENIED": (BusRefused, "{url} is in protected mode", "give the server a password, or bind it to loopback"),
    "LOADING": (BusUnavailable, "{url} is still loading its data", "wait longer with --connect-timeout"),
    "BUSY": (BusUnavailable, "{url} is busy with a script", "end it with redis-cli SCRIPT KILL"),
    "OOM": (BusUnavailable, "{url} is out of memory", "raise its maxmemory, or keep less with bus.maxlen"),
    "READONLY": (BusUnavailable, "{url} is a read-only replica", "name the primary in the URL"),
    "MISCONF": (BusUnavailable, "{url} cannot save to disk and takes no writes", "free its disk; its log says more"),
    "CLUSTERDOWN": (BusUnavailable, "{url} belongs to a cluster that is down", "see redis-cli CLUSTER INFO"),
    "MASTERDOWN": (BusUnavailable, "{url} has lost its primary", "name the primary in the URL"),
    "TRYAGAIN": (BusUnavailable, "{url} is moving data to another node", "try again in a moment"),
}

_TEXTS: dict[str, _Told] = {
    "max number of clients": (BusUnavailable, "{url} has no connection left", "raise its maxclients"),
    "without any password configured": (BusRefused, "{url} has no password and was sent one", "remove it from the URL"),
    "no password is set": (BusRefused, "{url} has no password and was sent one", "remove it from the URL"),
    "cluster support disabled": (BusRefused, "{url} is no Redis Cluster", "use redis:// or rediss://"),
    "DB index is out of range": (BusRefused, "{url} has no such database", "change the number at the end of the URL"),
    "unknown command": (BusRefused, "{url} is too old or has a command disabled: {text}", "use Redis 6.2 or newer"),
}


def translate(error: BaseException, url: str, *, key: str = "") -> BusRefused | BusUnavailable:
    """Our error for one of redis-py's, hiredis' or the socket's; `key` is named where the reply is about one.

    Returns it, so that the caller writes `raise translate(error, url) from error`.
    """
    for cause in _causes(error):
        if reply := _reply(cause):
            return translate_reply(reply, url, key=key)
        if isinstance(cause, redis_errors.InvalidResponse | hiredis.ProtocolError):
            return BusRefused(f"{mask(url)} does not speak Redis's protocol", hint="is this the port of a Redis?")
        if isinstance(cause, MasterNotFoundError):
            return BusUnavailable(f"no sentinel of {mask(url)} knows its master", hint=_SENTINEL_HINT)
        if isinstance(cause, OSError | EOFError):
            return _unreached(cause, mask(url))
    return _no_answer(error, mask(url))


def translate_reply(reply: hiredis.ReplyError | str, url: str, *, key: str = "") -> BusRefused | BusUnavailable:
    """Our error for a raw error reply, as the publisher reads it; `key` is what the command was about.

    >>> translate_reply("WRONGTYPE Operation against a key", "redis://h", key="trades:BTCUSDT")
    BusRefused('trades:BTCUSDT on redis://h is not a stream')
    """
    text = str(reply)
    code, _, rest = text.partition(" ")
    told = _CODES.get(code) or next((told for part, told in _TEXTS.items() if part in text), None)
    kind, message, hint = told or (BusRefused, "{url} refuses: {text}", "")
    # Redis echoes the arguments of a command it does not know, and those of AUTH are a secret.
    reason = (rest if code in _CODES else text).partition(", with args")[0][:_LONGEST_REPLY]
    return kind(message.format(url=mask(url), text=reason, key=key or "a key"), hint=hint)


def only_refuses_writes(error: BaseException) -> bool:
    """Whether a server that cannot save to disk said so: it answers a PING with MISCONF too, and can still be read."""
    return any(_reply(cause).startswith("MISCONF ") for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what lies under it: redis-py wraps both sockets' and servers' errors, not always with a cause."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reply(error: BaseException) -> str:
    """The server's error reply behind an exception, code first; empty where there was none."""
    if isinstance(error, hiredis.ReplyError):
        return str(error)
    if not isinstance(error, redis_errors.RedisError):
        return ""
    if error.status_code:
        return f"{error.status_code} {_bare(error)}"
    return _bare(error) if isinstance(error, redis_errors.ResponseError) else ""


def _bare(error: BaseException) -> str:
    """A reply without the command that redis-py puts before it in a pipeline, whose arguments are not for printing."""
    text = str(error.args[0]) if error.args else ""
    _, marker, quoted = text.rpartition(" of pipeline caused error: ")
    return str(literal_eval(quoted)[0]) if marker else text


def _unreached(error: OSError | EOFError, url: str) -> BusRefused | BusUnavailable:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or error.reason
        return BusRefused(f"the certificate of {url} is not trusted: {reason}", hint=_CA_HINT)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "handshake failed").lower().replace("_", " ")
        return BusRefused(f"no TLS with {url}: {reason}", hint=_TLS_HINT)
    if isinstance(error, PermissionError):
        return BusRefused(f"no permission to open {url}", hint="the socket belongs to another user")
    return _no_answer(error, url)


def _no_answer(error: BaseException, url: str) -> BusUnavailable:
    if url.startswith("embedded://"):
        return BusUnavailable(f"the embedded server has stopped: {url}", hint="its redis.log in that folder says why")
    hint = _TLS_HINT if url.startswith("rediss") else "is the server up?"
    return BusUnavailable(f"no answer from {url}: {_reason(error)}", hint=hint)


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, TimeoutError | redis_errors.TimeoutError):
        return "timed out"
    return "the connection was lost"
