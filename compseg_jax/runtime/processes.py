"""Whether a process that left something behind still runs."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Of the processes whose numbers can be asked for from here: a host, or a container on it."""
    try:
        numbered_in = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbered_in = ""
    return hashlib.blake2b(f"{socket.gethostname()} {numbered_in}".encode(), digest_size=4).hexdigest()


@cache
def boot() -> str:
    """What tells this start of the system from any other, of this machine or another; '' where it is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process started, in the words of Linux; None elsewhere, and 'ended' for zombies, which work no more."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if words[0] in "ZX" else words[19]


def has_ended(pid: int, start: str | None) -> bool:
    """Whether the process of this machine that had a number at a start is known to run no more.

    False where that cannot be asked for: on Windows signal 0 is Ctrl-C, and would end what it asks about.
    """
    if sys.platform == "win32":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # A number is given to a new process some time after the old one's end.
    return start is not None and process_start(pid) not in (None, start)
