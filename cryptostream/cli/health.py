"""`cryptostream health`: is the ingest on this machine well? For probes in containers that have no curl."""

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import msgspec
import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import CheckFailed, Unreachable, UsageError
from cryptostream.logs import mask
from cryptostream.model.duration import seconds

if TYPE_CHECKING:
    from cryptostream.config import Config

_LARGEST_ANSWER = 65_536
_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not where we do


class Health(msgspec.Struct, frozen=True):
    """What `/health` answers."""

    status: Literal["ok", "degraded"]
    reasons: list[str] = []


@command("health")
async def health(
    call: Call,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where it is served: http://127.0.0.1:8099.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Its port, where it is not ingest.health_port.")
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the answer.")] = "3s",
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.AUTO,
) -> int:
    """Ask a running ingest whether it is well: exit 0 if so, 3 with the reasons if not, 5 if nobody answers."""
    if url is not None and port is not None:
        raise UsageError("--url and --port both say where to ask", hint="use one of them")
    timeout_s = seconds(timeout)
    config = call.settings(ingest__health_port=port)
    found = await asked(_checked(url) if url is not None else address(config), timeout_s)
    _print(found, output)
    return 0 if found.status == "ok" else CheckFailed.exit_code


def address(config: "Config") -> str:
    """Where the configuration has health served, as this machine reaches it. Raises UsageError for port 0."""
    host, port = config.ingest.health_host, config.ingest.health_port
    if not port:
        raise UsageError("ingest.health_port is 0, a free one each time", hint="its log says which: --port N")
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}/health" if ":" in host else f"http://{host}:{port}/health"


def _checked(url: str) -> str:
    """The address to ask for one that a person typed, with or without the path."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(f"not an address: {mask(url)[:80]!r}", hint="as in http://127.0.0.1:8099")
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/health"


async def asked(url: str, timeout_s: float) -> Health:
    """What is answered there within that time. Raises Unreachable for no answer, and for one that is not of ours."""
    import httpx2

    from cryptostream.engine.clock import SystemClock, within

    try:
        status, body = await within(SystemClock(), timeout_s, _got(url))
    except TimeoutError as error:
        raise Unreachable(f"no answer from {mask(url)} within {timeout_s:g} s", hint="see --timeout") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unreachable(f"nobody answers at {mask(url)}", hint="does ingest run? its log says where") from error
    return _read(status, body, url)


async def _got(url: str) -> tuple[int, bytes]:
    """Status and the beginning of the body; neither proxies nor redirects stand between."""
    import httpx2

    body = b""
    async with httpx2.AsyncClient(trust_env=False, timeout=None) as client, client.stream("GET", url) as response:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                break
    return response.status_code, body


def _read(status: int, body: bytes, url: str) -> Health:
    try:
        found = msgspec.json.decode(body, type=Health)
    except msgspec.MsgspecError:
        found = None
    if found is None or status != {"ok": 200, "degraded": 503}[found.status]:
        raise Unreachable(f"{mask(url)} answers HTTP {status}, but not as ingest does", hint="is it another program?")
    return found


def _print(found: Health, output: Output) -> None:
    kind = render.chosen(output)
    if kind is Output.TABLE:
        render.out().print(*(render.safe(line) for line in _lines(found)), sep="\n", markup=False)
    elif kind is Output.CSV:
        render.rows([{"status": found.status, "reasons": "; ".join(found.reasons)}], kind)
    elif kind is Output.JSONL:
        render.line(_row(found))
    else:
        render.answer(_row(found))


def _row(found: Health) -> dict[str, object]:
    return {"status": found.status, **({"reasons": found.reasons} if found.reasons else {})}


def _lines(found: Health) -> list[str]:
    """What a person reads.

    >>> _lines(Health("ok")), _lines(Health("degraded", ["no connection is live"]))
    (['healthy'], ['degraded: no connection is live'])
    """
    return [f"degraded: {reason}" for reason in found.reasons] or ["healthy" if found.status == "ok" else "degraded"]
