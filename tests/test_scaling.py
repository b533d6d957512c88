from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.spectra.scaling import Scaling, put_standardised, standardise
from compseg_jax.spectra.tissue import tissue_from_background


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 7)), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, 1e-3, 1e4, -1e6]),
    spread=st.sampled_from([1e-6, 1.0, 1e5]),
)
def test_one_sample_at_a_time_gives_the_moments_of_all_pixels(
    seed: int, sizes: list[tuple[int, int]], offset: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    samples = []
    for size in sizes:
        absorbance = rng.normal(offset, spread * rng.uniform(0.1, 1.0), (*size, 3))
        samples.append((absorbance, rng.uniform(size=size) < 0.7))
    samples.append((rng.normal(offset, spread, (2, 3, 3)), np.ones((2, 3), bool)))
    pixels = np.concatenate([absorbance[tissue] for absorbance, tissue in samples])
    scaling = Scaling.fit(samples)
    assert scaling.mean.dtype == scaling.sd.dtype == np.float32
    np.testing.assert_array_equal(scaling.mean, pixels.mean(axis=0).astype(np.float32))
    varies = pixels.std(axis=0) > 1e-7 * np.abs(pixels.mean(axis=0))
    np.testing.assert_allclose(scaling.sd[varies], pixels.std(axis=0)[varies], rtol=1e-6)


def test_a_large_offset_leaves_the_spread() -> None:
    # Sums of squares in float32, or E[x²] − E[x]², would lose it.
    absorbance = np.full((20, 30, 1), 30_000.0, np.float32)
    absorbance[::2] += 0.5
    scaling = Scaling.fit([(absorbance, np.ones((20, 30), bool))] * 3)
    np.testing.assert_allclose(scaling.sd, [0.25], rtol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 3.1, -7e5, 1e-42])
def test_a_constant_band_is_only_centred(constant: float) -> None:
    absorbance = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    absorbance[..., 1] = constant
    absorbance[0, 0, 1] = 0.0 if abs(constant) < 1e-30 else constant
    tissue = np.ones((4, 5), bool)
    scaling = Scaling.fit([(absorbance, tissue), (absorbance[:2], tissue[:2])])
    assert scaling.sd[1] == 1.0
    scaled = standardise(absorbance, tissue, scaling.mean, scaling.sd)
    np.testing.assert_allclose(scaled[..., 1], 0.0, atol=1e-6)
    assert abs(float(scaled[..., 0].std()) - 1.0) < 0.2


def test_training_tissue_gets_mean_0_and_sd_1_and_the_rest_0() -> None:
    rng = np.random.default_rng(1)
    tissue = rng.uniform(size=(2, 9, 7)) < 0.4
    absorbance = rng.normal([0.2, 900.0], [0.01, 40.0], (2, 9, 7, 2)).astype(np.float32)
    absorbance[~tissue] = np.nan
    scaling = Scaling.fit(zip(absorbance, tissue, strict=True))
    scaled = np.asarray(standardise(absorbance, tissue, scaling.mean, scaling.sd))
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled[~tissue], 0.0)
    np.testing.assert_allclose(scaled[tissue].mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(scaled[tissue].std(axis=0), 1.0, rtol=1e-4)
    assert not np.signbit(scaled[~tissue]).any()


def test_jit_vmap_and_single_cubes_agree() -> None:
    rng = np.random.default_rng(2)
    cubes = jnp.asarray(rng.normal(size=(3, 4, 5, 2)), jnp.float32)
    tissue = jnp.asarray(rng.uniform(size=(3, 4, 5)) < 0.5)
    mean, sd = jnp.asarray([0.1, -2.0], jnp.float32), jnp.asarray([0.3, 5.0], jnp.float32)
    eager = standardise(cubes, tissue, mean, sd)
    np.testing.assert_array_equal(jax.jit(standardise)(cubes, tissue, mean, sd), eager)
    one_by_one = jax.vmap(standardise, (0, 0, None, None))(cubes, tissue, mean, sd)
    np.testing.assert_array_equal(one_by_one, eager)
    np.testing.assert_array_equal(standardise(cubes[1], tissue[1], mean, sd), eager[1])


def test_bfloat16_and_integer_cubes_come_out_as_float32() -> None:
    tissue, mean, sd = jnp.ones((2, 2), bool), jnp.zeros(1, jnp.float32), jnp.full(1, 2.0, jnp.float32)
    for dtype in (jnp.bfloat16, jnp.int32, jnp.uint8):
        scaled = standardise(jnp.full((2, 2, 1), 3, dtype), tissue, mean, sd)
        assert scaled.dtype == jnp.float32
        np.testing.assert_array_equal(scaled, 1.5)


@pytest.mark.parametrize("samples", [[], [(np.ones((2, 3, 1)), np.zeros((2, 3), bool))]])
def test_no_tissue_is_an_error(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    with pytest.raises(ValueError, match="hold no tissue pixel: check the tissue masks with `compseg check`"):
        Scaling.fit(samples)


def test_background_by_the_rule_of_the_store() -> None:
    absorbance = np.zeros((2, 3, 2), np.float32)
    absorbance[0, 1, 1] = -1e-30
    absorbance[1, 2] = 5.0
    expected = np.array([[False, True, False], [False, False, True]])
    np.testing.assert_array_equal(tissue_from_background(absorbance, "zero"), expected)
    assert tissue_from_background(absorbance, "none").shape == (2, 3)
    assert tissue_from_background(absorbance, "none").all()


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 16, 64), (4, 24, 6), (2, 2, 8, 3)])
@pytest.mark.parametrize("lie_apart", [False, True])
def test_the_host_standardises_to_the_same_bits(shape, lie_apart):
    """Whether spectra lie side by side in memory or not, and in place."""
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(*shape[:-1], shape[-1] + lie_apart)).astype(np.float32)
    absorbance, tissue = stored[..., : shape[-1]], rng.random(shape[:-1]) > 0.3
    scaling = Scaling(
        rng.normal(size=shape[-1]).astype(np.float32), rng.uniform(1, 2, shape[-1]).astype("f4")
    )
    expected = np.asarray(standardise(absorbance, tissue, scaling.mean, scaling.sd))
    place = np.full(shape, np.nan, np.float32)
    put_standardised(absorbance, tissue, scaling, place)
    np.testing.assert_array_equal(place, expected)
    put_standardised(absorbance, tissue, scaling, absorbance)
    np.testing.assert_array_equal(absorbance, expected)
