"""Which data make `compseg train` name another recipe, and that it names it only."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.config import RECIPES, Network
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.write import StoreWriter
from compseg_jax.training.recipe_hint import FULL_RESOLUTION_PX, recipe_hint
from compseg_jax.training.run import set_up


def images(path: Path, channels: int, shape_px: tuple[int, int], axis: np.ndarray | None = None) -> Store:
    rng = np.random.default_rng(0)
    writer = StoreWriter(
        path,
        channels=channels,
        wavenumbers_cm1=axis,
        pixel_size_um=None,
        background="none",
        created_by="a test",
    )
    with writer:
        for number, split in enumerate(("train", "train", "val", "val")):
            label = number % 2
            sample = Sample(f"s{number}", label, split, f"p{number}", *shape_px, has_reference=False)
            cube = rng.normal(size=(*shape_px, channels)).astype(np.float32)
            writer.add(sample, cube, np.ones(shape_px, bool), None)
    return Store.open(path)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_at_full_resolution_are_told_of_texture(tmp_path, channels):
    hint = recipe_hint(RECIPES["default"], images(tmp_path / "data", channels, (FULL_RESOLUTION_PX, 200)))
    assert f"{channels} channel(s) without wavenumbers" in hint
    assert "--recipe texture" in hint
    assert "full resolution" not in hint


def test_small_images_are_told_to_be_ingested_anew(tmp_path):
    hint = recipe_hint(RECIPES["default"], images(tmp_path / "data", 3, (FULL_RESOLUTION_PX - 1, 200)))
    assert f"small ({FULL_RESOLUTION_PX - 1} pixels): ingest the images at full resolution" in hint


@pytest.mark.parametrize(
    ("recipe", "channels", "axis"),
    [
        ("texture", 3, None),
        ("cam", 3, None),
        ("default", 5, None),
        ("default", 3, np.array([1700.0, 1650.0, 1100.0])),
    ],
)
def test_spectra_many_channels_and_a_recipe_of_choice_are_left_alone(tmp_path, recipe, channels, axis):
    assert recipe_hint(RECIPES[recipe], images(tmp_path / "data", channels, (128, 128), axis)) == ""


def test_the_hint_is_printed_and_changes_nothing(tmp_path, capsys):
    images(tmp_path / "data", 3, (16, 16))
    config = dataclasses.replace(
        RECIPES["default"], data=tmp_path / "data", out=tmp_path / "run", self_check=False,
        network=Network(base=2, depth=0), epochs=3,
    )  # fmt: skip
    setup = set_up(config)
    assert "try --recipe texture" in capsys.readouterr().out
    assert setup.config == config
