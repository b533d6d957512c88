"""The viewer under connections that say nothing, many requests, and pages that are opened and closed."""

from __future__ import annotations

import asyncio
import random
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.protocol import Protocol
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from tests.predictions_example import write_predictions, write_sample
from torture.browsing import opened_browser
from torture.commands import begun
from torture.outcomes import Outcome, Row

IDLE, REQUESTS_PER_S, PAGES, DRAWN = 2000, 200, 100, 3
FULL = 1000
"""Cases, requests, of which these are; fewer have fewer connections and pages."""
ANSWERS_WITHIN_S = 10.0
SHOWN_WITHIN_S, DRAWN_WITHIN_S = 30.0, 60.0
MOST_BYTES = 2**28
FORGOTTEN_AFTER_S = 25.0
GROWS_MIB = 150
"""Memory that a viewer may keep of pages that are closed; three open ones take a hundred."""
SIDE = 1024


@dataclass(frozen=True)
class Viewing:
    """A viewer that runs."""

    process: subprocess.Popen[str]
    port: int
    path: str

    @property
    def memory_mib(self) -> float:
        """Resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n requests beside idle connections, then pages in a browser, where there is one."""
    ramp = np.broadcast_to(np.linspace(0, 1, SIDE, dtype=np.float32), (SIDE, SIDE))
    entry = write_sample(
        folder, "a", ramp, np.ones((SIDE, SIDE), bool), source="gone.npy", channels=3, threshold=0.5
    )
    place = write_predictions(folder, [entry], threshold=0.5)
    share = min(1.0, n / FULL)
    with _viewer(place, folder / "outlines") as viewing, _idle(viewing, round(share * IDLE)) as idle:
        yield asyncio.run(_requested(viewing, n, seed, len(idle)))
        yield _pages(viewing, max(2, round(share * PAGES)), seed, len(idle))


@contextmanager
def _viewer(place: Path, outlines: Path) -> Iterator[Viewing]:
    process = begun(["view", str(place), "--no-browser", "--port", "0", "--outlines", str(outlines)])
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = ""
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)(/\S+)", said)) is None:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"compseg view ended: {said}{process.stderr.read()}")
            said += line
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=stream.read, daemon=True).start()
        yield Viewing(process, int(found[1]), found[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def _idle(viewing: Viewing, n: int) -> Iterator[list[socket.socket]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, n + 200), hard))
        n = min(n, hard - 200)
    silent: list[socket.socket] = []
    try:
        for _ in range(n):
            silent.append(socket.create_connection(("127.0.0.1", viewing.port), 10))
        yield silent
    finally:
        for each in silent:
            each.close()


async def _requested(viewing: Viewing, n: int, seed: int, idle: int) -> Row:
    """Files of the page, what it has not, and requests in another's name, at an even rate."""
    row = Row(
        f"viewer: {REQUESTS_PER_S} requests a second", seed,
        f"files, unknown paths, other hosts; beside {idle:,} connections that say nothing",
    )  # fmt: skip
    began = time.monotonic()
    tasks = []
    for case, choose in row.choices(n):
        await asyncio.sleep(max(0.0, began + case / REQUESTS_PER_S - time.monotonic()))
        tasks.append((case, asyncio.create_task(_request(viewing, choose))))
    for case, task in tasks:
        what, outcome = await task
        row.count(case, what, outcome)
    return row


async def _request(viewing: Viewing, choose: random.Random) -> tuple[str, Outcome]:
    own = f"127.0.0.1:{viewing.port}"
    path, host, expected = choose.choice(
        (
            ("/static/js/bokeh-widgets.min.js", own, 200),
            (f"/{choose.randrange(10**9)}", own, 404),
            (viewing.path, "elsewhere.example", 403),
        )
    )
    return f"{path} of {host}", await _answer(viewing.port, (path, host), expected)


async def _answer(port: int, asked: tuple[str, str], expected: int) -> Outcome:
    began = time.monotonic()
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {asked[0]} HTTP/1.1\r\nHost: {asked[1]}\r\nConnection: close\r\n\r\n".encode())
            found = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        return Outcome("hang", f"{error!r} after {time.monotonic() - began:.0f} s")
    if not found.startswith(f"HTTP/1.1 {expected} ".encode()):
        return Outcome("other result", found[:80].decode(errors="replace"))
    return Outcome("equal" if expected == 200 else "refused", found[:40].decode(errors="replace"))


def _pages(viewing: Viewing, n: int, seed: int, idle: int) -> Row:
    """Pages one after the other: the last ones in a browser, the others as a browser asks for them.

    A browser takes ten times as long to draw a page as the viewer to make it, which is what is tried.
    """
    row = Row("viewer: pages opened and closed", seed)
    pages, why = opened_browser()
    drawn = 0 if why else min(DRAWN, n - 1)
    row.count(0, "a page", asyncio.run(_asked_for(viewing)))
    before = viewing.memory_mib
    for case in range(1, n - drawn):
        row.count(case, "a page", asyncio.run(_asked_for(viewing)))
    with pages as browser:  # whose library keeps an event loop of its own in this thread
        for case in range(n - drawn, n):
            row.count(case, "a page in a browser", _drawn(browser, viewing))
    time.sleep(FORGOTTEN_AFTER_S)
    after = viewing.memory_mib
    seen = why or f"{drawn} of them in a browser"
    grown = f"{before:.0f} MiB after the first, {after:.0f} at the end"
    row.remark = f"{seen}; beside {idle:,} connections that say nothing; {grown}"
    if after > before + GROWS_MIB:
        row.count(n, "memory", Outcome("too much memory", row.remark))
    return row


async def _asked_for(viewing: Viewing) -> Outcome:
    """The page, its connection, the whole document, and the first picture of the sample, as BokehJS asks for them."""
    place, began = f"127.0.0.1:{viewing.port}{viewing.path}", time.monotonic()
    try:
        async with asyncio.timeout(SHOWN_WITHIN_S):
            page = (await AsyncHTTPClient().fetch(f"http://{place}")).body.decode()
            token = page.partition('"token":"')[2].partition('"')[0]
            asked = HTTPRequest(f"ws://{place}/ws", headers={"Origin": f"http://127.0.0.1:{viewing.port}"})
            connection = await websocket_connect(
                asked, subprotocols=["bokeh", token], max_message_size=MOST_BYTES
            )
            waited_for = ["ACK", "PULL-DOC-REPLY", "PATCH-DOC"]
            while waited_for:
                said = await connection.read_message()
                if said is None:
                    return Outcome("other result", f"closed before {waited_for[0]}")
                if isinstance(said, bytes) or f'"msgtype":"{waited_for[0]}"' not in said.replace(" ", ""):
                    continue
                if waited_for.pop(0) == "ACK":
                    message = Protocol().create("PULL-DOC-REQ")
                    for part in (message.header_json, message.metadata_json, message.content_json):
                        await connection.write_message(part)
            connection.close()
    except (OSError, TimeoutError, HTTPClientError) as error:
        return Outcome("hang", f"{error!r} after {time.monotonic() - began:.0f} s")
    return Outcome("equal")


def _drawn(browser: Any, viewing: Viewing) -> Outcome:
    page = browser.new_page()
    began = time.monotonic()
    try:
        page.goto(f"http://127.0.0.1:{viewing.port}{viewing.path}", timeout=1000 * DRAWN_WITHIN_S)
        page.wait_for_selector("canvas", timeout=1000 * DRAWN_WITHIN_S, state="attached")
    except Exception as error:  # of the browser, which says in its own words what it waited for
        return Outcome("hang", f"{error!r} after {time.monotonic() - began:.0f} s")
    finally:
        page.close()
    return Outcome("equal")
