"""Runs in a command that is tried: says which kinds of files it makes, or ends it as one of a kind appears."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator


def kind_of(name: str) -> str:
    """A path without what differs from run to run and from sample to sample.

    >>> kind_of("out/samples/.s3.0a1b2c3d-77-8-1.partial/activation.ome.zarr/c/0/12")
    'out/samples/.s#.partial/activation.ome.zarr/c/#/#'
    """
    name = re.sub(r"\.[0-9a-f]{8}-\d+-\d+-\d+\.", ".", name)
    return re.sub(r"\d+", "#", re.sub(r"[0-9a-f]{16,}", "#", name))


def files_below(folder: str) -> Iterator[str]:
    """Names of files below a folder, whatever is removed meanwhile."""
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(place, name), folder)


def watch(folder: str, kind: str = "", later_s: float = 0.0, seen: str = "") -> None:
    """Watches in a thread: ends this process as a file of a kind appears, or adds kinds to the file ``seen``."""

    def look() -> None:
        known: set[str] = set()
        while True:
            for found in map(kind_of, files_below(folder)):
                if kind and found == kind:
                    time.sleep(later_s)
                    os.kill(os.getpid(), signal.SIGKILL)
                if seen and found not in known:
                    known.add(found)
                    with open(seen, "a", encoding="utf-8") as file:
                        file.write(f"{found}\n")
            time.sleep(0.0005)

    threading.Thread(target=look, daemon=True).start()
