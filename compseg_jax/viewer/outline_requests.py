"""What the page asks of the server beside Bokeh's: outlines of a sample, to draw on and to keep."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tornado.web import HTTPError, RequestHandler

from compseg_jax.viewer.drawn_folder import ConflictError, DrawnFolder, outlines_of_mask, segmentation_of
from compseg_jax.viewer.library import Library
from compseg_jax.viewer.source import SampleView, ViewError, named

MOST_BYTES = 32 * 2**20
"""Of a request."""
LEAST_PX = 4
"""Smaller regions of a segmentation get no outline to correct: they are the noise of the network."""


@dataclass(frozen=True)
class Outlined:
    """What the requests need.

    Attributes:
      library: of the samples.
      drawn: the folder that is written to, and nothing beside it.
      host: address and port of this server, as a browser sends it.
    """

    library: Library
    drawn: DrawnFolder
    host: str


class OutlineRequests(RequestHandler):
    """Outlines of one sample, at an address that holds the secret of the page.

    What is written has to come from the own page, which browsers state as Origin; whom else to refuse, `gate` knows.
    """

    def initialize(self, outlined: Outlined) -> None:
        """Tornado's hook for what a handler needs."""
        self.outlined = outlined

    def prepare(self) -> None:
        """Refuses what does not come from the page."""
        if self.request.method == "PUT":
            if self.request.headers.get("Origin") != f"http://{self.outlined.host}":
                raise HTTPError(403, "another Origin")
            if self.request.headers.get("Content-Type") != "application/json":
                raise HTTPError(415, "not JSON")
            if len(self.request.body) > MOST_BYTES:
                raise HTTPError(413, "too large")

    async def get(self) -> None:
        """Of `sample`: what was drawn, or `of` segmentation (at `threshold`) or reference to start from."""
        sample_id, start = self._sample(), self.get_query_argument("of", "drawn")
        if start == "drawn":
            await self._answer(lambda: self._said(sample_id, self.outlined.drawn.read(sample_id)))
        elif start == "segmentation":
            threshold = self._number("threshold")
            await self._answer(
                lambda: self._around(segmentation_of(self._open(sample_id), threshold), LEAST_PX)
            )
        elif start == "reference":
            await self._answer(lambda: self._around(_reference(self._open(sample_id)), 0))
        else:
            raise HTTPError(400, "nothing of that kind")

    async def put(self) -> None:
        """Keeps the outlines of `sample`."""
        sample_id = self._sample()
        try:
            body = json.loads(self.request.body)
            outlines, version = body["outlines"], body["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise HTTPError(400, "no outlines") from error
        drawn = self.outlined.drawn

        def write() -> dict[str, Any]:
            shape_px = self._open(sample_id).shape_px
            return self._said(sample_id, drawn.write(sample_id, outlines, version, shape_px=shape_px))

        await self._answer(write)

    def _sample(self) -> str:
        sample_id = self.get_query_argument("sample", strip=False)
        try:
            return named(self.outlined.library.source.samples(), sample_id).id
        except ViewError as error:
            raise HTTPError(404, "no such sample") from error

    def _number(self, name: str) -> float:
        try:
            return float(self.get_query_argument(name))
        except ValueError as error:
            raise HTTPError(400, "no number") from error

    def _open(self, sample_id: str) -> SampleView:
        return self.outlined.library.open(sample_id)

    def _said(self, sample_id: str, drawn: Any) -> dict[str, Any]:
        place = str(self.outlined.drawn.path(sample_id))
        return {"outlines": drawn.outlines, "version": drawn.version, "place": place}

    @staticmethod
    def _around(mask: Any, least_px: float) -> dict[str, Any]:
        return {"outlines": outlines_of_mask(mask, least_px=least_px)}

    async def _answer(self, work: Callable[[], dict[str, Any]]) -> None:
        """Does what takes a while in a thread; what goes wrong is said in words."""
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self.outlined.library.prompt, work)
        except ConflictError as error:
            self.set_status(409)
            answer = {"error": str(error)}
        except (ValueError, OSError) as error:
            self.set_status(422)
            answer = {"error": str(error)}
        self.set_header("Cache-Control", "no-store")
        self.finish(answer)

    def write_error(self, status_code: int, **_: Any) -> None:
        """A line without anything of the request in it."""
        self.finish({"error": f"refused ({status_code})"})

    def log_exception(self, *_: Any) -> None:
        """Nothing, as of every request."""


def _reference(view: SampleView) -> Any:
    if view.reference is None:
        raise ViewError("this sample has no reference mask.")
    return view.reference.levels[0].read(slice(0, view.shape_px[0]), slice(0, view.shape_px[1])) >= 0.5
