"""Pure functions of spectra, and the declarative list of steps made of them."""

from compseg_jax.spectra.scatter.mie import me_emsc

__all__ = ["me_emsc"]
