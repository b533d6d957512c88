"""Memory: what a process may take, and what the C library keeps between the steps of a program."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compseg_jax.runtime.xla_flags import backend_is_running

# Numbers and values from glibc's malloc.h; −1 for a threshold is "never".
_MALLOPT_KEEP_FREED_MEMORY = {
    "M_ARENA_MAX": (-8, 1),
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, -1),
    "M_TOP_PAD": (-2, 2**26),
}


def keep_freed_memory() -> bool:
    """Lets glibc keep the memory of one step for the next instead of returning it and asking again.

    XLA's CPU backend allocates the intermediate results of every execution anew, hundreds of MB. By default glibc
    maps and unmaps them each time, and the page faults take 13 to 19 % of a training step (docs/performance.md).
    The commands call this at their start; a program of your own calls it before jax starts, since the threads
    that compute must not have memory of their own yet. `return_kept_memory` returns what has been kept in vain.

    Returns:
      False, with nothing changed, when jax already runs, when the C library is not glibc, or when the user set
      ``MALLOC_…`` or ``GLIBC_TUNABLES``.
    """
    if backend_is_running() or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = all(mallopt(number, value) == 1 for number, value in _MALLOPT_KEEP_FREED_MEMORY.values())
    _freed_memory_is_kept.append(kept)
    return kept


_freed_memory_is_kept: list[bool] = []


def return_kept_memory() -> None:
    """Gives the system back what `keep_freed_memory` keeps, where it was called; the next step asks for it again.

    After a compilation (hundreds of MB that no step fits into) and now and then between steps: glibc cannot use the
    block of one step for the next where something small came to lie behind it, and holds two to four of them.
    """
    if any(_freed_memory_is_kept):
        ctypes.CDLL(None).malloc_trim(0)


READING_SHARE = 0.5
"""Of the free memory that reading one file may take: what is read is prepared and scaled besides."""
_MAX_MEMORY = "COMPSEG_MAX_MEMORY_GIB"
"""A variable of the environment, so that it holds for the commands that a command starts."""


def reading_limit_bytes() -> float:
    """Memory that reading one file may take: what was stated (`max_memory`), else `READING_SHARE` of what is free."""
    stated = os.environ.get(_MAX_MEMORY)
    return float(stated) * 2**30 if stated else READING_SHARE * free_memory_bytes()


def reading_limit_in_words() -> str:
    """What `reading_limit_bytes` is, a part of a sentence."""
    stated = os.environ.get(_MAX_MEMORY)
    said = "by --max-memory" if stated else "half of what is free; --max-memory GIB says otherwise"
    return f"{reading_limit_bytes() / 2**30:.3g} GiB are allowed ({said})"


@contextmanager
def max_memory(gib: float) -> Iterator[None]:
    """States how much memory reading one file may take, for the block and for processes that are started in it.

    Raises:
      ValueError: for what is no amount of memory.
    """
    if not (math.isfinite(gib) and gib > 0):
        raise ValueError(f"--max-memory {gib:g}: a number of GiB above 0 is required, such as 8.")
    before = os.environ.get(_MAX_MEMORY)
    os.environ[_MAX_MEMORY] = repr(float(gib))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_MAX_MEMORY]
        else:
            os.environ[_MAX_MEMORY] = before


def return_freed_memory() -> None:
    """Gives the system back what Python has freed and glibc keeps, whatever `keep_freed_memory` said before."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def free_memory_bytes() -> float:
    """Memory of the host that this process may still take.

    On Linux what the kernel calls available, within the limit of the control group (containers, batch systems);
    elsewhere half of what is built in, and 4 GiB where that is not known.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
        except (AttributeError, ValueError, OSError):
            return 4 * 2**30
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (float((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no control groups, or no limit ("max")
        return available
    return min(available, limit - used)
