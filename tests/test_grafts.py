"""Marks of diseased samples in healthy ones: what is taken from where, and what the loss knows of it."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.config import Objective
from compseg_jax.networks.unet import UNet
from compseg_jax.objective import marks_error
from compseg_jax.runtime import data_mesh
from compseg_jax.training.batch import Batch, pad_batch
from compseg_jax.training.grafts import grafted, random_part
from compseg_jax.training.step import evaluate_step, init_train_state, make_train_step, train_step

SIZE = 24
MARKS = Objective(pooling="tissue", target="marks")


def batch_of(labels: list[int], *, marked: float = 0.5) -> Batch:
    """Sample i holds the value i + 1 in all of its tissue, which is all but the first row; its left part is marked."""
    n = len(labels)
    tissue = np.ones((n, SIZE, SIZE), bool)
    tissue[:, 0] = False
    marks = np.zeros_like(tissue)
    marks[:, :, : round(marked * SIZE)] = True
    marks &= tissue & (np.array(labels) == 1)[:, None, None]
    cube = np.where(tissue, np.arange(1, n + 1)[:, None, None], 0)[..., None].astype(np.float32)
    return jax.tree.map(
        jnp.asarray, Batch(cube, tissue, np.array(labels, np.int32), np.ones(n, np.float32), marks)
    )


def test_grafts_lie_in_healthy_samples_and_nothing_else_changes():
    given = batch_of([1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1])
    made = grafted(given, jax.random.key(0))
    values, marks = np.asarray(made.cube)[..., 0], np.asarray(made.reference)
    assert values.shape == (6, SIZE, SIZE)
    assert made.label.tolist() == [0] * 6
    assert made.weight.tolist() == [1.0] * 6
    healthy, diseased = [2, 4, 5, 8, 9, 11], [1, 3, 6, 7, 10, 12]
    with_graft = 0
    for image, marked, own, donor in zip(values, marks, healthy, diseased, strict=True):
        assert set(image[~marked].tolist()) == {0.0, own}, "each healthy sample once"
        assert set(image[marked].tolist()) <= {donor}, "and each diseased one"
        assert not marked[0].any(), "no graft lies outside of the tissue"
        assert not marked[:, SIZE // 2 :].any(), "or beside what was marked"
        with_graft += bool(marked.any())
    assert 2 <= with_graft < 6, "some samples stay as they are"


def test_outlines_are_other_than_the_marks():
    parts = np.asarray(random_part(jax.random.key(1), (200, SIZE, SIZE))).mean(axis=(1, 2))
    assert parts.min() < 0.4
    assert parts.max() > 0.9
    given = batch_of([0, 1] * 20, marked=1.0)
    made = np.asarray(grafted(given, jax.random.key(2)).reference)
    assert len({image.tobytes() for image in made if image.any()}) > 10


@pytest.mark.parametrize(("labels", "weight"), [([1, 1, 1], [0.0, 0.0]), ([0, 0, 0], [1.0, 1.0])])
def test_batches_of_one_label(labels, weight):
    made = grafted(batch_of(labels), jax.random.key(0))
    assert made.weight.tolist() == weight
    assert not np.asarray(made.reference).any()


def test_samples_of_weight_0_are_not_used():
    given = pad_batch(batch_of([0, 1, 0, 1, 0, 1]), 8)
    made = grafted(given, jax.random.key(0))
    assert made.weight.tolist() == [1.0, 1.0, 1.0, 0.0]
    other = replace(given, cube=jnp.where(given.weight.reshape(-1, 1, 1, 1) > 0, given.cube, jnp.nan))
    assert np.isfinite(np.asarray(grafted(other, jax.random.key(0)).cube)).all()


def test_a_sample_without_marks_is_no_donor():
    given = batch_of([0, 1, 0, 1])
    given = replace(given, reference=given.reference.at[1].set(False))
    values = np.asarray(grafted(given, jax.random.key(3)).cube)
    assert not (values == 2.0).any()


def test_the_loss_counts_what_is_known():
    logits = jnp.zeros((2, 1, 4, 1)).at[:, 0, :, 0].set(jnp.array([-2.0, 1.0, 3.0, 5.0]))
    marks = jnp.array([[[False, True, False, False]], [[False, True, False, False]]])
    tissue = jnp.array([[[True, True, True, False]]] * 2)
    healthy, diseased = marks_error(logits, jnp.array([0, 1]), marks, tissue).tolist()
    soft = np.log1p(np.exp([-2.0, -1.0, 3.0]))
    assert healthy == pytest.approx(soft.mean(), rel=1e-6), (
        "a graft is diseased, all else of a healthy one is not"
    )
    assert diseased == pytest.approx(soft[1], rel=1e-6), "beside the marks of a diseased one nothing is known"


def state_of(**changes):
    return init_train_state(jax.random.key(0), UNet(base=2, depth=1), 1, objective=MARKS, **changes)


def test_a_step_is_the_same_on_any_devices_and_in_parts():
    batch = batch_of([0, 1] * 8)
    _, alone = jax.jit(train_step)(state_of(), batch)
    for changes, devices in (({}, 8), ({}, 1), ({"microbatch": 3}, 1)):
        step = make_train_step(data_mesh(devices))
        _, metrics = step(state_of(**changes), batch)
        assert float(metrics["loss"]) == pytest.approx(float(alone["loss"]), rel=1e-5)
        assert float(metrics["gradient_norm"]) == pytest.approx(float(alone["gradient_norm"]), rel=1e-4)


def test_validation_looks_at_samples_as_they_are():
    batch = batch_of([0, 1, 0])
    metrics = evaluate_step(state_of(), batch)
    assert metrics["loss"].shape == (3,)
    changed = replace(batch, cube=batch.cube.at[1, :, SIZE - 3 :].add(1.0))
    assert not np.allclose(evaluate_step(state_of(), changed)["pooled"][1], metrics["pooled"][1])


def test_marks_are_needed():
    with pytest.raises(ValueError, match="needs marks"):
        train_step(state_of(), replace(batch_of([0, 1]), reference=None))
