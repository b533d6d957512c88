"""Without groups, ids that look like one patient's are not passed over in silence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.store.one_patient import leakage_note, like_one_patient
from compseg_jax.store.read import Sample


def samples(ids, *, groups=None, splits=("train", "val", "test")):
    groups = groups or ids
    return [
        Sample(name, n % 2, splits[n % len(splits)], group, 4, 4, False)
        for n, (name, group) in enumerate(zip(ids, groups, strict=True))
    ]


@pytest.mark.parametrize(
    "ids",
    [
        ["patient7_a", "patient7_b", "patient8_a", "patient9_a"],
        ["P07-1", "P07-2", "P08-1", "P09-1", "P10-1"],
        ["12a", "12b", "13a", "14a", "15a"],
        ["case 3.left", "case 3.right"],
    ],
)
def test_samples_of_one_patient_are_recognised(ids):
    assert [[each.id for each in found] for found in like_one_patient(samples(ids)).values()] == [ids[:2]]


@pytest.mark.parametrize(
    "ids",
    [
        ["spot_1", "spot_2", "spot_3", "spot_4"],
        ["array1-001", "array1-002", "array2-001", "array2-002", "array3-001"],
        ["A1", "A2", "B1", "B2"],
        ["study5_1", "study5_2", "study5_3"],
        ["patient1", "patient2", "patient3"],
    ],
)
def test_samples_of_arrays_and_numbered_ones_are_not(ids):
    assert like_one_patient(samples(ids)) == {}


def test_stated_groups_end_the_question():
    ids = ["patient7_a", "patient7_b", "patient8_a", "patient8_b"]
    assert leakage_note(samples(ids, groups=[name[:8] for name in ids])) == ""


def test_the_note_shows_a_patient_that_is_in_two_splits():
    said = leakage_note(
        samples(
            ["patient1_a", "patient2_a", "patient3_a", "patient1_b", "patient2_b"],
            splits=("train", "train", "train", "test"),
        )
    )
    assert "leakage cannot be excluded: no groups are given, and 4 samples look like" in said
    assert "patient1: patient1_a, patient1_b, in train and test" in said
    assert "--group COLUMN" in said


def test_check_and_ingest_say_so(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for patient in range(6):
        for part in "ab":
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"patient{patient}_{part}.png")
    names = [f"patient{patient}_{part}" for patient in range(6) for part in "ab"]
    rows = [f"{name},{n // 2 % 2},{name}.png,{name.partition('_')[0]}" for n, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["id,label,path,who", *rows]))
    words = [str(tmp_path / "table.csv"), "--positive", "1", "--negative", "0", "--out"]
    assert main(["ingest", *words, str(tmp_path / "store")]) == 0
    assert "note: leakage cannot be excluded" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "store")]) == 0
    assert "--group COLUMN" in capsys.readouterr().out
    assert main(["ingest", *words, str(tmp_path / "grouped"), "--group", "who"]) == 0
    assert "leakage" not in capsys.readouterr().out
