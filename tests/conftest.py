"""What every test runs under: strict dtypes and ranks, eight fake CPU devices, fixed hypothesis examples."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import jax
import pytest

import compseg_jax  # noqa: F401  (sets the XLA flags before jax starts)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and instrument files, kept beside the project and never inside it."""
    folder = Path(os.environ.get("COMPSEG_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder} does not exist; set COMPSEG_SHARED_DATA to its place")
    return folder
