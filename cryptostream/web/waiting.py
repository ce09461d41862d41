"""The page that says that a page has to wait, and asks for it again by itself."""

import math

from fastapi import Response
from fastapi.responses import HTMLResponse

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{wait_s}">
<title>cryptostream</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0;
  background: light-dark(#f6f8fa, #0b0f14); color: light-dark(#1b2430, #dfe6ee); }}
p {{ width: min(28rem, 80vw); }}
</style>
</head>
<body>
<p role="status">So many pages were asked for that this one has to wait. It is asked for again in {wait_s} s.</p>
</body>
</html>
"""


def page(wait_s: float) -> Response:
    """An answer of 429 that a person can read, and a browser obeys."""
    whole_s = math.ceil(wait_s)
    headers = {"retry-after": str(whole_s), "connection": "close"}
    return HTMLResponse(_PAGE.format(wait_s=whole_s), 429, headers)
