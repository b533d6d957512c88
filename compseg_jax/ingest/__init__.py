"""From a table and images, or scans of tissue arrays, to a store."""

from compseg_jax.runtime.lazy_names import lazy_names

_HOMES = {
    "PhantomConfig": "phantom.spots",
    "PhantomOptions": "phantom.phantom_store",
    "write_phantom": "phantom.phantom_store",
}

__all__ = list(_HOMES)

__getattr__ = lazy_names(__name__, _HOMES)
