"""Memory that the C library keeps between the steps of a program."""

from __future__ import annotations

import ctypes
import os
import platform

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
    that compute must not have memory of their own yet. From then on the process keeps what it used at its peak.

    Returns:
      False, with nothing changed, when jax already runs, when the C library is not glibc, or when the user set
      ``MALLOC_…`` or ``GLIBC_TUNABLES``.
    """
    if backend_is_running() or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(number, value) == 1 for number, value in _MALLOPT_KEEP_FREED_MEMORY.values())
