"""The card of a model folder: what its numbers come from, what is not known is said, new figures at evaluations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from store_example import write_store

from compseg_jax.config import recipe
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.model import ExtractedNetwork, ModelError
from compseg_jax.model.model_card import NOT_FOR, card, figures_of, with_evaluation
from compseg_jax.model.model_files import add_evaluation, load_network
from compseg_jax.model.run_folder import model_of_run, write_run
from compseg_jax.training.run import _learnt_from
from tests.model_example import write_model

DATA = Path(__file__).parent / "data"
METRICS = {
    "seen": {"is_test": True, "sentence": "none of 9 samples.", "training": 0, "unknown": 0},
    "verdict": {"sentence": "Labels: learnt (AUC 0.91); map: usable."},
    "n_diseased": 5, "n_healthy": 4, "by_group": {"n_groups": 3}, "threshold": 0.45, "n_with_reference": 5,
    "auc_area": 0.91, "auc_area_ci95": [0.7, 0.99], "dice_mean": 0.625, "dice_mean_ci95": [0.5, 0.75],
    "dice_predict_everything": 0.4, "false_positive_area_healthy": 0.031,
    "calls": {"sensitivity": 0.8, "sensitivity_ci95": [0.4, 0.95], "specificity": None, "specificity_ci95": None},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ExtractedNetwork:
    return load_network(write_model(tmp_path_factory.mktemp("card") / "model"))


def with_facts(model: ExtractedNetwork, **facts) -> ExtractedNetwork:
    return replace(model, description={**model.description, **facts})


def test_a_card_says_what_is_known_and_what_is_not(model):
    text = card(model)
    for said in (
        "Data: the samples are not stated",
        "Not evaluated",
        "no training distribution",
        "Not stated: ask those",
    ):
        assert said in text
    assert all(each in text for each in NOT_FOR)
    learnt = {"diseased": 3, "healthy": 2, "groups": 4}
    known = with_facts(
        model,
        learnt_from={"store": "array_b", "train": learnt, "val": {**learnt, "groups": 5}},
        licence="CC-BY-4.0",
        pixel_size_um=5.5,
        config={"objective": {"target": "label"}},
        threshold_choice={"supported": False, "reason": "too few samples"},
    )
    text = card(known)
    assert text.startswith("# Segmenting network of array_b\n")
    assert "3 diseased and 2 healthy samples of 4 groups trained it." in text
    assert "3 diseased and 2 healthy samples chose epoch and threshold." in text
    assert "3 wavenumbers, 1700.25 … 1100.5 cm⁻¹; pixels of 5.5 µm" in text
    assert "## Licence\n\nCC-BY-4.0\n" in text
    assert "and no mask" in text
    assert "not chosen from data: too few samples" in text


def test_a_card_states_figures_with_intervals_and_their_samples(model):
    text = card(with_evaluation(model, figures_of(METRICS, store="array_c", split="test")))
    assert "### `array_c`, split test: a test: it saw none of them before" in text
    assert METRICS["verdict"]["sentence"] in text
    assert "5 diseased and 4 healthy samples of 3 groups" in text
    assert "| AUC of the segmented area (0.5 is guessing) | 0.910 | 0.700 to 0.990 |" in text
    assert "| Sensitivity of calls | 0.800 | 0.400 to 0.950 |" in text
    assert "Specificity" not in text
    assert "| Segmented part of healthy tissue | 3.1 % | – |" in text
    unknown = {**METRICS, "seen": {"is_test": False, "sentence": "not known.", "training": 0, "unknown": 9}}
    seen = {**METRICS, "seen": {"is_test": False, "sentence": "9 trained on.", "training": 9, "unknown": 0}}
    assert "split test: not known to be a test" in card(
        with_evaluation(model, figures_of(unknown, store="c", split="test"))
    )
    assert "split test: no test\n" in card(with_evaluation(model, figures_of(seen, store="c", split="test")))


def test_figures_of_the_same_samples_are_replaced(model, tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    first = figures_of(METRICS, store="c", split="test")
    add_evaluation(folder, model, first)
    add_evaluation(folder, model, figures_of(METRICS, store="c", split="val"))
    add_evaluation(folder, model, {**first, "auc_area": 0.5})
    again = load_network(folder)
    kept = [(each["split"], each["auc_area"]) for each in again.description["evaluations"]]
    assert kept == [("val", 0.91), ("test", 0.5)]
    assert (folder / "README.md").read_text() == card(again)
    assert "README.md" in again.description["files"]
    other = with_facts(model, weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="replaced while it was evaluated"):
        add_evaluation(folder, other, first)


def test_an_evaluation_writes_the_card_of_its_run_and_of_no_other_model(tmp_path):
    store = write_store(tmp_path / "store", sizes=((7, 9),))
    config = replace(recipe("default"), data=tmp_path / "store", out=tmp_path / "run")
    write_run(tmp_path / "run", config)
    write_model(tmp_path / "run" / "model")
    shutil.copytree(tmp_path / "run" / "model", tmp_path / "model")
    assert model_of_run(tmp_path / "run") == tmp_path / "run" / "model"
    options = EvaluateOptions(
        model=tmp_path / "run",
        data=tmp_path / "store",
        out=tmp_path / "report",
        bootstrap=10,
        importance="no",
    )
    page, said = evaluate(options)
    assert f"model card: {tmp_path / 'run' / 'model' / 'README.md'}" in said
    metrics = json.loads((page.parent / "metrics.json").read_text())
    text = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "### `store`, split test: not known to be a test" in text
    assert metrics["verdict"]["sentence"] in text
    before = (tmp_path / "model" / "model.json").read_bytes()
    for model, threshold in ((tmp_path / "model", None), (tmp_path / "run", 0.2)):
        _, said = evaluate(replace(options, model=model, threshold=threshold))
        assert "model card" not in said
    assert (tmp_path / "model" / "model.json").read_bytes() == before
    assert (tmp_path / "run" / "model" / "README.md").read_text() == text
    assert _learnt_from(store)["train"] == {"diseased": 1, "healthy": 1, "groups": 2}


def test_cards_of_earlier_models_can_be_made():
    network = load_network(DATA / "model_v1")
    text = card(network)
    assert (
        "Data: the store `store_v1`; its samples are not stated, as the model is of an earlier release."
        in text
    )
    assert "Not evaluated" in text
