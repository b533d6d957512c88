"""The viewer end to end: `compseg view` as a process, and its server, looked at and moved in a headless Chromium."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from predictions_example import write_predictions, write_sample, write_slide
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from compseg_jax.cli.main import main
from compseg_jax.readers.masks import MaskRule, read_mask
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.write import StoreWriter
from compseg_jax.viewer.opening import open_source
from compseg_jax.viewer.server import Viewer, _let_go
from tools.browser import find_chromium, open_browser

# Ends of connections that the browser still holds when a server in a thread here has stopped.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
THRESHOLD = 0.375
HEIGHT, WIDTH, CHANNELS = 48, 64, 6
AXIS = np.array([1800.0, 1655.0, 1500.0, 1300.0, 1100.0, 950.0])
NAMES = ("much", "some", "none")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here, each of which has pages, and a memory, of its own."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium on the path and no $CHROMIUM: the page was not looked at")
    with open_browser(executable) as opened:
        yield opened


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """An empty page."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three samples of a store with reference masks; activations rise from left to right."""
    place = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, WIDTH))
    tissue = np.ones((HEIGHT, WIDTH), bool)
    tissue[:6] = False
    writer = StoreWriter(
        place / "data",
        channels=CHANNELS,
        wavenumbers_cm1=AXIS,
        pixel_size_um=5.5,
        background="zero",
        created_by="test",
    )
    entries = []
    with writer:
        for index, name in enumerate(NAMES):
            cube = rng.random((HEIGHT, WIDTH, CHANNELS), np.float32) * tissue[..., None]
            reference = tissue & (ramp > 0.5)
            writer.add(Sample(name, 1, "test", name, HEIGHT, WIDTH, True), cube, tissue, reference)
            entries.append(
                write_sample(
                    place / "out",
                    name,
                    ramp * tissue * (1 - 0.4 * index),
                    tissue,
                    source=str(place / "data"),
                    channels=CHANNELS,
                    threshold=THRESHOLD,
                    store_id=name,
                    pixel_size_um=5.5,
                    label=1,
                    area_low=0.25,
                    area_high=0.75,
                )
            )
    return write_predictions(place / "out", entries[::-1], threshold=THRESHOLD)


@contextmanager
def served(folder: Path, *options: str, quiet: bool = True) -> Iterator[tuple[str, subprocess.Popen]]:
    """`compseg view` as a process; its address. Ended by Ctrl-C, while the page may still be open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compseg_jax.cli", "view", str(folder), "--no-browser", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "BOKEH_RESOURCES": "cdn"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.stderr.read()
        yield url, process
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert not quiet or errors == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@contextmanager
def viewed(folder: Path, outlines: Path) -> Iterator[str]:
    """The address of what `compseg view` shows, from a thread here: a process takes seconds to start."""
    listening: SimpleQueue[tuple[str, Callable[[], object]]] = SimpleQueue()

    async def serve() -> None:
        viewer, ended = Viewer(open_source(folder), outlines), asyncio.Event()
        listening.put((viewer.url, partial(asyncio.get_running_loop().call_soon_threadsafe, ended.set)))
        await ended.wait()
        viewer.close()
        await _let_go()
        await viewer._http.close_all_connections()  # the browser keeps them for another question

    with ThreadPoolExecutor(1) as thread:
        server = thread.submit(asyncio.run, serve())
        url, end = listening.get(timeout=60)
        try:
            yield url
        finally:
            end()
        server.result()
    gc.collect()  # here, where the warning is expected


def text(page: Page, name: str) -> str:
    """What a text of the page says, without its tags."""
    return re.sub("<[^>]+>", " ", page.evaluate(f"Bokeh.documents[0]?.get_model_by_name('{name}').text"))


def place(page: Page, selector: str) -> dict[str, float]:
    """``x``, ``y``, ``width`` and ``height`` of an element, which may lie in the shadow tree of a widget."""
    return dict(page.locator(selector).first.bounding_box())


def problems_of(page: Page) -> list[str]:
    """A list that every error of the page's scripts is added to."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    return problems


def curve(name: str) -> str:
    """JavaScript for the values of a curve of the spectra: outside, inside, pixel."""
    index = ("outside", "inside", "pixel").index(name)
    return f"Array.from(Bokeh.documents[0]?.get_model_by_name('spectra').renderers[{index}].data_source.data.y ?? [])"


def test_the_address_is_a_secret_of_this_machine(folder, tmp_path):
    with served(folder, "--outlines", str(tmp_path / "drawn"), quiet=False) as (url, _):
        origin, secret = url.rsplit("/", 1)
        assert len(secret) >= 16
        page = urllib.request.urlopen(url).read().decode()
        assert "Content-Security-Policy" in page
        assert set(re.findall(r'(?:src|href)="(\w+://[^"/]*)', page)) == set()
        assert "cdn." not in page
        for wrong in ("/", "/x", "/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd"):
            with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
                urllib.request.urlopen(origin + wrong)
        for other in ("http://evil.example", origin.replace("127.0.0.1", "evil.example")):
            request = HTTPRequest(f"{url}/ws".replace("http", "ws"), headers={"Origin": other})
            # Playwright's event loop is the running one of this thread, as long as its browser is open.
            with ThreadPoolExecutor(1) as thread, pytest.raises(HTTPClientError, match="403"):
                thread.submit(asyncio.run, connected(request)).result()
        own = {"Origin": origin, "Content-Type": "application/json"}
        assert answered(f"{url}/outlines?sample=much", "PUT", SQUARE, **own) == 200
    assert (tmp_path / "drawn" / "much.geojson").is_file()


async def connected(request: HTTPRequest) -> None:
    """Opens a websocket."""
    await websocket_connect(request)


def test_the_page_follows_slider_keys_and_clicks(page, folder):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    problems = problems_of(page)
    with served(folder) as (url, _):
        page.goto(url)
        page.wait_for_function(f"({curve('inside')}).length === {CHANNELS}")
        assert "much , labelled diseased" in text(page, "heading")
        heading = text(page, "area")
        shown = np.float32(np.linspace(0, 1, WIDTH, dtype=np.float32) > THRESHOLD).mean()
        assert f"{100 * shown:.1f} %" in heading
        assert "allowed for: 25–75 %" in heading
        assert "0.889" in text(page, "dice")  # 40 columns are segmented, the 32 of the reference among them
        assert page.evaluate("Bokeh.documents[0]?.get_model_by_name('spectra').x_range.flipped")

        # The threshold, moved by the mouse: number, picture and mean spectra follow, and it goes back.
        before = page.evaluate(curve("inside"))
        box = place(page, ".threshold .noUi-base")
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + THRESHOLD * box["width"], y)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.75 * box["width"], y, steps=8)
        page.mouse.up()
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('threshold').value > 0.745")
        value = page.evaluate("Bokeh.documents[0]?.get_model_by_name('threshold').value")
        shown = np.float32(np.linspace(0, 1, WIDTH, dtype=np.float32) > np.float32(value)).mean()
        page.wait_for_function(
            f"Bokeh.documents[0]?.get_model_by_name('area').text.includes('{100 * shown:.1f} %')"
        )
        assert "moved; the chosen one is 0.375" in text(page, "threshold_label")
        assert "allowed for" not in text(page, "area")
        assert page.evaluate(curve("inside")) != before
        low = page.evaluate(
            "Bokeh.documents[0]?.get_model_by_name('image').renderers[4].glyph.color_mapper.low"
        )
        assert value < low < value + 1e-6
        page.click(".reset button")
        page.wait_for_function(f"Bokeh.documents[0]?.get_model_by_name('threshold').value === {THRESHOLD}")

        # Keys.
        page.keyboard.press("j")
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('heading').text.includes('some')")
        assert "2 of 3" in text(page, "position")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("j")
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('heading').text.includes('none')")
        page.keyboard.press("k")
        page.keyboard.press("ArrowUp")
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('heading').text.includes('much</b>, ')")

        # A click shows the spectrum of that pixel, as it is stored.
        assert page.evaluate(curve("pixel")) == []
        frame = place(page, ".image")
        page.mouse.click(frame["x"] + 0.6 * frame["width"], frame["y"] + 0.45 * frame["height"])
        page.wait_for_function(f"({curve('pixel')}).length === {CHANNELS}")
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('spectra_label').text.includes('row ')")
        row, column = map(int, re.findall(r"row (\d+), column (\d+)", text(page, "spectra_label"))[0])
        stored = Store.open(folder.parent / "data").read("much")[row, column]
        np.testing.assert_allclose(page.evaluate(curve("pixel")), stored, rtol=1e-6)

        assert any(address.startswith("ws://127.0.0.1:") for address in asked)
        assert [address for address in asked if not re.match(r"(data:|\w+://127\.0\.0\.1:)", address)] == []
        assert problems == []


def visible_layer(page: Page, index: int) -> dict:
    """Shape and place of a layer of the picture: 0 band, 1 detail of the band, 2 activation."""
    return page.evaluate(
        "(data => ({shape: data.image[0]?.shape, x: data.x[0], dw: data.dw[0]}))"
        f"(Bokeh.documents[0]?.get_model_by_name('image').renderers[{index}].data_source.data)"
    )


@pytest.mark.slow
def test_zooming_reads_the_window_in_full_resolution(page, tmp_path):
    problems = problems_of(page)
    folder = write_slide(tmp_path, 2048, channels=4)
    with viewed(folder, tmp_path / "drawn") as url:
        page.goto(url)
        page.wait_for_function(
            "Bokeh.documents[0]?.get_model_by_name('image').renderers[0].data_source.data.image.length"
        )
        assert visible_layer(page, 4)["shape"] == [1024, 1024]
        assert visible_layer(page, 0)["shape"] == [512, 512]
        frame = place(page, ".image")
        x, y = frame["x"] + 0.55 * frame["width"], frame["y"] + 0.45 * frame["height"]
        page.mouse.move(x, y)
        for _ in range(12):
            page.mouse.wheel(0, -120)
        page.wait_for_function(
            "(data => data.dw[0] / data.image[0].shape[1] < 0.0056)"  # mm a pixel
            "(Bokeh.documents[0]?.get_model_by_name('image').renderers[4].data_source.data)"
        )
        assert visible_layer(page, 4)["dw"] < 1024 * 0.0055
        page.mouse.click(x, y)
        page.wait_for_function(f"({curve('pixel')}).length === 4")
        page.wait_for_function(
            "Bokeh.documents[0]?.get_model_by_name('spectra_label').text.includes('mean of 4×4 pixels')"
        )
        assert "no longer there" in text(page, "spectra_label")
        assert problems == []


@pytest.mark.parametrize(
    "width", [390, *(pytest.param(width, marks=pytest.mark.slow) for width in (800, 1400))]
)
def test_the_page_fits_its_window_and_says_what_was_seen(page, folder, tmp_path, width):
    values = json.loads((folder / "predictions.json").read_text())
    values["samples"][0]["seen"] = "training"
    values["samples"][1]["outside"] = True
    copied = shutil.copytree(folder, tmp_path / "out")
    (copied / "predictions.json").write_text(json.dumps(values))
    page.set_viewport_size({"width": width, "height": 844})
    with viewed(copied, tmp_path / "drawn") as url:
        page.goto(url)
        page.wait_for_function(f"({curve('inside')}).length === {CHANNELS}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = place(page, ".image")
        assert shown["width"] > 0.4 * width
        assert shown["height"] > 250
        assert place(page, ".threshold_story")["x"] + place(page, ".threshold_story")["width"] <= width
        marks = [page.locator(f".mark.{name}").all_inner_texts() for name in ("seen", "outside")]
        assert marks == [["trained on"], ["outside"]]
        assert "Seen before: 1 trained on" in text(page, "seen")
        assert "no longer in its place" in text(page, "threshold_story")  # the end of the sentence


SQUARE = {"outlines": [{"class": "diseased", "rings": [[[1, 1], [5, 1], [5, 5]]]}], "version": ""}
STATUS = "document.getElementById('outline-status').textContent"


def on_picture(page: Page, column: float, row: float, *, unit: float = 5.5) -> tuple[float, float]:
    """Where a place of the image, in pixels, is on the screen."""
    frame = page.evaluate(
        "(f => [f.x_range.start, f.x_range.end, f.y_range.start, f.y_range.end])"
        "(Bokeh.documents[0].get_model_by_name('image'))"
    )
    left, right, bottom, top = (each / unit for each in frame)
    box = place(page, "svg.drawing")
    return (
        box["x"] + (column - left) / (right - left) * box["width"],
        box["y"] + (row - top) / (bottom - top) * box["height"],
    )


def kept(folder: Path, name: str) -> list[list[list[float]]]:
    """Outer rings of a saved file, not closed."""
    features = json.loads((folder / f"{name}.geojson").read_text())["features"]
    return [each["geometry"]["coordinates"][0][:-1] for each in features]


@pytest.mark.slow
def test_an_outline_is_drawn_corrected_saved_and_opened_again(page, folder, tmp_path):
    problems = problems_of(page)
    drawn = tmp_path / "drawn"
    page.set_viewport_size({"width": 1400, "height": 900})
    with viewed(folder, drawn) as url:
        page.goto(url)
        page.wait_for_function(f"({curve('inside')}).length === {CHANNELS}")
        page.click("#outlines summary")
        page.wait_for_function(f"{STATUS} === 'Nothing drawn yet.'")
        # A square by the mouse, its first corner closing it.
        page.click("[data-do=draw]")
        corners = [(20.0, 12.0), (40.0, 12.0), (40.0, 30.0), (20.0, 30.0)]
        for corner in (*corners, corners[0]):
            page.mouse.click(*on_picture(page, *corner))
        page.wait_for_function(f"{STATUS}.startsWith('1 outline, not saved yet')")
        assert not drawn.exists()
        # A corner is dragged, one is made of a small dot, one is deleted and comes back.
        page.mouse.move(*on_picture(page, 40, 30))
        page.mouse.down()
        page.mouse.move(*on_picture(page, 50, 35), steps=4)
        page.mouse.up()
        page.mouse.move(*on_picture(page, 20, 21))
        page.mouse.down()
        page.mouse.move(*on_picture(page, 12, 21), steps=4)
        page.mouse.up()
        page.keyboard.press("n")
        page.keyboard.press("Delete")
        page.keyboard.press("Control+z")
        page.click("[data-do=save]")
        page.wait_for_function(f"{STATUS}.startsWith('Saved 1 outline to {drawn / 'much.geojson'}')")
        expected = [[20, 12], [40, 12], [50, 35], [20, 30], [12, 21]]
        np.testing.assert_allclose(kept(drawn, "much"), [expected], atol=0.15)
        # By keys: the last corner goes two pixels to the right; a second outline of the other class.
        page.mouse.click(*on_picture(page, 30, 12))
        page.keyboard.press("p")
        page.keyboard.press("p")
        before = kept(drawn, "much")[0]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        page.click("[data-do=healthy]")
        page.click("[data-do=draw]")
        for keys in (["Shift+ArrowRight"], ["Shift+ArrowDown"], ["Shift+ArrowLeft"]):
            for key in (*keys, "Space"):
                page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.click("[data-do=save]")
        page.wait_for_function(f"{STATUS}.startsWith('Saved 2 outlines') && {STATUS}.includes('in place of')")
        after = kept(drawn, "much")
        moved = [(i, a[0] - b[0]) for i, (a, b) in enumerate(zip(after[0], before, strict=True)) if a != b]
        assert moved == [(3, pytest.approx(2))] or moved == [(4, pytest.approx(2))]
        assert after[1] == [[42, 24], [42, 34], [32, 34]]
        # Another sample and back: what is not saved is still there, and said.
        page.click("[data-do=undo]")
        page.keyboard.press("j")
        page.wait_for_function(f"{STATUS}.startsWith('Nothing drawn yet.')")
        assert "Not saved yet of 1 other sample." in page.evaluate(STATUS)
        page.click("[data-do=segmentation]")
        page.wait_for_function(f"{STATUS}.startsWith('1 outline, not saved yet')")
        page.click("[data-do=save]")
        page.wait_for_function(f"{STATUS}.startsWith('Saved 1 outline')")
        page.keyboard.press("k")
        page.wait_for_function(f"{STATUS}.startsWith('1 outline, not saved yet')")
        page.click("[data-do=redo]")
        # Somebody else writes the file: it is not replaced unasked.
        others = (drawn / "much.geojson").read_text()
        (drawn / "much.geojson").write_text(others + "\n")
        page.click("[data-do=undo]")
        page.click("[data-do=save]")
        page.wait_for_function(f"{STATUS}.includes('written by someone else')")
        assert (drawn / "much.geojson").read_text() == others + "\n"
        page.click("[data-do=mine]")
        page.wait_for_function(f"{STATUS}.startsWith('Saved 1 outline')")
        assert len(kept(drawn, "much")) == 1
        with page.expect_download() as download:
            page.click("[data-do=picture]")
        assert download.value.suggested_filename == "much.png"
        with Image.open(download.value.path()) as picture:
            colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert (colours == (255, 77, 240)).all(axis=1).sum() > 50  # the outline is in it
        page.reload()
        page.wait_for_function(f"{STATUS}.startsWith('1 outline of ')")
    # The segmentation of the second sample, exactly.
    rule = MaskRule(is_of_disease=True)
    ramp = np.broadcast_to(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, WIDTH))
    segmented = (ramp * np.float32(1 - 0.4)) > np.float32(THRESHOLD)
    segmented[:6] = False
    np.testing.assert_array_equal(
        read_mask(drawn / "some.geojson", shape=segmented.shape, rule=rule).inside, segmented
    )
    assert sorted(each.name for each in drawn.iterdir()) == ["much.geojson", "some.geojson"]
    # 409: the browser says so by itself.
    assert [each for each in problems if "409" not in each] == []


@pytest.mark.slow
def test_outlines_are_drawn_with_a_finger(browser, folder, tmp_path):
    size = {"width": 390, "height": 844}
    with (
        viewed(folder, tmp_path / "drawn") as url,
        browser.new_context(viewport=size, has_touch=True, is_mobile=True) as context,
    ):
        page = context.new_page()
        page.goto(url)
        page.wait_for_function(f"({curve('inside')}).length === {CHANNELS}")
        page.locator("#outlines summary").tap()
        page.wait_for_function(f"{STATUS} === 'Nothing drawn yet.'")
        page.locator("[data-do=draw]").tap()
        page.locator(".cell.picture").scroll_into_view_if_needed()
        for corner in ((20.0, 12.0), (50.0, 12.0), (50.0, 40.0)):
            page.touchscreen.tap(*on_picture(page, *corner))
        page.locator("[data-do=close]").tap()
        page.locator("[data-do=save]").tap()
        page.wait_for_function(f"{STATUS}.startsWith('Saved 1 outline')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    np.testing.assert_allclose(kept(tmp_path / "drawn", "much"), [[[20, 12], [50, 12], [50, 40]]], atol=0.3)


def answered(url: str, method: str = "GET", body: object = None, **headers: str) -> int:
    """Status of a request with headers as they are given."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_page_writes_and_only_into_its_folder(folder, tmp_path):
    drawn = tmp_path / "drawn"
    with viewed(folder, drawn) as url:
        origin, secret = url.rsplit("/", 1)
        own = {"Origin": origin, "Content-Type": "application/json"}
        there = f"{url}/outlines?sample=much"
        refused = [
            (there, {**own, "Origin": "http://evil.example"}, 403),
            (
                there,
                {"Content-Type": "application/json"},
                403,
            ),  # no browser's page: it would say where it is from
            (there, {**own, "Origin": "null"}, 403),
            (there, {**own, "Host": "evil.example"}, 403),
            (there, {**own, "Host": f"evil.example:{origin.rsplit(':', 1)[1]}"}, 403),
            (there, {**own, "Content-Type": "text/plain"}, 415),
            (f"{origin}/outlines?sample=much", own, 404),
            (f"{origin}/{secret[:-1]}x/outlines?sample=much", own, 404),
            (f"{url}/outlines?sample=..%2Fmuch", own, 404),
            (f"{url}/outlines?sample=unknown", own, 404),
            (f"{url}/outlines", own, 400),
        ]
        for address, headers, status in refused:
            assert answered(address, "PUT", SQUARE, **headers) == status, (address, headers)
        assert answered(there, "PUT", {"outlines": [{"class": "x"}], "version": ""}, **own) == 422
        assert answered(there, "PUT", [], **own) == 400
        assert answered(there, "POST", SQUARE, **own) == 405
        assert answered(there, Host="evil.example") == 403
        assert list(tmp_path.iterdir()) == []
        assert answered(there, "PUT", SQUARE, **own) == 200
        assert answered(there, "PUT", SQUARE, **own) == 409  # the version that was opened is no longer there
        assert answered(there) == 200
    assert [each.name for each in drawn.iterdir()] == ["much.geojson"]


def seconds_until_seen(page: Page, url: str) -> float:
    """From a blank page to the picture of a sample."""
    page.goto("about:blank")
    page.wait_for_function("typeof Bokeh === 'undefined'")
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_function(
        "Bokeh.documents[0]?.get_model_by_name('image').renderers[4].data_source.data.image.length"
    )
    return time.perf_counter() - start


@pytest.mark.slow
def test_a_large_slide_is_seen_in_under_two_seconds(page, tmp_path):
    """4096×4096×64: from the address to its first picture, in a browser that runs already; the best of three."""
    folder = write_slide(tmp_path, 4096)
    with served(folder) as (url, _):
        elapsed = min(seconds_until_seen(page, url) for _ in range(3))
        print(f"seen in {elapsed:.2f} s")
        if elapsed >= 2.0 and (os.getloadavg()[0] > (os.cpu_count() or 1)):
            pytest.skip(f"{elapsed:.2f} s, but other work keeps this machine busy: nothing can be told")
        assert elapsed < 2.0, f"{elapsed:.2f} s"
        page.wait_for_function("!Bokeh.documents[0]?.get_model_by_name('area').text.includes('follows')")
        stated = json.loads((folder / "predictions.json").read_text())["samples"][0]["area_fraction"]
        assert f"{100 * stated:.1f} %" in text(page, "area")


@pytest.mark.slow
def test_correct_what_is_wrong_and_train_again(page, tmp_path, monkeypatch):
    """Pictures, a first model, its map corrected on the page, the masks ingested, and a model that learns from them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label in ("tumour", "normal"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for at in range(6):
            values = rng.integers(0, 90, (32, 40, 3), dtype=np.uint8)
            if label == "tumour":
                values[8:20, 10:30] += 120
            Image.fromarray(values).save(tmp_path / "pictures" / label / f"{label}{at}.png")
    ingest = [
        "ingest",
        "pictures",
        "--positive",
        "tumour",
        "--val-fraction",
        "0.34",
        "--test-fraction",
        "0.17",
    ]
    assert main([*ingest, "--out", "data/first"]) == 0
    train = ["train", "--base", "2", "--depth", "1", "--epochs", "2"]
    assert main([*train, "--data", "data/first", "--out", "runs/first"]) == 0
    assert main(["predict", "data/first", "--model", "runs/first/model", "--out", "predictions"]) == 0
    problems = problems_of(page)
    page.set_viewport_size({"width": 1400, "height": 900})
    corners = [(10.0, 8.0), (30.0, 8.0), (30.0, 20.0), (10.0, 20.0)]
    with served(tmp_path / "predictions") as (url, _):
        page.goto(url)
        page.locator("#outlines summary").click()
        for at in range(12):
            page.wait_for_function(f"{STATUS}.startsWith('Nothing drawn yet.')")
            name = text(page, "heading").split()[0]
            if name.startswith("tumour"):
                page.click("[data-do=draw]")
                for corner in (*corners, corners[0]):
                    page.mouse.click(*on_picture(page, *corner, unit=1.0))
                page.click("[data-do=save]")
                page.wait_for_function(f"{STATUS}.startsWith('Saved 1 outline')")
            if at < 11:
                page.keyboard.press("j")
                page.wait_for_function(
                    f"!Bokeh.documents[0].get_model_by_name('heading').text.includes('{name}<')"
                )
    assert problems == []
    assert len(list((tmp_path / "predictions-outlines").iterdir())) == 6
    assert main([*ingest, "--references", "predictions-outlines", "--out", "data/corrected"]) == 0
    store = Store.open(tmp_path / "data" / "corrected")
    expected = np.zeros((32, 40), bool)
    expected[8:20, 10:30] = True
    for sample in store.samples:
        if sample.label:
            # Corners lie within a fifth of a pixel of the edges that were aimed at.
            np.testing.assert_array_equal(store.reference(sample.id), expected)
    again = [*train, "--recipe", "supervised", "--data", "data/corrected", "--out", "runs/corrected"]
    assert main(again) == 0
    assert (tmp_path / "runs" / "corrected" / "model" / "model.json").is_file()
