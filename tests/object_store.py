"""Servers that tests start: an S3 one (moto), and a web server of a folder that honours Range."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

SECRET = "not-to-be-seen-anywhere"


@contextmanager
def s3_server(bucket: str) -> Iterator[str]:
    """An S3 server of this process with one bucket; gives its endpoint."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = s3_client(endpoint)
        client.create_bucket(Bucket=bucket)
        client.close()
        yield endpoint
    finally:
        server.stop()


@contextmanager
def bucket_of_its_own() -> Iterator[str]:
    """A server with one bucket, and the credentials for it in the environment; gives the bucket's URL."""
    with pytest.MonkeyPatch.context() as patch, s3_server("lab") as endpoint:
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield "s3://lab"


def s3_client(endpoint: str) -> Any:
    """A client of the server that is not ours."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="tests",
        aws_secret_access_key=SECRET,
    )


class _FolderByRange(BaseHTTPRequestHandler):
    """Serves files of a folder, whole or by parts; what lies below /refused and /silent is neither given nor denied."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: list[tuple[str, str | None]]
    silence: threading.Event

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(self.path)
        span = self.headers.get("Range")
        self.asked.append((path, span))
        if path.startswith("/silent/"):
            self.silence.wait(30)
        if path.startswith("/refused/"):
            self._answer(HTTPStatus.FORBIDDEN, b"<Key>" + SECRET.encode() + b"</Key>")
            return
        file = self.folder / path.lstrip("/")
        if not file.is_file():
            self._answer(HTTPStatus.NOT_FOUND, b"")
            return
        content = file.read_bytes()
        if span is None:
            self._answer(HTTPStatus.OK, content)
            return
        first, _, last = span.removeprefix("bytes=").partition("-")
        start = int(first) if first else len(content) - int(last)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        self._answer(
            HTTPStatus.PARTIAL_CONTENT,
            content[start:stop],
            ("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}"),
        )

    def _answer(self, status: HTTPStatus, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A web server of a folder; gives its URL, and the list of what it is asked: path and range."""
    asked: list[tuple[str, str | None]] = []
    silence = threading.Event()
    handler = type("Handler", (_FolderByRange,), {"folder": folder, "asked": asked, "silence": silence})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        silence.set()
        server.shutdown()
        thread.join()
        server.server_close()
