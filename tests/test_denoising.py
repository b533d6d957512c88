"""Moments merge exactly, components are those of scikit-learn, and what is kept is signal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from compseg_jax.spectra.denoising import (
    SpectralMoments,
    mnf_projection,
    noise_moments,
    pca_projection,
    project,
)

CHANNELS = 12
RNG = np.random.default_rng(0)
SPECTRA = RNG.normal(size=(200, CHANNELS)) @ RNG.normal(size=(CHANNELS, CHANNELS)) + 5


def smooth_image(noise, seed=0):
    """Three smooth maps times three spectra, and noise whose size differs between channels."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 30), indexing="ij")
    maps = np.stack([y, x**2, np.sin(3 * x * y)], axis=-1)
    clean = 1 + maps @ rng.normal(size=(3, CHANNELS))
    sizes = noise * np.linspace(0.2, 3, CHANNELS)
    return clean, clean + sizes * rng.normal(size=clean.shape), sizes


@given(st.integers(0, 200), st.integers(0, 200))
def test_moments_merge_to_those_of_all(first, second):
    low, high = sorted((first, second))
    parts = [SpectralMoments.of(SPECTRA[part]) for part in (slice(low), slice(low, high), slice(high, None))]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.count == 200
    np.testing.assert_allclose(merged.mean, SPECTRA.mean(axis=0))
    np.testing.assert_allclose(merged.covariance, np.cov(SPECTRA.T), rtol=1e-10, atol=1e-10)


def test_moments_leave_out_what_is_not_finite_and_go_by_blocks():
    many = np.tile(SPECTRA, (30, 1)).astype(np.float32)
    many[17, 3] = np.nan
    moments = SpectralMoments.of(many.reshape(60, 100, CHANNELS))
    assert moments.count == 5999
    kept = np.delete(many, 17, axis=0).astype(np.float64)
    np.testing.assert_allclose(moments.covariance, np.cov(kept.T), rtol=1e-9)
    empty = SpectralMoments.empty(CHANNELS)
    assert empty.merge(empty).count == 0
    np.testing.assert_array_equal(empty.merge(moments).scatter, moments.scatter)
    np.testing.assert_array_equal(moments.merge(empty).mean, moments.mean)


@pytest.mark.parametrize("n_components", [1, 4, CHANNELS])
def test_sklearn_agrees(n_components):
    peer = PCA(n_components, svd_solver="full").fit(SPECTRA)
    projection = pca_projection(SpectralMoments.of(SPECTRA), n_components)
    np.testing.assert_allclose(projection.strength, peer.explained_variance_ratio_, atol=1e-12)
    with jax.enable_x64(True):
        found = project(jnp.asarray(SPECTRA.reshape(10, 20, CHANNELS)), projection)
    expected = peer.inverse_transform(peer.transform(SPECTRA)).reshape(10, 20, CHANNELS)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999, 1.0])
def test_explained_variance_chooses_as_sklearn(share):
    projection = pca_projection(SpectralMoments.of(SPECTRA), explained_variance=share)
    expected = CHANNELS if share == 1 else PCA(share, svd_solver="full").fit(SPECTRA).n_components_
    assert projection.strength.size == expected


def test_all_components_change_nothing():
    _, image, _ = smooth_image(0.1)
    moments = SpectralMoments.of(image)
    noise = noise_moments(image, np.ones((40, 30), bool))
    for projection in (pca_projection(moments, CHANNELS), mnf_projection(moments, noise, CHANNELS)):
        spectra = image.astype(np.float32)
        whole = jax.jit(lambda x, p=projection: project(x, p))(spectra)
        assert whole.dtype == jnp.float32
        np.testing.assert_allclose(whole, image, atol=2e-5)
        np.testing.assert_allclose(whole[3, 5], project(spectra[3, 5], projection), atol=1e-6)


def test_projections_may_be_arguments_of_jit():
    projection = pca_projection(SpectralMoments.of(SPECTRA), 3)
    single = jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), projection)
    found = jax.jit(project)(jnp.asarray(SPECTRA, jnp.float32), single)
    np.testing.assert_allclose(found, project(SPECTRA.astype(np.float32), projection), atol=1e-5)


def test_noise_is_measured_inside_tissue_only():
    clean, image, sizes = smooth_image(0.5, seed=1)
    tissue = np.ones((40, 30), bool)
    tissue[10:20, 10:20] = False
    broken = image.copy()
    broken[~tissue] = 1e6
    noise = noise_moments(broken, tissue)
    pairs = (tissue[1:] & tissue[:-1]).sum() + (tissue[:, 1:] & tissue[:, :-1]).sum()
    assert noise.count == pairs
    np.testing.assert_allclose(np.sqrt(np.diag(noise.covariance)), sizes, rtol=0.12)
    shifted = (clean[1:] - clean[:-1]) / np.sqrt(2)
    lone = noise_moments(clean[:, :1], np.ones((40, 1), bool))
    np.testing.assert_allclose(lone.covariance, np.cov(shifted[:, 0].T), atol=1e-12)


def test_mnf_finds_the_signal_that_pca_misses():
    clean, image, _ = smooth_image(0.8, seed=2)
    tissue = np.ones((40, 30), bool)
    moments, noise = SpectralMoments.of(image), noise_moments(image, tissue)
    mnf, pca = mnf_projection(moments, noise, 3), pca_projection(moments, 3)
    chosen = mnf_projection(moments, noise, snr_threshold=0.5)
    assert 1 <= chosen.strength.size <= 3
    assert (np.diff(mnf.strength) <= 0).all()
    spectra = image.astype(np.float32)
    errors = [float(np.std(np.asarray(project(spectra, each)) - clean)) for each in (mnf, pca)]
    assert errors[0] < 0.75 * errors[1]
    assert errors[0] < 0.5 * np.std(image - clean)
    # Components are uncorrelated and carry noise of variance 1, so their variance is 1 + snr.
    np.testing.assert_allclose(
        mnf.analysis.T @ moments.covariance @ mnf.analysis, np.diag(mnf.strength + 1), atol=1e-8
    )


def test_channels_of_a_linear_change_of_units_make_no_difference_to_mnf():
    """Unlike PCA, MNF does not depend on how large a channel's unit is (Green et al. 1988)."""
    _, image, _ = smooth_image(0.3, seed=3)
    units = np.geomspace(0.5, 2, CHANNELS)
    tissue = np.ones((40, 30), bool)
    one, other = (
        mnf_projection(SpectralMoments.of(each), noise_moments(each, tissue), 3)
        for each in (image, image * units)
    )
    np.testing.assert_allclose(one.strength, other.strength, rtol=1e-3)


def test_singular_noise_is_regularised():
    _, image, _ = smooth_image(0.3, seed=4)
    few = image[:1, :6]  # five pairs for twelve channels
    projection = mnf_projection(
        SpectralMoments.of(image), noise_moments(few, np.ones((1, 6), bool)), CHANNELS
    )
    assert np.isfinite(projection.synthesis).all()
    np.testing.assert_allclose(projection.analysis @ projection.synthesis, np.eye(CHANNELS), atol=1e-6)


@pytest.mark.wrong_types
def test_errors_say_what_is_wrong():
    moments = SpectralMoments.of(SPECTRA)
    with pytest.raises(ValueError, match="n_components: found 13; required 1 to 12"):
        pca_projection(moments, 13)
    with pytest.raises(ValueError, match="explained_variance: found 0"):
        pca_projection(moments, explained_variance=0)
    with pytest.raises(ValueError, match="found 1 spectra"):
        pca_projection(SpectralMoments.of(SPECTRA[:1]))
    with pytest.raises(ValueError, match="found 12 and 5 channels"):
        moments.merge(SpectralMoments.of(SPECTRA[:, :5]))
    with pytest.raises(ValueError, match="12 channels in the spectra and 5 in the noise"):
        mnf_projection(moments, SpectralMoments.of(SPECTRA[:, :5]))
    with pytest.raises(ValueError, match="has no variance"):
        mnf_projection(moments, noise_moments(np.ones((3, 4, CHANNELS)), np.ones((3, 4), bool)))
    with pytest.raises(ValueError, match=r"tissue of \(3, 3\)"):
        noise_moments(np.ones((3, 4, CHANNELS)), np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="found 7 channels, the projection has 12"):
        project(np.ones((2, 7)), pca_projection(moments, 2))
