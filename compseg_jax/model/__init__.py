"""THE model: networks with their preparation, scaling, axis and threshold, and what is made of them."""

from compseg_jax.runtime.lazy_names import lazy_names

_HOMES = {
    "ExportOptions": "portable.export",
    "export": "portable.export",
    "load_safetensors": "portable.safetensors_file",
}

__all__ = list(_HOMES)

__getattr__ = lazy_names(__name__, _HOMES)
