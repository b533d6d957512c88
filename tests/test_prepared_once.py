"""A training run reads each cube once and prepares it once, whatever looks at it; counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.config import RECIPES, Ensemble, Network, Training
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.model_files import read_description
from compseg_jax.runtime import free_memory_bytes
from compseg_jax.spectra.preparation import Image, KeptChunks, Preparation, pipeline
from compseg_jax.spectra.scaling import Scaling, put_standardised, standardise
from compseg_jax.store import Store
from compseg_jax.store import prepared as prepared_module
from compseg_jax.store.input_preparation import fit_input_preparation
from compseg_jax.store.prepared import CubeMemory, PreparedStore
from compseg_jax.training.ensemble import train_ensemble
from compseg_jax.training.run import train

STEPS = ("vector", "emsc", "pca:components=6")
"""One that learns nothing, then two that learn, the second from what the first leaves."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("store") / "data"
    write_phantom(PhantomOptions(folder, train=6, val=4, test=4, phantom=PhantomConfig(size=16, channels=16)))
    return Store.open(folder)


def config(store: Store, out, *words: str, **changes) -> Training:
    network = Network(base=2, depth=0, front=2, front_start="principal_components")
    values = {
        "epochs": 1,
        "starts": 1,
        "self_check": False,
        "second_view": False,
        "augment": "none",
        "optimiser": replace(RECIPES["default"].optimiser, schedule="constant"),
        **changes,
    }
    return replace(RECIPES["default"], data=store.path, out=out, prepare=words, network=network, **values)


def prepared(store: Store, sample_id: str, preparation: Preparation) -> Image:
    """What the preparation makes of a sample, without any memory."""
    return preparation(Image.of(store.read(sample_id), store.wavenumbers_cm1, store.tissue(sample_id)))


class Counts:
    """Reads of each cube, and how often each step is applied to a whole cube."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: Counter[str] = Counter()
        self.applied: Counter[str] = Counter()
        read, apply = Store._cube, pipeline.apply_step

        def counted_read(store, sample_id):
            self.reads[sample_id] += 1
            return read(store, sample_id)

        def counted_step(fitted, *arguments):
            self.applied[fitted.step.name] += 1
            return apply(fitted, *arguments)

        monkeypatch.setattr(Store, "_cube", counted_read)
        monkeypatch.setattr(pipeline, "apply_step", counted_step)
        monkeypatch.setattr(prepared_module, "apply_step", counted_step)

    def clear(self) -> None:
        self.reads.clear()
        self.applied.clear()


@pytest.fixture
def counts(monkeypatch) -> Counts:
    return Counts(monkeypatch)


def once(store: Store) -> dict[str, int]:
    return {sample.id: 1 for sample in store.samples if sample.split != "test"}


def test_a_run_reads_and_prepares_once_and_a_resumed_one_finds_what_was_kept(
    store, tmp_path, counts, monkeypatch
):
    with monkeypatch.context() as unfinished:
        unfinished.setattr(CubeMemory, "remove_files", lambda memory: None)
        train(config(store, tmp_path, *STEPS))
    each = dict.fromkeys(("vector", "emsc", "pca"), len(once(store)))
    assert (counts.reads, counts.applied) == (once(store), each)
    first = read_description(tmp_path / "model")
    counts.clear()

    train(config(store, tmp_path, *STEPS, epochs=2, resume=True))
    assert (counts.reads, counts.applied) == (once(store), {})
    assert not (tmp_path / "prepared").exists()
    resumed = read_description(tmp_path / "model")
    assert (resumed["preparation"], resumed["scaling"]) == (first["preparation"], first["scaling"])


def test_without_preparation_cubes_are_read_once_and_nothing_is_copied(store, tmp_path, counts, monkeypatch):
    monkeypatch.setattr(CubeMemory, "remove_files", lambda memory: None)
    train(config(store, tmp_path / "run"))
    assert (counts.reads, counts.applied) == (once(store), {})
    assert not (tmp_path / "run" / "prepared").exists()


@pytest.mark.slow
def test_folds_share_what_has_learnt_nothing_and_seeds_share_everything(store, tmp_path, counts):
    asked = config(store, tmp_path / "run", "vector", "emsc", ensemble=Ensemble(folds=2, seeds=2))
    train_ensemble(asked)
    n = len(once(store))
    assert (counts.reads, counts.applied) == (once(store), {"vector": n, "emsc": 2 * n})
    assert not (tmp_path / "run" / "prepared").exists()


@pytest.mark.parametrize(
    "most_bytes", [0, 5 * 16 * 16 * (4 * 16 + 1), None], ids=["none", "five cubes", "all"]
)
def test_cubes_are_those_of_the_preparation_wherever_they_are_kept(store, tmp_path, counts, most_bytes):
    words, samples = ("vector", "emsc"), store.split("train")
    memory = CubeMemory(KeptChunks(tmp_path / "kept"), most_bytes=most_bytes)
    cubes = PreparedStore(store, memory=memory)
    cubes = cubes.after(fit_input_preparation(cubes, samples, words))
    found = [cubes.read(sample.id) for sample in samples for _ in range(2)]
    assert counts.applied["emsc"] == len(samples)
    # What learns from cubes that memory does not hold finds them on disk, after the steps before.
    assert counts.applied["vector"] == len(samples)

    fitted = cubes.preparation
    assert fitted is not None
    for sample, (cube, tissue) in zip(samples, found[::2], strict=True):
        expected = prepared(store, sample.id, fitted)
        np.testing.assert_array_equal(cube, expected.absorbance)
        np.testing.assert_array_equal(tissue, expected.mask)

    # Another process, which has the preparation from a model's description, finds the same files.
    counts.clear()
    described = Preparation.from_json(fitted.to_json())
    again = PreparedStore(store, described, CubeMemory(KeptChunks(tmp_path / "kept"), most_bytes=most_bytes))
    np.testing.assert_array_equal(again.read(samples[0].id)[0], found[0][0])
    assert counts.applied == {}


def test_what_was_looked_at_before_is_prepared_without_another_read(store, tmp_path, counts):
    samples, kept = store.split("train"), KeptChunks(tmp_path / "kept")
    for _ in range(2):
        cubes = PreparedStore(store, memory=CubeMemory(kept))
        raw = [cubes.read(sample.id) for sample in samples]
        cubes = cubes.after(fit_input_preparation(cubes, samples, ["vector"]))
        for sample, (cube, _) in zip(samples, raw, strict=True):
            assert not np.array_equal(cubes.read(sample.id)[0], cube)
    assert set(counts.reads.values()) == {2}, "once by each run"
    assert counts.applied == {"vector": len(samples)}, "the second found what the first kept"


def test_other_steps_arrays_or_spectra_are_never_mistaken(store, tmp_path, counts):
    samples, other = store.split("train"), store.split("val")
    kept = KeptChunks(tmp_path / "kept")
    raw = PreparedStore(store, memory=CubeMemory(kept))
    for words, learnt_on in ((["emsc"], samples), (["emsc"], other), (["emsc:polynomial=1"], samples)):
        cubes = raw.after(fit_input_preparation(raw, learnt_on, words))
        expected = prepared(store, "array0-000", cubes.preparation)
        np.testing.assert_array_equal(cubes.read("array0-000")[0], expected.absorbance)
    assert kept.found == 0
    assert len(list(kept.folder.iterdir())) == 3


def test_what_is_kept_may_be_damaged_or_deleted(store, tmp_path, counts):
    samples = store.split("train")
    kept = KeptChunks(tmp_path / "kept")
    cubes = PreparedStore(store, memory=CubeMemory(kept, most_bytes=0))
    cubes = cubes.after(fit_input_preparation(cubes, samples, ["vector"]))
    first = cubes.read(samples[0].id)
    (file,) = kept.folder.iterdir()
    for harm in (lambda: file.write_bytes(file.read_bytes()[:50]), file.unlink):
        harm()
        np.testing.assert_array_equal(cubes.read(samples[0].id)[0], first[0])
    assert counts.applied == {"vector": 3}


def test_a_full_disk_stops_keeping_and_nothing_else(store, tmp_path, capsys):
    (tmp_path / "kept").write_text("a file where the folder should be")
    samples = store.split("train")
    cubes = PreparedStore(store, memory=CubeMemory(KeptChunks(tmp_path / "kept"), most_bytes=0))
    cubes = cubes.after(fit_input_preparation(cubes, samples, ["vector"]))
    for sample in samples:
        expected = prepared(store, sample.id, cubes.preparation)
        np.testing.assert_array_equal(cubes.read(sample.id)[0], expected.absorbance)
    assert capsys.readouterr().out.count("no further prepared cubes are kept") == 1


def test_held_cubes_cannot_be_changed_and_are_forgotten_when_asked(store, counts):
    cubes = PreparedStore(store)
    cube, _ = cubes.read("array0-000")
    with pytest.raises(ValueError, match="read-only"):
        cube[0, 0, 0] = 1.0
    cubes.memory.forget(["array0-000"])
    cubes.read("array0-000")
    assert counts.reads == {"array0-000": 2}


def test_free_memory_keeps_within_the_limit_of_a_container(monkeypatch):
    files = {"/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 3000 kB\n", "memory.current": "500000\n"}
    files["memory.max"] = "max\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding=None: files[str(path).split("cgroup/")[-1]])
    assert free_memory_bytes() == 3000 * 1024
    files["memory.max"] = "1500000\n"
    assert free_memory_bytes() == 1_000_000


def test_one_rule_of_standardising_on_device_and_host(store):
    rng = np.random.default_rng(0)
    cube, tissue = rng.normal(size=(5, 7, 16)).astype(np.float32), rng.random((5, 7)) > 0.4
    scaling = Scaling.fit([(cube, tissue)])
    arrays = [jnp.asarray(each) for each in (cube, tissue, scaling.mean, scaling.sd)]
    on_device = jax.jit(standardise)(*arrays)
    np.testing.assert_array_equal(standardise(*arrays), on_device)
    on_host = np.empty_like(cube)
    put_standardised(cube, tissue, scaling, on_host)
    np.testing.assert_array_equal(on_host, on_device)
    put_standardised(cube, tissue, scaling, cube)
    np.testing.assert_array_equal(cube, on_device)
