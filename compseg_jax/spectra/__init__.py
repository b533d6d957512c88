"""Pure functions of spectra, and the declarative list of steps made of them."""

from compseg_jax.runtime.lazy_names import lazy_names

_HOMES = {
    "Image": "preparation",
    "Preparation": "preparation",
    "me_emsc": "scatter.mie",
}

__all__ = list(_HOMES)

__getattr__ = lazy_names(__name__, _HOMES)
