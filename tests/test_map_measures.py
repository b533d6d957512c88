"""Pooled overlap and rank, best threshold, diseased fraction and calibration, against scikit-learn and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from compseg_jax.evaluation.scores import PixelHistogram, evaluate_samples
from compseg_jax.evaluation.scores.map_measures import MapFacts
from compseg_jax.evaluation.scores.reliability import Reliability
from tests.test_metrics import pixel_sets, random_results, result


def test_pooled_measures_are_those_of_scikit_learn():
    results = random_results(24)
    metrics = evaluate_samples(
        results, threshold=0.35, n_bootstrap=5, facts=MapFacts(diseased_fraction=0.25)
    ).metrics
    diseased = [r for r in results if r.label == 1]
    truth = np.concatenate([r.reference.ravel() for r in diseased])
    activation = np.concatenate([r.activation.ravel() for r in diseased])
    assert metrics["precision_pooled"] == pytest.approx(precision_score(truth, activation > 0.35))
    assert metrics["recall_pooled"] == pytest.approx(recall_score(truth, activation > 0.35))
    assert metrics["dice_pooled"] == pytest.approx(f1_score(truth, activation > 0.35))
    assert metrics["pixel_auc_pooled"] == pytest.approx(roc_auc_score(truth, activation), abs=1e-3)
    assert metrics["diseased_fraction_true"] == pytest.approx(truth.mean())
    assert metrics["diseased_fraction_error"] == pytest.approx(0.25 - truth.mean())
    everywhere = np.concatenate([r.activation.ravel() for r in results])
    known = np.concatenate([r.reference.ravel() for r in results])
    diseased_part, mean_activation = calibration_curve(known, everywhere, n_bins=10)
    assert metrics["reliability"]["diseased"] == pytest.approx(diseased_part.tolist())
    assert metrics["reliability"]["activation"] == pytest.approx(mean_activation.tolist())
    assert sum(metrics["reliability"]["pixels"]) == everywhere.size
    json.dumps(metrics, allow_nan=False)


def test_the_best_threshold_is_no_worse_than_any():
    results = random_results(24)
    metrics = evaluate_samples(results, threshold=0.35, n_bootstrap=5).metrics
    at = [
        evaluate_samples(results, threshold=t, n_bootstrap=5).metrics["dice_mean"]
        for t in np.linspace(0.05, 0.9, 6)
    ]
    assert metrics["dice_best_threshold"] >= max(at) - 1e-9
    again = evaluate_samples(results, threshold=metrics["best_threshold"], n_bootstrap=5).metrics
    assert again["dice_mean"] == pytest.approx(metrics["dice_best_threshold"])


def test_ranking_between_samples_is_pooled_and_inside_them_is_not():
    """Each sample is ranked perfectly, but what is diseased in one is fainter than what is healthy in the other."""
    reference = np.zeros((4, 6), np.bool_)
    reference[:2] = True
    maps = [np.where(reference, 0.9, 0.6), np.where(reference, 0.3, 0.1)]
    results = [result(f"s{i}", 1, each, reference=reference) for i, each in enumerate(maps)]
    metrics = evaluate_samples(results, threshold=0.5, n_bootstrap=5).metrics
    assert metrics["pixel_auc"] == 1
    assert metrics["pixel_auc_pooled"] == pytest.approx(0.75)


def test_calibration_by_hand():
    activation = np.array([0.05, 0.05, 0.85, 0.85, 0.85, 1.0], np.float32)
    truth = np.array([0, 1, 1, 1, 1, 0], np.bool_)
    state = Reliability.from_pixels(activation, truth)
    assert state.compute() == pytest.approx((2 * 0.45 + 3 * 0.15 + 1) / 6, abs=1e-6)
    assert state.curve()["pixels"] == [2, 3, 1]
    assert Reliability.empty().compute() is None
    calibrated = Reliability.from_pixels(np.full(4, 0.25), np.array([0, 0, 1, 0], np.bool_))
    assert calibrated.compute() == 0


@given(pixel_sets, pixel_sets)
def test_states_merge_to_that_of_all_pixels(a, b):
    one, other, both = (
        Reliability.from_pixels(*pixels)
        for pixels in (a, b, tuple(np.concatenate(parts) for parts in zip(a, b, strict=True)))
    )
    merged = one.merge(other)
    np.testing.assert_array_equal(merged.pixels, both.pixels)
    np.testing.assert_array_equal(merged.diseased, both.diseased)
    np.testing.assert_allclose(merged.activation, both.activation)
    swapped = other.merge(one)
    np.testing.assert_allclose(merged.activation, swapped.activation)


def test_the_area_under_the_curve_of_a_histogram_is_that_of_scikit_learn():
    rng = np.random.default_rng(5)
    truth = rng.random(5000) < 0.2
    activation = rng.beta(1 + 2 * truth, 2).astype(np.float32)
    found = PixelHistogram.from_pixels(activation, truth).auc()
    assert found == pytest.approx(roc_auc_score(truth, activation), abs=1e-3)
    assert PixelHistogram.from_pixels(activation, np.ones(5000, np.bool_)).auc() is None
    ties = PixelHistogram.from_pixels(np.full(4, 0.5, np.float32), np.array([1, 0, 1, 0], np.bool_))
    assert ties.auc() == 0.5


def test_without_references_they_are_null():
    metrics = evaluate_samples(
        random_results(8, references=False),
        threshold=0.35,
        n_bootstrap=5,
        facts=MapFacts(diseased_fraction=0.2),
    ).metrics
    for name in (
        "precision_pooled", "recall_pooled", "dice_pooled", "pixel_auc_pooled", "dice_best_threshold",
        "best_threshold", "diseased_fraction_true", "diseased_fraction_error", "calibration_error",
    ):  # fmt: skip
        assert metrics[name] is None
    assert metrics["reliability"] == {"activation": [], "diseased": [], "pixels": []}
    assert metrics["diseased_fraction_estimated"] == 0.2
