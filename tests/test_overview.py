"""A scan at a glance: statistics against NumPy, rows read of large scans, band images by every interleave."""

from __future__ import annotations

import instrument_files as files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compseg_jax.readers.cube import Cube
from compseg_jax.readers.info import overview
from compseg_jax.readers.info.overview import band_image, choose_band, take_sample
from compseg_jax.readers.info.value_summary import histogram_lines, mean_and_sd, summarise
from compseg_jax.readers.scan import CubeScan, open_scan

AXIS = np.array([1800.0, 1750, 1700, 1650, 1600, 1550, 1500])
SPECTRUM = np.array([0.1, 0.1, 0.2, 0.6, 0.3, 0.4, 0.1], np.float32)

numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, np.nan, np.inf, -np.inf, 0.25])


@given(arrays(np.float32, st.integers(1, 200), elements=numbers))
def test_every_finite_value_is_counted_once(values):
    finite = values[np.isfinite(values)]
    summary = summarise(values)
    if not finite.size:
        assert summary is None
        return
    expected = np.percentile(finite.astype(np.float64), [0, 1, 50, 99, 100])
    np.testing.assert_allclose(summary.percentiles, expected, rtol=1e-12, atol=1e-9)
    assert summary.counts.sum() + summary.below + summary.above == finite.size
    assert summary.below == np.sum(finite < summary.edges[0])
    assert summary.above == np.sum(finite > summary.edges[-1])
    lines = histogram_lines(summary)
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == summary.counts.size + 2


def test_bins_hold_what_numpy_counts():
    values = np.random.default_rng(0).normal(3, 2, 5000)
    summary = summarise(values)
    expected, _ = np.histogram(values, summary.edges)
    np.testing.assert_array_equal(summary.counts, expected)


@pytest.mark.parametrize("shape", [(40, 7), (1, 3)])
def test_mean_and_sd_leave_out_what_is_not_finite(shape):
    spectra = np.random.default_rng(1).normal(size=shape)
    spectra[0, 1] = np.inf
    spectra[:, 2] = np.nan
    mean, sd = mean_and_sd(spectra)
    finite = np.where(np.isfinite(spectra), spectra, np.nan)
    kept = [0] if shape[0] == 1 else [0, 1]
    np.testing.assert_allclose(mean[kept], np.nanmean(finite[:, kept], axis=0))
    np.testing.assert_allclose(sd[kept], np.nanstd(finite[:, kept], axis=0), atol=1e-15)
    assert np.isnan(mean[2])


class Counting(CubeScan):
    """A scan that notes how many values were asked for."""

    asked = 0

    def window(self, rows, columns, channels=slice(None)):
        part = super().window(rows, columns, channels)
        type(self).asked += part.size
        return part


def test_of_a_large_scan_rows_are_read_and_the_text_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "SAMPLED_VALUES", 600)
    monkeypatch.setattr(overview, "FEWEST_ROWS", 5)
    values, axis = files.sample(60, 50, 9)
    monkeypatch.setattr(Counting, "asked", 0)
    sample = take_sample(Counting(Cube(values, axis)))
    assert Counting.asked == 5 * 50 * 9
    np.testing.assert_array_equal(sample.spectra, values[[6, 18, 30, 42, 54], ::4].reshape(-1, 9))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_a_band_image_leaves_out_rows_and_columns(tmp_path, monkeypatch, interleave):
    monkeypatch.setattr(overview, "LONGEST_SIDE_PX", 20)
    values, axis = files.sample(70, 40, 9)
    scan = open_scan(files.envi(tmp_path, values, axis, interleave=interleave))
    np.testing.assert_array_equal(band_image(scan, (2, 7)), values[::4, ::4, [2, 7]])
    monkeypatch.setattr(overview, "IMAGE_BYTES", 10 * 40 * 9 * 4)
    step = 7 if interleave == "bip" else 4
    np.testing.assert_array_equal(band_image(scan, (7, 2)), values[::step, ::4, [7, 2]])


def test_amide_i_is_a_depth_in_transmittance_and_absent_where_the_axis_lacks_it():
    thickness = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    cube = 100 - 10 * thickness * SPECTRUM
    scan = CubeScan(Cube(cube, AXIS, provenance={"quantity": "%T"}))
    band = choose_band(scan, take_sample(scan))
    np.testing.assert_allclose(band.of(cube[..., list(band.channels)])[0], [0, 3.5, 7, 10.5], atol=1e-4)
    far = CubeScan(Cube(thickness * SPECTRUM, AXIS - 700))
    assert choose_band(far, take_sample(far)).positions == (950.0,)
