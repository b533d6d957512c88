"""The place where ``me_emsc`` was before `compseg_jax.spectra.scatter`; kept for programs that import it here."""

from compseg_jax.spectra.scatter.mie import MieCorrection, MieSettings, me_emsc

__all__ = ["MieCorrection", "MieSettings", "me_emsc"]
