"""Chromium by its own protocol: opens a page, says what its console said, runs a line in it, takes a picture."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FOUND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio")


class Page:
    """One tab."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self._asked = 0
        self.said: list[str] = []
        """Errors and warnings of the console, and exceptions."""
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        """Raises RuntimeError for what the browser refuses."""
        self._asked += 1
        self._wire.send(json.dumps({"id": self._asked, "method": method, "params": params}))
        while (answer := self._next()).get("id") != self._asked:
            pass
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    def look(self, *, width: int, height: int, dark: bool = False, touch: bool = False) -> None:
        """How the page is looked at."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded."""
        self.ask("Page.navigate", url=path.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """What a script comes to; a promise is awaited. Raises RuntimeError where it throws."""
        told = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """A key, where the focus is."""
        text = key if len(key) == 1 else ""
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, to: Path) -> None:
        """A PNG of what is seen."""
        to.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def _next(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._wire.recv(timeout=30))
        params = told.get("params", {})
        match told.get("method"):
            case "Runtime.exceptionThrown":
                self.said.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                self.said.append(str(params["args"]))
            case "Log.entryAdded":
                self.said.append(str(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
        return told


@contextmanager
def browsing(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own in a folder."""
    assert FOUND is not None
    command = [FOUND, *_FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert browser.stderr is not None
        with browser.stderr as told, connect(_tab(_address(told)), max_size=None) as wire:
            yield Page(wire)
    finally:
        browser.kill()
        browser.wait()


def _address(told: Any) -> str:
    for line in told:
        if found := re.search(r"ws://([\d.:]+)/", line):
            return found[1]
    raise RuntimeError("the browser did not start")


def _tab(address: str) -> str:
    import httpx2

    [tab] = [each for each in httpx2.get(f"http://{address}/json").json() if each["type"] == "page"]
    return str(tab["webSocketDebuggerUrl"])
