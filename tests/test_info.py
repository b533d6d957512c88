"""`compseg info`: exact text, counts that add up, NaN, spectra, images, pictures whole or absent."""

from __future__ import annotations

import io
from pathlib import Path

import instrument_files as files
import matplotlib
import numpy as np
import pytest
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.readers.axis_file import read_axis
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.info import overview, quicklook
from compseg_jax.readers.info.inspection import InfoOptions, inspect
from compseg_jax.readers.info.overview import take_sample
from compseg_jax.readers.scan import CubeScan
from compseg_jax.runtime import files as atomic

AXIS = np.array([1800.0, 1750, 1700, 1650, 1600, 1550, 1500])
SPECTRUM = np.array([0.1, 0.1, 0.2, 0.6, 0.3, 0.4, 0.1], np.float32)


def small_spot() -> np.ndarray:
    """3 × 4 pixels: a column of background, beside it tissue of thickness 1 to 9."""
    cube = np.zeros((3, 4, 7), np.float32)
    cube[:, 1:] = np.arange(1, 10, dtype=np.float32).reshape(3, 3, 1) * SPECTRUM
    return cube


def saved(folder, cube, **more):
    np.savez(folder / "spot.npz", absorbance=cube, **more)
    return folder / "spot.npz"


def text_of(path, **options) -> str:
    return inspect(InfoOptions(path, no_picture=True, **options))


def row(text: str, name: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(name + "  ")]
    return found[len(name) :].strip()


GOLDEN = """\
spot.npz: NumPy archive
files          spot.npz (BYTES)
shape          3 × 4 pixels × 7 channels (y × x × c)
axis           1800 … 1500 cm⁻¹, 7 points, step 50 cm⁻¹, falling
axis stated    wavenumbers_cm1, cm-1 in the file
pixel size     25 µm; field of view 0.075 × 0.1 mm (y × x)
type           read as float32, 336 bytes as an array
axes           (y, x, c) in the file
all-zero       3 of 12 (25.0 %) pixels
amide I        median 1.75, 1 % 0.378, 99 % 3.122: height at 1650 cm⁻¹ above the line from 1600 to 1700
NaN, infinite  0 and 0 of 84 values
values         min 0.1, 1 % 0.1, median 0.8, 99 % 5.028, max 5.4

how often each value occurs, from 1 % to 99 % (all-zero pixels left out)
 below 0.10                                         0   0.0 %
0.10 … 0.51  ████████████████████████████████████  19  30.2 %
0.51 … 0.92  ██████████████████████████████████▏   18  28.6 %
0.92 … 1.33  █████████▌                             5   7.9 %
1.33 … 1.74  ███████▋                               4   6.3 %
1.74 … 2.15  █████████▌                             5   7.9 %
2.15 … 2.56  █████▊                                 3   4.8 %
2.56 … 2.97  ███▉                                   2   3.2 %
2.97 … 3.39  ███▉                                   2   3.2 %
3.39 … 3.80  ███▉                                   2   3.2 %
3.80 … 4.21  ██                                     1   1.6 %
4.21 … 4.62                                         0   0.0 %
4.62 … 5.03  ██                                     1   1.6 %
 above 5.03  ██                                     1   1.6 %

next           list the samples in a table (id, label, path): compseg ingest TABLE.csv --out STORE"""


def test_the_text_of_a_small_spot(tmp_path):
    path = saved(tmp_path, small_spot(), wavenumbers_cm1=AXIS, pixel_size_um=25.0)
    kilobytes = f"{path.stat().st_size / 1000:.3g} kB"
    assert text_of(path) == GOLDEN.replace("BYTES", kilobytes)


def test_a_rising_axis_says_so_and_changes_nothing_else(tmp_path):
    falling = text_of(saved(tmp_path, small_spot(), wavenumbers_cm1=AXIS))
    rising = text_of(saved(tmp_path, small_spot()[..., ::-1], wavenumbers_cm1=AXIS[::-1]))
    assert row(rising, "axis") == "1500 … 1800 cm⁻¹, 7 points, step 50 cm⁻¹, rising"
    assert row(rising, "amide I") == row(falling, "amide I")
    assert rising.splitlines()[10:] == falling.splitlines()[10:]


def test_nan_and_infinite_values_are_counted_and_left_out(tmp_path):
    cube = small_spot()
    cube[1, 2, 3], cube[0, 3, 0], cube[2, 1, 1] = np.nan, np.nan, -np.inf
    text = text_of(saved(tmp_path, cube, wavenumbers_cm1=AXIS))
    assert row(text, "NaN, infinite") == "2 and 1 of 84 values"
    assert row(text, "values").startswith("min 0.1,")
    everything = text_of(saved(tmp_path, np.full((2, 3, 7), np.nan, np.float32), wavenumbers_cm1=AXIS))
    assert row(everything, "values") == "none is finite"


def test_the_text_says_what_was_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "SAMPLED_VALUES", 600)
    monkeypatch.setattr(overview, "FEWEST_ROWS", 5)
    values, axis = files.sample(60, 50, 9)
    text = text_of(files.envi(tmp_path, values, axis))
    assert row(text, "sampled") == "5 of 60 rows, every 4. column: 65 of 3,000 pixels, evenly spaced"
    assert row(text, "NaN, infinite") == "0 and 0 of 585 values"
    assert "sampled" not in text_of(files.envi(tmp_path, values[:5, :5], axis))


def test_a_mosaic_names_its_tiles_and_is_dearrayed_next(tmp_path, monkeypatch):
    values, _ = files.sample(12, 8, 6)
    path = files.agilent_mosaic(tmp_path, values, 4)
    text = text_of(path)
    assert row(text, "files") == f"scan.dmt and 6 tiles ({6 * (1020 + 4 * 4 * 4 * 6) / 1000:.3g} kB)"
    assert row(text, "pixel size") == "11 µm; field of view 0.132 × 0.088 mm (y × x)"
    monkeypatch.setattr("compseg_jax.readers.info.inspection.LARGE_SCAN_PIXELS", 96)
    assert row(text_of(path), "next") == f"compseg dearray {path}"


def test_amide_i_is_told_where_the_axis_covers_it(tmp_path):
    text = text_of(files.fsm(tmp_path / "map.fsm", 100 - 10 * small_spot(), AXIS))
    assert "height" in row(text, "amide I")  # the file states A
    assert "amide I" not in text_of(saved(tmp_path, small_spot(), wavenumbers_cm1=AXIS - 700))


def test_spectra_of_a_table(tmp_path):
    lines = ["name," + ",".join(f"{value:g}" for value in AXIS)]
    lines += [f"s{at}," + ",".join(f"{at * value:g}" for value in SPECTRUM) for at in range(1, 7)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    text = inspect(InfoOptions(tmp_path / "table.csv", out=tmp_path / "table.png"))
    assert row(text, "spectra") == "6 of 7 points"
    assert row(text, "names") == "s1, s2, s3, s4 … (6 different)"
    assert row(text, "values") == "min 0.1, 1 % 0.1, median 0.6, 99 % 3.354, max 3.6"
    assert pixels(tmp_path / "table.png").std() > 5
    np.save(tmp_path / "axis.npy", AXIS)
    with pytest.raises(CubeError, match=r"with their own axis.*wavenumbers_cm1="):
        text_of(tmp_path / "table.csv", axis=tmp_path / "axis.npy")


def test_a_line_of_spectra_is_told_from_a_map(tmp_path):
    lines = ["\t\t" + "\t".join(f"{value:g}" for value in AXIS)]
    lines += [f"{at}\t0\t" + "\t".join(f"{at * value:g}" for value in SPECTRUM) for at in range(1, 7)]
    (tmp_path / "line.txt").write_text("\n".join(lines))
    text = text_of(tmp_path / "line.txt")
    assert row(text, "measurement") == "a line of 6 spectra with positions"
    assert row(text, "positions") == "x 1 … 6 µm, y 0 … 0 µm"


def test_a_gap_of_the_axis_is_told(tmp_path):
    axis = np.array([1500.0, 1504, 1508, 1512, 2800, 2804, 2808])
    np.savetxt(tmp_path / "list.csv", np.stack([axis, SPECTRUM], 1), delimiter=",")
    expected = "1500 … 2808 cm⁻¹, 7 points, step 4 cm⁻¹, 1 gap of up to 1288 cm⁻¹, rising"
    assert row(text_of(tmp_path / "list.csv"), "axis") == expected


def test_an_ordinary_image_keeps_its_black_pixels(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:, :, 0] = 200
    Image.fromarray(picture).save(tmp_path / "photo.png")
    text = inspect(InfoOptions(tmp_path / "photo.png", out=tmp_path / "look.png"))
    assert row(text, "axis") == "none, an ordinary image"
    assert "all-zero" not in text
    assert row(text, "values") == "min 0, 1 % 0, median 0, 99 % 200, max 200"
    drawn = np.asarray(Image.open(tmp_path / "look.png").convert("RGB")).reshape(-1, 3)
    assert np.sum(np.all(drawn == (200, 0, 0), axis=1)) > 10_000


def test_an_axis_can_be_given(tmp_path):
    np.save(tmp_path / "cube.npy", small_spot())
    (tmp_path / "axis.txt").write_text("# cm-1\n1800, 1750\n1700 1650;1600\n1550\n1500\n")
    np.save(tmp_path / "axis.npy", AXIS[:, np.newaxis].astype(np.float32))
    without = text_of(tmp_path / "cube.npy")
    assert row(without, "axis").startswith("none stated; give one with --axis FILE")
    assert row(without, "next") == f"compseg info {tmp_path / 'cube.npy'} --axis FILE"
    for name in ("axis.txt", "axis.npy"):
        np.testing.assert_array_equal(read_axis(tmp_path / name), AXIS)
        text = text_of(tmp_path / "cube.npy", axis=tmp_path / name)
        assert row(text, "amide I").startswith("median 1.75,")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "axis.npy").read_bytes()[:-3])
    with pytest.raises(CubeError, match=r"cut\.npy.*cut or damaged"):
        read_axis(tmp_path / "cut.npy")
    (tmp_path / "axis.txt").write_text("wavenumber\n1800\n")
    with pytest.raises(CubeError, match=r"axis\.txt.*'wavenumber'.*--axis"):
        text_of(tmp_path / "cube.npy", axis=tmp_path / "axis.txt")


def test_errors_name_the_options_of_the_command(tmp_path, capsys):
    pytest.importorskip("h5py")

    def refusal(path: Path, *words: str) -> str:
        assert main(["info", str(path), "--no-picture", *words]) == 1
        return capsys.readouterr().err

    path = files.mat73(tmp_path / "cube.mat", {"absorbance": small_spot()})
    assert "Give one with --axis FILE, one value in cm⁻¹" in refusal(path)
    path = tmp_path / "two.npz"
    np.savez(path, a=small_spot(), b=2 * small_spot())
    assert "--variable NAME" in refusal(path)
    assert row(text_of(path, variable="b"), "values").endswith("max 10.8")
    (tmp_path / "cube.wdf").write_bytes(b"WDF1 and no more")
    assert "cube.wdf: found 16 bytes" in refusal(tmp_path / "cube.wdf")
    assert "nothing.hdr" in refusal(tmp_path / "nothing.hdr")
    mosaic = files.agilent_mosaic(tmp_path, files.sample(4, 4, 6)[0], 4)
    np.save(tmp_path / "axis.npy", AXIS[:6])
    assert "leave --axis FILE out" in refusal(mosaic, "--axis", str(tmp_path / "axis.npy"))


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def colours(shown: np.ndarray) -> int:
    return np.unique(shown @ (1 << 16, 1 << 8, 1)).size


def test_the_picture_shows_the_cube_and_lies_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(matplotlib.rcParams)
    path = saved(tmp_path, small_spot(), wavenumbers_cm1=AXIS, pixel_size_um=25.0)
    text = inspect(InfoOptions(path))
    assert row(text, "picture") == "spot_quicklook.png"
    first = pixels(tmp_path / "spot_quicklook.png")
    assert first.shape[1] in range(1350, 1500)
    assert first.shape[0] in range(580, 680)
    assert colours(first) > 200
    inspect(InfoOptions(saved(tmp_path, small_spot()[::-1], wavenumbers_cm1=AXIS, pixel_size_um=25.0)))
    second = pixels(tmp_path / "spot_quicklook.png")
    left, right = slice(0, first.shape[1] // 2 - 100), slice(first.shape[1] // 2 + 100, None)
    assert np.mean(np.any(first[:, left] != second[:, left], axis=2)) > 0.1
    np.testing.assert_array_equal(first[:, right], second[:, right])
    assert dict(matplotlib.rcParams) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["spot.npz", "spot_quicklook.png"]


@pytest.mark.parametrize("failing", ["drawing", "renaming"])
def test_a_failure_leaves_the_older_picture_and_nothing_else(tmp_path, monkeypatch, failing):
    path = saved(tmp_path, small_spot(), wavenumbers_cm1=AXIS)
    out = tmp_path / "look.png"
    Image.new("L", (3, 2)).save(out)
    older = out.read_bytes()

    def fail(*_):
        raise OSError("no space")

    place = (quicklook, "draw_curves") if failing == "drawing" else (atomic.os, "replace")
    monkeypatch.setattr(*place, fail)
    with pytest.raises(OSError, match="no space"):
        inspect(InfoOptions(path, out=out))
    assert out.read_bytes() == older
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["look.png", "spot.npz"]


def test_nothing_but_a_png_is_replaced(tmp_path, monkeypatch):
    path = saved(tmp_path, small_spot(), wavenumbers_cm1=AXIS)
    monkeypatch.setattr(
        quicklook, "quicklook_png", lambda *_: pytest.fail("drawn before the place was checked")
    )
    notes = tmp_path / "notes.png"
    notes.write_text("my notes")
    with pytest.raises(FileExistsError, match=r"notes\.png is there and is not a PNG.*--out"):
        inspect(InfoOptions(path, out=notes))
    assert notes.read_text() == "my notes"
    with pytest.raises(ValueError, match=r"found the suffix '\.npz', required \.png"):
        inspect(InfoOptions(path, out=path))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        inspect(InfoOptions(path, out=tmp_path / "absent" / "look.png"))
    photo = tmp_path / "photo.png"
    Image.new("RGB", (3, 2)).save(photo)
    with pytest.raises(ValueError, match="is the file to look at"):
        inspect(InfoOptions(photo, out=photo))


@pytest.mark.parametrize("values", [np.zeros((4, 5, 7)), np.full((4, 5, 7), np.nan), np.ones((1, 40, 7))])
def test_empty_constant_and_flat_cubes_are_drawn(values):
    scan = CubeScan(Cube(values.astype(np.float32), AXIS, 2.0))
    png = quicklook.quicklook_png("$odd$ name 組織", scan, take_sample(scan))
    assert Image.open(io.BytesIO(png)).size[0] > 1000


@pytest.mark.parametrize(("longest", "length"), [(30, 20), (1000, 1000), (999, 500), (0.3, 0.2), (5.1, 5)])
def test_scale_bars_have_round_lengths(longest, length):
    assert quicklook.nice_length(longest) == pytest.approx(length)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "agilent/4_noimage_agg256.dat",
            "files          4_noimage_agg256.dat (3.32 kB), 4_noimage_agg256.bsp",
        ),
        ("envi/5_Mosaic_agg1024.hdr", "shape          8 × 4 pixels × 9 channels (y × x × c)"),
        ("mat_witec_raman/3D THP1 map 001 L5 (B+R) (Sub BG).mat", "axis stated    axisscale, rel. 1/cm"),
        (
            "octavvs_reference_mat/casein.mat",
            "axis           5000 … 500 cm⁻¹, 1,557 points, step 1.929 cm⁻¹, 2",
        ),
        ("renishaw_wdf/sp.wdf", "spectra        1 of 1,015 points"),
    ],
)
def test_real_files(shared_data, tmp_path, name, line):
    text = inspect(InfoOptions(shared_data / "formats" / name, out=tmp_path / "look.png"))
    assert "\n" + line in text
    assert colours(pixels(tmp_path / "look.png")) > 50
