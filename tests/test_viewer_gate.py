"""Who may ask the viewer for what, what it says of trouble, and what is left of a page that was closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import weakref

import numpy as np
import pytest
from predictions_example import write_predictions, write_sample
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from compseg_jax.runtime.memory import return_freed_memory
from compseg_jax.viewer import server
from compseg_jax.viewer.gate import one_line_news
from compseg_jax.viewer.opening import open_source
from compseg_jax.viewer.viewer_page import Page


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    ramp = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32), (12, 16))
    entry = write_sample(
        folder, "a", ramp, np.ones((12, 16), bool), source="gone.npy", channels=3, threshold=0.5
    )
    return open_source(write_predictions(folder, [entry], threshold=0.5))


def answer(port: int, path: str, *headers: str) -> str:
    """Status line of an answer to a request of exactly these headers."""
    lines = [f"GET {path} HTTP/1.1", *headers, "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall("\r\n".join(lines).encode("latin-1"))
        return stream.makefile("rb").readline().decode().strip()


def served(source, outlines, look):
    """What a function finds of a running viewer, in a thread beside its event loop."""

    async def run():
        viewer = server.Viewer(source, outlines)
        try:
            port = int(viewer.url.split(":")[2].split("/")[0])
            return await look(viewer, port)
        finally:
            viewer.close()
            await server._let_go()

    return asyncio.run(run())


def test_only_the_own_page_is_answered(source, tmp_path):
    async def look(viewer, port):
        own, page, found = f"Host: 127.0.0.1:{port}", f"/{viewer.secret}", {}
        for name, headers in {
            "own": (own,),
            "own, said": (own, f"Origin: http://127.0.0.1:{port}"),
            "rebound": (f"Host: evil.example:{port}",),
            "another port": (f"Host: 127.0.0.1:{port + 1}",),
            "two hosts": (own, "Host: evil.example"),
            "no host": (),
            "foreign": (own, "Origin: http://evil.example"),
            "sandbox": (own, "Origin: null"),
        }.items():
            found[name] = await asyncio.to_thread(answer, port, page, *headers)
        for name, origin in {"socket": f"http://127.0.0.1:{port}", "foreign socket": "http://evil.example",
                             "socket of nobody": None}.items():  # fmt: skip
            headers = {} if origin is None else {"Origin": origin}
            try:
                token = (await AsyncHTTPClient().fetch(viewer.url)).body.decode().partition('"token":"')[2]
                opened = await websocket_connect(
                    HTTPRequest(f"{viewer.url}/ws".replace("http", "ws", 1), headers=headers),
                    subprotocols=["bokeh", token.partition('"')[0]],
                )
                opened.close()
                found[name] = "101"
            except HTTPClientError as error:
                found[name] = str(error.code)
        return found

    found = served(source, tmp_path / "outlines", look)
    allowed = {"own", "own, said"}
    for name, said in found.items():
        if "socket" in name:
            assert said == ("101" if name == "socket" else "403"), name
        elif name in ("no host", "two hosts"):  # HTTP/1.1 itself forbids them
            assert said.split()[1] in ("400", "403"), (name, said)
        else:
            assert said.split()[1] == ("200" if name in allowed else "403"), (name, said)


def test_what_no_address_holds_is_a_bad_request(source, tmp_path, caplog):
    async def look(viewer, port):
        host = f"Host: 127.0.0.1:{port}"
        paths = [
            "/static/%00", "/static/js/%00.js", "/static/%ff", f"/{viewer.secret}/static/%00", f"/{viewer.secret}%00",
            f"/{viewer.secret}/outlines?sample=%00", f"/{viewer.secret}?bokeh-session-id=%ff",
        ]  # fmt: skip
        return [await asyncio.to_thread(answer, port, path, host) for path in paths]

    for said in served(source, tmp_path / "outlines", look):
        assert said.split()[1] == "400"
    assert caplog.text == ""


def test_trouble_is_one_line_without_the_secret(capsys):
    def trouble():
        try:
            raise ValueError("/secret-of-the-page/x\nis no sample")
        except ValueError:
            logging.getLogger("tornado.application").exception(
                "Uncaught GET /secret-of-the-page\nHTTPServerRequest(…)"
            )

    with one_line_news("secret-of-the-page"):
        trouble()
        for _ in range(7):
            logging.getLogger("bokeh.server.views.ws").warning(
                "Failed sending message as connection was closed"
            )
        logging.getLogger("tornado.general").warning("400 GET /secret-of-the-page/ws")
    assert capsys.readouterr().err.splitlines() == [
        "viewer: Uncaught GET /…: ValueError: /…/x",
        "viewer: a page has gone while it was answered",
        "viewer: 400 GET /…/ws",
    ]
    assert logging.getLogger("tornado").propagate


@pytest.mark.slow
def test_nothing_is_left_of_a_closed_page(source, tmp_path, monkeypatch):
    pages: weakref.WeakSet[Page] = weakref.WeakSet()
    made, returned = [], []

    class Watched(Page):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            pages.add(self)
            made.append(len(pages))

    def give_back():
        return_freed_memory()
        returned.append(len(pages))

    monkeypatch.setattr(server, "Page", Watched)
    monkeypatch.setattr(server, "KEPT_AFTER_CLOSING_MS", 100)
    monkeypatch.setattr(server, "LOOKED_FOR_CLOSED_PAGES_MS", 50)
    monkeypatch.setattr(server, "SECONDS_TO_LET_GO", 0.2)
    monkeypatch.setattr(server, "return_freed_memory", give_back)

    async def look(viewer, port):
        for _ in range(3):
            await AsyncHTTPClient().fetch(viewer.url)
        for _ in range(200):
            if len(made) == 3 and returned and returned[-1] == 0:
                break
            await asyncio.sleep(0.05)

    served(source, tmp_path / "outlines", look)
    assert len(made) == 3
    assert 1 <= len(returned) <= 3
    assert made[0] == 1
    assert returned[-1] == 0


def test_memory_of_pages_that_close_together_is_looked_through_once(source, tmp_path, monkeypatch):
    """Each look holds up every page that is being opened."""
    returned = []
    monkeypatch.setattr(server, "SECONDS_TO_LET_GO", 0.05)
    monkeypatch.setattr(server, "return_freed_memory", lambda: returned.append("looked"))

    async def look(viewer, port):
        for expected in (1, 2):
            for _ in range(36):
                viewer._forget(None)
            await asyncio.sleep(0.2)
            assert len(returned) == expected

    served(source, tmp_path / "outlines", look)


def test_objects_from_before_the_first_page_are_not_looked_through(source, tmp_path):
    frozen = []

    def announce(_):
        frozen.append(gc.get_freeze_count())
        signal.raise_signal(signal.SIGINT)

    server.view(source, tmp_path / "outlines", port=0, browser=False, announce=announce)
    assert frozen[0] > 100_000, "bokeh alone makes more"
    assert gc.get_freeze_count() == 0
