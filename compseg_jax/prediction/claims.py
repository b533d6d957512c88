"""Which process works on which sample: claims as files, so that several processes share one folder.

``.<id>.claim.<n>`` in the folder of the samples is created exclusively (O_EXCL, atomic on local and network file
systems) and holds machine and process. Its process touches it while it works. A claim that was not touched for
`STALE_S`, or whose process is known to have ended (same machine), is stale: whoever creates the next number, n + 1,
takes the sample over. So two processes can never both take over, and one that only seemed dead finds out. Host names do
not tell machines apart: containers share them, and a process that runs in one has ended by the numbers of another.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from compseg_jax.runtime.files import file_system_time
from compseg_jax.runtime.processes import has_ended, machine, process_start

BEAT_S = 15.0
STALE_S = 120.0


@dataclass
class Claim:
    """A sample that is this process's own; use as a context manager.

    Attributes:
      folder: where claims lie.
      sample_id: the sample.
      number: of the claim.
    """

    folder: Path
    sample_id: str
    number: int
    _released: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def path(self) -> Path:
        """File of the claim."""
        return _path(self.folder, self.sample_id, self.number)

    def is_lost(self) -> bool:
        """Whether another process took the sample over, because this one seemed dead."""
        return _path(self.folder, self.sample_id, self.number + 1).exists()

    def __enter__(self) -> Claim:
        threading.Thread(target=self._beat, name="compseg-claim", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if not self.is_lost():
            for number in range(self.number + 1):
                _path(self.folder, self.sample_id, number).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            try:
                os.utime(self.path)
            except OSError:
                return


def take(folder: Path, sample_id: str) -> Claim | None:
    """Claims a sample; None where another process that lives has it."""
    number = 0
    while True:
        path = _path(folder, sample_id, number)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            newest = not _path(folder, sample_id, number + 1).exists()
            if newest and not _is_stale(path):
                return None
            number += 1
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(
                {"machine": machine(), "pid": os.getpid(), "started": process_start(os.getpid())},
                file,
            )
        return Claim(folder, sample_id, number)


def _path(folder: Path, sample_id: str, number: int) -> Path:
    return folder / f".{sample_id}.claim.{number}"


def _is_stale(path: Path) -> bool:
    try:
        text, touched = path.read_text(encoding="utf-8"), path.stat().st_mtime
    except FileNotFoundError:
        return False  # released this moment: the sample is finished or free at the next call
    try:
        owner = json.loads(text)
        if owner["machine"] == machine() and has_ended(int(owner["pid"]), owner["started"]):
            return True
    except (ValueError, KeyError, TypeError):
        pass  # being written, or its process was killed while it wrote: its age decides
    return file_system_time(path.parent) - touched > STALE_S
