"""Pictures of the documentation, of the demo's outputs: the report, its overlays, and the viewer.

    make demo && .venv/bin/python -m tools.screenshots [--demo runs/demo] [--out docs/images]

Writes report.png, overlays.png and viewer.png, each below 300 kB. With --slide PREDICTIONS, the folder of one predicted
slide (docs/predict.md says how to make it), slide.png alone: the viewer on it. Needs Chromium, and Bokeh for it.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page
from scipy import ndimage

from tools.browser import find_chromium, open_page

WIDTH, HEIGHT = 1280, 800
MOST_BYTES = 300_000
MODEL = "Bokeh.documents[0]?.get_model_by_name"
MOSTLY = 250
"""Of 255, the share of a block of mask pixels that must be segmented."""
COLOURS = (256, 192, 128, 96, 64)
SHOWN_AREA = (0.25, 0.6)
"""Part of the tissue that is segmented in the sample shown: enough to see, and enough left to compare with."""


def main() -> None:
    """Makes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="outputs of `make demo`")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    parser.add_argument("--slide", type=Path, help="predictions of one slide: its picture alone")
    options = parser.parse_args()
    report = options.demo / "report"
    if options.slide is not None and not (options.slide / "predictions.json").is_file():
        sys.exit(
            f"{options.slide} holds no predictions.json. Name the folder that `compseg predict --out` wrote."
        )
    if options.slide is None and not (report / "report.html").is_file():
        sys.exit(
            f"{report} holds no report.html. Run `make demo` first, or name the demo's folder with --demo."
        )
    chromium = find_chromium()
    if chromium is None:
        sys.exit("No Chromium found. Install it (Debian: apt install chromium), or name it in $CHROMIUM.")
    options.out.mkdir(parents=True, exist_ok=True)
    with open_page(chromium, width=WIDTH, height=HEIGHT) as page:
        if options.slide is not None:
            with viewer(options.slide) as url:
                show_slide(page, url, options.slide)
                take(page, options.out / "slide.png")
            return
        page.goto((report / "report.html").resolve().as_uri())
        take(page, options.out / "report.png")
        page.evaluate("document.querySelector('#pictures').scrollIntoView({behavior: 'instant'})")
        page.wait_for_timeout(300)
        take(page, options.out / "overlays.png")
        with viewer(report) as url:
            show_sample(page, url, report)
            take(page, options.out / "viewer.png")


def show_sample(page: Page, url: str, report: Path) -> None:
    """Opens the viewer at a sample that is segmented in part, and clicks into the segmentation."""
    sample, steps = chosen_sample(report)
    page.goto(url)
    page.wait_for_function(f"{MODEL}('area').text.length")
    for _ in range(steps):
        page.keyboard.press("j")
    page.wait_for_function(
        f"{MODEL}('heading').text.includes({json.dumps(sample)}) && !{MODEL}('heading').text.includes('reading')"
    )
    page.wait_for_function(f"{MODEL}('spectra').renderers[1].data_source.data.x.length")
    page.wait_for_timeout(500)
    click_into(page, np.asarray(Image.open(report / "mask" / f"{sample}.png")) > 0)


def show_slide(page: Page, url: str, predictions: Path) -> None:
    """Opens the viewer at the one slide of a folder, and clicks into its largest segmented region."""
    entry = json.loads((predictions / "predictions.json").read_text(encoding="utf-8"))["samples"][0]
    page.goto(url)
    page.wait_for_function(f"{MODEL}('area').text.length")
    page.wait_for_function(f"{MODEL}('spectra').renderers[1].data_source.data.x.length")
    page.wait_for_timeout(1000)
    Image.MAX_IMAGE_PIXELS = None
    mask = Image.open(predictions / "samples" / entry["id"] / "mask.png").convert("L")
    click_into(page, np.asarray(mask.resize((WIDTH, WIDTH), Image.Resampling.BOX)) > MOSTLY)


def click_into(page: Page, mask: np.ndarray) -> None:
    """Clicks the pixel of the picture that lies deepest in a mask (y, x), and waits for its spectrum."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    # From pixels of the sample to those of the window, by the ranges of the figure and its frame.
    place = page.evaluate(
        f"""((figure, view) => {{
          const box = view.el.getBoundingClientRect()
          const [layer] = [figure.renderers[2].data_source.data]
          const x = layer.x[0] + layer.dw[0] * {(column + 0.5) / mask.shape[1]}
          const y = layer.y[0] + layer.dh[0] * {(row + 0.5) / mask.shape[0]}
          return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)]
        }})({MODEL}('image'), Bokeh.index.get_by_id({MODEL}('image').id))"""
    )
    page.mouse.click(*place)
    page.wait_for_function(f"{MODEL}('spectra').renderers[2].data_source.data.x.length")
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(700)


def chosen_sample(report: Path) -> tuple[str, int]:
    """The sample of best Dice among those segmented in part, and its place in the list by score."""
    with (report / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (-float(row["mean_activation"]), row["id"]))
    partly = [
        (float(row["dice"]), index)
        for index, row in enumerate(rows)
        if row["dice"] and SHOWN_AREA[0] <= float(row["area_fraction"]) <= SHOWN_AREA[1]
    ]
    index = max(partly)[1] if partly else 0
    return rows[index]["id"], index


@contextmanager
def viewer(folder: Path) -> Iterator[str]:
    """The address of `compseg view` on a folder."""
    command = [sys.executable, "-m", "compseg_jax.cli", "view", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                sys.exit("`compseg view` did not start; its message stands above.")
            yield url
        finally:
            process.send_signal(signal.SIGINT)


def take(page: Page, path: Path) -> None:
    """Saves what is seen, with as many colours as fit into the largest size."""
    page.screenshot(path=path)
    picture = Image.open(path).convert("RGB")
    for colours in (None, *COLOURS):
        fewer = picture if colours is None else picture.quantize(colours, dither=Image.Dither.NONE)
        fewer.save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {colours or 'all'} colours")
            return
    raise RuntimeError(
        f"{path} has more than {MOST_BYTES} bytes with {COLOURS[-1]} colours: make it smaller."
    )


if __name__ == "__main__":
    main()
