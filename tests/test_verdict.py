"""The first line of a report: it must say 'not usable' of each kind of wrong map, and not of a right one."""

from __future__ import annotations

import numpy as np
import pytest
from html_page import Page

from compseg_jax.evaluation.report.report_folder import write_report
from compseg_jax.evaluation.report.report_tables import headline
from compseg_jax.evaluation.scores import evaluate_samples
from compseg_jax.evaluation.verdict import verdict, with_verdict
from tests.test_metrics import random_results, result
from tests.test_report import samples

GOOD = {
    "auc_area": 0.97, "auc_area_ci95": [0.9, 1.0],
    "auc_mean_activation": 0.99, "auc_mean_activation_ci95": [0.95, 1.0],
    "n_with_reference": 20, "dice_mean": 0.81, "dice_predict_everything": 0.46, "dice_gain_ci95": [0.28, 0.42],
    "phase_spread": 0.0, "phase_spread_relative": 0.0, "phase_period": 2,
    "second_view": {"where": 0.83, "labels_learnt": True},
}  # fmt: skip
BLIND = {**GOOD, "n_with_reference": 0, "dice_mean": None, "dice_predict_everything": None}
OTHER_TISSUE = {"second_view": {"where": 0.12, "labels_learnt": True}}
COMBED = {"phase_spread": 0.85, "phase_spread_relative": 0.9}
UNLEARNT = {
    "auc_area": 0.55, "auc_area_ci95": [0.4, 0.7], "auc_mean_activation": 0.5, "auc_mean_activation_ci95": [0.3, 0.7],
}  # fmt: skip


def said(metrics, supported: bool | None = True):
    return verdict(metrics, threshold_supported=supported)


def test_a_right_map_is_usable():
    found = said(GOOD)
    assert (found.labels_learnt, found.map_usable, found.warnings) == (True, True, ())
    assert found.sentence == (
        "Labels: learnt (AUC 0.99); map: usable, its Dice is 0.81, marking everything scores 0.46."
    )
    blind = said(BLIND)
    assert (blind.map_usable, blind.warnings) == (True, ())
    assert "a second network confirms it (agreement 0.83)" in blind.sentence


def test_masks_decide_where_there_are_any():
    below = said({**GOOD, "dice_mean": 0.13, "dice_predict_everything": 0.69, "dice_gain_ci95": [-0.6, -0.5]})
    assert below.map_usable is False
    assert "map: not usable, its Dice is 0.13, marking everything scores 0.69" in below.sentence


def test_a_map_that_gains_nothing_on_marking_everything_is_not_usable():
    """Found on lesions of 2 to 10 %: Dice .095 where marking everything has .094."""
    level = said(
        {**GOOD, "dice_mean": 0.095, "dice_predict_everything": 0.094, "dice_gain_ci95": [-0.02, 0.02]}
    )
    assert level.map_usable is False
    assert (
        "map: not usable, its Dice is 0.10, marking everything scores 0.09, and the difference may be chance"
        in (level.sentence)
    )
    few = said({**GOOD, "dice_mean": 0.6, "dice_predict_everything": 0.5, "dice_gain_ci95": [-0.1, 0.3]})
    assert few.map_usable is None
    assert "map: too few masks to tell" in few.sentence
    assert said({**GOOD, "dice_gain_ci95": None}).map_usable is True


@pytest.mark.parametrize("n", [2, 9, 40])
def test_the_gain_is_that_of_each_sample_on_marking_it_whole(n):
    evaluation = evaluate_samples(random_results(n), threshold=0.5, seed=0, n_bootstrap=200)
    low, high = evaluation.metrics["dice_gain_ci95"]
    gain = evaluation.metrics["dice_mean"] - evaluation.metrics["dice_predict_everything"]
    assert low - 1e-9 <= gain <= high + 1e-9


@pytest.mark.parametrize(
    ("change", "supported", "words"),
    [
        (OTHER_TISSUE, True, "a second network marks other tissue (agreement 0.12"),
        (COMBED, True, "combed: activations differ by 0.85 with the place in a cell of 2×2 pixels"),
        ({}, False, "threshold is not supported"),
    ],
)
def test_what_speaks_against_a_map_is_said_with_masks_and_decides_without(change, supported, words):
    """Even if every label is told right."""
    with_masks, without = (said({**each, **change}, supported) for each in (GOOD, BLIND))
    assert with_masks.map_usable is True
    assert len(with_masks.warnings) == 1
    assert without.map_usable is False
    assert "map: not usable" in without.sentence
    for found in (with_masks, without):
        assert found.labels_learnt is True
        assert words in found.sentence


def test_everything_that_speaks_against_a_map_is_said():
    found = said({**BLIND, **OTHER_TISSUE, **COMBED}, False)
    assert len(found.warnings) == 2
    for words in ("other tissue", "combed", "not supported"):
        assert words in found.sentence


def test_labels_that_were_not_learnt():
    assert said({**GOOD, **UNLEARNT}).labels_learnt is False
    blind = said({**BLIND, **UNLEARNT})
    assert blind.map_usable is False
    assert blind.sentence.startswith("Labels: not learnt (AUC 0.55, 95 % 0.400 to 0.700, 0.5 is guessing)")
    one_label = dict.fromkeys(UNLEARNT)
    assert said({**BLIND, **one_label}).labels_learnt is None


@pytest.mark.parametrize(
    ("counts", "learnt"),
    [((2, 2), None), ((3, 2), None), ((3, 3), True), ((1, 19), True), ((1, 18), None), ((20, 20), True)],
)
def test_a_perfect_ranking_of_too_few_says_nothing(counts, learnt):
    """1/C(4, 2) = 1/6, 1/C(5, 2) = 1/10, 1/C(6, 3) = 1/20, 1/C(19, 1) = 1/19."""
    numbers = dict(zip(("n_diseased", "n_healthy"), counts, strict=True))
    perfect = {**GOOD, "auc_area": 1.0, "auc_area_ci95": [1.0, 1.0], **numbers}
    assert said(perfect).labels_learnt is learnt
    # Many samples of few groups are as few as their groups.
    grouped = said({**perfect, "n_diseased": 50, "n_healthy": 50, "by_group": numbers})
    assert grouped.labels_learnt is learnt
    if learnt is None:
        assert grouped.sentence.startswith("Labels: too few groups: guessing ranks ")
        assert "; use --folds (AUC 1.00)" in grouped.sentence


def test_an_interval_from_guessing_to_a_good_result_tells_nothing():
    wide = {"auc_area": 0.75, "auc_area_ci95": [0.45, 0.95], "auc_mean_activation": None}
    found = said({**GOOD, **wide, "n_diseased": 6, "n_healthy": 6})
    assert found.labels_learnt is None
    assert found.sentence.startswith("Labels: too few samples: the 95 % interval, 0.450 to 0.950, holds both")


@pytest.mark.parametrize(
    "second", [None, {"where": 0.1, "labels_learnt": False}, {"where": None, "labels_learnt": True}]
)
def test_a_map_that_nothing_checked_is_not_called_usable(second):
    """Nor is it condemned by a second network that did not learn the labels."""
    found = said({**BLIND, "second_view": second})
    assert found.map_usable is None
    assert "not checked" in found.sentence
    assert said({**BLIND, "second_view": second}, None).map_usable is None


def test_networks_of_an_ensemble_stand_for_the_second_network():
    agreeing, apart = ({"ensemble": {"where": where}} for where in (0.9, 0.2))
    assert "the networks of the ensemble agree on it (agreement 0.90)" in said({**BLIND, **agreeing}).sentence
    assert said({**BLIND, **apart}).map_usable is False
    assert "networks of the ensemble mark other tissue" in said({**BLIND, **apart}).sentence


def test_the_verdict_of_an_evaluation_stands_first():
    evaluation = evaluate_samples(random_results(24), threshold=0.35, n_bootstrap=50)
    with_masks = with_verdict(evaluation, threshold_supported=True).metrics
    assert next(iter(with_masks)) == "verdict"
    assert with_masks["verdict"]["map_usable"] is True
    wrong = [
        result(r.id, r.label, np.where(r.reference, 0, r.activation), reference=r.reference)
        for r in random_results(24)
    ]
    found = with_verdict(
        evaluate_samples(wrong, threshold=0.35, n_bootstrap=50), threshold_supported=True
    ).metrics["verdict"]
    assert found["map_usable"] is False


@pytest.mark.parametrize(
    ("usable", "look"),
    [
        (True, "usable"),
        pytest.param(False, "unusable", marks=pytest.mark.slow),
        pytest.param(None, "unchecked", marks=pytest.mark.slow),
    ],
)
def test_the_page_begins_with_the_verdict_and_so_does_the_terminal(usable, look, tmp_path):
    references = usable is True
    results = samples(references=references)
    evaluation = with_verdict(
        evaluate_samples(results, threshold=0.35, n_bootstrap=20),
        threshold_supported=False if usable is False else None,
    )
    found = evaluation.metrics["verdict"]
    assert found["map_usable"] is usable
    page = write_report(
        tmp_path / "report", results, evaluation, model={}, history=[], wavenumbers_cm1=None, title="A", notes=[]
    )  # fmt: skip
    text = page.read_text()
    main = text[text.index("<main") :]
    (attributes,) = [a for a in Page(main).all("p") if "verdict" in a.get("class", "")]
    assert attributes["class"] == f"verdict {look}"
    assert main.index(found["sentence"]) < main.index('class="cards"')
    assert headline(evaluation.metrics).splitlines()[0].split(maxsplit=1) == ["verdict", found["sentence"]]
