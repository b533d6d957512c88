"""What samples are called: by one rule in reports and predictions, with intervals that count groups."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import norm

from compseg_jax.config import Network, from_json
from compseg_jax.evaluation.calls import with_calls
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model import Model, load_model
from compseg_jax.model.model_files import save_network
from compseg_jax.prediction import read_predictions
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from tests.model_example import write_model
from tests.store_example import write_store

CHOSEN = {"area_cut": 0.25, "threshold_choice": {}}


def model_of(**description):
    return Model((), 0.4, {"threshold": 0.4, **CHOSEN, **description})


def evaluation_of(*rows):
    """(label, area, outside, group) of each sample."""
    named = [
        {"id": f"s{i}", "label": label, "area_fraction": area, "outside": outside, "group": group}
        for i, (label, area, outside, group) in enumerate(rows)
    ]
    return Evaluation({"notes": []}, named, [], {})


def wilson(right, n):
    """Wilson's interval as its paper has it."""
    z, rate = norm.ppf(0.975), right / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def test_rates_are_of_the_samples_that_are_called():
    found = with_calls(
        evaluation_of(
            (1, 0.9, False, "a"), (1, 0.25, False, "b"), (1, 0.3, False, "c"), (1, 0.9, True, "d"),
            (0, 0.0, False, "e"), (0, 0.5, False, "f"),
        ),
        model_of(),
    )  # fmt: skip
    assert [row["call"] for row in found.samples] == [
        "diseased", "healthy", "diseased", "undecided", "healthy", "diseased",
    ]  # fmt: skip
    calls = found.metrics["calls"]
    assert calls["confusion"] == {
        "diseased": {"diseased": 2, "healthy": 1, "undecided": 1},
        "healthy": {"diseased": 1, "healthy": 1, "undecided": 0},
    }
    assert (calls["sensitivity"], calls["specificity"], calls["area_cut"]) == (2 / 3, 0.5, 0.25)
    assert calls["sensitivity_ci95"] == pytest.approx(wilson(2, 3))
    assert calls["specificity_ci95"] == pytest.approx(wilson(1, 2))


def test_samples_of_a_patient_are_one_trial():
    rows = [(1, 0.9, False, f"p{i % 4}") for i in range(40)]
    calls = with_calls(evaluation_of(*rows), model_of()).metrics["calls"]
    assert (calls["sensitivity"], calls["specificity"]) == (1.0, None)
    assert calls["sensitivity_ci95"] == pytest.approx(wilson(4, 4))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (model_of(area_cut=None), "gave the model no cut-off"),
        (dataclasses.replace(model_of(), threshold=0.6), "the threshold was given"),
    ],
)
def test_without_a_cut_off_nothing_is_called_and_a_note_says_why(model, why):
    found = with_calls(evaluation_of((1, 0.9, False, "a")), model)
    assert found.metrics["calls"] is None
    assert "call" not in found.samples[0]
    assert why in found.metrics["notes"][-1]


def test_reports_and_predictions_call_alike(tmp_path, capsys):
    store = write_store(tmp_path / "data")
    folder = write_model(tmp_path / "model")
    (network,) = load_model(folder).networks
    config = from_json(Network, network.description["network"])
    maps = [
        found.activation[found.tissue]
        for _, _, found in load_model(folder).predict_store(store, store.split("test"))
    ]
    threshold = float(np.median(np.concatenate(maps)))
    areas = [float((values > threshold).mean()) for values in maps]
    cut = (min(areas) + max(areas)) / 2
    assert min(areas) < cut < max(areas)
    save_network(
        folder,
        dataclasses.replace(
            network, threshold=threshold, description={**network.description, "area_cut": cut}
        ),
        config,
    )
    page, said = evaluate(
        EvaluateOptions(model=folder, data=store.path, out=tmp_path / "report", importance="no")
    )
    with (tmp_path / "report" / "samples.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert {row["call"] for row in rows.values()} == {"diseased", "healthy"}
    assert "sensitivity, specificity" in said
    assert '<section id="calls">' in page.read_text()
    confusion = json.loads((tmp_path / "report" / "metrics.json").read_text())["calls"]["confusion"]
    assert sum(sum(each.values()) for each in confusion.values()) == len(rows)
    predict(PredictOptions((store.path,), folder, tmp_path / "out", outputs=("png",), split="test"))
    for sample in read_predictions(tmp_path / "out").samples:
        assert sample.call == rows[sample.id]["call"]
