"""Planted faults are named for what they are, clean spectra are kept, and noise is measured as planted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compseg_jax.spectra.quality import (
    REASONS,
    QualityLimits,
    noise_sd,
    quality,
    supported,
)

WIDE = np.linspace(3900, 900, 1501)
PAPER = np.linspace(1800, 948, 427)
AXES = {
    "wide": WIDE,
    "wide rising": pytest.param(WIDE[::-1], marks=pytest.mark.slow),  # the direction has a test of its own
    "to 1900": np.linspace(1900, 900, 501),
}
EVERYTHING_OFF = QualityLimits(None, None, None, None, None)
# Heights of water lines relative to the one at 1717 cm⁻¹, as a reference spectrum at 4 cm⁻¹ shows them.
WATER_LINES = {
    1699: 1.2,
    1717: 1,
    1734: 0.8,
    1750: 0.7,
    1772: 0.67,
    1792: 0.5,
    1830: 0.4,
    1844: 0.35,
    1869: 0.4,
}


def gaussian(axis, centre, fwhm):
    return np.exp(-4 * np.log(2) * ((axis - centre) / fwhm) ** 2)


def tissue(axis):
    """A spectrum with amide I of height 1, an ester band, amide A and C–H stretching."""
    bands = (
        (1655, 57, 1),
        (1545, 65, 0.6),
        (1740, 27, 0.15),
        (1400, 45, 0.2),
        (1240, 50, 0.25),
        (1080, 45, 0.2),
    )
    stretches = ((3300, 300, 0.6), (2930, 60, 0.15))
    return sum(height * gaussian(axis, centre, fwhm) for centre, fwhm, height in bands + stretches)


def vapour(axis):
    """Lorentzian water lines 5 cm⁻¹ wide, the one at 1717 cm⁻¹ of height 1."""
    return sum(height / (1 + ((axis - centre) / 2.5) ** 2) for centre, height in WATER_LINES.items())


def spectra(axis, *, n=400, height=0.6, noise=0.003, lines=0.0, seed=0):
    rng = np.random.default_rng(seed)
    baseline = 0.05 + 0.02 * (axis - 900) / 3000
    clean = height * tissue(axis) + lines * vapour(axis) + baseline
    return (clean + noise * rng.standard_normal((n, axis.size))).astype(np.float32)


def share(reason, name):
    return float(np.mean(np.asarray(reason) == REASONS.index(name)))


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize("noise", [0.001, 0.005, 0.02])
def test_clean_spectra_are_kept(axis, noise):
    result = quality(spectra(axis, noise=noise), axis)
    assert share(result.reason, "kept") >= 0.99
    np.testing.assert_allclose(np.median(result.snr), np.median(result.amide_i) / noise, rtol=0.1)


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize(
    ("faulty", "name"),
    [
        ({"height": 0.05}, "too thin"),
        ({"height": 1.75}, "too thick"),
        ({"noise": 0.1}, "too noisy"),
        ({"height": 2.2}, "saturated"),
        ({"lines": 0.05}, "water vapour"),
        ({"lines": -0.05}, "water vapour"),
    ],
)
def test_planted_faults_are_named(axis, faulty, name):
    clean, bad = spectra(axis, n=100), spectra(axis, n=60, seed=1, **faulty)
    reason = quality(np.concatenate([clean, bad]), axis).reason
    assert share(reason[:100], "kept") >= 0.99
    assert share(reason[100:], name) >= 0.99


def test_clipped_and_not_finite_spectra():
    cube = spectra(WIDE, n=6)
    cube[1] = np.minimum(cube[1], 0.6)  # clipped far below the limit of saturation
    cube[2, 700] = np.nan
    cube[3, 700] = np.inf
    cube[4] = 0.0  # a masked pixel is not clipped
    result = quality(cube, WIDE)
    names = [REASONS[number] for number in np.asarray(result.reason)]
    assert names == ["kept", "saturated", "not finite", "not finite", "too thin", "kept"]
    assert np.isinf(np.asarray(result.saturation)[1:4]).all()
    np.testing.assert_allclose(result.saturation[0], cube[0].max())
    unlimited = quality(cube, WIDE, EVERYTHING_OFF)
    assert [REASONS[number] for number in np.asarray(unlimited.reason)][2:4] == ["not finite"] * 2
    assert share(unlimited.reason, "kept") == 4 / 6


@pytest.mark.parametrize("planted", [0.002, 0.01, 0.05])
@pytest.mark.parametrize(
    "axis", [WIDE, PAPER, PAPER[::-1], np.linspace(2750, 2480, 90)], ids=["wide", "paper", "rising", "high"]
)
def test_noise_is_measured_as_planted(axis, planted):
    measured = np.asarray(noise_sd(jnp.asarray(spectra(axis, n=300, noise=planted)), axis))
    np.testing.assert_allclose(np.median(measured), planted, rtol=0.1)


def test_noise_of_a_silent_band_is_that_of_a_straight_line_fit():
    silent = (WIDE >= 2000) & (WIDE <= 2200)
    cube = spectra(WIDE, n=5).astype(np.float64)
    fits = [np.polyfit(WIDE[silent] - 2100, row[silent], 1, full=True)[1][0] for row in cube]
    with jax.enable_x64(True):
        measured = noise_sd(jnp.asarray(cube), WIDE)
    np.testing.assert_allclose(measured, np.sqrt(np.array(fits) / (silent.sum() - 2)), rtol=1e-10)


def test_gaps_in_the_axis_are_not_noise():
    kept = np.arange(PAPER.size) % 6 < 4
    measured = noise_sd(jnp.asarray(spectra(PAPER, n=300, noise=0.003)[:, kept]), PAPER[kept])
    np.testing.assert_allclose(np.median(measured), 0.003, rtol=0.1)


@settings(max_examples=settings().max_examples // 2)
@given(factor=st.floats(0.3, 1.9), offset=st.floats(-0.2, 0.2))
def test_ratios_do_not_depend_on_thickness_nor_on_an_offset(factor, offset):
    with jax.enable_x64(True):
        cube = jnp.asarray(spectra(WIDE, n=3, lines=0.05).astype(np.float64))
        first = quality(cube, WIDE, EVERYTHING_OFF)
        second = quality(factor * cube + offset, WIDE, EVERYTHING_OFF)
    np.testing.assert_allclose(second.amide_i, factor * np.asarray(first.amide_i), rtol=1e-9)
    np.testing.assert_allclose(second.snr, first.snr, rtol=1e-9)
    np.testing.assert_allclose(second.vapour, first.vapour, rtol=1e-7)


def test_vapour_grows_with_the_lines_and_a_lipid_band_is_none():
    axis = np.linspace(1900, 900, 501)
    measured = [
        float(np.median(quality(spectra(axis, n=50, noise=1e-4, lines=h), axis).vapour))
        for h in (0.05, 0.1, 0.2)
    ]
    np.testing.assert_allclose(np.divide(measured, measured[0]), [1, 2, 4], rtol=0.1)
    lipid = spectra(axis, noise=1e-3) + (0.4 * gaussian(axis, 1740, 27)).astype(np.float32)
    assert share(quality(lipid, axis).reason, "kept") >= 0.99


def test_jit_cubes_dtype_and_direction():
    cube = spectra(WIDE, n=15, lines=0.03).reshape(3, 5, -1)
    eager = quality(cube, WIDE)
    jitted = jax.jit(lambda values: quality(values, WIDE))(cube)
    rising = quality(cube[..., ::-1], WIDE[::-1])
    single = quality(cube[2, 1], WIDE)
    for name in ("amide_i", "snr", "saturation", "vapour"):
        values = getattr(eager, name)
        assert values.shape == (3, 5)
        assert values.dtype == jnp.float32
        for other in (jitted, rising):
            np.testing.assert_allclose(getattr(other, name), values, rtol=1e-3)
        np.testing.assert_allclose(getattr(single, name), values[2, 1], rtol=1e-3)
    assert eager.reason.dtype == jnp.int8
    np.testing.assert_array_equal(jitted.reason, eager.reason)
    np.testing.assert_array_equal(rising.reason, eager.reason)


def test_the_papers_axis_supports_all_but_vapour():
    limits, dropped = supported(QualityLimits(), PAPER)
    assert dropped == ["max_vapour"]
    assert limits == QualityLimits(max_vapour=None)
    result = quality(spectra(PAPER), PAPER, limits)
    assert share(result.reason, "kept") >= 0.99
    assert np.isnan(np.asarray(result.vapour)).all()
    assert supported(QualityLimits(), WIDE) == (QualityLimits(), [])


@pytest.mark.parametrize(
    ("axis", "limit", "message"),
    [
        (PAPER, "max_vapour", "max_vapour: water vapour needs the band 1700–1850"),
        (np.linspace(4000, 800, 401), "max_vapour", "channels at most 5 cm⁻¹ apart"),
        (np.linspace(1800, 948, 32), "min_snr", "min_snr: noise needs 10 channels at 2000–2200"),
        (np.linspace(2400, 1700, 300), "min_amide_i", "min_amide_i: amide I: no channel between 1640"),
        (np.linspace(1700, 900, 300), "max_amide_i", "max_amide_i: baseline of amide I: no channel"),
    ],
)
def test_what_the_axis_lacks_is_named_and_can_be_dropped(axis, limit, message):
    only = QualityLimits(**{**dict.fromkeys(vars(EVERYTHING_OFF)), limit: 1.0})
    with pytest.raises(ValueError, match=message):
        quality(spectra(axis, n=2), axis, only)
    assert supported(only, axis) == (EVERYTHING_OFF, [limit])
    assert quality(spectra(axis, n=2), axis, EVERYTHING_OFF).reason.tolist() == [0, 0]


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: QualityLimits(min_snr=-1), "min_snr: found -1"),
        (lambda: QualityLimits(max_vapour=float("nan")), "max_vapour: found nan"),
        (lambda: quality(jnp.ones((3, 1501), jnp.int32), WIDE), "absorbance: found dtype int32"),
        (lambda: quality(jnp.ones((3, 7)), WIDE), "wavenumbers_cm1: found shape"),
        (lambda: noise_sd(jnp.ones((3, 9)), np.linspace(1800, 900, 9)), "noise needs 10 channels"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tile_of_nine_channels(shared_data):
    from compseg_jax.readers import read

    cube = read(shared_data / "formats" / "agilent" / "4_noimage_agg256.dat")
    with pytest.raises(ValueError, match="amide I: no channel between 1640"):
        quality(cube.absorbance, cube.wavenumbers_cm1)
    limits, dropped = supported(QualityLimits(), cube.wavenumbers_cm1)
    assert set(dropped) == {"min_amide_i", "max_amide_i", "min_snr", "max_vapour"}
    assert quality(cube.absorbance, cube.wavenumbers_cm1, limits).reason.shape == (8, 8)
