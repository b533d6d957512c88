"""Every Python snippet of README and docs runs as it stands, in a folder that holds what it names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from compseg_jax import Batch, PredictOptions, load_model, predict
from compseg_jax.cli.main import main
from compseg_jax.store import Store
from compseg_jax.store.write import StoreWriter
from tests.runs_example import write_a_run
from tests.untrained_example import write_ensemble, write_untrained

ROOT = Path(__file__).parents[1]
SNIPPETS = [
    # Only a whole U-Net of 450 channels takes its time to compile; `test_train_step.py` makes smaller ones.
    pytest.param(
        text,
        id=f"{path.parent.name}-{path.name}-{number}",
        marks=pytest.mark.slow if "compseg_jax.UNet(base=16)" in text else (),
    )
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs/reference/README.md"]
    for number, text in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
]
SIZE, AXIS_CM1 = (16, 20), np.linspace(1790.0, 960.0, 24)


def absorbance_of(seed: int) -> np.ndarray:
    """Spectra with an amide I band of different height, in a field that leaves a margin empty."""
    rng = np.random.default_rng(seed)
    band = np.exp(-(((AXIS_CM1 - 1655) / 30) ** 2)) + 0.4 * np.exp(-(((AXIS_CM1 - 1240) / 40) ** 2))
    spectra = rng.uniform(0.3, 0.9, (*SIZE, 1)) * band + rng.normal(0.05, 0.01, (*SIZE, AXIS_CM1.size))
    spectra[:2] = 0
    return spectra.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the pages name: a store, a run, an ensemble, slides, predictions, exported networks, drawn annotations."""
    from compseg_jax.store import Sample

    place = tmp_path_factory.mktemp("work")
    writer = StoreWriter(
        place / "store", channels=AXIS_CM1.size, wavenumbers_cm1=AXIS_CM1, pixel_size_um=5.0, background="zero",
        created_by="a test",
    )  # fmt: skip
    with writer:
        for number in range(8):
            absorbance = absorbance_of(number)
            sample = Sample(f"a{number}", number % 2, "train", f"p{number}", *SIZE, False, "made")
            writer.add(sample, absorbance, absorbance.any(axis=-1), None)
    store = Store.open(place / "store")
    write_untrained("default", store, store.samples, place / "runs/mine/model")
    write_a_run(place / "runs/mine", place / "store", model=False)
    write_ensemble("default", store, place / "runs/five")
    for name in ("onnx", "safetensors"):
        words = [
            "--model",
            str(place / "runs/mine"),
            "--out",
            str(place / f"tumour.{name}"),
            "--format",
            name,
        ]
        assert main(["export", *words]) == 0
    (place / "slides").mkdir()
    np.savez(place / "slides/one.npz", absorbance=absorbance_of(9), wavenumbers_cm1=AXIS_CM1)
    predict(PredictOptions((place / "slides",), place / "runs/mine", place / "OUT"))
    ring = [[10, 10], [90, 10], [90, 90], [10, 90], [10, 10]]
    drawn = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"classification": {"name": "Tumor"}},
            }
        ],
    }
    (place / "corrected.geojson").write_text(json.dumps(drawn))
    return place


def names_of(folder: Path) -> dict[str, Any]:
    """What a snippet is given by the text around it."""
    import onnxruntime

    store = Store.open(folder / "store")
    seen = load_model(folder / "runs/mine").predict(store.cube("a1"), tissue=store.tissue("a1"))
    session = onnxruntime.InferenceSession(folder / "tumour.onnx")
    batch = Batch(
        cube=jnp.zeros((2, 16, 16, 450)),
        tissue=jnp.ones((2, 16, 16), bool),
        label=jnp.asarray([0, 1], jnp.int32),
        weight=jnp.ones(2),
    )
    return {
        "json": json,
        "key": jax.random.key(0),
        "batch": batch,
        "cube": seen.absorbance,
        "absorbance": store.read("a1"),
        "tissue": store.tissue("a1"),
        "wavenumbers_cm1": store.wavenumbers_cm1,
        "metadata": session.get_modelmeta().custom_metadata_map,
    }


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs(snippet, folder, monkeypatch):
    if "torch" in snippet:
        pytest.importorskip("torch", reason="TorchScript needs torch: pip install 'compseg-jax[torch]'")
    monkeypatch.chdir(folder)
    names = names_of(folder)
    exec(compile(snippet, "snippet", "exec"), names)
    if "geojson_to_mask" in snippet:
        assert np.asarray(Image.open("reference.png"))[50, 50] == 255
    if 'load_model("runs/mine")' in snippet:
        scored = np.asarray(names["activation"])
        found = load_model("runs/mine")(names["store"].cube("a1"), tissue=names["tissue"])
        np.testing.assert_array_equal(scored, found)
        assert names["result"].spread.max() > 0
    if "onnxruntime.InferenceSession" in snippet:
        expected = load_model("runs/mine")(names["cube"], prepared=True)
        np.testing.assert_allclose(names["activation"][0, 0], expected, atol=1e-4)
    if "Preparation.from_json" in snippet:
        np.testing.assert_allclose(names["prepared"], names["cube"], atol=1e-6)
    if "report.done" in snippet:
        assert [sample.id for sample in names["report"].done] == ["one"]
