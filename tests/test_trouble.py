"""Runs that learn nothing, or the wrong thing, say so: in the log, on the terminal, in the model and in its report."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.config import RECIPES, Network, Objective, Training
from compseg_jax.evaluation.scores import evaluate_samples
from compseg_jax.evaluation.verdict import verdict
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.training_trouble import TROUBLE, trouble_of
from compseg_jax.objective.pooling import background_share
from compseg_jax.training.order import Ordering
from compseg_jax.training.progress import Progress
from compseg_jax.training.run import train
from compseg_jax.training.trouble import begins, in_words, told_by_model, trouble_of_epoch
from tests.test_metrics import random_results

PAPER = dataclasses.replace(RECIPES["paper2019"], epochs=10, start_share=0.5)
BALANCED = Ordering((0, 1) * 60, 6, 0)
LEARNT = {"loss": 0.01, "largest_gradient_norm": 0.3, "background": 0.2}
VARIED = np.array([0.1, 0.2])


def word(*records: dict, pooled=VARIED, config: Training = PAPER) -> str | None:
    history = [{**LEARNT, **record, "epoch": epoch} for epoch, record in enumerate(records, start=1)]
    return trouble_of_epoch(config, BALANCED, Progress(history=history), pooled)


def test_each_kind_is_told_from_the_numbers_of_an_epoch():
    """The printed loss of a constant output of 60 + 60 samples is α/2."""
    assert word({}) is None
    assert word({"largest_gradient_norm": 0.0}) == "dead"
    assert word({"largest_gradient_norm": 1e-30}) is None
    assert word({}, pooled=np.array([0.5, 0.5])) == "constant"
    assert word({}, pooled=np.zeros(2)) == "constant"
    guess = {"loss": 0.05}
    assert [word(*[guess] * n) for n in range(1, 11)] == [None] * 4 + ["plateau"] * 6
    assert word(*[guess] * 8, {"loss": 0.045}) is None
    assert word({"background": 0.75}) == "background"
    over_tissue = dataclasses.replace(PAPER, objective=Objective(pooling="tissue"))
    assert word({"background": 0.75}, config=over_tissue) is None
    assert word({"background": None}) is None, "no diseased validation sample"
    unknown = dataclasses.replace(PAPER, objective=Objective(error="one_sided"))
    assert word(*[{"loss": 9.0}] * 10, config=unknown) is None


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("dead", "every gradient is exactly 0"),
        ("constant", "the same mean activation"),
        ("plateau", "same output for all samples (0.05)"),
        ("background", "75 % of the activation of the diseased validation samples lies outside"),
    ],
)
def test_each_kind_is_put_into_words_with_what_to_do(trouble, said):
    record = {**LEARNT, "epoch": 7, "background": 0.75, "trouble": trouble}
    sentence = in_words(PAPER, BALANCED, record)
    assert sentence.startswith(f"{trouble}, epoch 7: ")
    assert said in sentence
    assert any(option in sentence for option in ("--learning-rate", "--seed", "pooling"))
    assert in_words(PAPER, BALANCED, {**record, "trouble": None}) == ""


def test_it_is_said_when_it_begins_and_kept_with_the_model():
    words = [None, "plateau", "plateau", None, "background", "dead", "dead"]
    history = [{**LEARNT, "epoch": i + 1, "trouble": each} for i, each in enumerate(words)]
    assert [begins(history[: n + 1]) for n in range(7)] == [False, True, False, False, True, True, False]
    found = told_by_model(PAPER, BALANCED, Progress(history=history, best_epoch=5))
    assert [(each["word"], each["kept"]) for each in found] == [("background", True), ("dead", False)]
    assert "dead, epoch 6: " in found[1]["sentence"], "from where on"
    assert told_by_model(PAPER, BALANCED, Progress(history=history[:4], best_epoch=4)) == []
    old = [{"epoch": 1, "loss": 0.01}]
    assert told_by_model(PAPER, BALANCED, Progress(history=old, best_epoch=1)) == []
    assert begins(old) is False


def test_activation_outside_of_the_tissue_by_hand():
    activation = jnp.array([[[0.2, 0.0], [0.6, 0.2]], [[0.0, 0.0], [0.0, 0.0]]])
    tissue = jnp.array([[[True, True], [False, True]]] * 2)
    np.testing.assert_allclose(background_share(activation, tissue), [0.6, 0.0], rtol=1e-6)
    image = jnp.array([[[True, True], [False, True]]] * 2)
    np.testing.assert_allclose(background_share(activation, tissue, image), [0.0, 0.0])


def test_a_map_that_paints_background_is_not_called_usable():
    metrics = evaluate_samples(random_results(40, references=False), threshold=0.35, n_bootstrap=10).metrics
    metrics |= {"second_view": {"where": 0.9, "labels_learnt": True}, "phase_spread_relative": 0.0}
    assert verdict(metrics, threshold_supported=True).map_usable is True
    painted = {"word": "background", "kept": True, "sentence": "Training: …"}
    found = verdict({**metrics, TROUBLE: [painted]}, threshold_supported=True)
    assert found.map_usable is False
    assert "most of its activation lies outside of the tissue" in found.sentence
    ended_so = {**painted, "kept": False}
    assert verdict({**metrics, TROUBLE: [ended_so]}, threshold_supported=True).map_usable is True
    assert trouble_of([{}, {TROUBLE: [painted]}, {TROUBLE: [painted]}]) == [painted]


@pytest.mark.slow
def test_a_dead_run_says_so_everywhere(tmp_path, capsys):
    """Logits of 100: sigmoid is 1 in float32, and every gradient 0."""
    store = tmp_path / "data"
    write_phantom(
        PhantomOptions(out=store, train=6, val=4, test=2, phantom=PhantomConfig(size=16, channels=8))
    )
    config = dataclasses.replace(
        RECIPES["paper2019"], data=store, out=tmp_path / "run", epochs=3, starts=2, self_check=False,
        network=Network(base=2, depth=0, head_bias=100.0),
    )  # fmt: skip
    train(config)
    said = capsys.readouterr().out
    assert "start 1 of 2 is dead after 1 epochs (every gradient is 0): another random start" in said
    assert said.count("dead, epoch 1: every gradient is exactly 0, so nothing is learnt any more.") == 1
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(record["start"], record["trouble"]) for record in log] == [(0, "dead")] + [(1, "dead")] * 3
    described = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    (told,) = described[TROUBLE]
    assert told["word"] == "dead"
    assert told["kept"] is True
