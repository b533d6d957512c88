"""Devices: the XLA flags that correct results need, and the mesh that training runs on.

Importing this module does not import jax, so the flags can be set before jax chooses its backend.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax.sharding import Mesh

DATA_AXIS = "data"
_ONEDNN_CONVOLUTIONS_SINCE = (0, 11)

# Unknown flags abort XLA, so every flag is tied to the jaxlib releases that know it.
# - ynn_fusion_type (empty = off): YNNPACK fusion computes wrong results in some programs of jaxlib 0.10.2
#   (jax issue 39103).
# - onednn_custom_call: with it oneDNN runs the convolutions of jaxlib 0.11 on CPU; no effect before.
_FLAGS_BY_JAXLIB: dict[tuple[int, int], tuple[str, ...]] = {
    (0, 10): ("--xla_cpu_experimental_ynn_fusion_type=",),
    (0, 11): (
        "--xla_cpu_experimental_ynn_fusion_type=",
        "--xla_cpu_experimental_onednn_custom_call=true",
    ),
}


def flags_for_jaxlib(jaxlib_version: str) -> tuple[str, ...]:
    """The XLA flags this package needs with a jaxlib release, empty for releases it does not know."""
    return _FLAGS_BY_JAXLIB.get(_release(jaxlib_version), ())


def _release(jaxlib_version: str) -> tuple[int, int]:
    major, minor = (int(part) for part in jaxlib_version.split(".")[:2])
    return major, minor


def has_onednn_convolutions() -> bool:
    """Whether oneDNN runs the convolutions on CPU; jaxlib 0.10 uses Eigen, slow for hundreds of channels."""
    return _release(version("jaxlib")) >= _ONEDNN_CONVOLUTIONS_SINCE


def merged_flags(existing: str, wanted: tuple[str, ...]) -> str:
    """``existing`` with those of ``wanted`` appended whose flag the user has not set already."""
    taken = {flag.split("=")[0] for flag in existing.split()}
    return " ".join([*existing.split(), *(flag for flag in wanted if flag.split("=")[0] not in taken)])


def append_xla_flags() -> None:
    """Appends this package's XLA flags to ``XLA_FLAGS``; warns when jax has already chosen its backend."""
    try:
        wanted = flags_for_jaxlib(version("jaxlib"))
    except PackageNotFoundError:
        return
    existing = os.environ.get("XLA_FLAGS", "")
    merged = merged_flags(existing, wanted)
    if merged == " ".join(existing.split()):
        return
    if _backend_is_running():
        warnings.warn(
            "jax started before compseg_jax was imported, so the XLA flags that correct CPU results need "
            f"({' '.join(wanted)}) have no effect. Import compseg_jax first, or set them in XLA_FLAGS.",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    os.environ["XLA_FLAGS"] = merged


def _backend_is_running() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(bridge is not None and getattr(bridge, "_backends", None))


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
    if _backend_is_running() or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(number, value) == 1 for number, value in _MALLOPT_KEEP_FREED_MEMORY.values())


def cache_compilations() -> Path | None:
    """Keeps compiled programs on disk, so that a second run starts without compiling.

    The commands call it; the folder is ``$JAX_COMPILATION_CACHE_DIR`` where that is set, else ``compseg_jax/xla``
    in ``$XDG_CACHE_HOME`` or ``~/.cache``. jax keys the programs by everything they depend on.

    Returns:
      The folder, or None where programs are compiled every time: on CPUs with jaxlib 0.11, which cannot write
      programs that call oneDNN (std::bad_alloc), and where the folder cannot be made.
    """
    import jax

    if jax.default_backend() == "cpu" and has_onednn_convolutions():
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or base / "compseg_jax" / "xla")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


class CompileClock:
    """Seconds spent compiling (or fetching compiled programs) in this process since the clock was made."""

    def __init__(self) -> None:
        import jax

        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs


@functools.cache
def compile_clock() -> CompileClock:
    """The clock of this process; jax keeps every listener for good, so there is one."""
    return CompileClock()


def data_mesh(n_devices: int | None = None) -> Mesh:
    """A mesh of one axis, ``data``, over all visible devices or the first ``n_devices`` of them."""
    import jax

    devices = jax.devices()
    if n_devices is not None:
        if not 1 <= n_devices <= len(devices):
            raise ValueError(f"{n_devices} devices asked for; this machine shows {len(devices)}.")
        devices = devices[:n_devices]
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )
