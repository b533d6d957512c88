"""Transmittance never passes as absorbance: converted where file or caller says so, else asked for, once."""

from __future__ import annotations

from pathlib import Path

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.cli.main import main
from compseg_jax.readers import read, read_spectra
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.info.inspection import InfoOptions, inspect
from compseg_jax.readers.reading_again import open_as_trained
from compseg_jax.readers.reading_options import NOTHING_SAID, Instructions
from compseg_jax.readers.scan import AbsorbanceScan, CubeScan, finest_per_pixel_xy, open_scan
from compseg_jax.readers.transmittance import LEAST, TransmittanceError, seen, to_absorbance
from compseg_jax.store.read import Store

AXIS = np.linspace(1800.0, 1000.0, 81)
ALL = slice(None)


def absorbance(seed: int = 0) -> np.ndarray:
    """Tissue of uneven thickness with amide I and another band, on the upper rows alone."""
    rng = np.random.default_rng(seed)
    bands = np.exp(-(((AXIS - 1655) / 25) ** 2)) + 0.4 * np.exp(-(((AXIS - 1240) / 30) ** 2))
    thickness = rng.uniform(0.1, 0.6, (12, 14, 1)) * (np.arange(12) < 7)[:, None, None]
    return (0.05 + thickness * bands + rng.normal(0, 0.002, (12, 14, AXIS.size))).astype(np.float32)


def percent(seed: int = 0) -> np.ndarray:
    return np.asarray(100 * 10 ** -absorbance(seed), np.float32)


def saved(folder: Path, values: np.ndarray, name: str = "a.npz", axis: np.ndarray = AXIS) -> Path:
    np.savez(folder / name, absorbance=values, wavenumbers_cm1=axis)
    return folder / name


def test_what_was_not_measured_stays_zero_and_noise_below_zero_is_no_number_out_of_range():
    values = np.array(
        [[100.0, 10.0, 1.0], [0.0, 0.0, 0.0], [-0.3, 0.0, 1e-9], [np.nan, 100.0, 10.0]], np.float32
    )
    found = to_absorbance(values, "percent")
    most = -np.log10(LEAST)
    np.testing.assert_allclose(found[:3], [[0, 1, 2], [0, 0, 0], [most, most, most]], rtol=1e-6)
    assert np.isnan(found[3, 0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(to_absorbance(values[:1] / 100, "fraction"), [[0, 1, 2]], atol=1e-6)


@pytest.mark.parametrize(
    ("writer", "suffix", "more"),
    [
        (files.fsm, ".fsm", {"quantity": b"%T"}),
        (files.envi, ".hdr", {"titles": "Wavenumbers (cm-1), % Transmittance"}),
        (files.envi, ".hdr", {"titles": "Wavenumbers (cm-1), Transmittance"}),  # in % by its values
    ],
    ids=["perkinelmer", "envi", "envi without a unit"],
)
def test_a_file_that_states_transmittance_is_read_as_absorbance(tmp_path, writer, suffix, more):
    path = writer(tmp_path if suffix == ".hdr" else tmp_path / f"a{suffix}", percent(), AXIS, **more)
    cube = read(path)
    np.testing.assert_allclose(cube.absorbance, absorbance(), atol=1e-5)
    assert cube.provenance["values"].startswith(
        "absorbance, −log10(T/100) of % transmittance (stated by the file"
    )
    assert cube.provenance["quantity"] == "absorbance"
    np.testing.assert_array_equal(read(path, transmittance="none").absorbance, percent())
    scan = open_scan(path)
    np.testing.assert_array_equal(scan.window(ALL, ALL), cube.absorbance)
    np.testing.assert_array_equal(
        scan.window(slice(2, 9), ALL, slice(14, 16)), cube.absorbance[2:9, :, 14:16]
    )


def test_a_single_spectrum_of_transmittance_is_absorbance_too(shared_data):
    found = read_spectra(shared_data / "formats/perkinelmer_fsm/single_PE_spectrum.sp")
    assert found.absorbance[0, 4] == pytest.approx(-np.log10(1.0065028381), abs=1e-7)
    assert found.provenance["quantity"] == "absorbance"


def test_a_window_of_some_channels_tells_opaque_from_not_measured(tmp_path):
    values = percent()
    values[0, 0, 3:5] = 0  # opaque there
    values[1, 1] = 0  # not measured
    scan = open_scan(saved(tmp_path, values), transmittance="percent")
    assert isinstance(scan, AbsorbanceScan)
    part = scan.window(slice(0, 2), slice(0, 2), slice(3, 5))
    assert np.all(part[0, 0] == 4.0)
    assert np.all(part[1, 1] == 0.0)
    np.testing.assert_array_equal(
        part, read(tmp_path / "a.npz", transmittance="percent").absorbance[:2, :2, 3:5]
    )


@pytest.mark.parametrize(
    ("values", "axis", "kind"),
    [
        (percent(), AXIS, "percent"),
        (percent() / 100, AXIS, "fraction"),
        (percent()[..., :40], AXIS[40:80], "percent"),  # no amide I on this axis
        (absorbance(), AXIS, "none"),
        (absorbance() * 100, AXIS, "none"),  # counts from 0 to 100 whose bands are peaks
        (40 + absorbance() * 100, AXIS, "none"),
        (percent(), None, "none"),
        (np.random.default_rng(0).uniform(0, 100, (12, 14, 81)), AXIS, "none"),
        (np.random.default_rng(0).uniform(0, 1, (12, 14, 81)), AXIS, "none"),
        (-np.gradient(absorbance(), axis=2), AXIS, "none"),
    ],
    ids=["percent", "fraction", "without amide I", "absorbance", "counts", "counts on a base", "picture", "noise to "
         "100", "noise to 1", "derivative"],
)  # fmt: skip
def test_transmittance_is_told_from_what_is_none(values, axis, kind):
    spectra = values.reshape(-1, values.shape[2])
    assert seen(spectra, axis, {}) == kind
    assert seen(spectra, axis, {"quantity": "absorbance"}) == "none"
    assert seen(spectra, axis, {"axis": "Raman shift"}) == "none"


def table_of(folder: Path, values: list[np.ndarray]) -> Path:
    lines = ["id,label,path,split"]
    for at, each in enumerate(values):
        saved(folder, each, f"s{at}.npz")
        lines.append(f"s{at},{at % 2},s{at}.npz,{'train' if at < 2 else 'val'}")
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "t.csv"


def test_ingest_asks_and_follows_the_answer(tmp_path, capsys):
    table = str(table_of(tmp_path, [percent(at) for at in range(4)]))
    out = tmp_path / "store"
    assert main(["ingest", table, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "look like % transmittance" in error
    assert "--transmittance percent" in error
    assert "--transmittance none" in error
    assert not out.exists()
    assert main(["ingest", table, "--out", str(out), "--transmittance", "percent"]) == 0
    assert "absorbance, −log10(T/100) of % transmittance (given by the caller)" in capsys.readouterr().out
    store = Store.open(out)
    np.testing.assert_allclose(store.read("s3"), absorbance(3), atol=1e-5)
    assert store.reading == {"transmittance": "percent"}
    assert main(["ingest", table, "--out", str(tmp_path / "other"), "--transmittance", "none"]) == 0
    np.testing.assert_array_equal(Store.open(tmp_path / "other").read("s3"), percent(3))


def test_dearray_asks_before_it_looks_for_cores(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["dearray", str(saved(tmp_path, percent()))]) == 1
    assert "--transmittance percent" in capsys.readouterr().err


def test_info_says_what_it_sees_and_the_command_to_type(tmp_path):
    path = saved(tmp_path, percent())
    text = inspect(InfoOptions(path, no_picture=True))
    assert "look like % transmittance" in text
    assert f"next           compseg info {path} --transmittance percent" in text
    text = inspect(InfoOptions(path, no_picture=True, transmittance="percent"))
    assert "absorbance, −log10(T/100) of % transmittance (given by the caller)" in text
    assert "look like" not in text
    assert "--transmittance percent" in text.splitlines()[-1]


def test_predictions_repeat_what_was_said_of_training_and_ask_where_it_does_not_fit(tmp_path):
    path = saved(tmp_path, percent())
    opened = open_as_trained(path, NOTHING_SAID, Instructions(transmittance="percent"))
    np.testing.assert_allclose(opened.scan.window(ALL, ALL), absorbance(), atol=1e-5)
    assert opened.notes == ("transmittance percent, as for the training files",)
    assert opened.instructions.to_json() == {"transmittance": "percent"}
    with pytest.raises(TransmittanceError, match="look like % transmittance"):
        open_as_trained(path, NOTHING_SAID, NOTHING_SAID)
    assert open_as_trained(path, NOTHING_SAID, Instructions(transmittance="none")).notes == ()
    other = saved(tmp_path, absorbance(), "b.npz")
    with pytest.raises(TransmittanceError, match=r"training files were transmittance \(percent\)"):
        open_as_trained(other, NOTHING_SAID, Instructions(transmittance="percent"))
    said = open_as_trained(other, Instructions(transmittance="none"), Instructions(transmittance="percent"))
    np.testing.assert_array_equal(said.scan.window(ALL, ALL), absorbance())


def test_a_picture_has_no_transmittance(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 3), np.float32))
    for opening in (read, open_scan):
        with pytest.raises(CubeError, match="it is an ordinary image"):
            opening(tmp_path / "a.npy", transmittance="percent")


@pytest.mark.wrong_types
def test_another_word_for_it_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 3), np.float32))
    with pytest.raises(CubeError, match="transmittance='half'; required is one of percent, fraction, none"):
        read(tmp_path / "a.npy", transmittance="half")


def test_a_converted_scan_lies_where_it_lay_on_its_slide():
    """Outlines are drawn at the finest level, whatever level was read."""

    class CoarseLevel(CubeScan):
        finest_per_pixel_xy = (4.0, 3.5)

    scan = CoarseLevel(Cube(np.full((2, 3, 4), 50.0, np.float32), None, provenance={"source": "a test"}))
    assert finest_per_pixel_xy(AbsorbanceScan(scan, "percent", "a test")) == (4.0, 3.5)
