"""Raman: rays go and bands stay; the baseline is that of pybaselines."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compseg_jax.runtime.extras import install_line
from compseg_jax.spectra.raman import _median, asls_baseline, cosmic_rays, remove_cosmic_rays

AXIS = np.linspace(600, 1800, 301)
BANDS = 300 * np.exp(-(((AXIS - 1003) / 8) ** 2)) + 200 * np.exp(-(((AXIS - 1450) / 20) ** 2))
FLUORESCENCE = 2000 + 500 * np.exp(-(((AXIS - 1100) / 600) ** 2))


def spectra(*shape, seed=0):
    noise = np.random.default_rng(seed).normal(0, 15, (*shape, AXIS.size))
    return (FLUORESCENCE + BANDS + noise).astype(np.float32)


@given(st.integers(0, 298), st.integers(1, 3), st.floats(1000, 1e5), st.booleans())
def test_a_ray_goes_and_nothing_else_changes(position, width, height, falling):
    clean = spectra(2)
    hit = clean.copy()
    hit[0, position : position + width] += np.float32(height)
    order = slice(None, None, -1) if falling else slice(None)
    found = np.asarray(cosmic_rays(hit[:, order]))[:, order]
    expected = np.zeros_like(found)
    expected[0, position : position + width] = True
    np.testing.assert_array_equal(found, expected)
    cleaned = np.asarray(remove_cosmic_rays(hit[:, order]))[:, order]
    np.testing.assert_array_equal(cleaned[~expected], clean[~expected])
    around = np.r_[max(0, position - 8) : min(301, position + width + 8)]
    assert np.abs(cleaned[0] - clean[0]).max() < np.ptp(clean[0, around])


def test_the_mean_of_the_sound_neighbours_takes_the_place():
    hit = spectra(1)[0]
    hit[[100, 103]] += 5000
    cleaned = np.asarray(remove_cosmic_rays(hit, neighbours=4))
    for channel in (100, 103):
        around = [k for k in range(channel - 4, channel + 5) if k not in (100, 103)]
        assert cleaned[channel] == pytest.approx(hit[around].mean(), rel=1e-6)


def test_modified_z_score_is_the_criterion():
    """Independent of the implementation: a ray counts just where both of its z-scores pass the threshold."""
    hit = spectra(1)[0].astype(np.float64)
    hit[150] += 140
    steps = np.diff(hit)
    deviation = steps - np.median(steps)
    scores = 0.6745 * deviation / np.median(np.abs(deviation))
    limit = float(min(scores[149], -scores[150]))
    assert limit > 3
    with jax.enable_x64(True):
        assert bool(cosmic_rays(jnp.asarray(hit), threshold=limit * 0.999)[150])
        assert not bool(cosmic_rays(jnp.asarray(hit), threshold=limit * 1.001)[150])


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.just(3), st.sampled_from([7, 8])),
        elements=st.floats(-9, 9, width=32, allow_subnormal=False),
    )
)
def test_medians_are_those_of_numpy(values):
    np.testing.assert_array_equal(jax.jit(_median)(jnp.asarray(values))[:, 0], np.median(values, axis=1))


def test_medians_in_double_precision():
    values = np.random.default_rng(8).normal(size=(4, 31)) * np.array([[1e-200], [1], [1e5], [1e200]])
    with jax.enable_x64(True):
        np.testing.assert_array_equal(jax.jit(_median)(jnp.asarray(values))[:, 0], np.median(values, axis=1))


def test_strong_bands_are_no_rays():
    strong = 2000 * np.exp(-(((AXIS - 1003) / 12) ** 2))  # flanks far beyond the noise, five channels wide
    counts = spectra(1)[0] + strong.astype(np.float32)
    assert not np.asarray(cosmic_rays(counts)).any()


def test_digitised_and_constant_counts():
    flat = np.full(50, 100, np.float32)
    assert not np.asarray(cosmic_rays(flat)).any()
    flat[[20, 35]] = 150, 101  # a ray, and one count of noise
    found = np.asarray(cosmic_rays(flat))
    assert found[20]
    assert found.sum() == 1
    np.testing.assert_allclose(remove_cosmic_rays(flat)[:30], 100)


def test_unsigned_counts_become_floats():
    counts = spectra(1)[0]
    counts[70] += 5000
    found = remove_cosmic_rays(counts.astype(np.uint16))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, remove_cosmic_rays(np.floor(counts)))
    assert found[70] < 4000


def test_a_spectrum_does_not_depend_on_its_company():
    cube = spectra(2, 3, seed=5)
    cube[0, 1, 40] += 4000
    cube[1, 0, 7] = np.nan
    whole = np.asarray(jax.jit(remove_cosmic_rays)(cube))
    assert whole.dtype == np.float32
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(whole[index], remove_cosmic_rays(cube[index]), rtol=1e-6)
    assert whole[0, 1, 40] < 4000
    assert np.isnan(whole[1, 0, 7])


@pytest.mark.parametrize("falling", [False, True])
def test_pybaselines_itself_agrees(falling):
    pybaselines = pytest.importorskip("pybaselines")
    order = slice(None, None, -1) if falling else slice(None)
    counts = spectra(3, 50, seed=6)[..., order]
    found = asls_baseline(counts, AXIS[order], smoothness=1e5, asymmetry=0.02)
    assert found.dtype == np.float32
    assert found.shape == (3, 50, 301)
    for index in [(0, 0), (1, 13), (2, 49)]:
        spectrum = counts[index].astype(np.float64)
        expected = spectrum - pybaselines.Baseline(AXIS[order]).asls(spectrum, lam=1e5, p=0.02)[0]
        np.testing.assert_allclose(found[index], expected, atol=1e-3)


def test_asls_takes_the_fluorescence_off():
    pytest.importorskip("pybaselines")
    corrected = asls_baseline(FLUORESCENCE + BANDS, AXIS, smoothness=1e3)
    assert corrected.dtype == np.float64
    assert np.abs(corrected - BANDS).max() < 10  # of 500 counts of fluorescence


def test_asls_passes_spectra_that_are_not_finite_as_nan():
    pytest.importorskip("pybaselines")
    counts = spectra(3)
    counts[1, 5] = np.inf
    found = asls_baseline(counts, AXIS)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[2], asls_baseline(counts[2], AXIS))


def test_without_pybaselines_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybaselines", None)
    with pytest.raises(ValueError, match=re.escape(install_line("raman"))):
        asls_baseline(spectra(1), AXIS)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: remove_cosmic_rays(np.ones(9), neighbours=0), "neighbours: found 0"),
        (lambda: cosmic_rays(np.ones(9), threshold=0), "threshold: found 0"),
        (lambda: cosmic_rays(np.ones(9), max_width=0), "max_width: found 0"),
        (lambda: cosmic_rays(np.ones(2)), "found 2 channels"),
        (lambda: asls_baseline(np.ones(301), AXIS, smoothness=0), "smoothness: found 0"),
        (lambda: asls_baseline(np.ones(301), AXIS, asymmetry=1), "asymmetry: found 1"),
        (lambda: asls_baseline(np.ones(7), AXIS), "found 301 values for 7 channels"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
