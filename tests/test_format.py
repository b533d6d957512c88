"""docs/format.md is enough to write and read both formats, and version 1 stays readable.

The frozen store in tests/data/store_v1 was written once, by release 0.1.0 and

    python tests/test_format.py tests/data/store_v1

and is never written again: a later version gets a folder of its own.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import zarr
from store_example import write_store

from compseg_jax.config import Network
from compseg_jax.model import ExtractedNetwork, ModelError, load_model
from compseg_jax.model.model_files import save_network
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.spectra.scaling import Scaling
from compseg_jax.store.check import check_values
from compseg_jax.store.prepared import PreparedStore, fit_scaling
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.store.write import StoreWriter

STORE_V1 = Path(__file__).parent / "data" / "store_v1"
AXIS_CM1 = (1650.25, 1100.5)
PLAN = (
    ("plain", 0, "train", "A", 5, 8),
    ("tumour-1", 1, "train", "Müller", 34, 6),
    ("v-0", 0, "val", "C", 5, 8),
    ("v-1", 1, "val", "D", 3, 4),
)


def arrays_of(index: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Absorbance (y, x, c), tissue and reference mask by a rule that needs no random numbers."""
    y, x, c = np.ogrid[:height, :width, :2]
    tissue = (y + x >= 2)[..., 0] & (x < width - 1)[..., 0]
    absorbance = ((y * 8 + x) / 16 + c * 0.5 + index) * tissue[..., None]
    return absorbance.astype(np.float32), tissue, tissue & (x % 2 == 0)[..., 0]


def write_by_the_document(path: Path) -> None:
    """A version-1 store, written from docs/format.md alone, without this package or TensorStore."""
    (path / "cubes").mkdir(parents=True)
    description: dict[str, Any] = {"format": "compseg-store", "version": 1, "channels": 2}
    description |= {"wavenumbers_cm1": AXIS_CM1, "pixel_size_um": 5.5, "background": "zero"}
    (path / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    columns = ["source", "group", "id", "label", "split", "height", "width", "has_reference"]
    with (path / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for index, (identity, label, split, group, height, width) in enumerate(PLAN):
            row = {"id": identity, "label": label, "split": split, "group": group, "source": "a, rule"}
            writer.writerow({**row, "height": height, "width": width, "has_reference": label})
            absorbance, tissue, reference = arrays_of(index, height, width)
            image = zarr.create_group(store=str(path / "cubes" / f"{identity}.zarr"), zarr_format=3)
            image.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale(identity, "cyx")]}
            write_array(image, absorbance.transpose(2, 0, 1), ("c", "y", "x"), sharded=index % 2 == 0)
            masks = {"tissue": tissue} | ({"reference": reference} if label else {})
            labels = image.create_group("labels")
            labels.attrs["ome"] = {"version": "0.5", "labels": sorted(masks)}
            for name, mask in masks.items():
                group_of_mask = labels.create_group(name)
                metadata = {"version": "0.5", "multiscales": [multiscale(name, "yx")]}
                group_of_mask.attrs["ome"] = metadata | {"image-label": {"source": {"image": "../../"}}}
                write_array(group_of_mask, mask.astype(np.uint8), ("y", "x"), sharded=False)


def write_array(group: Any, values: np.ndarray, names: tuple[str, ...], *, sharded: bool) -> None:
    tile = (*values.shape[:-2], 4, 4)
    array = group.create_array(
        "0",
        shape=values.shape,
        dtype=values.dtype,
        chunks=tile if sharded else values.shape,
        shards=(*tile[:-2], *(-(-size // 4) * 4 for size in values.shape[-2:])) if sharded else None,
        dimension_names=names,
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[...] = values


def multiscale(name: str, axes: str) -> dict[str, Any]:
    described = [
        {"name": axis, "type": "channel"}
        if axis == "c"
        else {"name": axis, "type": "space", "unit": "micrometer"}
        for axis in axes
    ]
    scale = [1.0 if axis == "c" else 5.5 for axis in axes]
    transformations = [{"type": "scale", "scale": scale}]
    datasets = [{"path": "0", "coordinateTransformations": transformations}]
    return {"name": name, "axes": described, "datasets": datasets}


def assert_holds_the_plan(path: Path) -> None:
    store = Store.open(path)
    found = [(s.id, s.label, s.split, s.group, s.height, s.width) for s in store.samples]
    assert found == list(PLAN)
    assert store.wavenumbers_cm1 is not None
    assert tuple(store.wavenumbers_cm1) == AXIS_CM1
    assert (store.channels, store.pixel_size_um, store.background) == (2, 5.5, "zero")
    for index, sample in enumerate(store.samples):
        absorbance, tissue, reference = arrays_of(index, sample.height, sample.width)
        np.testing.assert_array_equal(store.read(sample.id), absorbance)
        crop = store.read_crop(sample.id, slice(1, 3), slice(2, 4))
        np.testing.assert_array_equal(crop, absorbance[1:3, 2:4])
        np.testing.assert_array_equal(store.tissue(sample.id), tissue)
        assert sample.has_reference == bool(sample.label)
        if sample.has_reference:
            np.testing.assert_array_equal(store.reference(sample.id), reference)
    findings, _ = check_values(store)
    assert findings.problems == []
    assert np.all(fit_scaling(PreparedStore(store), store.split("train")).sd > 0)


def test_a_store_written_by_the_document_is_read(tmp_path: Path) -> None:
    write_by_the_document(tmp_path / "s")
    assert_holds_the_plan(tmp_path / "s")


def test_the_frozen_store_of_version_1_is_read() -> None:
    assert_holds_the_plan(STORE_V1)
    assert sum(path.stat().st_size for path in STORE_V1.rglob("*") if path.is_file()) < 30_000


def test_chunks_left_out_are_damage(tmp_path: Path) -> None:
    write_by_the_document(tmp_path / "s")
    array = tmp_path / "s" / "cubes" / "v-0.zarr" / "0"
    next(path for path in (array / "c").rglob("*") if path.is_file()).unlink()
    with pytest.raises(StoreError, match=r"v-0\.zarr/0 cannot be read .*missing"):
        Store.open(tmp_path / "s").read("v-0")


def test_what_is_written_today_is_what_was_frozen(tmp_path: Path) -> None:
    write_by_this_package(tmp_path / "s")
    assert_holds_the_plan(tmp_path / "s")
    for now in (tmp_path / "s").rglob("*.json"):
        frozen = json.loads((STORE_V1 / now.relative_to(tmp_path / "s")).read_text(encoding="utf-8"))
        if "codecs" in frozen:  # release 0.1.0 wrote no checksums of values
            chunks = frozen["codecs"][0].get("configuration", {}).get("codecs", frozen["codecs"])
            chunks.append({"name": "crc32c"})
        found = json.loads(now.read_text(encoding="utf-8"))
        if now.name == "dataset.json":  # and no hashes
            assert {found.pop("samples_sha256"), found.pop("description_sha256")}
        assert found == frozen


def test_this_packages_own_stores_follow_the_document(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s").path
    description = json.loads((path / "dataset.json").read_text())
    assert description["format"] == "compseg-store"
    with (path / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image = zarr.open_group(path / "cubes" / f"{row['id']}.zarr", mode="r")
        size = (int(row["height"]), int(row["width"]))
        assert image["0"].shape == (description["channels"], *size)
        assert image["0"].dtype == np.float32
        assert image["labels/tissue/0"].shape == size
        assert ("reference" in image["labels"]) == (row["has_reference"] == "1")
        assert image["0"].nchunks_initialized == 1


def test_hashes_of_a_store_follow_the_document(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s").path
    with (path / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image = zarr.open_group(path / "cubes" / f"{row['id']}.zarr", mode="r")
        masks = {name: np.packbits(image[f"labels/{name}/0"][...] != 0) for name in image["labels"]}
        sums = image["0"][...].view("<u4").sum(axis=0, dtype="<u4")
        digest = hashlib.blake2b(sums.tobytes() + masks["tissue"].tobytes(), digest_size=16)
        assert row["cube_hash"] == digest.hexdigest()
        for name in ("tissue", "reference"):
            found = (
                hashlib.blake2b(masks[name].tobytes(), digest_size=16).hexdigest() if name in masks else ""
            )
            assert row[f"{name}_hash"] == found

    def hash_of(values: dict[str, Any]) -> str:
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    kinds = {"label": int, "height": int, "width": int, "has_reference": lambda cell: cell == "1"}
    names = ["id", "label", "split", "group", "height", "width", "has_reference", "source", "content", "pixel_size_um",
             "cube_hash", "tissue_hash", "reference_hash"]  # fmt: skip
    kinds["pixel_size_um"] = lambda cell: float(cell) if cell else None
    table = [[kinds.get(name, str)(row[name]) for name in names] for row in rows]
    description = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
    assert description["samples_sha256"] == hash_of({"samples": table})
    assert description.pop("description_sha256") == hash_of(description)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = Network(base=2, depth=1)
    module = build_network(network)
    model = ExtractedNetwork(
        network=module,
        variables=init_variables(module, jax.random.key(0), 2),
        scaling=Scaling(np.array([0.5, 1.0], np.float32), np.array([2.0, 0.25], np.float32)),
        wavenumbers_cm1=np.array(AXIS_CM1),
        threshold=0.25,
        background="zero",
        description={"recipe": "default", "history": [{"loss": np.float32(0.5)}], "versions": {}},
    )
    folder = tmp_path_factory.mktemp("run") / "model"
    save_network(folder, model, network)
    return folder


def test_a_model_is_read_by_the_document(model_folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    values = json.loads((model_folder / "model.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert (values["format"], values["version"], values["maps"], values["channels"]) == (
        "compseg-model",
        1,
        1,
        2,
    )
    assert values["threshold"] == 0.25
    assert values["history"] == [{"loss": 0.5}]
    with ocp.StandardCheckpointer() as checkpointer:
        params = checkpointer.restore(model_folder.absolute() / "params")

    def named(tree: Any, name: str) -> list[tuple[str, np.ndarray]]:
        if not isinstance(tree, dict):
            return [(name, np.asarray(tree))]
        return [leaf for key, branch in tree.items() for leaf in named(branch, f"{name}['{key}']")]

    digest = hashlib.sha256()
    for name, leaf in sorted(named({"params": params}, "")):
        digest.update(f"{name} {leaf.shape} {leaf.dtype.str}".encode() + leaf.tobytes())
    assert digest.hexdigest() == values["weights_sha256"]

    cube = np.random.default_rng(0).normal(size=(6, 5, 2)).astype(np.float32)
    cube[:, 2] = 0.0
    tissue = np.any(cube != 0, axis=-1, keepdims=True)
    mean, sd = (np.array(values["scaling"][name], np.float32) for name in ("mean", "sd"))
    scaled = np.where(tissue, (cube - mean) / sd, np.float32(0.0))
    module = build_network(Network(**values["network"]), values["maps"])
    logits = np.asarray(module.apply({"params": params}, jax.numpy.asarray(scaled[None])))[0, ..., 0]
    expected = np.where(tissue[..., 0], 1.0 / (1.0 + np.exp(-logits)), 0.0)
    np.testing.assert_allclose(load_model(model_folder)(cube, prepared=True), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_models_of_other_versions_are_refused(model_folder: Path, tmp_path: Path, version: object) -> None:
    values = json.loads((model_folder / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(values | {"version": version}))
    with pytest.raises(
        ModelError, match=r"model\.json: found format 'compseg-model' version .* version 1 to 1"
    ):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "compseg-model", "version": 1}'])
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(ModelError, match=r"no model\.json found"):
        load_model(tmp_path)


def test_changed_weights_are_refused(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder).networks[0]
    save_network(tmp_path / "model", model, Network(base=2, depth=1))
    values = json.loads((tmp_path / "model" / "model.json").read_text())
    before = json.loads((model_folder / "model.json").read_text())
    for folder, description in ((tmp_path / "model", values), (model_folder, before)):
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert description.pop("files") == sorted(files - {"model.json"})
    assert values.pop("description_sha256") != before.pop("description_sha256")  # other files are listed
    assert values.pop("files_sha256") != before.pop("files_sha256")  # Orbax notes when it wrote them
    assert values == before
    (tmp_path / "model" / "model.json").write_text(json.dumps(values | {"weights_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="the weights have the hash"):
        load_model(tmp_path / "model")


def test_a_loaded_model_that_is_changed_is_saved_changed(model_folder: Path, tmp_path: Path) -> None:
    model = replace(load_model(model_folder).networks[0], threshold=0.75)
    for _ in range(2):  # the second time it replaces the first
        save_network(tmp_path / "model", model, Network(base=2, depth=1))
    assert load_model(tmp_path / "model").threshold == 0.75
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_refuses_cubes_and_masks_that_do_not_fit(model_folder: Path) -> None:
    model = load_model(model_folder)
    cube = np.ones((6, 5, 2), np.float32)
    for shape in ((6, 5, 3), (6, 2), (1, 1, 6, 5, 2)):
        with pytest.raises(ModelError, match=r"required is \(y, x, 2\)"):
            model(np.ones(shape, np.float32), prepared=True)
    with pytest.raises(ModelError, match=r"the tissue mask has shape \(5, 6\), the cube \(6, 5, 2\)"):
        model(cube, tissue=np.ones((5, 6), bool), prepared=True)
    close = np.array(AXIS_CM1) + 0.009
    np.testing.assert_array_equal(model(cube, wavenumbers_cm1=close), model(cube[None], prepared=True)[0])


def test_a_model_that_cannot_be_written_leaves_the_old_one(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder).networks[0]
    save_network(tmp_path / "model", model, Network(base=2, depth=1))
    broken = replace(model, description={"history": {1j}})
    with pytest.raises(TypeError, match=r"model\.json cannot hold"):
        save_network(tmp_path / "model", broken, Network(base=2, depth=1))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert load_model(tmp_path / "model").threshold == 0.25


def write_by_this_package(path: Path) -> None:
    writer = StoreWriter(
        path,
        channels=2,
        wavenumbers_cm1=np.array(AXIS_CM1),
        pixel_size_um=5.5,
        background="zero",
        created_by="tests/test_format.py",
    )
    with writer:
        for index, (identity, label, split, group, height, width) in enumerate(PLAN):
            absorbance, tissue, reference = arrays_of(index, height, width)
            sample = Sample(identity, label, split, group, height, width, label == 1, "a, rule")
            writer.add(sample, absorbance, tissue, reference if label else None)


if __name__ == "__main__":
    write_by_this_package(Path(sys.argv[1]))
