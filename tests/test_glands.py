"""The gland images of the benchmark: who is in which split, what counts as diseased, and what is left out."""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import glands
from compseg_jax.store import Store

SIDE_PX = 8


def write(folder: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(zlib.crc32(f"{folder.name}/{name}".encode()))
    for part, values in (
        ("image", noise.integers(0, 256, (SIDE_PX, SIDE_PX, 3))),
        ("label", np.arange(SIDE_PX**2).reshape(SIDE_PX, SIDE_PX) < share * SIDE_PX**2),
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
        scaled = values * 255 if values.dtype == bool else values
        Image.fromarray(scaled.astype(np.uint8)).save(folder / part / f"{name}.png")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Twenty patients with four malignant and four benign images each; of one patient all is gland."""
    monkeypatch.setattr(glands, "SIZES", {"train": 8, "val": 4, "test": 4})
    for patient in range(20):
        for number in range(4):
            name = f"GT{'xc' * (patient % 2)}{2012000 + patient}-1-400-00{number}"
            write(tmp_path / "set" / "Adenocarcinoma", name, 0.5 if patient else 0.9)
            write(tmp_path / "set" / "Polyp", name, 0.5)
    write(tmp_path / "set" / "Normal", "GT2013000-1-400-001", 0.5)
    return tmp_path / "set"


def test_no_patient_is_in_two_splits_nor_in_both_parts(folder):
    chosen = {part: glands.choose(folder, part) for part in ("tuning", "reporting")}
    places = [{image.patient for image in images} for splits in chosen.values() for images in splits.values()]
    assert len(places) == 6
    assert sum(map(len, places)) == len(set().union(*places))
    for splits in chosen.values():
        counts = {split: Counter(image.label for image in images) for split, images in splits.items()}
        assert counts == {split: {0: n, 1: n} for split, n in glands.SIZES.items()}
        of_patient = Counter((image.patient, image.label) for images in splits.values() for image in images)
        assert max(of_patient.values()) == glands.MOST_OF_A_PATIENT
    assert not any(  # of patient 0 nine tenths of each malignant image are gland
        image.label and image.patient == "2012000"
        for splits in chosen.values()
        for images in splits.values()
        for image in images
    )


def test_the_store_calls_glands_diseased_in_malignant_images_alone(folder, tmp_path):
    glands.write_glands(tmp_path / "store", folder, "tuning")
    store = Store.open(tmp_path / "store")
    shares = {sample.id: store.reference(sample.id).mean() for sample in store.samples}
    assert {(sample.label, shares[sample.id]) for sample in store.samples} == {(0, 0.0), (1, 0.5)}
    assert store.read(store.samples[0].id).shape == (SIDE_PX, SIDE_PX, 3)


def test_what_is_missing_is_said(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(glands, "SIZES", {"train": 40, "val": 4, "test": 4})
    with pytest.raises(ValueError, match="too few images of different patients"):
        glands.choose(folder, "tuning")
    with pytest.raises(FileNotFoundError, match="COMPSEG_GLANDS must name the folder"):
        glands.choose(tmp_path, "tuning")
    write(folder / "Polyp", "slide7", 0.5)
    with pytest.raises(ValueError, match="does not start with a patient's number"):
        glands.choose(folder, "tuning")
    monkeypatch.delenv("COMPSEG_GLANDS", raising=False)
    monkeypatch.setattr(sys, "argv", ["glands", "--out", str(tmp_path / "out")])
    glands.main()
    assert "COMPSEG_GLANDS does not say where the images are" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
