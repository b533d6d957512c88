"""A headless Chromium, driven over the Chrome DevTools Protocol with the websocket client that Bokeh brings.

For tests and pictures only. Clicks, keys and moves are those of the browser's own input queue, as a person's are.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from tornado.websocket import WebSocketClientConnection, websocket_connect

Result = TypeVar("Result")

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Elements inside the shadow trees of widgets are found by walking through all of them.
DEEP = """
function deep(path, root = document) {
  const [selector, ...rest] = path.split(" >>> ")
  const host = one(selector, root)
  return rest.length && host ? deep(rest.join(" >>> "), host.shadowRoot) : host
}
function one(selector, root) {
  const found = root.querySelector(selector)
  if (found) return found
  for (const each of root.querySelectorAll("*")) {
    const inside = each.shadowRoot && one(selector, each.shadowRoot)
    if (inside) return inside
  }
  return null
}
"""


def find_chromium() -> str | None:
    """Path of a Chromium: $CHROMIUM, or one on the path; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. ``requests`` and ``problems`` list every address asked for and every error of its scripts.

    Raises:
      RuntimeError: when Chromium does not start.
    """

    def __init__(self, executable: str, *, width: int = 1280, height: int = 800) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="compseg-chromium-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                executable, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
                "--force-device-scale-factor=1", f"--window-size={width},{height}",
                "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._socket = self._run(self._connect())
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._disconnect())
        self._loop.close()
        self._process.terminate()
        self._process.wait(10)
        self._profile.cleanup()

    def _run(self, what: Awaitable[Result]) -> Result:
        return self._loop.run_until_complete(what)

    async def _connect(self) -> WebSocketClientConnection:
        place = Path(self._profile.name) / "DevToolsActivePort"
        for _ in range(300):
            await asyncio.sleep(0.1)
            if place.is_file() and len(place.read_text().splitlines()) > 1:
                break
        else:
            raise RuntimeError("Chromium did not start within 30 s")
        port = place.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            tabs = json.load(answer)
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        return await websocket_connect(url, on_message_callback=self._received, max_message_size=2**28)

    async def _disconnect(self) -> None:
        self._socket.close()
        await asyncio.sleep(0.05)

    def _received(self, message: str | bytes | None) -> None:
        if message is None:
            return
        values = json.loads(message)
        if "id" in values:
            self._answers.pop(values["id"]).set_result(values)
        elif values["method"] == "Network.requestWillBeSent":
            self.requests.append(values["params"]["request"]["url"])
        elif values["method"] == "Network.webSocketCreated":
            self.requests.append(values["params"]["url"])
        elif values["method"] == "Runtime.exceptionThrown":
            details = values["params"]["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description") or details["text"]))
        elif values["method"] == "Log.entryAdded" and values["params"]["entry"]["level"] == "error":
            entry = values["params"]["entry"]
            self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; raises RuntimeError where the browser refuses it."""

        async def exchange() -> dict[str, Any]:
            number = next(self._numbers)
            answer = self._answers[number] = asyncio.get_running_loop().create_future()
            await self._socket.write_message(
                json.dumps({"id": number, "method": method, "params": parameters})
            )
            values: dict[str, Any] = await asyncio.wait_for(answer, 60)
            return values

        values = self._run(exchange())
        if "error" in values:
            raise RuntimeError(f"{method}: {values['error']}")
        return dict(values["result"])

    def open(self, url: str) -> None:
        """Goes to an address; does not wait for the page."""
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression, which may use ``deep(selector)``; raises RuntimeError where it throws."""
        script = f"(() => {{ {DEEP}; return ({expression}) }})()"
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails'].get('exception')}")
        return result["result"].get("value")

    def wait_for(self, expression: str, *, seconds: float = 20.0) -> Any:
        """Waits until an expression is true and returns its value; raises TimeoutError."""
        end = time.monotonic() + seconds
        while True:
            try:
                value = self.evaluate(expression)
            except RuntimeError as error:
                value, problem = None, str(error)
            else:
                problem = f"it is {value!r}"
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s for {expression}; {problem}; {self.problems}")
            self._run(asyncio.sleep(0.03))

    def rest(self, seconds: float) -> None:
        """Lets the page go on for some time."""
        self._run(asyncio.sleep(seconds))

    def click(self, x: float, y: float) -> None:
        """Clicks at a place of the page."""
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        self._mouse("mouseReleased", x, y, button="left", clickCount=1)

    def drag(self, x: float, y: float, to_x: float, to_y: float, *, steps: int = 8) -> None:
        """Drags from one place to another."""
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        for step in range(1, steps + 1):
            part = step / steps
            self._mouse("mouseMoved", x + part * (to_x - x), y + part * (to_y - y), button="left", buttons=1)
        self._mouse("mouseReleased", to_x, to_y, button="left", clickCount=1)

    def wheel(self, x: float, y: float, turn: float) -> None:
        """Turns the wheel at a place; negative values zoom in."""
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=turn)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click_on(self, selector: str) -> None:
        """Clicks into the middle of an element, found as in `place`."""
        box = self.place(selector)
        self.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def press(self, key: str) -> None:
        """Presses a key, such as ``j`` or ``ArrowDown``."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def place(self, selector: str) -> dict[str, float]:
        """``x``, ``y``, ``width`` and ``height`` of an element; ``host >>> selector`` looks inside its shadow tree."""
        box = f"deep({json.dumps(selector)}).getBoundingClientRect()"
        return dict(self.evaluate(f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({box})"))

    def picture(self, path: Path) -> None:
        """Saves what is seen as a PNG."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
