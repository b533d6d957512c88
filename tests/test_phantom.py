from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from compseg_jax.ingest.phantom.bands import TISSUE_TYPES
from compseg_jax.ingest.phantom.measurement import mie_extinction
from compseg_jax.ingest.phantom.spots import (
    PhantomConfig,
    Spot,
    simulate_array,
    simulate_spot,
    wavenumber_axis,
)

SMALL = PhantomConfig(size=37, channels=24)


def spot(config: PhantomConfig = SMALL, **changes: int | bool) -> Spot:
    arguments = {"seed": 3, "index": 5, "diseased": True, "array": 0} | changes
    return simulate_spot(config, **arguments)


def dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    return 2.0 * np.sum(predicted & reference) / (np.sum(predicted) + np.sum(reference))


def best_single_band_dice(spots: list[Spot]) -> float:
    """Mean Dice over the spots of the best of 41 thresholds on the best band in the better direction."""
    pixels = [s.absorbance[s.tissue] for s in spots]
    references = [s.tumour[s.tissue] for s in spots]
    levels = np.quantile(np.concatenate(pixels), np.linspace(0.0, 1.0, 41), axis=0)
    scores = [
        [dice(sign * p[:, band] >= sign * level, r) for p, r in zip(pixels, references, strict=True)]
        for band in range(levels.shape[1])
        for level in levels[:, band]
        for sign in (1, -1)
    ]
    return float(np.max(np.mean(scores, axis=1)))


# ------------------------------------------------------------------------------------------------ spectra


def test_axis_runs_from_1800_down_to_948_in_equal_steps() -> None:
    axis = wavenumber_axis(450)
    assert axis.shape == (450,)
    assert axis.dtype == np.float64
    assert (axis[0], axis[-1]) == (1800.0, 948.0)
    np.testing.assert_allclose(np.diff(axis), -852.0 / 449.0, rtol=1e-9)


def test_measured_spectra_have_their_maximum_at_amide_i() -> None:
    s = spot(PhantomConfig(size=37, channels=214, difficulty=0.0), diseased=False)
    stroma = s.fractions[..., TISSUE_TYPES.index("stroma")] > 0.9
    peak = wavenumber_axis(214)[np.argmax(s.absorbance[stroma].mean(axis=0))]
    assert abs(peak - 1658.0) < 8.0


# --------------------------------------------------------------------------------------------- scattering


@given(radius_um=st.floats(0.5, 20.0), wavenumber_cm1=st.floats(900.0, 4000.0), index=st.floats(1.05, 1.6))
def test_mie_extinction_is_van_de_hulsts_formula(
    radius_um: float, wavenumber_cm1: float, index: float
) -> None:
    rho = 4.0 * math.pi * radius_um * 1e-4 * (index - 1.0) * wavenumber_cm1
    expected = 2.0 - 4.0 / rho * math.sin(rho) + 4.0 / rho**2 * (1.0 - math.cos(rho))
    found = mie_extinction(np.array([wavenumber_cm1]), np.array([radius_um]), index)
    assert found[0, 0] == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_mie_extinction_of_small_and_large_spheres() -> None:
    wavenumbers_cm1 = np.array([1000.0, 1700.0])
    small_um = np.array([0.0, 1e-3, 1e-2])
    rho = 4.0 * math.pi * 0.3 * 1e-4 * small_um[:, None] * wavenumbers_cm1[None, :]
    found = mie_extinction(wavenumbers_cm1, small_um)
    np.testing.assert_allclose(found, rho**2 / 2.0, rtol=1e-3, atol=1e-15)
    np.testing.assert_allclose(mie_extinction(wavenumbers_cm1, np.array([1e5])), 2.0, atol=1e-3)
    first_maximum = mie_extinction(np.linspace(948.0, 1800.0, 500), np.linspace(2.0, 7.0, 50)).max()
    assert first_maximum == pytest.approx(3.1738, abs=1e-3)  # at ρ = 4.086


# -------------------------------------------------------------------------------------------------- spots


@pytest.mark.parametrize(
    ("size", "channels", "pixel_size_um"), [(37, 450, 10.0), (64, 32, 10.0), (96, 7, 5.5)]
)
def test_shapes_and_types_at_any_size(size: int, channels: int, pixel_size_um: float) -> None:
    s = spot(PhantomConfig(size=size, channels=channels, pixel_size_um=pixel_size_um))
    assert s.absorbance.shape == (size, size, channels)
    assert s.absorbance.dtype == np.float32
    assert s.tissue.shape == s.tumour.shape == (size, size)
    assert s.tissue.dtype == s.tumour.dtype == bool
    assert np.isfinite(s.absorbance).all()
    assert 0.4 < s.tissue.mean() < 0.8
    assert (s.label, s.array, s.index) == (1, 0, 5)


@given(
    seed=st.integers(0, 2**40), index=st.integers(0, 10**6), array=st.integers(0, 50), diseased=st.booleans()
)
def test_laws_of_every_spot(seed: int, index: int, array: int, diseased: bool) -> None:
    s = spot(seed=seed, index=index, array=array, diseased=diseased)
    low, high = SMALL.tumour_fraction
    assert not s.absorbance[~s.tissue].any()
    assert (s.absorbance[s.tissue] != 0.0).any(axis=1).all()
    assert not (s.tumour & ~s.tissue).any()
    assert s.label == int(diseased)
    if diseased:
        assert low <= s.tumour.sum() / s.tissue.sum() <= high
    else:
        assert not s.tumour.any()
    assert (s.fractions >= 0.0).all()
    assert (s.fractions.sum(axis=-1) <= 1.0 + 1e-5).all()


def test_spot_depends_on_its_arguments_alone() -> None:
    first = spot()
    spot(seed=9, index=2)
    again = spot()
    np.testing.assert_array_equal(first.absorbance, again.absorbance)
    np.testing.assert_array_equal(first.tumour, again.tumour)
    for change in ({"seed": 4}, {"index": 7}, {"array": 1}):
        assert not np.array_equal(first.tissue, spot(**change).tissue)


def test_healthy_and_diseased_twin_differ_only_near_the_tumour() -> None:
    diseased, healthy = spot(), spot(diseased=False)
    np.testing.assert_array_equal(diseased.tissue, healthy.tissue)
    differs = (diseased.absorbance != healthy.absorbance).any(axis=-1)
    assert differs[diseased.tumour].all()
    change = np.abs(diseased.absorbance - healthy.absorbance).max(axis=-1)
    near = np.zeros_like(diseased.tumour)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near |= np.roll(diseased.tumour, (dy, dx), axis=(0, 1))
    assert change[~near].max() == 0.0
    tumour = diseased.fractions[..., TISSUE_TYPES.index("tumour")]
    assert tumour[diseased.tumour].mean() > 0.6
    assert tumour[~near].max() == 0.0
    assert healthy.fractions[..., TISSUE_TYPES.index("tumour")].max() == 0.0


def test_healthy_spots_hold_every_tissue_type_but_tumour() -> None:
    for s in simulate_array(PhantomConfig(channels=2), seed=0, n=6, array=2):
        share = dict(zip(TISSUE_TYPES, s.fractions[s.tissue].mean(axis=0), strict=True))
        assert min(share[t] for t in TISSUE_TYPES if t != "tumour") > 0.003
        assert (share["tumour"] > 0.0) == bool(s.label)


def test_tumours_are_regions_not_specks() -> None:
    for s in simulate_array(PhantomConfig(channels=2), seed=1, n=10, array=0):
        if s.label:
            boundary = np.sum(s.tumour[1:] != s.tumour[:-1]) + np.sum(s.tumour[:, 1:] != s.tumour[:, :-1])
            assert boundary < 10.0 * math.sqrt(s.tumour.sum())


def test_array_alternates_labels_and_continues_at_first_index() -> None:
    spots = list(simulate_array(SMALL, seed=3, n=6, array=1, first_index=4))
    assert [s.label for s in spots] == [0, 1] * 3
    assert [s.index for s in spots] == list(range(4, 10))
    np.testing.assert_array_equal(spots[1].absorbance, spot(array=1).absorbance)


def test_tumour_shares_of_an_array_spread_over_the_bounds() -> None:
    spots = simulate_array(PhantomConfig(size=37, channels=2), seed=0, n=40, array=2)
    shares = np.array([s.tumour.sum() / s.tissue.sum() for s in spots if s.label])
    assert shares.min() < 0.08
    assert shares.max() > 0.65
    assert 0.25 < shares.mean() < 0.40


def test_arrays_have_batch_effects_that_their_spots_share() -> None:
    """Between arrays, mean spectra differ by far more than the means of two halves of one array do."""
    config = PhantomConfig(size=32, channels=16)

    def shape(array: int, first_index: int) -> np.ndarray:
        spots = simulate_array(config, seed=0, n=24, array=array, first_index=first_index)
        means = [s.absorbance[s.tissue].mean(axis=0) for s in spots]
        return np.mean([m / m.max() for m in means], axis=0)

    halves = np.array([[shape(a, 0), shape(a, 24)] for a in range(4)])
    within = np.sqrt(np.mean((halves[:, 0] - halves[:, 1]) ** 2))
    between = np.sqrt(np.mean((halves.mean(axis=1) - halves.mean(axis=(0, 1))[None]) ** 2))
    assert between > 2.0 * within


# --------------------------------------------------------------------------------------------- difficulty


@pytest.mark.slow
def test_no_single_band_solves_the_shipped_difficulty_and_easy_is_easier() -> None:
    def score(difficulty: float) -> float:
        config = PhantomConfig(size=48, channels=16, difficulty=difficulty)
        return best_single_band_dice([s for s in simulate_array(config, seed=0, n=32, array=2) if s.label])

    shipped = score(1.0)
    assert shipped <= 0.60
    assert score(0.0) > score(0.5) > shipped + 0.1


def test_whole_spectra_solve_it_across_arrays() -> None:
    """A linear classifier of standardised pixel spectra of two arrays segments the third."""
    config = PhantomConfig(size=40)
    trained = [s for a in (0, 1) for s in simulate_array(config, seed=0, n=16, array=a)]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifier.fit(
        np.concatenate([s.absorbance[s.tissue] for s in trained]),
        np.concatenate([s.tumour[s.tissue] for s in trained]),
    )
    tested = [s for s in simulate_array(config, seed=0, n=20, array=2) if s.label]
    assert (
        np.mean([dice(classifier.predict(s.absorbance[s.tissue]), s.tumour[s.tissue]) for s in tested]) > 0.7
    )


def test_intensity_and_area_do_not_give_the_label_away() -> None:
    config = PhantomConfig(size=40, channels=16)
    spots = list(simulate_array(config, seed=0, n=60, array=2))
    labels = np.array([s.label for s in spots], dtype=bool)
    for score in ([s.absorbance[s.tissue].mean() for s in spots], [s.tissue.mean() for s in spots]):
        pairs = np.asarray(score)[labels][:, None] - np.asarray(score)[~labels][None, :]
        auc = np.mean(pairs > 0)
        assert 0.25 < auc < 0.75


# --------------------------------------------------------------------------------------------- user errors


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 8),
        ("channels", 1),
        ("difficulty", -0.1),
        ("difficulty", math.nan),
        ("tumour_fraction", (0.5, 0.2)),
        ("tumour_fraction", (0.0, 0.5)),
        ("pixel_size_um", 0.0),
    ],
)
def test_impossible_configuration_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"phantom {field}: found .*; required"):
        PhantomConfig(**{field: value})


@pytest.mark.parametrize("name", ["seed", "index", "array"])
def test_negative_identity_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"phantom {name}: found -1; required 0 or more"):
        spot(**{name: -1})
