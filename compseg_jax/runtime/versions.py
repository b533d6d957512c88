"""The version of this package, and those of what it computes with."""

from __future__ import annotations

import platform
from importlib.metadata import version

__version__ = "0.2.0"


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore", "numpy", "scikit-learn")
    return {
        "compseg_jax": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
