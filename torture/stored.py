"""Damage to what is stored: stores, checkpoints, models, prediction folders."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from compseg_jax.config import Network
from compseg_jax.model import load_model
from compseg_jax.networks.build import build_network
from compseg_jax.prediction.formats import open_maps, open_overview, read_predictions, read_sample
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_check import check_predictions
from compseg_jax.store.check import check_table, check_values, refuse_problems
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Store
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.step import TrainState, init_train_state
from tests.model_example import write_model
from tests.store_example import write_store
from torture.damage import damaged, damaged_copy, files_below
from torture.outcomes import Row, digest, in_process

SIZE = (14, 10)


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n cases in all."""
    yield from _stores(folder, n // 6, seed)
    yield from _models(folder, n // 6, seed)
    yield from _checkpoints(folder, n // 6, seed)
    yield from _predictions(folder, n // 6, seed)


def _damaged_in_place(name: str, seed: int, n: int, files: Sequence[Path], read: Callable[[], object]) -> Row:
    row = Row(name, seed)
    expected = digest(read())
    for case, choose in row.choices(n):
        with damaged(choose, files) as what:
            outcome = in_process(read, expected)
        row.count(case, what, outcome)
    return row


def _stores(folder: Path, n: int, seed: int) -> Iterator[Row]:
    store = write_store(folder / "store", sizes=[SIZE, SIZE])
    path = Path(str(store.path))
    arrays = [
        file for file in files_below(path / "cubes") if file.name != "zarr.json" and file.stat().st_size > 8
    ]
    described = [file.parent / "zarr.json" for file in files_below(path / "cubes", "zarr.json")]
    described = [file for file in described if (file.parent / "c").exists()]
    tables = [path / "dataset.json", path / "samples.csv"]

    def read() -> object:
        return contents(Store.open(path))

    def check() -> object:
        opened = Store.open(path)
        findings, _ = check_values(opened, deep=True)
        refuse_problems(opened, findings)
        return contents(opened)

    for name, files in (
        ("shards of cubes and masks", arrays),
        ("zarr.json of cubes and masks", described),
        ("samples.csv, dataset.json", tables),
    ):
        yield _damaged_in_place(f"store: {name}, read to train", seed, n // 3, files, read)
    yield _damaged_in_place(
        "store: all parts, `check --deep`", seed, n, [*arrays, *described, *tables], check
    )


def contents(store: Store) -> object:
    """All that training takes from a store."""
    refuse_problems(store, check_table(store))
    cubes = PreparedStore(store)
    samples = [
        (
            repr(sample),
            sample.content,
            cubes.read(sample.id),
            store.reference(sample.id) if sample.has_reference else None,
        )
        for sample in store.samples
    ]
    described = (
        store.channels,
        store.pixel_size_um,
        store.background,
        store.preparation,
        dict(store.reading),
    )
    return samples, described, store.wavenumbers_cm1


def _models(folder: Path, n: int, seed: int) -> Iterator[Row]:
    path = write_model(folder / "model")
    files = [file for file in files_below(path) if file.name != "README.md"]

    def read() -> object:
        model = load_model(path)
        return [
            (
                jax.tree.leaves(network.variables),
                (network.scaling.mean, network.scaling.sd, network.wavenumbers_cm1),
                (network.threshold, network.background, dict(network.description)),
            )
            for network in model.networks
        ]

    yield _damaged_in_place("model: parameters, model.json", seed, n, files, read)


def _checkpoints(folder: Path, n: int, seed: int) -> Iterator[Row]:
    fresh = init_train_state(jax.random.key(0), build_network(Network(base=2, depth=0)), 3)
    kept = folder / "run" / "checkpoints"

    def at(step: int) -> TrainState:
        variables = jax.tree.map(lambda leaf: leaf + step, fresh.variables)
        return replace(fresh, step=jnp.int32(step), variables=variables)

    with Checkpoints(kept) as checkpoints:
        for step in (2, 4):
            checkpoints.save(at(step), at(step).variables, {"history": [step]})

    def whole(place: Path) -> Callable[[], object]:
        def read() -> object:
            with contextlib.redirect_stdout(io.StringIO()), Checkpoints(place) as checkpoints:
                state, best, progress = checkpoints.restore(fresh)
            step = int(state.step)
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((state.variables, best))]
            expected = [np.asarray(leaf) for leaf in jax.tree.leaves((at(step).variables,) * 2)]
            equal = all(np.array_equal(*pair) for pair in zip(leaves, expected, strict=True))
            return equal and progress == {"history": [step]}

        return read

    row = Row("checkpoints: one damaged, resumed from it or the one before", seed)
    for case, choose in row.choices(n):
        with damaged_copy(choose, kept, files_below(kept), folder / "copy" / "checkpoints") as (place, what):
            outcome = in_process(whole(place), digest(True))
        row.count(case, what, outcome)
    yield row


def _predictions(folder: Path, n: int, seed: int) -> Iterator[Row]:
    model = write_model(folder / "predicting", axis=None)
    rng = np.random.default_rng(seed)
    inputs = []
    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", rng.normal(5.0, 2.0, (20, 24, 3)).astype(np.float32))
        inputs.append(folder / f"{name}.npy")
    out = folder / "predictions"
    options = PredictOptions(tuple(inputs), model, out, outputs=("zarr", "png", "geojson", "tiff"))
    with contextlib.redirect_stdout(io.StringIO()):
        predict(options)

    def read() -> object:
        found = []
        for sample in read_predictions(out).samples:
            stated = sample.images_sha256
            maps = open_maps(out / sample.files["activation_zarr"], stated["activation_zarr"])
            levels = [np.asarray(level[:]) for level in (*maps.activation, *maps.tissue, *maps.segmentation)]
            overview = open_overview(out / sample.files["overview_zarr"], stated["overview_zarr"])
            drawn = (np.asarray(overview.bands[:]), overview.step, overview.wavenumbers_cm1)
            found.append((repr(sample), levels, drawn))
            found.append(repr(read_sample(out / "samples" / sample.id / "sample.json")))
        return found

    zarrs = [file for file in files_below(out) if ".ome.zarr" in str(file)]
    values = [file for file in zarrs if file.name != "zarr.json"]
    described = [file for file in zarrs if file.name == "zarr.json"]
    tables = [out / "predictions.json", *files_below(out, "sample.json")]
    others = [file for file in files_below(out / "samples") if file not in {*zarrs, *tables}]

    def check() -> object:
        check_predictions(out, deep=True)
        return read()

    yield _damaged_in_place("predictions: arrays of maps, read", seed, n // 4, values, read)
    yield _damaged_in_place("predictions: zarr.json of maps, read", seed, n // 4, described, read)
    yield _damaged_in_place(
        "predictions: all parts, `check --deep`", seed, n, [*values, *described, *tables, *others], check
    )
