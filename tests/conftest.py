"""What every test runs under: strict dtypes and ranks, checked calls, eight fake CPU devices, fixed examples.

`make test-all` sets COMPSEG_TESTS=thorough: ten times the examples, and programs compiled as users compile them.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import checked_types  # before the package is imported
import hypothesis
import jax
import jaxtyping
import pytest

import compseg_jax  # noqa: F401  (sets the XLA flags before jax starts)

THOROUGH = os.environ.get("COMPSEG_TESTS") == "thorough"
MOST_CHECKED = 200
"""Calls of one function that are checked in one test: a check takes longer than many a small function."""

# Compiling takes most of the time of the tests, and half of that goes into LLVM's optimisations.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(not THOROUGH))  # child processes compute the same bits
if not THOROUGH:
    # XLA builds loops by MLIR, which takes four times as long as building them by LLVM alone, its older way; in one
    # part rather than many it takes three quarters of that.
    QUICK_FLAGS = (
        "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICK_FLAGS])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=20)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("fixed"), max_examples=200)
hypothesis.settings.load_profile("thorough" if THOROUGH else "fixed")


def pytest_configure(config: pytest.Config) -> None:
    """Programs without oneDNN are compiled once for all workers and runs, where pytest may keep files."""
    if hasattr(config, "cache"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_finish() -> None:
    """What all imports have made stays until the end; the garbage collector need not look through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of the test: whether its programs are optimised, and which of its calls are checked."""
    optimised = THOROUGH or item.get_closest_marker("optimised") is not None
    jax.config.update("jax_disable_most_optimizations", not optimised)
    jaxtyping.config.update("jaxtyping_disable", item.get_closest_marker("wrong_types") is not None)
    checked_types.calls.clear()
    checked_types.most_checked = None if THOROUGH else MOST_CHECKED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and instrument files, kept beside the project and never inside it."""
    folder = Path(os.environ.get("COMPSEG_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder} does not exist; set COMPSEG_SHARED_DATA to its place")
    return folder
