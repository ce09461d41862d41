"""The description of the API as one page without a script, and as what a reference is written from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Schema = Mapping[str, Any]
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem } h3 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .3rem; overflow-wrap: anywhere }
h3 b { display: inline-block; min-width: 4.5rem } p { margin: .3rem 0 }
table { border-collapse: collapse; margin: .5rem 0; display: block; overflow-x: auto }
td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0 }
td:first-child { white-space: nowrap } code, td:first-child { font: .9rem ui-monospace, monospace }
pre { overflow: auto; padding: .7rem; background: color-mix(in srgb, currentColor 8%, transparent) }
"""


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    kind: str
    told: str
    needed: bool


@dataclass(frozen=True)
class Operation:
    """One thing that may be asked."""

    method: str
    path: str
    summary: str
    told: str
    tag: str
    parameters: Sequence[Field]
    body: str
    answers: Mapping[str, tuple[str, str]]
    """Of each status what it means, and what is in the body; what every path may refuse with is left out."""


@dataclass(frozen=True)
class Body:
    """A kind of body."""

    name: str
    told: str
    fields: Sequence[Field]
    example: Any


def operations(schema: Schema) -> Iterator[Operation]:
    """Everything that may be asked, in the order of the tags."""
    found = [
        _operation(path, method, told) for path, methods in schema["paths"].items() for method, told in methods.items()
    ]
    order = [tag["name"] for tag in schema["tags"]]
    return iter(sorted(found, key=lambda one: order.index(one.tag)))


def bodies(schema: Schema) -> Iterator[Body]:
    """Every kind of body, by name."""
    for name, told in sorted(schema["components"]["schemas"].items()):
        needed = told.get("required", ())
        fields = [_field(key, each, key in needed) for key, each in told.get("properties", {}).items()]
        yield Body(name, told.get("description", ""), fields, next(iter(told.get("examples", ())), None))


def page(schema: Schema) -> str:
    """The description as HTML."""
    parts = [f"<h1>cryptostream {escape(schema['info']['version'])}</h1>", _prose(schema["info"]["description"])]
    parts.append('<p>As data: <a href="/openapi.json">/openapi.json</a></p>')
    told = {tag["name"]: tag["description"] for tag in schema["tags"]}
    tag = ""
    for one in operations(schema):
        if one.tag != tag:
            tag = one.tag
            parts.append(f"<h2>{escape(tag.capitalize())}</h2><p>{escape(told[tag])}</p>")
        parts.append(_shown_operation(one))
    parts.append("<h2>Bodies</h2>")
    parts += [_shown_body(one) for one in bodies(schema)]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"{head}<title>cryptostream: the API</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>"


def _operation(path: str, method: str, told: Schema) -> Operation:
    return Operation(
        method=method.upper(),
        path=path,
        summary=told.get("summary", ""),
        told=" ".join(told.get("description", "").split()),
        tag=told["tags"][0],
        parameters=[
            _field(one["name"], {**_given(one["schema"]), "description": one.get("description", "")}, one["required"])
            for one in told.get("parameters", ())
        ],
        body=_content(told.get("requestBody", {})),
        answers={
            status: (answer["description"].replace("Successful Response", ""), _content(answer))
            for status, answer in sorted(told["responses"].items())
            if "$ref" not in answer
        },
    )


def _given(schema: Schema) -> Schema:
    """The type of a parameter that is given: one that is not is not sent as null."""
    return next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)


def _content(told: Schema) -> str:
    for kind, content in told.get("content", {}).items():
        return kind if kind.startswith("text/") else spelled(content.get("schema", {}))
    return ""


def _field(name: str, schema: Schema, needed: bool) -> Field:
    told, usual = schema.get("description", ""), schema.get("default")
    if usual not in (None, "", [], {}):
        told = f"{told} {str(usual).lower()} unless told.".strip()
    return Field(name, spelled(schema), told, needed)


def spelled(schema: Schema) -> str:
    """The type of a value in words.

    >>> spelled({"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}})
    'list of integer or null'
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(spelled, schema["anyOf"])))
    if "const" in schema or "enum" in schema:
        return ", ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {spelled(schema.get('items', {}))}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {spelled(inner)}" if isinstance(inner, Mapping) and inner else "object"
    return str(schema.get("type", "anything"))


def _shown_operation(one: Operation) -> str:
    rows = [
        (escape(each.name), escape(each.kind), f"{'Needed. ' if each.needed else ''}{_inline(each.told)}")
        for each in one.parameters
    ]
    if one.body:
        rows.append(("body", _linked(one.body), ""))
    rows += [(status, _linked(kind), _inline(means)) for status, (means, kind) in one.answers.items()]
    title = f"<h3><b>{one.method}</b> {escape(one.path)}</h3><p>{escape(one.summary)}.</p>"
    return f"{title}{_prose(one.told)}{_table(rows)}"


def _shown_body(one: Body) -> str:
    rows = [(escape(each.name), _linked(each.kind), _inline(each.told)) for each in one.fields]
    example = f"<pre>{escape(as_json(one.example))}</pre>" if one.example is not None else ""
    return f'<h3 id="{escape(one.name)}">{escape(one.name)}</h3>{_prose(one.told)}{_table(rows)}{example}'


def as_json(value: Any) -> str:
    """JSON as people read it."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>" if rows else ""


def _linked(kind: str) -> str:
    """A type whose body is described further down leads there."""
    words = (f'<a href="#{word}">{word}</a>' if word[:1].isupper() else escape(word) for word in kind.split(" "))
    return " ".join(words)


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part)


def _inline(text: str) -> str:
    """Text whose words between backticks are code."""
    return "".join(
        f"<code>{escape(part)}</code>" if at % 2 else escape(part) for at, part in enumerate(text.split("`"))
    )
