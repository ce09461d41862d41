"""The page where a browser shows a token once, and gets a cookie for it."""

from html import escape
from urllib.parse import parse_qs

from fastapi import Response
from fastapi.responses import HTMLResponse, RedirectResponse

from cryptostream.web.rights import COOKIE, Rights

PATH = "/login"
HOME = "/dashboard/"
_REFUSED = "That is not a token of this server."
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cryptostream</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0;
  background: light-dark(#f6f8fa, #0b0f14); color: light-dark(#1b2430, #dfe6ee); }}
form {{ display: grid; gap: .75rem; width: min(22rem, 80vw); padding: 1.5rem; border-radius: .75rem;
  background: light-dark(#fff, #121820); border: 1px solid light-dark(#d5dce4, #26303c); }}
h1 {{ font-size: 1.25rem; margin: 0; }}
p {{ margin: 0; }}
input, button {{ font: inherit; padding: .6rem .75rem; border-radius: .5rem; border: 1px solid #7b8796; }}
button {{ cursor: pointer; font-weight: 600; background: #1f5fbf; border-color: #1f5fbf; color: #fff; }}
:focus-visible {{ outline: 3px solid #6ea8ff; outline-offset: 2px; }}
.said {{ min-height: 1.5em; }}
</style>
</head>
<body>
<form method="post" action="{path}">
<h1>cryptostream</h1>
<label for="token">Token (<code>serve.token</code> or <code>serve.read_token</code>)</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input name="username" value="cryptostream" autocomplete="username" hidden>
<input name="next" type="hidden" value="{then}">
<button>Open</button>
<p class="said" role="alert">{said}</p>
</form>
</body>
</html>
"""


def asked(query: bytes) -> Response:
    """The form; `next` in the query is where to go on afterwards."""
    return _page(_first(query, "next"))


def answered(rights: Rights, body: bytes, *, secure: bool) -> Response:
    """What the form was sent with: a cookie and the way on, or the form again."""
    right = rights.of_token(_first(body, "token").strip().encode())
    then = _inside(_first(body, "next"))
    if right is None:
        return _page(then, said=_REFUSED, status=403)
    response = RedirectResponse(then, 303)
    response.set_cookie(COOKIE, rights.cookie(right), httponly=True, samesite="strict", secure=secure)
    return response


def _page(then: str, *, said: str = "", status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(path=PATH, then=escape(_inside(then)), said=said), status)


def _first(form: bytes, name: str) -> str:
    """The first value of a field."""
    try:
        return parse_qs(form.decode(), max_num_fields=8).get(name, [""])[0]
    except ValueError:
        return ""


def _inside(then: str) -> str:
    r"""A path of ours to go on to: whatever could lead elsewhere leads home.

    >>> _inside("/dashboard/pipeline"), _inside("//evil.example/"), _inside("https://evil.example"), _inside("/\\evil")
    ('/dashboard/pipeline', '/dashboard/', '/dashboard/', '/dashboard/')
    """
    plain = then.isascii() and then.isprintable() and "\\" not in then
    return then if plain and then.startswith("/") and not then.startswith("//") else HOME
