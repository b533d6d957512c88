from __future__ import annotations

import numpy as np
import pytest

from compseg_jax.ingest.phantom.bands import (
    BANDS,
    CONSTITUENTS,
    TISSUE_TYPES,
    constituent_spectra,
    tissue_concentrations,
)
from compseg_jax.ingest.phantom.spots import wavenumber_axis


def test_every_band_lies_on_the_axis_and_is_used() -> None:
    assert all(948.0 < band.position_cm1 < 1800.0 and band.fwhm_cm1 > 0.0 for band in BANDS.values())
    used = {name for heights in CONSTITUENTS.values() for name in heights}
    assert used == set(BANDS)


def test_amide_i_is_the_strongest_protein_band_and_amide_ii_the_next() -> None:
    axis = wavenumber_axis(450)
    spectra = dict(zip(CONSTITUENTS, constituent_spectra(axis), strict=True))
    for name, amide_i in (("protein", 1655.0), ("beta protein", 1633.0), ("collagen", 1660.0)):
        assert abs(axis[np.argmax(spectra[name])] - amide_i) < 2.0
        below = axis < 1590.0
        assert abs(axis[below][np.argmax(spectra[name][below])] - 1545.0) < 3.0


def test_band_width_is_the_full_width_at_half_maximum() -> None:
    position, width = BANDS["glycogen 1028"]
    heights = constituent_spectra(np.array([position - width / 2.0, position, position + width / 2.0]))
    lone = CONSTITUENTS["glycogen"]["glycogen 1028"]
    neighbours = sum(
        height * np.exp(-4 * np.log(2) * ((position - width / 2.0 - BANDS[n][0]) / BANDS[n].fwhm_cm1) ** 2)
        for n, height in CONSTITUENTS["glycogen"].items()
        if n != "glycogen 1028"
    )
    row = heights[list(CONSTITUENTS).index("glycogen")]
    assert row[0] - neighbours == pytest.approx(lone / 2.0)


def test_calibration_shift_moves_every_band() -> None:
    axis = np.linspace(948.0, 1800.0, 853)
    moved = constituent_spectra(axis, shift_cm1=3.0)
    np.testing.assert_allclose(moved[:, 3:], constituent_spectra(axis)[:, :-3], atol=1e-12)


def test_tumour_has_more_nucleic_acid_and_less_glycogen_than_epithelium() -> None:
    names = list(CONSTITUENTS)
    for contrast in (0.5, 1.0, 2.0):
        table = dict(zip(TISSUE_TYPES, tissue_concentrations(contrast), strict=True))
        change = dict(zip(names, table["tumour"] - table["epithelium"], strict=True))
        assert change["nucleic acid"] > 0 > change["glycogen"]
        assert min(table["tumour"]) >= 0.0
    table = dict(zip(TISSUE_TYPES, tissue_concentrations(0.0), strict=True))
    np.testing.assert_array_equal(table["tumour"], table["epithelium"])
    # Inflammation is not the missing shortcut: it holds more nucleic acid than the tumour does.
    table = dict(zip(TISSUE_TYPES, tissue_concentrations(1.0), strict=True))
    assert table["inflammation"][names.index("nucleic acid")] > table["tumour"][names.index("nucleic acid")]


def test_contrast_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"contrast: found 2\.5"):
        tissue_concentrations(2.5)
