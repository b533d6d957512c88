"""What a model saw is known whatever a sample is called and wherever it lies; 'test' is said of nothing else."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from store_example import as_written_before_hashes

from compseg_jax import load_model
from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Network
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.evaluation.sightings import sighting_of
from compseg_jax.evaluation.verdict import verdict
from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.ingest.to_store import ingest
from compseg_jax.model import Seen, Sightings
from compseg_jax.model.seen import SeenSample
from compseg_jax.store.read import Store
from compseg_jax.store.write import StoreWriter
from compseg_jax.training.run import train

HAD_NO_SAY = "These samples had no say in it."


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=16, channels=6, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=8, val=4, test=4, phantom=config))
    return Store.open(path)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    config = dataclasses.replace(
        RECIPES["default"],
        data=store.path,
        out=tmp_path_factory.mktemp("run") / "train",
        network=Network(base=2, depth=0, head_bias=-3.0),
        epochs=2,
        starts=1,
        self_check=False,
        second_view=False,
        augment="none",
    )
    train(config)
    return config.out


def evaluated(model, data, out, split):
    """Page, printed numbers, metrics and rows of a report."""
    options = EvaluateOptions(model=model, data=data, out=out, split=split, bootstrap=10, importance="no")
    page, numbers = evaluate(options)
    rows = list(csv.DictReader((out / "samples.csv").read_text().splitlines()))
    return page.read_text(), numbers, json.loads((out / "metrics.json").read_text()), rows


def stored_again(store, out, samples, *, fresh=()):
    """Another store: images of `store` under other names, and new ones; `samples` are (source id, new row)."""
    writer = StoreWriter(
        out,
        channels=store.channels,
        wavenumbers_cm1=store.wavenumbers_cm1,
        pixel_size_um=store.pixel_size_um,
        background=store.background,
        created_by="a test",
    )
    with writer:
        for number, (source, row) in enumerate([*samples, *fresh]):
            cube, tissue = store.read(source), store.tissue(source)
            if number >= len(samples):
                cube = cube * np.float32(1.25)
            writer.add(dataclasses.replace(row, has_reference=False, content=""), cube, tissue, None)
    return Store.open(out)


def without_content(store, out):
    """The store as earlier releases wrote it."""
    shutil.copytree(store.path, out)
    rows = list(csv.DictReader((out / "samples.csv").read_text().splitlines()))
    with (out / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "content"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    as_written_before_hashes(out)
    return Store.open(out)


@pytest.fixture(scope="module")
def split_again(store, tmp_path_factory):
    """Twelve 'test' samples: six of training, two of validation, two of a seen group, two new ones."""
    seen = [*store.split("train")[:6], *store.split("val")[:2]]
    renamed = [
        (each.id, dataclasses.replace(each, id=f"again{n}", group=f"again{n}", split="test"))
        for n, each in enumerate(seen)
    ]
    fresh = [
        (each.id, dataclasses.replace(each, id=f"new{n}", group=f"new{n}", split="test"))
        for n, each in enumerate(store.split("test"))
    ]
    return stored_again(store, tmp_path_factory.mktemp("again") / "data", renamed, fresh=fresh)


def test_a_model_keeps_what_it_saw_and_no_place(store, run):
    values = json.loads((run / "model" / "model.json").read_text())["seen"]
    roles = {each["id"]: each["role"] for each in values["samples"]}
    wanted = dict.fromkeys([each.id for each in store.split("train")], "training")
    assert roles == wanted | dict.fromkeys([each.id for each in store.split("val")], "choice")
    assert values["is_complete"] is True
    assert {name for each in values["samples"] for name in each} == {"content", "role", "id", "group"}
    assert str(store.path) not in json.dumps(values)


def test_a_test_is_called_one_where_nothing_was_seen(store, run, tmp_path):
    page, numbers, metrics, rows = evaluated(run, store.path, tmp_path / "report", "test")
    assert numbers.splitlines()[0].split("  ", 1)[1].strip() == "none of 4 samples."
    assert metrics["seen"]["is_test"] is True
    assert {row["seen"] for row in rows} == {"no"}
    assert HAD_NO_SAY in page
    assert "data: test samples" in page
    assert "Seen before" not in page


def test_validation_samples_have_had_their_say(store, run, tmp_path):
    page, numbers, metrics, rows = evaluated(run, store.path, tmp_path / "report", "val")
    assert "4 chose epoch and threshold (of 4 samples): no test of these" in numbers.splitlines()[0]
    assert page.index("Seen before: 4 chose epoch") < page.index("Labels:") < page.index("AUC of the")
    assert HAD_NO_SAY not in page
    assert "test samples" not in page
    assert (metrics["seen"]["choice"], metrics["seen"]["is_test"]) == (4, False)
    assert {row["seen"] for row in rows} == {"choice"}


def test_training_samples_in_the_test_split_of_another_store_are_found(run, split_again, tmp_path):
    page, numbers, _, rows = evaluated(run, split_again.path, tmp_path / "report", "test")
    said = "6 trained on, 2 chose epoch and threshold (of 12 samples): no test of these"
    assert said in numbers.splitlines()[0]
    assert f"Seen before: {said}" in page
    assert HAD_NO_SAY not in page
    assert "test samples" not in page
    assert [row["seen"] for row in rows] == ["training"] * 6 + ["choice"] * 2 + ["no"] * 4
    assert "seen by the model" in page


def test_stores_of_earlier_releases_are_looked_into(run, split_again, tmp_path):
    old = without_content(split_again, tmp_path / "old")
    assert all(not each.content for each in old.samples)
    model = load_model(run)
    found = [sighting_of(model, each, old.cube(each.id)) for each in old.samples]
    assert found == ["training"] * 6 + ["choice"] * 2 + ["no"] * 4


def test_a_model_of_an_earlier_release_says_that_it_does_not_know(store, run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    values = json.loads(path.read_text())
    del values["seen"], values["description_sha256"]
    path.write_text(json.dumps(values))
    page, numbers, metrics, rows = evaluated(tmp_path / "model", store.path, tmp_path / "report", "test")
    assert "not known: the model does not say what it saw" in numbers.splitlines()[0]
    assert HAD_NO_SAY not in page
    assert "test samples" not in page
    assert (metrics["seen"]["unknown"], metrics["seen"]["is_test"]) == (4, False)
    assert {row["seen"] for row in rows} == {""}


def test_predictions_of_seen_files_say_so(store, run, tmp_path, capsys):
    """A file that was ingested under another name, read anew, with its axis the other way round."""
    axis = ", ".join(map(str, store.wavenumbers_cm1[::-1]))
    for name, sample in (("one", store.split("train")[0]), ("other", store.split("test")[0])):
        cube = store.read(sample.id)[..., ::-1]
        cube.astype("<f4").tofile(tmp_path / f"{name}.img")
        (tmp_path / f"{name}.hdr").write_text(
            f"ENVI\nsamples = {cube.shape[1]}\nlines = {cube.shape[0]}\nbands = {cube.shape[2]}\ndata type = 4\n"
            "interleave = bip\nbyte order = 0\nwavelength units = Wavenumber\n"
            f"wavelength = {{{axis}}}\n"
        )
    out = tmp_path / "out"
    files = [str(tmp_path / f"{name}.hdr") for name in ("one", "other")]
    assert main(["predict", *files, "--model", str(run), "--out", str(out), "--outputs", "png"]) == 0
    rows = csv.DictReader((out / "predictions.csv").read_text().splitlines())
    assert {row["id"]: row["seen"] for row in rows} == {"one": "training", "other": "no"}
    said = capsys.readouterr().out
    assert "one: SEEN BEFORE (trained on), 16×16" in said
    assert "other: 16×16" in said
    assert "seen before: 1 trained on (of 2 samples): no test of these" in said


def test_predictions_of_a_store_say_first_what_was_seen(run, split_again, tmp_path, capsys):
    words = [str(split_again.path), "--model", str(run), "--out", str(tmp_path / "out"), "--outputs", "png"]
    assert main(["predict", *words]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("seen before: 6 trained on, 2 chose epoch and threshold (of 12 samples)")


def picture(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("options", [{"resize": 8}, {"prepare": ("zscore",)}])
def test_an_image_is_recognised_however_it_is_resized_or_prepared(tmp_path, options):
    lines = ["id,label,path,split"]
    for number in range(6):
        picture(tmp_path / f"{number}.png", number)
        lines.append(f"i{number},{number % 2},{number}.png,{('train', 'val', 'test')[number // 2]}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    ingest(tmp_path / "table.csv", tmp_path / "plain", IngestOptions())
    ingest(tmp_path / "table.csv", tmp_path / "other", IngestOptions(**options))
    plain, other = Store.open(tmp_path / "plain"), Store.open(tmp_path / "other")
    assert [each.content for each in plain.samples] == [each.content for each in other.samples]
    assert len({each.content for each in plain.samples}) == 6
    assert plain.content("i0") == without_content(plain, tmp_path / "old").content("i0")


SEEN = Seen(
    (
        SeenSample("1x1x1-a", "choice", "s1", "p1"),
        SeenSample("1x1x1-b", "training", "s2", "p1"),
        SeenSample("1x1x1-c", "choice", "s3", "p3"),
        SeenSample("1x1x1-d", "choice", "alone", "alone"),
    )
)


@pytest.mark.parametrize(
    ("content", "sample_id", "group", "found"),
    [
        ("1x1x1-b", "any", "any", "training"),
        ("1x1x1-a", "any", "any", "choice"),
        ("1x1x1-z", "other", "p1", "training group"),
        ("1x1x1-z", "other", "p3", "choice group"),
        # The same name where nothing is grouped is no group; most arrays have a core A1.
        ("1x1x1-z", "alone", "alone", "same id"),
        ("1x1x1-z", "new", "alone", "no"),
        (None, "new", "", "no"),
    ],
)
def test_content_goes_before_group_and_group_before_id(content, sample_id, group, found):
    assert SEEN.how(content, sample_id, group) == found


def test_networks_add_up_what_they_saw_and_one_that_does_not_know_leaves_doubt():
    other = Seen((SeenSample("1x1x1-a", "training", "s1", "p1"),))
    assert (SEEN | other).how("1x1x1-a", "s1") == "training"
    assert (SEEN | other).how("1x1x1-z", "new") == "no"
    doubtful = SEEN | Seen.of_description({})
    assert doubtful.how("1x1x1-a", "s1") == "choice"
    assert doubtful.how("1x1x1-z", "new") is None
    assert Seen.of_description({"seen": SEEN.to_json()}) == SEEN


def test_the_verdict_says_beside_the_auc_that_samples_were_trained_on():
    metrics = {"auc_area": 1.0, "auc_area_ci95": [1.0, 1.0], "seen": {"training": 7}}
    found = verdict(metrics, threshold_supported=None)
    assert found.sentence.startswith("Labels: learnt (AUC 1.00, 7 of these samples were trained on)")


def test_a_model_that_is_handed_over_names_nobody():
    said = json.dumps(SEEN.nameless().to_json())
    assert not any(name in said for name in ("s1", "p1", "alone"))
    assert SEEN.nameless().how("1x1x1-b", "any") == "training"


def test_what_is_said_of_sightings():
    assert Sightings(("no", "no")).in_words() == "none of 2 samples"
    assert Sightings(("no", "same id")).is_test
    assert "1 have the id of one that was seen" in Sightings(("no", "same id")).in_words()
    said = Sightings(("training", None)).in_words()
    assert said.startswith("1 trained on (of 2 samples): no test of these; of the other 1 nothing is known")
    assert not Sightings(("training group",)).is_test


def test_a_network_that_goes_on_from_another_keeps_what_that_one_saw(store, run, tmp_path):
    config = dataclasses.replace(
        RECIPES["default"],
        data=without_content(store, tmp_path / "old").path,
        out=tmp_path / "run",
        network=Network(base=2, depth=0, head_bias=-3.0),
        init_from=run,
        epochs=2,
        starts=1,
        self_check=False,
        second_view=False,
        augment="none",
    )
    path = train(config)
    assert load_model(path).seen.samples == load_model(run).seen.samples
