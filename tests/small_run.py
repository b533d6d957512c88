"""Runs that train in a second: a per-pixel network of `default` on one device."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from compseg_jax.config import RECIPES, Network, Training
from compseg_jax.runtime import data_mesh
from compseg_jax.training import run as run_module


@pytest.fixture(scope="module", autouse=True)
def on_one_device() -> Iterator[None]:
    """Trainings of the module that imports this take one of the fake devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "data_mesh", functools.partial(data_mesh, 1))
        yield


def configured(store: Path, out: Path, **changes: object) -> Training:
    """A run of a network without poolings, nothing prepared, one start and one phase."""
    changes = {
        "network": Network(base=2, depth=0, front=0),
        "prepare": (),
        "self_check": False,
        "second_view": False,
        "grafting": False,
        "starts": 1,
        "epochs": 1,
        "batch_size": 3,
        **changes,
    }
    return dataclasses.replace(RECIPES["default"], data=store, out=out, **changes)  # type: ignore[arg-type]
