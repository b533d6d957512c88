"""What every request passes before a handler sees it, and what the terminal is told when something goes wrong.

The page has the secret in its address and fetches nothing from elsewhere. A page from elsewhere that has its name point
to this machine sends that name as Host (DNS rebinding); one that asks for this address by itself is named by Origin,
which browsers state with every websocket and everything that writes.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter

LOGGERS = ("tornado", "bokeh", "asyncio")
SAME_NEWS_S = 10.0
"""A line that was just said is not said again: of one page that has gone, every message that was on its way reports."""
_NEWS = {"Failed sending message as connection was closed": "a page has gone while it was answered"}


class _Where(Matcher):
    """Requests of which something is true."""

    def __init__(self, holds: Any) -> None:
        self._holds = holds

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Tornado's hook: no keywords where it is true."""
        return {} if self._holds(request) else None


def gate(application: Any, host: str) -> RuleRouter:
    """The application behind checks of what is asked for and by whom.

    Args:
      application: of tornado.
      host: address and port of this server, as its own page sends it.
    """

    def is_malformed(request: HTTPServerRequest) -> bool:
        asked = unquote_to_bytes(request.uri or "")
        try:
            return "\0" in asked.decode()
        except UnicodeDecodeError:
            return True

    def is_foreign(request: HTTPServerRequest) -> bool:
        if request.headers.get_list("Host") != [host]:
            return True
        origin = request.headers.get("Origin")
        if origin is None:
            return request.headers.get("Upgrade", "").lower() == "websocket"
        return origin != f"http://{host}"

    return RuleRouter(
        [
            Rule(_Where(is_malformed), partial(_refuse, 400, "Bad Request")),
            Rule(_Where(is_foreign), partial(_refuse, 403, "Forbidden")),
            Rule(AnyMatches(), application),
        ]
    )


def _refuse(code: int, reason: str, request: HTTPServerRequest) -> None:
    """Answers without anything of the request."""
    body = f"refused ({code})\n".encode()
    headers = HTTPHeaders({"Content-Type": "text/plain", "Content-Length": str(len(body))})
    connection = request.connection
    assert connection is not None
    connection.write_headers(ResponseStartLine("HTTP/1.1", code, reason), headers, body)
    connection.finish()


class _OneLine(logging.Handler):
    """News of the server, each on one line of the terminal, without the secret of the page."""

    def __init__(self, secret: str) -> None:
        super().__init__(logging.WARNING)
        self._secret = secret
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Says it, unless it was just said."""
        text = record.getMessage().partition("\n")[0]
        text = _NEWS.get(text, text)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = f"{text}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        text = text.replace(self._secret, "…")
        now = time.monotonic()
        if now - self._said.get(text, -SAME_NEWS_S) >= SAME_NEWS_S:
            print(f"viewer: {text}", file=sys.stderr, flush=True)
        self._said = {line: when for line, when in self._said.items() if now - when < SAME_NEWS_S}
        self._said[text] = now


@contextmanager
def one_line_news(secret: str) -> Iterator[None]:
    """Meanwhile the server's libraries say what goes wrong in one line each, without the secret."""
    handler = _OneLine(secret)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagated in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagated
