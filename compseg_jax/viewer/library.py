"""Opened samples, kept for going back and forth, and the threads that read and predict them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from compseg_jax.viewer.source import ListedSample, SampleView, Source

Result = TypeVar("Result")

VIEWS_KEPT = 3


class Library:
    """A source whose last few samples stay open; shared by all pages of a server."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._views: OrderedDict[str, SampleView] = OrderedDict()
        self._lock = Lock()
        # What the eye waits for never stands behind what may take long.
        self.prompt = ThreadPoolExecutor(1, thread_name_prefix="viewer-prompt")
        self.patient = ThreadPoolExecutor(1, thread_name_prefix="viewer-patient")

    def open(self, sample_id: str) -> SampleView:
        """Opens a sample, or returns the one that is open."""
        with self._lock:
            if sample_id in self._views:
                self._views.move_to_end(sample_id)
                return self._views[sample_id]
        view = self.source.open(sample_id)
        with self._lock:
            self._views[sample_id] = view
            while len(self._views) > VIEWS_KEPT:
                self._views.popitem(last=False)
        return view

    def score(self, sample: ListedSample) -> None:
        """Makes the source know the numbers of a sample; it is not kept open."""
        self.source.open(sample.id)

    def close(self) -> None:
        """Ends the threads; what has not begun is dropped."""
        for pool in (self.prompt, self.patient):
            pool.shutdown(wait=False, cancel_futures=True)


class Latest:
    """Work of which only the last asked for counts: a page that walks through samples shows where it stopped."""

    def __init__(self, schedule: Callable[[Callable[[], None]], object]) -> None:
        self._schedule = schedule
        self._asked: Counter[str] = Counter()

    def run(
        self,
        pool: ThreadPoolExecutor,
        kind: str,
        work: Callable[[], Result],
        then: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Does ``work`` in a thread, then ``then`` or ``failed`` on the page, unless the same kind was asked again."""
        self._asked[kind] += 1
        ticket = self._asked[kind]

        def is_current() -> bool:
            return self._asked[kind] == ticket

        def on_page(step: Callable[[], None]) -> None:
            self._schedule(lambda: step() if is_current() else None)

        def in_thread() -> None:
            if not is_current():
                return
            try:
                result = work()
            except Exception as error:
                failure = error
                on_page(lambda: failed(failure))
            else:
                on_page(lambda: then(result))

        pool.submit(in_thread)

    def drop(self, *kinds: str) -> None:
        """What was asked of these kinds counts no more."""
        for kind in kinds:
            self._asked[kind] += 1
