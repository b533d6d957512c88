"""Compiled programs kept on disk, and the time that compiling takes."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from compseg_jax.runtime.memory import return_kept_memory
from compseg_jax.runtime.xla_flags import has_onednn_convolutions

COMPILATION_WORTH_RETURNING_S = 0.5
"""Shorter ones leave little memory behind."""


def cache_compilations() -> Path | None:
    """Keeps compiled programs on disk, so that a second run starts without compiling.

    The commands call it; the folder is ``$JAX_COMPILATION_CACHE_DIR`` where that is set, else ``compseg_jax/xla``
    in ``$XDG_CACHE_HOME`` or ``~/.cache``. jax keys the programs by everything they depend on.

    Returns:
      The folder, or None where programs are compiled every time: on CPUs with jaxlib 0.11 and 0.12, which cannot write
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
    """Seconds spent compiling (or fetching compiled programs) in this process since the clock was made.

    What a long compilation took of memory is returned before the program runs (`return_kept_memory`).
    """

    def __init__(self) -> None:
        import jax

        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs
            if duration_secs >= COMPILATION_WORTH_RETURNING_S:
                return_kept_memory()


@functools.cache
def compile_clock() -> CompileClock:
    """The clock of this process; jax keeps every listener for good, so there is one."""
    return CompileClock()


_COMPILES = "compseg-compile"


def compiled_beside(compile_all: Callable[[], None]) -> Future[float]:
    """Compiles in a thread of its own, while the caller reads and prepares what the programs are for.

    Returns:
      The seconds it took, once it is done; raises what ``compile_all`` raised.
    """
    compile_clock()  # returns what a compilation takes of memory
    done: Future[float] = Future()

    def work() -> None:
        started = time.perf_counter()
        try:
            compile_all()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(time.perf_counter() - started)

    threading.Thread(target=work, name=_COMPILES).start()
    return done


def is_compiling() -> bool:
    """Whether a thread of :func:`compiled_beside` works; Python waits for it before it ends."""
    return any(thread.name == _COMPILES for thread in threading.enumerate())
