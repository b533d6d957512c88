"""Cores of simulated arrays are found and named; tables survive editing; windows read what they need."""

import csv
import dataclasses
import io
import time

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compseg_jax.ingest.cores.core_map import STYLES, core_map_png
from compseg_jax.ingest.cores.dearray import (
    core_window,
    cut_core,
    find_cores,
    own_tissue,
    read_cores_csv,
    tissue_picture,
    write_cores_csv,
)
from compseg_jax.ingest.cores.grid import Core, CoreGrid, DearrayOptions, core_name
from compseg_jax.ingest.cores.lattice import fit_lattice
from compseg_jax.ingest.phantom.array_scan import ArrayPhantom, simulate_array_picture, simulate_array_scan
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.scan import ROWS_AT_ONCE, CubeScan

SMALL = ArrayPhantom(rows=4, columns=5, missing=0.1, broken=0.1)


def compared(config: ArrayPhantom, seed: int) -> np.ndarray:
    """Cores right, cores, missing positions that were invented, missing positions."""
    picture, truth = simulate_array_picture(config, seed)
    found = {core.name: core for core in find_cores(picture).cores}
    counts = np.zeros(4, int)
    for core in truth.cores:
        match = found.get(core.name)
        seen = match is not None and match.status != "missing"
        if core.status == "missing":
            counts[2:] += seen, 1
        else:
            near = seen and np.hypot(match.y_px - core.y_px, match.x_px - core.x_px)
            counts[:2] += bool(seen and near < config.core_diameter_px / 6), 1
    return counts


@pytest.mark.parametrize("arrays", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 20))])
def test_a_full_array_is_found_and_named(arrays):
    """10 × 15 cores, 10 % missing, 10 % broken, 3°, jitter of 15 %."""
    right, cores, invented, missing = sum(compared(ArrayPhantom(), seed) for seed in range(arrays))
    print(f"right {right}/{cores} ({right / cores:.2%}), invented {invented}/{missing}")
    assert (cores, missing) == (135 * arrays, 15 * arrays)
    assert right >= 0.99 * cores
    assert invented <= 0.02 * missing


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"rotation_deg": -8.0, "missing": 0.2}, marks=pytest.mark.slow),
        {"rotation_deg": 10.0, "pitch_px": (36.0, 50.0), "missing": 0.2},
        pytest.param(
            {"rotation_deg": 8.0, "pitch_px": (55.0, 38.0), "rows": 4, "columns": 9}, marks=pytest.mark.slow
        ),
        {"rotation_deg": -9.0, "rows": 2},
        pytest.param({"core_diameter_px": 30.0}, marks=pytest.mark.slow),
        pytest.param({"noise": 0.5}, marks=pytest.mark.slow),
        pytest.param({"unevenness": 1.0}, marks=pytest.mark.slow),
        pytest.param({"debris": 2.0}, marks=pytest.mark.slow),
        {"rows": 12, "columns": 1, "rotation_deg": -9.0},
        {"rows": 1, "columns": 12, "rotation_deg": 9.0},
        {"rows": 3, "columns": 3, "missing": 0.2, "rotation_deg": 8.0},
    ],
    ids=str,
)
def test_arrays_of_every_kind_are_found(changes):
    config = dataclasses.replace(ArrayPhantom(), **changes)
    right, cores, invented, missing = sum(compared(config, seed) for seed in range(2))
    assert right >= 0.97 * cores
    assert invented <= 0.1 * missing


@pytest.mark.parametrize(("rows", "columns", "rotation"), [(1, 1, 0), (1, 2, 8), (2, 1, -8), (2, 2, 5)])
def test_few_cores_are_found(rows, columns, rotation):
    config = ArrayPhantom(rows=rows, columns=columns, missing=0, broken=0, rotation_deg=rotation)
    for seed in range(5):
        picture, truth = simulate_array_picture(config, seed)
        grid = find_cores(picture)
        assert [core.name for core in grid.cores] == [core.name for core in truth.cores]
        for core, true in zip(grid.cores, truth.cores, strict=True):
            assert np.hypot(core.y_px - true.y_px, core.x_px - true.x_px) < 2
            # Debris that leans against a core makes it larger.
            assert 0.9 * true.radius_px < core.radius_px < 1.25 * true.radius_px


def test_the_grid_is_measured():
    config = dataclasses.replace(
        ArrayPhantom(), rotation_deg=-6.0, pitch_px=(42.0, 48.0), jitter=0.0, broken=0.0, missing=0.0
    )
    picture, truth = simulate_array_picture(config, 1)
    grid = find_cores(picture)
    assert grid.angle_deg == pytest.approx(-6, abs=0.2)
    assert grid.pitch_px == pytest.approx((42, 48), rel=0.01)
    assert grid.core_diameter_px == pytest.approx(26, rel=0.08)
    assert grid.shape_px == truth.shape_px == picture.shape
    fractions = np.array(
        [(a.tissue_fraction, b.tissue_fraction) for a, b in zip(grid.cores, truth.cores, strict=True)]
    )
    assert np.corrcoef(fractions.T)[0, 1] > 0.97


@settings(max_examples=settings().max_examples // 2)
@given(
    angle=st.floats(-10, 10),
    pitch=st.tuples(st.floats(25, 60), st.floats(25, 60)),
    shape=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    seed=st.integers(0, 99),
)
def test_the_lattice_through_jittered_points(angle, pitch, shape, seed):
    rng = np.random.default_rng(seed)
    index = np.argwhere(rng.random(shape) > 0.1)
    turn = np.deg2rad(angle)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (index + rng.uniform(-0.1, 0.1, index.shape)) * pitch @ turned + 50
    lattice = fit_lattice(points, np.ones(len(points)), 20.0)
    number, fits = lattice.number(points)
    assert fits.all()
    np.testing.assert_array_equal(number - number[0], index - index[0])
    assert lattice.angle_deg == pytest.approx(angle, abs=4)


def test_debris_outside_and_between_makes_no_row_and_no_core():
    picture, truth = simulate_array_picture(dataclasses.replace(SMALL, debris=0, missing=0, broken=0), 3)
    picture = np.pad(picture, 60, mode="edge")
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    first = truth.cores[0]
    picture[np.hypot(y - first.y_px - 20, x - first.x_px - 60) < 8] += 1
    grid = find_cores(picture)
    assert (grid.rows, grid.columns) == (4, 5)
    assert all(core.status == "present" for core in grid.cores)


def test_a_blank_tile_hides_its_cores_alone():
    picture, truth = simulate_array_picture(ArrayPhantom(missing=0, broken=0), 3)
    for value in (0.0, np.nan):
        blank = picture.copy()
        blank[128:256, 256:384] = value
        found = {core.name: core for core in find_cores(blank).cores}
        for core in truth.cores:
            away = max(abs(core.y_px - 191.5), abs(core.x_px - 319.5)) - 64
            if away > core.radius_px + 2:
                assert np.hypot(found[core.name].y_px - core.y_px, found[core.name].x_px - core.x_px) < 4
            elif away < -core.radius_px:
                assert found[core.name].status == "missing"
                assert not found[core.name].keep


def test_background_of_exact_zeros_is_background():
    picture, truth = simulate_array_picture(dataclasses.replace(SMALL, noise=0, unevenness=0, debris=0), 2)
    masked = np.where(picture > 0.1001, picture, 0)
    names = [core.name for core in find_cores(masked).cores if core.keep]
    assert names == [core.name for core in truth.cores if core.keep]


@pytest.mark.slow
def test_a_large_picture_takes_seconds():
    config = dataclasses.replace(ArrayPhantom(), pitch_px=(180.0, 190.0), core_diameter_px=115.0)
    picture, truth = simulate_array_picture(dataclasses.replace(config, rows=3, columns=4), 0)
    tiled = np.tile(picture, (4, 4))[:2000, :3000]
    start = time.perf_counter()
    find_cores(tiled)
    assert time.perf_counter() - start < 10  # about 1 s on an idle core
    grid = find_cores(picture)
    assert [core.name for core in grid.cores] == [core.name for core in truth.cores]


def test_names_follow_letters_and_origin():
    assert [core_name(0, c, letters="columns") for c in (0, 25, 26, 52)] == ["A1", "Z1", "AA1", "BA1"]
    picture, truth = simulate_array_picture(dataclasses.replace(SMALL, missing=0, broken=0), 0)
    plain = find_cores(picture)
    assert [core.name for core in plain.cores[:6]] == ["A1", "A2", "A3", "A4", "A5", "B1"]
    turned = find_cores(picture, options=DearrayOptions(origin="bottom_right", letters="columns"))
    assert [core.name for core in turned.cores[:6]] == ["A1", "B1", "C1", "D1", "E1", "A2"]
    assert dataclasses.replace(turned.cores[0], name="", row=0, column=0) == dataclasses.replace(
        plain.cores[-1], name="", row=0, column=0
    )
    flipped = find_cores(picture[:, ::-1], options=DearrayOptions(origin="top_right"))
    for core, true in zip(flipped.cores, truth.cores, strict=True):
        assert core.name == true.name
        assert abs(picture.shape[1] - 1 - core.x_px - true.x_px) < 4


def test_stated_numbers_are_held_against_what_is_seen():
    picture, _ = simulate_array_picture(SMALL, 0)
    stated = DearrayOptions(rows=4, columns=5, core_diameter_um=26 * 25.0)
    grid = find_cores(picture, pixel_size_um=25.0, options=stated)
    assert grid.core_diameter_px == 26
    with pytest.raises(ValueError, match=r"rows=3, but the cores found need 4 rows"):
        find_cores(picture, options=DearrayOptions(rows=3))
    with pytest.raises(ValueError, match=r"columns=6, but 5 columns .* shift the names"):
        find_cores(picture, options=DearrayOptions(columns=6))
    with pytest.raises(ValueError, match="needs the size of a pixel"):
        find_cores(picture, options=stated)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.random.default_rng(0).normal(0.1, 1, (200, 310)), "nothing stands out"),
        (np.random.default_rng(1).normal(0, 1, (900, 700)).astype(np.float32), "nothing stands out"),
        (
            scipy.ndimage.gaussian_filter(np.random.default_rng(2).normal(0, 1, (200, 310)), 3),
            "nothing stands out",
        ),
        (np.full((50, 60), 0.3), "constant"),
        (np.full((50, 60), np.nan), "no finite value"),
        (np.zeros((50, 60)), "no finite value|constant"),
        (np.zeros((50, 60, 3)), "required \\(y, x\\)"),
    ],
)
def test_pictures_without_cores_are_refused(picture, message):
    with pytest.raises(ValueError, match=message):
        find_cores(picture)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("changes", "field"),
    [({"rows": -1}, "rows"), ({"origin": "middle"}, "origin"), ({"missing_below": 0.7}, "missing_below")],
)
def test_options_are_checked(changes, field):
    with pytest.raises(ValueError, match=f"dearray {field}: found"):
        DearrayOptions(**changes)


class CountingScan:
    """A scan that notes every window that is read."""

    def __init__(self, scan):
        self._scan, self.sizes = scan, []
        self.shape, self.wavenumbers_cm1 = scan.shape, scan.wavenumbers_cm1
        self.pixel_size_um, self.provenance = scan.pixel_size_um, scan.provenance

    def __getattr__(self, name):
        return getattr(self._scan, name)

    def window(self, rows, columns, channels=slice(None)):
        values = self._scan.window(rows, columns, channels)
        self.sizes.append(values.shape)
        return values


def test_from_scan_to_cubes_reading_only_what_is_needed():
    scan = CountingScan(simulate_array_scan(SMALL, 5, 60))
    height, width, channels = scan.shape
    picture = tissue_picture(scan)
    in_bands = sum(np.sum((scan.wavenumbers_cm1 >= a) & (scan.wavenumbers_cm1 <= b)) for a, b in
                   ((1640, 1670), (1760, 1800)))  # fmt: skip
    assert sum(np.prod(size) for size in scan.sizes) == height * width * in_bands
    assert max(size[0] for size in scan.sizes) <= ROWS_AT_ONCE
    assert picture.dtype == np.float32
    grid = find_cores(picture)
    kept = [core for core in grid.cores if core.keep]
    assert {core.name for core in kept} == set(scan.labels)
    assert set(scan.labels.values()) == {0, 1}
    scan.sizes.clear()
    cubes = [cut_core(scan, core, grid) for core in kept]
    side = cubes[0].absorbance.shape[0]
    assert {cube.absorbance.shape for cube in cubes} == {(side, side, channels)}
    assert len(scan.sizes) == len(kept)
    assert sum(np.prod(size) for size in scan.sizes) <= len(kept) * side * side * channels
    for core, cube in zip(kept, cubes, strict=True):
        rows, columns = core_window(core, grid)
        own = own_tissue(core, grid, (rows, columns))
        amide = cube.absorbance[..., np.argmin(abs(cube.wavenumbers_cm1 - 1655))]
        assert amide[own].mean() > 0.3
        assert cube.provenance["core"] == core.name
        assert cube.provenance["source"] == "phantom array 5"
        own_rows, own_columns = (
            slice(max(0, rows.start), rows.stop),
            slice(max(0, columns.start), columns.stop),
        )
        top, bottom, left, right = cube.provenance["padded_px"]
        own = own[top : len(own) - bottom, left : own.shape[1] - right]
        # A healthy core's own pixels hold none of a neighbour's tumour, but for a rim where cores touch.
        share = (scan.tumour(own_rows, own_columns) & own).sum() / own.sum()
        assert share > 0.1 if scan.labels[core.name] else share < 0.02


def test_windows_of_a_simulated_scan_agree():
    scan = simulate_array_scan(SMALL, 1, 7)
    whole = scan.window(slice(None), slice(None))
    assert whole.shape == scan.shape
    part = scan.window(slice(31, 90), slice(40, 101), slice(2, 5))
    # A matrix product may round differently in another shape.
    np.testing.assert_allclose(part, whole[31:90, 40:101, 2:5], atol=1e-5)
    blank = dataclasses.replace(SMALL, noise=0.0, unevenness=0.0)
    noise = whole - simulate_array_scan(dataclasses.replace(SMALL, noise=0.0), 1, 7).window(
        slice(None), slice(None)
    )
    assert noise.std() == pytest.approx(SMALL.noise, rel=0.01)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.01
    clean = simulate_array_scan(blank, 1, 7)
    healthy = [core for core in clean.truth.cores if clean.labels.get(core.name) == 0]
    for core in healthy:
        y, x = round(core.y_px), round(core.x_px)
        assert not clean.tumour(slice(y - 5, y + 5), slice(x - 5, x + 5)).any()


def test_a_scan_larger_than_memory_is_no_burden():
    config = ArrayPhantom(rows=10, columns=15, pitch_px=(190.0, 190.0), core_diameter_px=110.0)
    scan = simulate_array_scan(config, 0, 450)
    assert np.prod(scan.shape) * 4 > 8e9
    assert scan.window(slice(1000, 1010), slice(1500, 1520)).shape == (10, 20, 450)


@pytest.mark.parametrize("falling", [True, False])
def test_the_picture_of_a_spectral_scan(falling):
    axis = np.linspace(1800, 1600, 41)[:: 1 if falling else -1]
    values = np.random.default_rng(0).normal(1, 0.2, (70, 9, 41)).astype(np.float32)
    scan = CubeScan(Cube(values, axis))
    expected = values[..., (axis >= 1640) & (axis <= 1670)].mean(-1) - values[..., axis >= 1760].mean(-1)
    np.testing.assert_allclose(tissue_picture(scan), expected, atol=1e-6)
    named = values[..., (axis >= 1700) & (axis <= 1710)].mean(-1)
    np.testing.assert_allclose(
        tissue_picture(scan, band_cm1=(1700, 1710), baseline_cm1=None), named, atol=1e-6
    )
    with pytest.raises(ValueError, match="no channel lies in the band"):
        tissue_picture(scan, band_cm1=(900, 1000))


def test_the_picture_of_an_ordinary_image_is_darkness():
    image = np.full((100, 40, 3), 240, np.uint8)
    image[20:40, 10:20] = (200, 80, 150)
    image[70:80] = 0
    picture = tissue_picture(CubeScan(Cube(image)))
    assert picture[0, 0] == 0
    assert picture[30, 15] == pytest.approx(240 - 430 / 3)
    assert (picture[70:80] == 0).all()


GRID = CoreGrid(
    (
        Core("A1", 0, 0, 10.0, 8.0, 6.0, "present", 0.95),
        Core("A2", 0, 1, 11.5, 20.0, 5.0, "broken", 0.5),
        Core("B1", 1, 0, 25.0, 9.0, 6.0, "missing", 0.0, False),
        Core("B2", 1, 1, 26.0, 34.0, 7.0, "present", 1.1),
    ),
    2.5,
    (15.0, 12.0),
    12.0,
    (40, 36),
    "scan, one.dmt",
)


def test_windows_at_the_border_are_padded():
    values = np.arange(40 * 36 * 2, dtype=np.float32).reshape(40, 36, 2) + 1
    scan = CubeScan(Cube(values, provenance={"source": "array"}))
    for core in GRID.cores:
        rows, columns = core_window(core, GRID, margin=0.2)
        assert rows.stop - rows.start == columns.stop - columns.start == 17
        assert abs((rows.start + rows.stop - 1) / 2 - core.y_px) <= 0.5
        cube = cut_core(scan, core, GRID, margin=0.2)
        top, bottom, left, right = cube.provenance["padded_px"]
        height, width = cube.absorbance.shape[:2]
        inner = cube.absorbance[top : height - bottom, left : width - right]
        y, x = cube.provenance["top_px"] + top, cube.provenance["left_px"] + left
        np.testing.assert_array_equal(inner, values[y : y + inner.shape[0], x : x + inner.shape[1]])
        assert cube.absorbance.sum() == inner.sum()
    assert cut_core(scan, GRID.core("B2"), GRID).provenance["padded_px"][3] > 0
    outside = dataclasses.replace(GRID.core("B1"), y_px=90.0)
    with pytest.raises(ValueError, match=r"core B1: its centre \(90, 9\) lies outside"):
        cut_core(scan, outside, GRID)
    with pytest.raises(ValueError, match="40 × 36"):
        cut_core(CubeScan(Cube(values[:20])), GRID.core("A1"), GRID)
    with pytest.raises(ValueError, match="margin: found -1"):
        core_window(GRID.core("A1"), GRID, margin=-1)
    with pytest.raises(ValueError, match="found no core 'Z9'; the array has A1 … B2"):
        GRID.core("Z9")


def test_no_pixel_is_two_cores_own():
    everything = slice(0, 40), slice(0, 36)
    own = np.stack([own_tissue(core, GRID, everything, margin=0.5) for core in GRID.cores])
    present = np.array([core.status != "missing" for core in GRID.cores])
    assert own[present].sum(axis=0).max() == 1
    y, x = np.mgrid[:40, :36]
    distance = np.stack([np.hypot(y - core.y_px, x - core.x_px) for core in GRID.cores])
    radius = np.array([core.radius_px for core in GRID.cores])[:, None, None]
    nearest = distance == distance[present].min(axis=0)
    np.testing.assert_array_equal(own[present], (nearest & (distance <= 1.5 * radius))[present])


def test_the_table_comes_back(tmp_path):
    path = tmp_path / "cores.csv"
    path.write_text("an older table")
    write_cores_csv(path, GRID, GRID.scan)
    assert read_cores_csv(path) == GRID
    assert [file.name for file in tmp_path.iterdir()] == ["cores.csv"]
    assert path.read_text().startswith(
        "name,row,column,y_px,x_px,radius_px,status,tissue_fraction,keep,scan,"
    )
    with pytest.raises(ValueError, match="found no cores to write"):
        write_cores_csv(path, dataclasses.replace(GRID, cores=()), "x")
    assert read_cores_csv(path) == GRID


def test_a_found_array_survives_the_table(tmp_path):
    picture, _ = simulate_array_picture(SMALL, 4)
    grid = find_cores(picture)
    write_cores_csv(tmp_path / "cores.csv", grid, "scan")
    back = read_cores_csv(tmp_path / "cores.csv")
    for core, other in zip(grid.cores, back.cores, strict=True):
        assert (core.name, core.status, core.keep) == (other.name, other.status, other.keep)
        assert (other.y_px, other.x_px) == pytest.approx((core.y_px, core.x_px), abs=1e-3)


def edited(tmp_path, change) -> CoreGrid:
    path = tmp_path / "cores.csv"
    write_cores_csv(path, GRID, GRID.scan)
    path.write_text(change(path.read_text()), encoding="utf-8")
    return read_cores_csv(path)


def test_a_person_edits_the_table(tmp_path):
    def change(text):
        header, first, second, _, fourth = text.splitlines()
        first = first.replace("A1,0,0,10.0", "T1-liver,0,0,12").replace("0.95,1,", "0.95,0,")
        added = "C1,2,0,30,10,6,present,1,yes,,,,,,,"
        return "\ufeff" + "\n".join([header + ",note", "", fourth + ",good", second, first, added, ",,,", ""])

    grid = edited(tmp_path, change)
    assert [core.name for core in grid.cores] == ["T1-liver", "A2", "B2", "C1"]
    assert grid.cores[0].y_px == 12
    assert not grid.cores[0].keep
    assert (grid.shape_px, grid.pitch_px, grid.scan) == (GRID.shape_px, GRID.pitch_px, GRID.scan)


def test_spreadsheets_with_decimal_commas_are_read(tmp_path):
    def change(text):
        return (
            text.replace('"scan, one.dmt"', "scan~ one~dmt")
            .replace(",", ";")
            .replace(".", ",")
            .replace("~", ".")
        )

    assert edited(tmp_path, change).cores == GRID.cores


def test_a_table_of_cores_is_read_as_spreadsheets_save_it(tmp_path):
    path = tmp_path / "cores.csv"
    write_cores_csv(path, GRID, "Müller.dmt")
    text = path.read_text(encoding="utf-8")
    expected = dataclasses.replace(GRID, scan="Müller.dmt")
    for raw in (text.encode("cp1252"), text.encode("utf-16"), text.replace("name,row", "Name, ROW").encode()):
        path.write_bytes(raw)
        assert read_cores_csv(path) == expected
    openpyxl = pytest.importorskip(
        "openpyxl", reason="the extra 'tables' is not installed: no workbook was read"
    )
    book = openpyxl.Workbook()
    for row in csv.reader(io.StringIO(text)):
        book.active.append([float(cell) if cell.replace(".", "", 1).isdigit() else cell for cell in row])
    book.save(tmp_path / "cores.xlsx")
    assert read_cores_csv(tmp_path / "cores.xlsx") == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("A2,0,1", "a1,0,1", "line 3: the name a1 is given twice"),
        ("A2,0,1", "A2,0,0", "line 3: A2 has the row 0 and column 0 of A1"),
        ("A2,0,1", "A/2,0,1", "line 3: name is 'A/2'"),
        ("A2,0,1", ",0,1", "line 3: name is ''"),
        ("A2,0,1", "A2,0.5,1", "line 3: row is '0.5'; required a whole number"),
        ("11.5,20.0", "here,20.0", "line 3: y_px is 'here'; required a number"),
        ("11.5,20.0", "nan,20.0", "line 3: y_px is 'nan'"),
        ("11.5,20.0", "11.5,36", "line 3: x_px of A2 is 36, outside of the scan; required 0 to 35"),
        ("20.0,5.0", "20.0,0", "line 3: radius_px is 0; required more than 0"),
        ("broken", "half", "line 3: status of A2 is 'half'; required present, broken, missing"),
        ("0.5,1", "0.5,2", "line 3: keep of A2 is '2'; required 1 or 0"),
        ("0.5,1", "-0.5,1", "line 3: tissue_fraction of A2 is -0.5"),
        (
            'broken,0.5,1,"scan, one.dmt",40',
            'broken,0.5,1,"scan, one.dmt",41',
            "line 3: height_px is 41, but 40",
        ),
        ("radius_px", "radius", "required once each: radius_px"),
    ],
)
def test_errors_in_a_table_name_their_line(tmp_path, old, new, message):
    with pytest.raises(CubeError, match=r"cores\.csv") as error:
        edited(tmp_path, lambda text: text.replace(old, new, 1))
    assert message in str(error.value)


def test_all_errors_of_a_table_are_named_at_once(tmp_path):
    with pytest.raises(CubeError) as error:
        edited(tmp_path, lambda text: text.replace("present", "perfect"))
    assert "line 2" in str(error.value)
    assert "line 5" in str(error.value)
    for text in ("", "\n\n"):
        with pytest.raises(CubeError, match=r"cores\.csv"):
            edited(tmp_path, lambda _, text=text: text)
    with pytest.raises(CubeError, match="found no cores below"):
        edited(tmp_path, lambda text: text.splitlines()[0])


def test_the_map_shows_every_state():
    picture, _ = simulate_array_picture(SMALL, 0)
    grid = find_cores(picture)
    cores = tuple(dataclasses.replace(core, keep=core.keep and core.name != "B2") for core in grid.cores)
    image = Image.open(io.BytesIO(core_map_png(picture, dataclasses.replace(grid, cores=cores))))
    assert max(image.size) <= 2000
    colours = {colour for _, colour in image.getcolors(1 << 24)}
    assert {style.colour for style in STYLES.values()} <= colours
    zoom = min(6.0, 2000 / max(picture.shape))
    core = next(core for core in cores if core.status == "present" and core.keep)
    right = image.getpixel(
        (round((core.x_px + 0.5 + core.radius_px) * zoom + 2), round((core.y_px + 0.5) * zoom))
    )
    assert right == STYLES["present"].colour
    with pytest.raises(ValueError, match="picture: found shape"):
        core_map_png(picture[1:], grid)
    tall = np.random.default_rng(0).random((5000, 40))
    single = dataclasses.replace(grid, cores=grid.cores[:1], shape_px=tall.shape)
    assert max(Image.open(io.BytesIO(core_map_png(tall, single))).size) <= 2000


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"rows": 0}, "rows"), ({"missing": 1.0}, "missing"), ({"pitch_px": (20.0, 40.0)}, "pitch_px")],
)
def test_impossible_arrays_are_refused(changes, field):
    with pytest.raises(ValueError, match=f"array phantom {field}: found"):
        ArrayPhantom(**changes)


def test_a_simulated_array_is_its_seeds():
    first, again = simulate_array_picture(SMALL, 7), simulate_array_picture(SMALL, 7)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert first[1] != simulate_array_picture(SMALL, 8)[1]
    with pytest.raises(ValueError, match="seed: found -1"):
        simulate_array_picture(SMALL, -1)
    with pytest.raises(ValueError, match="channels: found 1"):
        simulate_array_scan(SMALL, 0, 1)
