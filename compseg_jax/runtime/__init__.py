"""What programs run on: devices, XLA flags, memory, compiled programs, versions, interrupts, a self-check.

Importing this package does not import jax, so the flags can be set before jax chooses its backend.
"""

from typing import TYPE_CHECKING

from compseg_jax.runtime.compilation import CompileClock, cache_compilations, compile_clock
from compseg_jax.runtime.lazy_names import lazy_names
from compseg_jax.runtime.memory import free_memory_bytes, keep_freed_memory
from compseg_jax.runtime.xla_flags import (
    append_xla_flags,
    flags_for_jaxlib,
    has_onednn_convolutions,
    merged_flags,
)

if TYPE_CHECKING:
    from compseg_jax.runtime.lazy_names import lazy_names

__all__ = [
    "DATA_AXIS",
    "CompileClock",
    "append_xla_flags",
    "cache_compilations",
    "compile_clock",
    "data_mesh",
    "flags_for_jaxlib",
    "free_memory_bytes",
    "has_onednn_convolutions",
    "keep_freed_memory",
    "merged_flags",
]

__getattr__ = lazy_names(__name__, {"DATA_AXIS": "devices", "data_mesh": "devices"})
