"""Scatter taken out of spectra: EMSC, Mie extinction, resonant Mie."""
