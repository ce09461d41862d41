"""A backtest as one page that needs nothing else: no request leaves it, and nothing in it runs but its own script.

The same result gives the same bytes. The page names the hashes of its two scripts in its security policy, so that even
text that slipped through as markup could not run.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec

import msgspec

from cryptostream.backtest.report.chart import Chart
from cryptostream.backtest.report.markup import escaped
from cryptostream.backtest.report.sections import sections, title
from cryptostream.backtest.result import Result
from cryptostream.backtest.sweep import Sweep
from cryptostream.backtest.walk import Walk
from cryptostream.errors import ConfigError


def page(result: Result, *, sweep: Sweep | None = None, walk: Sequence[Walk] = ()) -> str:
    """The HTML of a report. Raises ConfigError where plotly is not installed."""
    plotly = _plotly()
    charts: list[Chart] = []
    body = "\n".join(sections(result, sweep, walk, charts))
    script = _resource("page.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(plotly)}' '{_hash(script)}'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escaped(title(result))}</title>
<style>{_resource("page.css")}</style>
</head>
<body>
{body}
<script type="application/json" id="charts">{_json(charts)}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def check() -> None:
    """Whether a page can be made. Raises ConfigError where plotly is not installed."""
    if find_spec("plotly") is None:
        raise _missing()


def _missing() -> ConfigError:
    return ConfigError("a report needs a package", hint="pip install 'cryptostream[report]'")


def _plotly() -> str:
    try:
        code: str = import_module("plotly.offline").get_plotlyjs()
    except ImportError as error:
        raise _missing() from error
    return code.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _json(charts: Sequence[Chart]) -> str:
    r"""Data between tags: without a `<` it cannot end them."""
    told = {each.name: {"data": each.data, "layout": each.layout} for each in charts}
    return msgspec.json.encode(told).decode().replace("<", r"\u003c")
