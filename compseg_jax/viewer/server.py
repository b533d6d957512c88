"""The web server of the page: this machine only, this page only, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import webbrowser
from collections.abc import Callable
from pathlib import Path

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from bokeh.settings import settings
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from compseg_jax.runtime.memory import return_freed_memory
from compseg_jax.viewer.drawn_folder import DrawnFolder
from compseg_jax.viewer.gate import gate, one_line_news
from compseg_jax.viewer.library import Library
from compseg_jax.viewer.outline_requests import MOST_BYTES, Outlined, OutlineRequests
from compseg_jax.viewer.source import Source
from compseg_jax.viewer.viewer_page import Page

ADDRESS = "127.0.0.1"
KEPT_AFTER_CLOSING_MS, LOOKED_FOR_CLOSED_PAGES_MS = 15_000, 5_000
"""How long a page is kept for a lost connection to come back, and how often it is looked for those to forget."""
SECONDS_TO_LET_GO = 1.0
ROUNDS_OF_ENDING = 3
SECONDS_BETWEEN_ROUNDS = 0.02


class Viewer:
    """A server of one source, listening from its creation on, inside a running event loop.

    The address of the page holds a secret, so that other users of the machine, who can reach 127.0.0.1 as well,
    cannot guess it.

    Attributes:
      secret: the part of the address of the page that nobody else knows.
      url: address of the page.
    """

    def __init__(self, source: Source, outlines: Path, *, port: int = 0) -> None:
        self._library = Library(source)
        self._gives_back = False
        settings.resources = (
            "server"  # BokehJS comes from the installed package whatever the environment says
        )
        sockets, bound = bind_sockets(ADDRESS, port)
        secret = secrets.token_urlsafe(16)
        host = f"{ADDRESS}:{bound}"
        outlined = Outlined(self._library, DrawnFolder(outlines), host)
        tornado = BokehTornado(
            {f"/{secret}": Application(FunctionHandler(self._page))},
            extra_patterns=[(f"/{secret}/outlines", OutlineRequests, {"outlined": outlined})],
            extra_websocket_origins=[host],
            log_function=lambda _: None,  # what was refused is no news of the terminal
            check_unused_sessions_milliseconds=LOOKED_FOR_CLOSED_PAGES_MS,
            unused_session_lifetime_milliseconds=KEPT_AFTER_CLOSING_MS,
            use_index=False,
            redirect_root=False,
        )
        self._http = HTTPServer(gate(tornado, host), max_body_size=MOST_BYTES)
        self._http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), tornado, self._http)
        self._server.start()
        self.secret = secret
        self.url = f"http://{host}/{secret}"

    def _page(self, document: Document) -> None:
        document.on_session_destroyed(self._forget)
        Page(document, self._library)

    def _forget(self, _: object) -> None:
        """A page is closed: its pictures go back to the system as soon as Bokeh has let go of them.

        That looks through all memory, and no page opens meanwhile: it is done once for pages that close together.
        """
        if not self._gives_back:
            self._gives_back = True
            IOLoop.current().call_later(SECONDS_TO_LET_GO, self._give_back)

    def _give_back(self) -> None:
        self._gives_back = False
        return_freed_memory()

    def close(self) -> None:
        """Stops listening, and drops what has not been read yet.

        Open pages are let go by the end of the event loop. Bokeh's own stop would take their sessions away first and
        then complain that their connections close without one.
        """
        self._library.close()
        self._http.stop()


def view(
    source: Source, outlines: Path, *, port: int, browser: bool, announce: Callable[[str], None]
) -> None:
    """Shows a source until Ctrl-C or SIGTERM.

    Args:
      source: what is shown.
      outlines: folder that drawn outlines are kept in.
      port: of 127.0.0.1; 0: any that is free.
      browser: open the page.
      announce: is told its address.

    Raises:
      OSError: when the port is taken.
    """
    asyncio.run(_serve(source, outlines, port, browser, announce))


async def _serve(
    source: Source, outlines: Path, port: int, browser: bool, announce: Callable[[str], None]
) -> None:
    try:
        viewer = Viewer(source, outlines, port=port)
    except OSError as error:
        raise OSError(
            f"port {port} of {ADDRESS} cannot be used ({error.strerror or error}). Choose another --port, or 0."
        ) from error
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        loop.call_soon_threadsafe(ended.set)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    # Bokeh looks through all objects for each page that it forgets, meanwhile no other is answered. What is there now
    # stays until the end, and need not be looked at.
    gc.collect()
    gc.freeze()
    try:
        with one_line_news(viewer.secret):
            announce(viewer.url)
            if browser:
                await asyncio.to_thread(webbrowser.open, viewer.url)
            await ended.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        viewer.close()
        await _let_go()
        gc.unfreeze()


async def _let_go() -> None:
    """Ends the tasks of open pages, and those that their end starts in turn: Bokeh tells a session that its page went.

    Left to the end of the event loop, the latter would be destroyed before they ran, with a complaint. A page whose
    connection is just being made is cancelled too, which tornado would report with a traceback.
    """
    logger = logging.getLogger("tornado.application")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    for _ in range(ROUNDS_OF_ENDING):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(SECONDS_BETWEEN_ROUNDS)
    logger.setLevel(before)
