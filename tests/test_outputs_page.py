"""docs/outputs.md: its Python runs, and its tables name what is there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

import compseg_jax.prediction.formats as export
from compseg_jax.prediction.formats.prediction_tables import FILE_KINDS

PAGE = (Path(__file__).parents[1] / "docs" / "outputs.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((256, 300), np.bool_)
    mask[10:50, 20:90] = True
    export.write_geojson("corrected.geojson", mask)
    folder = Path("OUT/samples/a1")
    writer = export.ActivationMapWriter(folder / "activation.ome.zarr", mask.shape)
    writer.write(0, 0, mask * np.float32(0.5), mask, np.ones_like(mask))
    writer.finish()
    sample = export.SamplePrediction(
        id="a1",
        source="a1.npy",
        status="done",
        files={"activation_zarr": f"{folder.relative_to('OUT')}/activation.ome.zarr"},
    )
    export.write_predictions("OUT", export.Predictions(model={}, threshold=0.35, samples=(sample,)))
    names: dict = {}
    assert len(CODE) == 2
    for code in CODE:
        exec(compile(code, "docs/outputs.md", "exec"), names)
    with Image.open("reference.png") as image:
        assert (np.asarray(image) == mask * np.uint8(255)).all()
    assert names["tile"].max() == 0.5
    assert names["whole_at_low_resolution"].shape == (256, 300)


def test_its_tables_name_what_is_there():
    for field in dataclasses.fields(export.SamplePrediction):
        assert f"`{field.name}`" in PAGE
    for kind in FILE_KINDS:
        assert f"`{kind}`" in PAGE
    for name in re.findall(r"`(\w+)`", PAGE.split("| function of")[1].split("Maps on disk")[0]):
        assert hasattr(export, name) or name in ("compseg_jax", "export"), name
    assert json.dumps(export.Annotation().classification) == '"Tumor"'
    assert "*Tumor*" in PAGE
