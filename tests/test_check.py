from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_example import write_store

from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.store.check import Findings, check_table, check_values, describe, refuse_problems
from compseg_jax.store.check_tissue import background_among_tissue, background_note
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.store.write import StoreWriter


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_store(tmp_path / "s")


def listed(store: Store, samples: Sequence[Sample]) -> Store:
    """The store with another table."""
    return replace(store, samples=tuple(samples))


def test_a_good_store_has_no_problems(store: Store) -> None:
    findings, ranges = check_values(store)
    assert findings.problems == []
    assert findings.counts == {(split, label): 3 for split in ("train", "val", "test") for label in (0, 1)}
    assert findings.groups == {"train": 6, "val": 6, "test": 6}
    refuse_problems(store, findings)
    text = describe(store, findings, ranges)
    assert "18 samples, 3 channels (1700.25 … 1100.5 cm⁻¹)" in text
    assert next(line.split() for line in text.splitlines() if line.startswith("val")) == [
        "val",
        "3",
        "3",
        "6",
    ]
    assert "no problems found" in text
    values = np.concatenate([store.read(s.id)[store.tissue(s.id)] for s in store.split("train")])
    assert f"values {values.min():.4g} … {values.max():.4g}" in ranges[0]
    # 8 of 7 × 9 to 12 × 20 pixels hold tissue.
    assert "tissue 3–13 % of the image" in ranges[0]


def problems(store: Store, *, supervised: bool = False) -> str:
    findings = check_table(store, supervised=supervised)
    with pytest.raises(StoreError, match="problem") as caught:
        refuse_problems(store, findings)
    assert "no problems found" not in describe(store, findings, [])
    return str(caught.value)


def test_a_store_of_test_samples_alone_is_whole_but_not_to_train_on(store: Store) -> None:
    alone = listed(store, store.split("test"))
    findings, ranges = check_values(alone)
    assert findings.problems == []
    assert findings.notes == [
        "all samples are test samples: networks can be evaluated on this store, not trained."
    ]
    assert "no problems found" in describe(alone, findings, ranges)
    with pytest.raises(StoreError, match="the train split has no diseased sample"):
        refuse_problems(alone, check_table(alone, to_train=True))


def test_a_sample_listed_twice(store: Store) -> None:
    text = problems(listed(store, [*store.samples, store.samples[0]]))
    assert "sample 's0' is listed 2 times; list it once" in text


def test_a_group_in_two_splits(store: Store) -> None:
    samples = [replace(s, group="Kay") if s.id in ("s0", "s7", "s13") else s for s in store.samples]
    assert "group 'Kay' is in test and train and val; move all of it to one split" in problems(
        listed(store, samples)
    )


@pytest.mark.parametrize("change", [{"split": "hold-out"}, {"label": 2}])
def test_an_unknown_split_or_label(store: Store, change: dict[str, object]) -> None:
    samples = [replace(store.samples[0], **change), *store.samples[1:]]  # type: ignore[arg-type]
    text = problems(listed(store, samples))
    assert "sample 's0' has split" in text
    assert "required are train, val, test and 0 or 1" in text


def test_a_missing_cube(store: Store) -> None:
    (store.path / "cubes" / "s4.zarr" / "0" / "zarr.json").unlink()
    assert "sample 's4' has no cube in" in problems(store)
    findings, _ = check_values(store)
    assert sum("s4" in problem for problem in findings.problems) >= 1


@pytest.mark.parametrize(("split", "label", "word"), [("train", 1, "diseased"), ("val", 0, "healthy")])
def test_a_label_missing_in_a_split(store: Store, split: str, label: int, word: str) -> None:
    samples = [s for s in store.samples if (s.split, s.label) != (split, label)]
    assert f"the {split} split has no {word} sample (label {label})" in problems(listed(store, samples))


def test_a_label_missing_in_the_test_is_only_noted(store: Store) -> None:
    findings = check_table(listed(store, [s for s in store.samples if (s.split, s.label) != ("test", 1)]))
    assert findings.problems == []
    assert any("no ROC curve" in note for note in findings.notes)


def test_reference_masks_are_needed_for_supervised_training_only(store: Store) -> None:
    samples = [replace(s, has_reference=False) for s in store.samples]
    assert check_table(listed(store, samples)).problems == []
    text = problems(listed(store, samples), supervised=True)
    assert "6 problem(s)" in text
    assert "sample 's1' has no reference mask, which target 'reference' needs" in text
    assert check_table(store, supervised=True).problems == []


def test_imbalance_and_few_validation_samples_are_noted(store: Store) -> None:
    assert any(note.startswith("6 validation samples choose") for note in check_table(store).notes)
    healthy = [replace(store.samples[0], id=f"h{n}", group=f"h{n}") for n in range(3)]
    notes = check_table(listed(store, [*store.samples, *healthy])).notes
    assert any('imbalanced (3 diseased, 6 healthy): consider balance = "weights"' in note for note in notes)
    notes = check_table(listed(store, [*store.samples, *healthy[:2]])).notes
    assert not any("imbalanced" in note for note in notes)
    val = [replace(s, id=f"v{n}-{s.id}", group=f"v{n}") for n in range(2) for s in store.split("val")]
    assert not any("validation" in note for note in check_table(listed(store, [*store.samples, *val])).notes)


def test_validation_samples_that_determine_no_threshold_are_said_before_training(store: Store) -> None:
    def note(val: Sequence[Sample]) -> str:
        others = [s for s in store.samples if s.split != "val"]
        return " ".join(n for n in check_table(listed(store, [*others, *val])).notes if "threshold" in n)

    val = store.split("val")
    fewer = [s for s in val if s.label == 0] + [s for s in val if s.label == 1][:1]
    assert "3 healthy and 1 diseased validation samples are too few" in note(fewer)
    assert "train --folds 5" in note(fewer)
    by_label = [replace(s, group=f"patient{s.label}") for s in val]
    assert "of 2 group(s) are too few: their labels can be dealt in 2 ways" in note(by_label)
    mixed = [replace(s, group=f"patient{n % 2}") for n, s in enumerate(sorted(val, key=lambda s: s.label))]
    assert "can be dealt in 9 ways" in note(mixed)
    of_one = [replace(s, group="patient") for s in val]
    assert note(of_one).startswith("6 validation samples choose")


def write_cores(path: Path, heights: np.ndarray, *, scale: float = 1.0, broken: bool = False) -> Store:
    """Infrared images of amide I of these heights (y, x) and noise; ``broken``: of one pixel nothing is known."""
    axis = np.arange(1800.0, 1500.0, -10.0)
    rng = np.random.default_rng(0)
    band = np.exp(-0.5 * ((axis - 1655) / 20) ** 2)
    writer = StoreWriter(
        path, channels=axis.size, wavenumbers_cm1=axis, pixel_size_um=None, background="zero", created_by="a test",
    )  # fmt: skip
    with writer:
        for number in range(4):
            cube = heights[..., None] * band + rng.normal(0, 0.003, (*heights.shape, axis.size))
            cube[7, 7] = np.nan if broken else cube[7, 7]
            sample = Sample(f"c{number}", number % 2, "train", f"c{number}", *heights.shape, False)
            writer.add(sample, (scale * cube).astype(np.float32), np.ones(heights.shape, bool), None)
    return Store.open(path)


def test_background_that_counts_as_tissue_is_noted(tmp_path: Path) -> None:
    core = np.zeros((20, 24))
    core[5:, :] = 0.6
    assert background_note(write_cores(tmp_path / "core", core))[0].startswith(
        "every pixel counts as tissue, but 25 % of them have no amide I band (median of the first"
    )
    full = np.full((20, 24), 0.6)
    for name, heights, scale in (("full", full, 1.0), ("empty", 0 * full, 1.0), ("counts", core, 1e5)):
        written = write_cores(tmp_path / name, heights, scale=scale)
        assert background_note(written) == []


def test_a_pixel_without_a_number_hides_no_background_and_what_was_read_is_kept(tmp_path: Path) -> None:
    core = np.zeros((20, 24))
    core[5:, :] = 0.6
    cubes = PreparedStore(write_cores(tmp_path / "core", core, broken=True))
    found = background_among_tissue(cubes, cubes.store.split("train"))
    assert found == pytest.approx(0.25, abs=0.01)
    assert all(cubes.memory.get(f"c{number}", "") is not None for number in range(4))


def test_many_problems_are_counted(store: Store) -> None:
    findings = Findings({}, {}, [f"problem {n}" for n in range(14)], [])
    with pytest.raises(StoreError, match=r"14 problem\(s\)") as caught:
        refuse_problems(store, findings)
    assert "problem 9" in str(caught.value)
    assert "problem 10" not in str(caught.value)
    assert "and 4 more" in str(caught.value)


def write_values(path: Path, absorbance: np.ndarray, tissue: np.ndarray) -> Store:
    writer = StoreWriter(
        path, channels=2, wavenumbers_cm1=None, pixel_size_um=None, background="none", created_by="a test"
    )
    with writer:
        for number, split in enumerate(("train", "train", "val", "val")):
            reference = np.zeros((4, 5), bool)
            writer.add(
                Sample(f"a{number}", number % 2, split, f"a{number}", 4, 5, True),
                absorbance if number == 1 else np.ones((4, 5, 2)),
                tissue if number == 1 else np.ones((4, 5), bool),
                reference if number < 2 else ~reference,
            )
    return Store.open(path)


def test_values_and_masks_are_checked_one_by_one(tmp_path: Path) -> None:
    absorbance, tissue = np.ones((4, 5, 2)), np.ones((4, 5), bool)
    findings, ranges = check_values(write_values(tmp_path / "good", absorbance, tissue))
    assert findings.problems == []
    # a1 is diseased with an empty mask, a2 healthy with a full one.
    assert (
        "2 reference mask(s) contradict the label, the first that of 'a1' (diseased, but nothing"
        in (findings.notes[-1])
    )
    assert len(ranges) == 2

    absorbance[3, 2, 1] = np.inf
    findings, _ = check_values(write_values(tmp_path / "inf", absorbance, tissue))
    assert findings.problems == ["sample 'a1' holds NaN or infinite values; repair it and ingest again."]
    findings, _ = check_values(write_values(tmp_path / "empty", np.ones((4, 5, 2)), ~tissue))
    assert findings.problems == ["sample 'a1' is all background; remove it or give a tissue mask."]


def write_masks(
    path: Path, masks: Sequence[np.ndarray], *, tissue: np.ndarray | None = None, labels: Sequence[int] = ()
) -> Store:
    """A store of training samples m0, m1, … with these reference masks, diseased unless said."""
    labels = labels or [1] * len(masks)
    writer = StoreWriter(
        path, channels=1, wavenumbers_cm1=None, pixel_size_um=None, background="none", created_by="a test"
    )
    with writer:
        for number, (mask, label) in enumerate(zip(masks, labels, strict=True)):
            sample = Sample(f"m{number}", label, "train", f"m{number}", *mask.shape, True)
            inside = np.ones(mask.shape, bool) if tissue is None else tissue
            writer.add(sample, np.full((*mask.shape, 1), number + 1.0), inside, mask)
    return Store.open(path)


def lesion(row: int = 4, height: int = 4) -> np.ndarray:
    mask = np.zeros((14, 18), bool)
    mask[row : row + height, 5:11] = True
    return mask


def mask_notes_of(store: Store) -> list[str]:
    return [note for note in check_values(store)[0].notes if "mask" in note]


def test_masks_of_lesions_are_not_remarkable(tmp_path: Path) -> None:
    masks = [lesion(row, height) for row in range(3) for height in (1, 6, 11)]
    assert mask_notes_of(write_masks(tmp_path / "s", masks)) == []


def test_masks_that_cover_all_or_nothing_are_named(tmp_path: Path) -> None:
    full, empty = np.ones((14, 18), bool), np.zeros((14, 18), bool)
    store = write_masks(tmp_path / "s", [lesion(), full, lesion(5), full, full, full, empty, empty])
    assert mask_notes_of(store) == [
        "4 reference mask(s) of diseased samples mark all tissue: m1, m3, m4 and 1 more.",
        "2 reference mask(s) contradict the label, the first that of 'm6' (diseased, but nothing is marked), "
        "then 'm7'.",
    ]
    tissue = np.zeros((14, 18), bool)
    tissue[3:9, 4:12] = True
    notes = mask_notes_of(write_masks(tmp_path / "cores", [lesion(), tissue, ~tissue], tissue=tissue))
    assert notes[0].startswith("1 reference mask(s) of diseased samples mark all tissue: m1")
    # Something is marked, but no tissue.
    assert "that of 'm2' (diseased, but nothing is marked)" in notes[-1]


@pytest.mark.parametrize("inverted", [1, 2, 6])
def test_masks_of_the_other_polarity_are_named(tmp_path: Path, inverted: int) -> None:
    masks = [~lesion(row) if row <= inverted else lesion(row) for row in range(1, 7)]
    (note,) = mask_notes_of(write_masks(tmp_path / "s", masks))
    assert note.startswith(f"{inverted} reference mask(s) mark the border of the image")
    assert (f"those of {6 - inverted} others do not" in note) == (inverted < 6)
    assert ": m0" in note
    assert "may be inverted" in note


def test_disease_that_fills_images_to_every_degree_is_no_other_polarity(tmp_path: Path) -> None:
    masks = []
    for rows, hole in ((5, 4), (6, 4), (8, 5), (11, 6), (13, 6), (14, 6), (14, 7)):
        mask = np.zeros((14, 18), bool)
        mask[:rows] = True
        mask[hole, 9] = False
        masks.append(mask)
    store = write_masks(tmp_path / "s", masks)
    assert mask_notes_of(store) == []
    # Unless there is no tissue at the border, as around a core.
    tissue = np.zeros((14, 18), bool)
    tissue[4:10, 5:13] = True
    (note,) = mask_notes_of(write_masks(tmp_path / "cores", masks, tissue=tissue))
    assert note.startswith(
        "2 reference mask(s) mark the border of the image, those of 5 others do not: m5, m6."
    )


def test_a_tissue_mask_of_the_other_polarity_is_named(tmp_path: Path) -> None:
    tissue = np.zeros((12, 16), bool)
    tissue[2:10, 3:13] = True
    writer = StoreWriter(
        tmp_path / "s",
        channels=1,
        wavenumbers_cm1=None,
        pixel_size_um=None,
        background="none",
        created_by="a test",
    )
    with writer:
        for number in range(6):
            sample = Sample(f"t{number}", number % 2, "train", f"t{number}", 12, 16, False)
            writer.add(sample, np.ones((12, 16, 1)), ~tissue if number == 4 else tissue, None)
    (note,) = [note for note in check_values(Store.open(tmp_path / "s"))[0].notes if "tissue" in note]
    assert note.startswith(
        "tissue of 1 sample(s) is the border of the image and not its middle, unlike that of 5"
    )
    assert ": t4." in note


def test_damage_is_found(store: Store) -> None:
    folder = store.path / "cubes" / "s3.zarr"
    for array in ("0", "labels/reference/0"):
        chunk = next(path for path in (folder / array / "c").rglob("*") if path.is_file())
        chunk.rename(store.path / "kept")
        findings, _ = check_values(store)
        (problem,) = findings.problems
        assert f"s3.zarr/{array} cannot be read" in problem
        (store.path / "kept").rename(chunk)
    assert check_values(store)[0].problems == []


@pytest.mark.parametrize(("train", "val"), [(2, 2), (6, 4), (5, 3), (10, 7)])
def test_phantom_splits_hold_both_labels_in_equal_parts(tmp_path: Path, train: int, val: int) -> None:
    seen: list[tuple[int, int]] = []
    config = PhantomConfig(size=24, channels=6)
    options = PhantomOptions(out=tmp_path / "s", train=train, val=val, test=2, seed=3, phantom=config)
    write_phantom(options, progress=lambda done, total: seen.append((done, total)))
    store = Store.open(tmp_path / "s")
    findings, _ = check_values(store)
    assert findings.problems == []
    for split, n in (("train", train), ("val", val), ("test", 2)):
        counts = [findings.counts[split, label] for label in (0, 1)]
        assert sum(counts) == n
        assert abs(counts[0] - counts[1]) <= n % 2
    arrays = {split: {s.source for s in store.split(split)} for split in ("train", "val", "test")}
    assert arrays == {
        "train": {"phantom array 0", "phantom array 1"},
        "val": {"phantom array 0", "phantom array 1"},
        "test": {"phantom array 2"},
    }
    total = train + val + 2
    assert seen[-1] == (total, total)
    assert len({s.id for s in store.samples}) == total
    with pytest.raises(StoreError, match="exists already"):
        write_phantom(options)


def test_a_phantom_needs_both_labels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--val 1: at least 2 spots"):
        write_phantom(PhantomOptions(out=tmp_path / "s", val=1))
    assert not list(tmp_path.iterdir())
