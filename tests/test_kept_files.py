"""Models, ensembles, predictions and reports of earlier releases stay readable.

The folders in tests/data were written once, by release 0.1.0, and are never written again: a later version gets a
folder of its own. Only the places of files were made relative, and the report's page was cut to its head.
``model_v1.npy`` and ``ensemble_v1.npy`` are what the networks made of ``cube_v1.npz`` then.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.evaluation.report.report_folder import check_report_folder
from compseg_jax.model import load_model
from compseg_jax.prediction.formats import open_maps, open_overview, read_predictions, read_sample
from compseg_jax.viewer.opening import open_source

DATA = Path(__file__).parent / "data"
WHAT_THE_CPU_CHANGES = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def cube() -> dict[str, np.ndarray]:
    """A cube as arguments of a network: spectra, axis and tissue."""
    with np.load(DATA / "cube_v1.npz") as arrays:
        absorbance = arrays["absorbance"]
        return {
            "cube": absorbance,
            "wavenumbers_cm1": arrays["wavenumbers_cm1"],
            "tissue": np.any(absorbance != 0, axis=-1),
        }


def test_a_network_gives_the_map_that_it_gave(cube):
    found = load_model(DATA / "model_v1")(**cube)
    np.testing.assert_allclose(found, np.load(DATA / "model_v1.npy"), **WHAT_THE_CPU_CHANGES)


def test_an_ensemble_gives_mean_and_spread_that_it_gave(cube):
    found = load_model(DATA / "ensemble_v1").predict(**cube)
    expected = np.load(DATA / "ensemble_v1.npy")
    assert expected[1].max() > 0
    np.testing.assert_allclose(np.stack([found.activation, found.spread]), expected, **WHAT_THE_CPU_CHANGES)


def test_predictions_are_read_and_shown():
    folder = DATA / "predictions_v1"
    predictions = read_predictions(folder)
    done = {sample.id: sample for sample in predictions.samples}
    assert set(done) == {"cube_v1", "v-0", "v-1"}
    source = open_source(folder)
    assert source.threshold == predictions.threshold == load_model(DATA / "model_v1").threshold
    for row in source.samples():
        sample = done[row.id]
        assert read_sample(folder / "samples" / row.id / "sample.json") == sample
        assert all((folder / file).exists() for file in sample.files.values())
        view = source.open(row.id)
        maps = open_maps(folder / sample.files["activation_zarr"])
        assert view.shape_px == maps.shape == (sample.height_px, sample.width_px)
        activation, tissue = maps.activation[0][:], maps.tissue[0][:] == 1
        np.testing.assert_array_equal(
            maps.segmentation[0][:], tissue & (activation > np.float32(predictions.threshold))
        )
        assert activation[tissue].mean(dtype=np.float64) == pytest.approx(sample.score, rel=1e-6)
        assert view.spectrum(1, 1)[0].shape == (2,)
    expected = np.load(DATA / "model_v1.npy")
    found = open_maps(folder / done["cube_v1"].files["activation_zarr"]).activation[0][:]
    np.testing.assert_allclose(found, expected, **WHAT_THE_CPU_CHANGES)
    overview = open_overview(folder / done["cube_v1"].files["overview_zarr"])
    assert tuple(overview.wavenumbers_cm1) == (1650.25, 1100.5)


def test_a_report_is_shown_and_may_be_replaced(tmp_path):
    for name in ("report_v1", "model_v1", "store_v1"):
        shutil.copytree(DATA / name, tmp_path / name)
    source = open_source(tmp_path / "report_v1")
    assert {row.id: row.label for row in source.samples()} == {"v-0": 0, "v-1": 1}
    view = source.open("v-1")
    assert view.shape_px == (3, 4)
    assert view.activation_at(1, 1) == pytest.approx(source.open("v-1").row.score, abs=0.2)
    check_report_folder(tmp_path / "report_v1")


def test_kept_files_are_small():
    sizes = [path.stat().st_size for path in DATA.rglob("*") if path.is_file()]
    assert sum(sizes) < 300_000
