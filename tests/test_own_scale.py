"""Ordinary images get a scale of their own where that scale does not tell their labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.store.input_preparation import fit_input_preparation, instead_of_auto
from compseg_jax.store.own_scale import own_scale_tells
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.write import StoreWriter

EDGE_PX = 16


def pictures(
    path: Path,
    picture: Callable[[np.random.Generator, int], np.ndarray],
    *,
    labels: tuple[int, ...] = (0, 1) * 12,
) -> PreparedStore:
    """A store without wavenumbers of training images, drawn by label."""
    rng = np.random.default_rng(3)
    drawn = [picture(rng, label).astype(np.float32) for label in labels]
    writer = StoreWriter(
        path,
        channels=drawn[0].shape[-1],
        wavenumbers_cm1=None,
        pixel_size_um=None,
        background="none",
        created_by="a test",
    )
    with writer:
        for number, (label, image) in enumerate(zip(labels, drawn, strict=True)):
            sample = Sample(f"s{number}", label, "train", f"p{number}", *image.shape[:2], False, "made")
            writer.add(sample, image, np.ones(image.shape[:2], bool), None)
    return PreparedStore(Store.open(path))


def with_lesion(
    part: float, *, gains: float, channels: int = 3
) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Images of brightness 100, dark in a part of the diseased ones, each times a gain of its own."""

    def draw(rng: np.random.Generator, label: int) -> np.ndarray:
        image = rng.normal(100, 30, (EDGE_PX, EDGE_PX, channels))
        image[: round(part * EDGE_PX) * label] -= 40
        return image * rng.normal(1, gains)

    return draw


def steps(cubes: PreparedStore) -> list[str]:
    found = fit_input_preparation(cubes, cubes.store.split("train"), ["auto"])
    return [] if found is None else [each.step.name for each in found.steps]


def test_a_scale_that_tells_the_label_is_not_taken_out(tmp_path):
    cubes = pictures(tmp_path / "s", with_lesion(0.25, gains=0.02))
    assert own_scale_tells(cubes, cubes.store.split("train")) == 1.0
    assert steps(cubes) == []
    words, told = instead_of_auto(cubes, cubes.store.split("train"), ["auto"])
    assert words == []
    assert "AUC 1.00" in told
    assert "zscore" in told


def test_images_of_many_scanners_get_a_scale_of_their_own(tmp_path):
    cubes = pictures(tmp_path / "s", with_lesion(0.06, gains=0.4))
    assert 0.5 <= own_scale_tells(cubes, cubes.store.split("train")) < 0.8
    assert steps(cubes) == ["zscore"]
    assert instead_of_auto(cubes, cubes.store.split("train"), ["auto"])[1] == ""


def test_images_that_got_darker_or_brighter_tell_alike(tmp_path):
    def turned(rng: np.random.Generator, label: int) -> np.ndarray:
        return with_lesion(0.25, gains=0.05)(rng, 1 - label)

    straight = pictures(tmp_path / "s", with_lesion(0.25, gains=0.05))
    other = pictures(tmp_path / "t", turned)
    assert own_scale_tells(other, other.store.split("train")) == pytest.approx(
        own_scale_tells(straight, straight.store.split("train")), abs=0.1
    )


def test_images_of_one_label_tell_nothing(tmp_path):
    cubes = pictures(tmp_path / "s", with_lesion(0.25, gains=0.05), labels=(1,) * 6)
    assert own_scale_tells(cubes, cubes.store.split("train")) == 0.5
    assert steps(cubes) == ["zscore"]


def test_pixels_that_hold_no_number_say_nothing(tmp_path):
    def broken(rng: np.random.Generator, label: int) -> np.ndarray:
        image = with_lesion(0.06, gains=0.4)(rng, label)
        image[3, 3], image[5, 5, 0] = np.nan, np.inf
        return image

    cubes = pictures(tmp_path / "s", broken)
    assert 0.5 <= own_scale_tells(cubes, cubes.store.split("train")) < 0.8
    assert steps(cubes) == ["zscore"]


def test_what_is_asked_for_is_done_whatever_it_tells(tmp_path):
    cubes = pictures(tmp_path / "s", with_lesion(0.25, gains=0.02))
    assert instead_of_auto(cubes, cubes.store.split("train"), ["zscore"]) == (["zscore"], "")


def infrared(path, glass_rows: int) -> PreparedStore:
    """Cores of which some rows are glass: noise without amide I."""
    axis = np.arange(1800.0, 1400.0, -10.0)
    band = np.exp(-0.5 * ((axis - 1655) / 20) ** 2) + 0.6 * np.exp(-0.5 * ((axis - 1545) / 20) ** 2)
    rng = np.random.default_rng(0)
    writer = StoreWriter(
        path,
        channels=axis.size,
        wavenumbers_cm1=axis,
        pixel_size_um=None,
        background="zero",
        created_by="a test",
    )
    with writer:
        for at in range(4):
            heights = rng.uniform(0.4, 0.8, (20, 24, 1))
            heights[:glass_rows] = 0
            cube = (heights * band + rng.normal(0, 0.003, (20, 24, axis.size))).astype(np.float32)
            sample = Sample(f"c{at}", at % 2, "train", f"c{at}", 20, 24, False)
            writer.add(sample, cube, np.ones((20, 24), bool), None)
    return PreparedStore(Store.open(path))


def test_background_of_infrared_images_is_no_tissue_to_emsc(tmp_path):
    cubes = infrared(tmp_path / "glass", 6)
    samples = cubes.store.split("train")
    assert steps(cubes) == ["tissue", "emsc"]
    assert "30 % of them have no amide I band" in instead_of_auto(cubes, samples, ["auto"])[1]
    assert instead_of_auto(cubes, samples, ["emsc"]) == (["emsc"], "")
    fitted = fit_input_preparation(cubes, samples, ["auto"])
    image = cubes.after(fitted).image(samples[0].id)
    assert not image.mask[:6].any()
    assert image.mask[6:].all()
    assert np.abs(image.spectra).max() < 2
    whole = infrared(tmp_path / "tissue", 0)
    assert steps(whole) == ["emsc"]
    assert instead_of_auto(whole, whole.store.split("train"), ["auto"])[1] == ""
