"""Laws of the mergeable states, and the evaluation against scikit-learn and against numbers by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from compseg_jax.evaluation.scores import MeanAndSpread, PixelHistogram, SampleResult, evaluate_samples
from compseg_jax.evaluation.scores.bootstrap import group_multiplicities, interval_95, weighted_auc

pixel_sets = arrays(np.float32, st.integers(0, 30), elements=st.floats(0, 1, width=32)).flatmap(
    lambda a: arrays(np.bool_, len(a)).map(lambda t: (a, t))
)
values = st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), max_size=8)


def histogram_of(pixels: tuple[np.ndarray, np.ndarray]) -> PixelHistogram:
    return PixelHistogram.from_pixels(*pixels)


def same(left: PixelHistogram, right: PixelHistogram) -> bool:
    return bool((left.positives == right.positives).all() and (left.negatives == right.negatives).all())


@given(pixel_sets, pixel_sets, pixel_sets)
def test_histograms_merge_exactly_in_any_order(a, b, c):
    x, y, z = histogram_of(a), histogram_of(b), histogram_of(c)
    assert same(x.merge(PixelHistogram.empty()), x)
    assert same(PixelHistogram.empty().merge(x), x)
    assert same(x.merge(y), y.merge(x))
    assert same(x.merge(y).merge(z), x.merge(y.merge(z)))
    whole = PixelHistogram.from_pixels(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]))
    assert same(x.merge(y), whole)


@settings(max_examples=2 * settings().max_examples)
@given(values, values, values)
def test_means_merge_in_any_order(a, b, c):
    x, y, z = (MeanAndSpread.from_values(v) for v in (a, b, c))
    close = lambda p, q: np.allclose(  # noqa: E731
        (p.count, p.mean, p.squared_deviations), (q.count, q.mean, q.squared_deviations), atol=1e-6
    )
    assert x.merge(MeanAndSpread.empty()) == x
    assert close(MeanAndSpread.empty().merge(x), x)
    assert close(x.merge(y), y.merge(x))
    assert close(x.merge(y).merge(z), x.merge(y.merge(z)))
    assert close(x.merge(y), MeanAndSpread.from_values(a + b))


def test_mean_and_spread_by_hand():
    assert MeanAndSpread.from_values([1.0, None, 2.0, 6.0]).compute() == (3.0, pytest.approx(np.sqrt(7)))
    assert MeanAndSpread.from_values([None]).compute() == (None, None)
    assert MeanAndSpread.from_values([4.0]).compute() == (4.0, None)


@pytest.mark.parametrize("scale", [0.1, 1.0, 6.0])
@pytest.mark.parametrize("offset", [-12.0, -3.0, 0.0, 9.0])
def test_pooled_average_precision_is_that_of_scikit_learn(scale, offset):
    """Also where a network saturates or hardly answers: bins are even in the logit."""
    rng = np.random.default_rng(3)
    truth = rng.random(20_000) < 0.1
    logit = offset + scale * (rng.normal(size=20_000) + 1.5 * truth)
    activation = (1 / (1 + np.exp(-logit))).astype(np.float32)
    activation[:2000] = 0
    expected = average_precision_score(truth, activation)
    assert PixelHistogram.from_pixels(activation, truth).compute() == pytest.approx(expected, abs=1e-3)


def test_pooled_average_precision_needs_both_kinds_of_pixels():
    activation = np.array([0.0, 1.0, 0.5], np.float32)
    assert PixelHistogram.empty().compute() is None
    assert PixelHistogram.from_pixels(activation, np.ones(3, np.bool_)).compute() is None
    assert PixelHistogram.from_pixels(activation, np.zeros(3, np.bool_)).compute() is None
    assert PixelHistogram.from_pixels(activation, activation > 0.4).compute() == 1.0


def test_weighted_auc_is_scikit_learn_on_repeated_samples():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 0, 0, 1, 0])
    scores = np.array([0.1, 0.5, 0.1, 0.5, 0.0, 0.9, 0.9])
    weights = rng.integers(1, 4, (20, 7))
    expected = [roc_auc_score(np.repeat(labels, w), np.repeat(scores, w)) for w in weights]
    np.testing.assert_allclose(weighted_auc(scores, labels, weights), expected, rtol=1e-12)
    assert np.isnan(weighted_auc(scores, labels, np.array([[1, 0, 0, 1, 1, 0, 1]]))).all()


def test_resamples_move_whole_groups_within_their_stratum():
    labels = [0, 0, 1, 1, 0, 1, 0, 1, 1]
    groups = ["h1", "h1", "d1", "d2", "h2", "m1", "m1", "m2", "d2"]
    labels[groups.index("m2")] = 1
    drawn = group_multiplicities(labels, groups, n_bootstrap=300, seed=1)
    for members in ([0, 1], [3, 8], [5, 6]):
        assert (drawn[:, members] == drawn[:, members[:1]]).all()
    assert (drawn[:, 0] + drawn[:, 4] == 2).all()  # h1, h2: as many healthy groups as there are
    assert (drawn[:, 2] + drawn[:, 3] + drawn[:, 7] == 3).all()  # d1, d2, m2
    assert (drawn[:, 5] == 1).all()  # the only group of both labels
    assert len(np.unique(drawn[:, 0])) > 1
    np.testing.assert_array_equal(drawn, group_multiplicities(labels, groups, n_bootstrap=300, seed=1))


def test_interval_ignores_undefined_replicates():
    assert interval_95(np.array([np.nan, 0.5, 0.5])) == [0.5, 0.5]
    assert interval_95(np.array([np.nan])) is None


def result(
    sample_id: str, label: int, activation, *, reference=None, tissue=None, group=None
) -> SampleResult:
    activation = np.asarray(activation, np.float32)
    return SampleResult(
        id=sample_id,
        label=label,
        group=group or sample_id,
        activation=activation,
        tissue=np.ones(activation.shape, np.bool_) if tissue is None else np.asarray(tissue, np.bool_),
        reference=None if reference is None else np.asarray(reference, np.bool_),
        preview=activation,
    )


def test_one_sample_by_hand():
    """Six tissue pixels, two of background; the reference holds one of those, which nobody can find."""
    sick = result(
        "sick", 1,
        [[0.9, 0.8, 0.6, 0.99], [0.1, 0.7, 0.2, 0.0]],
        tissue=[[1, 1, 1, 0], [1, 1, 1, 0]],
        reference=[[1, 1, 0, 1], [0, 0, 1, 0]],
    )  # fmt: skip
    healthy = result("well", 0, [[0.6, 0.1], [0.2, 0.3]])
    evaluation = evaluate_samples([sick, healthy], threshold=0.5, n_bootstrap=10)
    row = evaluation.samples[0]
    assert row["area_fraction"] == pytest.approx(4 / 6)
    assert row["mean_activation"] == pytest.approx(3.3 / 6)
    assert row["dice"] == pytest.approx(2 * 2 / (4 + 4))
    assert row["iou"] == pytest.approx(2 / 6)
    assert row["precision"] == pytest.approx(2 / 4)
    assert row["recall"] == pytest.approx(2 / 4)
    assert row["dice_predict_everything"] == pytest.approx(2 * 3 / (6 + 4))
    truth, score = [1, 1, 0, 1, 0, 0, 1], [0.9, 0.8, 0.6, 0.0, 0.1, 0.7, 0.2]
    assert row["pixel_auc"] == pytest.approx(roc_auc_score(truth, score))
    assert row["pixel_ap"] == pytest.approx(average_precision_score(truth, score))
    metrics = evaluation.metrics
    assert metrics["false_positive_area_healthy"] == pytest.approx(0.25)
    pooled_truth = [*truth, 0, 0, 0, 0, 0]
    pooled_score = [*score, 0.0, 0.6, 0.1, 0.2, 0.3]
    assert metrics["pxap"] == pytest.approx(average_precision_score(pooled_truth, pooled_score))
    assert (metrics["dice_mean"], metrics["dice_sd"]) == (row["dice"], None)
    assert metrics["auc_area"] == 1.0
    assert metrics["auc_area_ci95"] is None
    assert "The AUC has no interval: 3 diseased samples are needed, here are 1." in metrics["notes"]


def random_results(n: int, *, groups: int | None = None, references: bool = True) -> list[SampleResult]:
    rng = np.random.default_rng(7)
    results = []
    for index in range(n):
        label = index % 2
        truth = np.zeros((9, 7), np.bool_)
        truth[: 4 * label, 2:] = True
        activation = np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1)
        group = None if groups is None else f"patient {index // 2 % groups}"
        reference = truth if references else None
        results.append(result(f"s{index}", label, activation, reference=reference, group=group))
    return results


def test_set_measures_are_those_of_scikit_learn():
    results = random_results(24)
    metrics = evaluate_samples(results, threshold=0.35).metrics
    labels = [r.label for r in results]
    area = [(r.activation > 0.35).mean() for r in results]
    assert metrics["auc_area"] == pytest.approx(roc_auc_score(labels, area))
    mean = [r.activation.mean() for r in results]
    assert metrics["auc_mean_activation"] == pytest.approx(roc_auc_score(labels, mean))
    assert metrics["auc_area_ci95"][0] <= metrics["auc_area"] <= metrics["auc_area_ci95"][1]
    pixels = np.concatenate([r.activation.ravel() for r in results])
    truth = np.concatenate([r.reference.ravel() for r in results])
    assert metrics["pxap"] == pytest.approx(average_precision_score(truth, pixels), abs=1e-3)
    assert (metrics["n_diseased"], metrics["n_healthy"], metrics["by_group"]) == (12, 12, None)
    again = evaluate_samples(results, threshold=0.35).metrics
    assert again == metrics


def test_groups_count_once_for_each_label():
    results = random_results(24, groups=3)
    evaluation = evaluate_samples(results, threshold=0.35)
    by_group = evaluation.metrics["by_group"]
    assert (by_group["n_groups"], by_group["n_diseased"], by_group["n_healthy"]) == (3, 3, 3)
    of_first = [r for r in evaluation.samples if r["group"] == "patient 0" and r["label"] == 1]
    unit = next(g for g in evaluation.groups if g["group"] == "patient 0" and g["label"] == 1)
    assert unit["n_samples"] == len(of_first) == 4
    assert unit["dice"] == pytest.approx(np.mean([r["dice"] for r in of_first]))
    dices = [g["dice"] for g in evaluation.groups if g["label"] == 1]
    assert by_group["dice_mean"] == pytest.approx(np.mean(dices))
    assert by_group["dice_sd"] == pytest.approx(np.std(dices, ddof=1))
    assert 0 < by_group["pxap"] < 1


def test_intervals_are_wider_where_samples_share_groups():
    rng = np.random.default_rng(5)
    results = []
    for patient in range(10):
        level = rng.uniform(0.3, 0.6) + 0.1 * (patient % 2)
        for index in range(8):
            activation = np.clip(rng.normal(level, 0.15, (6, 5)), 0, 1)
            results.append(result(f"{patient}-{index}", patient % 2, activation, group=f"p{patient}"))
    apart = [result(r.id, r.label, r.activation) for r in results]
    grouped = evaluate_samples(results, threshold=0.5).metrics["auc_area_ci95"]
    single = evaluate_samples(apart, threshold=0.5).metrics["auc_area_ci95"]
    assert grouped[1] - grouped[0] > 1.3 * (single[1] - single[0])


def test_without_references_pixel_measures_are_null_and_said_to_be():
    metrics = evaluate_samples(random_results(8, references=False), threshold=0.35).metrics
    for key in (
        "dice_mean",
        "dice_sd",
        "dice_predict_everything",
        "pixel_ap",
        "pixel_auc",
        "pxap",
        "iou_mean",
    ):
        assert metrics[key] is None
    assert any("reference" in note for note in metrics["notes"])
    assert "NaN" not in json.dumps(metrics, allow_nan=False)


def test_one_label_only_has_no_auc():
    only_sick = [r for r in random_results(8) if r.label == 1]
    evaluation = evaluate_samples(only_sick, threshold=0.35)
    metrics = evaluation.metrics
    assert (metrics["auc_area"], metrics["auc_area_ci95"], evaluation.roc) == (None, None, {})
    assert metrics["false_positive_area_healthy"] is None
    assert any("AUC is undefined" in note for note in metrics["notes"])
    json.dumps(metrics, allow_nan=False)


def test_empty_and_full_references_are_left_out_and_counted():
    results = random_results(8)
    ramp = np.linspace(0, 1, 12).reshape(3, 4)
    results.append(result("full", 1, ramp, reference=np.ones((3, 4))))
    results.append(result("empty", 1, ramp, reference=np.zeros((3, 4))))
    metrics = evaluate_samples(results, threshold=0.35).metrics
    assert (metrics["n_diseased"], metrics["n_with_reference"], metrics["n_pixel_ranked"]) == (6, 5, 4)
    assert sum("leave" in note for note in metrics["notes"]) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation": np.full((2, 3), 1.5, np.float32)}, r"'x': activation lies in \[1.5, 1.5\]"),
        ({"activation": np.full((2, 3), np.nan, np.float32)}, "'x': activation holds NaN"),
        ({"tissue": np.zeros((2, 3), np.bool_)}, "'x': the tissue mask is empty"),
        ({"tissue": np.ones((3, 2), np.bool_)}, r"'x': tissue has shape \(3, 2\), required \(2, 3\)"),
        ({"reference": np.ones((2, 3), np.uint8)}, "'x': reference has dtype uint8, required bool"),
        ({"label": 2}, "'x': label is 2"),
        ({"preview": np.zeros((2, 3, 4))}, "'x': preview has shape"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(change, said):
    sound = result("x", 1, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=said):
        evaluate_samples([SampleResult(**{**sound.__dict__, **change})], threshold=0.35)


def test_duplicates_nothing_and_bad_thresholds_are_refused():
    sound = result("x", 1, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="'x' occurs twice"):
        evaluate_samples([sound, sound], threshold=0.35)
    with pytest.raises(ValueError, match="No sample"):
        evaluate_samples([], threshold=0.35)
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        evaluate_samples([sound], threshold=1.5)
