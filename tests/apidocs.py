"""`python -m tests.apidocs`: write `docs/api.md` from what the application says of itself."""

import re
from collections.abc import Iterator
from pathlib import Path

from cryptostream.web import site
from cryptostream.web.api import page
from cryptostream.web.api.described import TAGS
from tests.web.probes import FakeCommands, FakeProbes

PLACE = Path(__file__).parents[1] / "docs" / "api.md"
_BEFORE = """# The HTTP API

*Written by `make docs` from the OpenAPI of the program itself; a test compares the two. Change it there.*

`cryptostream serve`, and `cryptostream run` unless told `--no-serve`, answer on `http://127.0.0.1:8000`. The same is
told by `/docs`, and as data by `/openapi.json`, as long as only this machine can ask. How to let others ask, and what
then protects it: [SECURITY.md](../SECURITY.md) and [configuration](configuration.md).

{about}

```sh
curl localhost:8000/health
curl 'localhost:8000/api/v1/bars/BTCUSDT?interval=5s&limit=3'
curl -N 'localhost:8000/api/v1/events?streams=trades:BTCUSDT,signals:*'
curl -H 'content-type: application/json' -d '["SOLUSDT"]' localhost:8000/subscribe
```

A wish about what runs (`/subscribe`, strategies, consumers) becomes an entry of a stream, which every process that
ingests or consumes obeys and answers. The answer says of each symbol or name whether it was accepted, and why not:
200 where anything was, 409 where nothing was, 503 where nobody runs who could obey, 504 where nobody answered in time,
who may still obey: the answer names the request.

A websocket at `/ws?streams=trades:BTCUSDT,signals:*` tells the same as `/api/v1/events`: one JSON text per entry,
`{{"stream": ..., "id": ..., "fields": {{...}}}}`. It is closed with 1008 where what was asked is wrong, and with 1013
where the bus is out of reach, too many read already, or the reader is too slow. At most {readers} connections of both
kinds are open at a time, each with at most {streams} names or globs; what a reader has not taken is kept up to 2 MiB,
and a reader that is further behind, or takes nothing for 10 seconds, is cut, and told so where it still
takes anything.
"""
_REFUSALS = """## Refusals of every path

The body is a [Failure](#failure).

| status | |
|---|---|
"""


def written() -> str:
    """The page."""
    schema = site.make(FakeProbes(), FakeCommands(), secret="-", dashboard=False).openapi()
    return "\n".join([*_about(schema), *_operations(schema), *_refusals(schema), *_bodies(schema)]).rstrip() + "\n"


def _about(schema: page.Schema) -> Iterator[str]:
    from cryptostream.web.api.asked import STREAMS_MOST
    from cryptostream.web.api.streaming import READERS_MOST

    yield _BEFORE.format(about=schema["info"]["description"], readers=READERS_MOST, streams=STREAMS_MOST)


def _operations(schema: page.Schema) -> Iterator[str]:
    tag = ""
    for one in page.operations(schema):
        if one.tag != tag:
            tag = one.tag
            yield f"## {tag.capitalize()}\n\n{TAGS[tag]}\n"
        yield f"### {one.method} {one.path}\n\n{one.summary}.{f' {one.told}' if one.told else ''}\n"
        yield from _table("asked", [(f"`{each.name}`", each.kind, _told(each)) for each in one.parameters])
        if one.body:
            yield f"Body: {_linked(one.body)}.\n"
        yield from _table("answer", [(code, _linked(kind), _cell(told)) for code, (told, kind) in one.answers.items()])


def _refusals(schema: page.Schema) -> Iterator[str]:
    rows = schema["components"]["responses"].items()
    yield _REFUSALS + "\n".join(f"| {name.removeprefix('Refused')} | {told['description']} |" for name, told in rows)
    yield ""


def _bodies(schema: page.Schema) -> Iterator[str]:
    yield "## Bodies\n"
    for one in page.bodies(schema):
        yield f"### {one.name}\n\n{one.told}\n"
        yield from _table("field", [(f"`{each.name}`", _linked(each.kind), _cell(each.told)) for each in one.fields])
        if one.example is not None:
            yield f"```json\n{page.as_json(one.example)}\n```\n"


def _told(one: page.Field) -> str:
    return _cell(f"Needed. {one.told}" if one.needed else one.told)


def _table(first: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        yield f"| {first} | | |\n|---|---|---|\n{body}\n"


def _linked(kind: str) -> str:
    return re.sub(r"\b([A-Z]\w+)", lambda found: f"[{found[1]}](#{found[1].lower()})", _cell(kind))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PLACE.write_text(written())
