"""Which process works on which sample or run: claims as keys, so that several share one folder or bucket.

``.<id>.claim.<n>`` beside the samples is written only where no such key is, which the store itself decides
(``store.kvstore.write_new``: on disks and in object stores alike), and holds who wrote it and a count. Its process
writes the next count every `BEAT_S` while it works. Whoever finds a claim watches it by his own clock: one that stays
the same for `STALE_S` is stale, and whoever writes the next number, n + 1, takes the sample over. So two processes can
never both take over, and one that only seemed dead finds out. Neither clocks nor names of machines are compared. Only
where a claim was written since this system was started, and among the processes whose numbers are asked for here, its
process is known to have ended as soon as it has, and nobody waits.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

from compseg_jax.config.locations import Location
from compseg_jax.runtime.processes import boot, has_ended, machine, process_start
from compseg_jax.store.kvstore import LocationError, delete, names_like, read_together, write_bytes, write_new

BEAT_S, LOOK_S = 5.0, 1.0
STALE_S = 60.0
"""Twelve beats: a process is thought dead that is stopped, or cannot reach the store, for as long. Network file systems
may show a machine for some seconds what a file held before."""


@dataclass
class Claim:
    """A sample that is this process's own; use as a context manager.

    Attributes:
      samples: where claims lie.
      sample_id: the sample.
      number: of the claim.
      owner: tells this claim from that of any other process.
      since: when it was taken, for people.
    """

    samples: Location
    sample_id: str
    number: int
    owner: str
    since: str = field(default_factory=lambda: f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}".strip())
    _released: threading.Event = field(default_factory=threading.Event, repr=False)
    _heart: threading.Thread | None = field(default=None, repr=False)

    @property
    def place(self) -> Location:
        """Of the claim."""
        return _place(self.samples, self.sample_id, self.number)

    def text(self, beat: int) -> bytes:
        """What the claim holds after so many beats."""
        return json.dumps(
            {"owner": self.owner, "beat": beat, "since": self.since, **_this_process()}
        ).encode()

    def is_lost(self) -> bool:
        """Whether another process took the sample over, because this one seemed dead.

        Raises:
          LocationError: when the place cannot be reached.
        """
        own, taken = read_together([self.place, _place(self.samples, self.sample_id, self.number + 1)])
        return taken is not None or not self._is_own(own)

    def __enter__(self) -> Claim:
        self._heart = threading.Thread(target=self._beat, name="compseg-claim", daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._heart is not None:
            self._heart.join()  # a beat after the release would be a claim of nobody
        if not self.is_lost():
            for number in range(self.number + 1):
                delete(_place(self.samples, self.sample_id, number))

    def _is_own(self, content: bytes | None) -> bool:
        return content is not None and self.owner.encode() in content

    def _beat(self) -> None:
        beat = 0
        while not self._released.wait(BEAT_S):
            beat += 1
            try:
                if not self._is_own(read_together([self.place])[0]):
                    return
                write_bytes(self.place, self.text(beat))
            except LocationError:  # an outage; the next beat may get through
                continue


class Claims:
    """The claims on samples, and those of other processes as this one has seen them.

    Attributes:
      samples: where they lie.
    """

    def __init__(self, samples: Location) -> None:
        self.samples = samples
        self._seen: dict[str, tuple[int, bytes, float]] = {}

    def take(self, sample_id: str) -> Claim | None:
        """Claims a sample; None where another process has it that is not known to be dead.

        Raises:
          LocationError: when the place cannot be reached or written.
        """
        number, owner = 0, uuid.uuid4().hex
        while True:
            claim = Claim(self.samples, sample_id, number, owner)
            if write_new(claim.place, claim.text(0)):
                return claim
            here, following = read_together([claim.place, _place(self.samples, sample_id, number + 1)])
            if here == claim.text(0):  # written, but the answer was lost and the question repeated
                return claim
            if following is None and (here is None or not self._is_stale(sample_id, number, here)):
                return None  # without 'here' it was released this moment: finished, or free at the next call
            number += 1

    def take_in_time(self, sample_id: str) -> Claim | None:
        """As `take`, but looks at the claim of another process until it is seen to be worked on, or is taken over."""
        claim = self.take(sample_id)
        before = self.seen(sample_id)
        while claim is None and self.seen(sample_id) == before:
            time.sleep(LOOK_S)
            claim = self.take(sample_id)
        return claim

    def seen(self, sample_id: str) -> tuple[int, bytes] | None:
        """The newest claim on a sample as it was last found; one that is worked on changes every `BEAT_S`."""
        found = self._seen.get(sample_id)
        return None if found is None else found[:2]

    def holder(self, sample_id: str) -> str:
        """Who holds a sample and since when, for people, as it was last found."""
        values = _values(self._seen[sample_id][1]) if sample_id in self._seen else {}
        who = (
            f"{values['host']}, process {values['pid']}"
            if {"host", "pid"} <= values.keys()
            else "another process"
        )
        return f"{who}, since {values['since']}" if "since" in values else who

    def _is_stale(self, sample_id: str, number: int, content: bytes) -> bool:
        if self.seen(sample_id) != (number, content):
            self._seen[sample_id] = number, content, time.monotonic()
        return _process_has_ended(content) or time.monotonic() - self._seen[sample_id][2] > STALE_S


def _this_process() -> dict[str, Any]:
    own = {"host": socket.gethostname(), "pid": os.getpid(), "start": process_start(os.getpid()) or ""}
    return {**own, "system": f"{boot()} {machine()}"}


def _process_has_ended(content: bytes) -> bool:
    """Whether the process of a claim ran on this system, and is known to run no more."""
    values = _values(content)
    is_here = bool(boot()) and values.get("system") == _this_process()["system"]
    return (
        is_here and type(values.get("pid")) is int and has_ended(values["pid"], values.get("start") or None)
    )


def _values(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def remove_left_behind(samples: Location, finished: Collection[str]) -> None:
    """Removes claims on finished samples: their processes were killed between the last two steps."""
    for name in names_like(samples, ".*.claim.*")[0]:
        if name[1:].rpartition(".claim.")[0] in finished:
            delete(samples / name)


def _place(samples: Location, sample_id: str, number: int) -> Location:
    return samples / f".{sample_id}.claim.{number}"
