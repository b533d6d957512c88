"""Ordinary images are shown in their own colours, and nothing of a spectrum is said of them."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from compseg_jax.drawing.pictures import brightest, colours_shown
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate, preview
from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.ingest.to_store import ingest
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.viewer import texts
from compseg_jax.viewer.image_figure import ImageFigure
from compseg_jax.viewer.image_layers import Layer, Window
from compseg_jax.viewer.predictions_source import PredictionsSource
from tests.model_example import write_model

SPECTRAL = ("cm⁻¹", "wavenumber", "amide", "spectr", "band importance")
PINK, WHITE = (214, 130, 180), (250, 250, 250)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pink on white pictures, the store made from them, a network, and its report."""
    folder = tmp_path_factory.mktemp("colours")
    lines = ["id,path,label,split"]
    for number in range(4):
        values = np.full((32, 40, 3), WHITE, np.uint8)
        values[8:24, 4:20] = PINK
        values[31, number] = 200  # no two pictures are the same
        Image.fromarray(values).save(folder / f"{number}.png")
        lines.append(f"s{number},{number}.png,{number % 2},test")
    (folder / "spots.csv").write_text("\n".join(lines), encoding="utf-8")
    ingest(folder / "spots.csv", folder / "store", IngestOptions())
    model = write_model(folder / "model", channels=3, axis=None)
    options = EvaluateOptions(model=model, data=folder / "store", out=folder / "report", bootstrap=10)
    return folder, evaluate(options)[0].read_text(encoding="utf-8")


def visible(page: str) -> str:
    """Text of a page without its style sheet, scripts and pictures."""
    return re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def assert_in_own_colours(page: str) -> None:
    shown = pictures(page)
    assert len(shown) == 4
    for picture in shown:
        np.testing.assert_allclose(picture[12:20, 8:16].mean(axis=(0, 1)), PINK, atol=3)
        np.testing.assert_allclose(picture[:6].mean(axis=(0, 1)), WHITE, atol=3)
    said = visible(page).lower()
    for word in SPECTRAL:
        assert word not in said, word


def test_a_report_shows_pictures_and_no_spectra(made):
    assert_in_own_colours(made[1])
    assert ">Curves</h2>" in made[1]
    assert "Dice in diseased samples" not in made[1]


def test_a_summary_shows_pictures_and_no_spectra(made):
    assert_in_own_colours((made[0] / "store/summary.html").read_text(encoding="utf-8"))


def test_a_picture_keeps_its_range_and_what_lies_outside_of_the_tissue():
    values = np.array([[[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]])
    np.testing.assert_allclose(preview(values, np.array([[True, False]]), None), values / 255)
    assert [brightest(np.array(each)) for each in ([0.2, 1.0], [0.0, 200.0], [300.0], [7e4])] == [
        1,
        255,
        65535,
        7e4,
    ]
    np.testing.assert_array_equal(
        colours_shown(np.array([np.nan, np.inf, -1.0, 51.0]), 255.0), [0, 0, 0, 0.2]
    )


def test_the_viewer_draws_colours_and_tells_the_values_of_a_pixel(made, tmp_path):
    predict(PredictOptions((made[0] / "0.png",), made[0] / "model", tmp_path / "out", outputs=("zarr",)))
    view = PredictionsSource.read(tmp_path / "out").open("0")
    assert view.in_colours
    assert "own colours" in texts.band_text(view, 0)
    values = view.spectrum(10, 10)[0]
    said = texts.spectra_text(view, None, 0.5, texts.Pixel((10, 10), 0.2, 1.0, tuple(map(float, values))))
    assert "red 214, green 130, blue 180" in said
    figure = ImageFigure()
    figure.frame(view.shape_px, None)
    figure.show_colours(view.cube_layer(view.activation.whole), 255.0)
    (source,) = [each for name, each in figure._sources.items() if name == "base_colours"]
    (drawn,) = source.data["image"]
    assert (drawn.dtype, drawn.shape) == (np.uint32, (32, 40))
    assert drawn[:1, :1].view(np.uint8).ravel().tolist() == [*WHITE, 255]
    assert drawn[10:11, 10:11].view(np.uint8).ravel().tolist() == [*PINK, 255]
    figure.show_colours(None, 255.0)
    assert source.data["image"] == []
    figure.show_colours(Layer(np.ones((3, 2, 2)), Window(0, 2, 0, 2), 1.0), 1.0, detail=True)
    assert len(figure._sources["detail_colours"].data["image"]) == 1
