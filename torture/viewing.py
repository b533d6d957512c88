"""The viewer under connections that say nothing, and pages that are opened and closed."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compseg_jax.viewer import server
from compseg_jax.viewer.opening import open_source
from compseg_jax.viewer.source import Source
from tests.predictions_example import write_predictions, write_sample
from torture.outcomes import Outcome, Row

ANSWERS_WITHIN_S = 10
PAGES = 10
"""One in so many cases is a page, the others are connections that say nothing."""


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n idle connections, and pages opened meanwhile."""
    ramp = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32), (12, 16))
    entry = write_sample(
        folder, "a", ramp, np.ones((12, 16), bool), source="gone.npy", channels=3, threshold=0.5
    )
    source = open_source(write_predictions(folder, [entry], threshold=0.5))
    yield asyncio.run(_visited(source, folder / "outlines", n, seed))


async def _visited(source: Source, outlines: Path, n: int, seed: int) -> Row:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100
    idle = min(n, allowed)
    row = Row("viewer: pages opened and closed", seed, f"beside {idle:,} connections that say nothing")
    viewer = server.Viewer(source, outlines)
    port = int(viewer.url.split(":")[2].split("/")[0])
    silent: list[socket.socket] = []
    try:
        for number in range(idle):
            silent.append(await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), 10))
            if number % 100 == 0:
                await asyncio.sleep(0)
        for case in range(-(-n // PAGES)):
            row.count(case, "a page", await asyncio.to_thread(_page, port, f"/{viewer.secret}"))
    finally:
        for each in silent:
            each.close()
        viewer.close()
        await server._let_go()
    return row


def _page(port: int, path: str) -> Outcome:
    """A whole page, read without a browser."""
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWERS_WITHIN_S) as stream:
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            stream.sendall(request.encode())
            answer = stream.makefile("rb").read()
    except OSError as error:
        return Outcome("hang", f"{error!r} after {time.monotonic() - began:.0f} s")
    is_page = answer.startswith(b"HTTP/1.1 200") and b"</html>" in answer
    return Outcome("equal") if is_page else Outcome("other result", answer[:80].decode(errors="replace"))
