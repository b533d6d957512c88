"""What an error advises works: the command is refused, called again with the words of its message, and goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.store import Store
from tests.model_example import write_model
from tests.store_example import WAVENUMBERS_CM1

AXIS = np.linspace(1000.0, 1800.0, 9)
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Refused:
    """A file that is not read without a word of the caller's.

    Attributes:
      write: makes the file `name` in a folder.
      option: what the message must name.
      value: what is said then; {folder} stands for the folder.
    """

    name: str
    write: Callable[[Path], None]
    option: str
    value: str


def cube(channels: int = 9) -> np.ndarray:
    return RNG.random((6, 7, channels)).astype(np.float32)


def two_cubes(path: Path) -> None:
    np.savez(path, one=cube(), two=cube(), wavenumbers_cm1=AXIS)


def without_axis(path: Path) -> None:
    scipy.io.savemat(path, {"data": cube()})


def unnamed_axis(path: Path) -> None:
    np.savez(path, absorbance=cube(), places=np.arange(9.0))


def several_axes(path: Path) -> None:
    np.savez(path, absorbance=cube(), wavenumbers=AXIS, wn=AXIS + 1)


def axis_of_another_cube(path: Path) -> None:
    np.savez(path, absorbance=cube(), wavenumbers=np.linspace(1000, 1800, 12))


def axes_unsaid(path: Path) -> None:
    tifffile.imwrite(path, cube(), photometric="minisblack")


REFUSED = [
    Refused("two.npz", two_cubes, "--variable", "two"),
    Refused("plain.mat", without_axis, "--axis", "{folder}/axis.txt"),
    Refused("unnamed.npz", unnamed_axis, "--axis", "{folder}/axis.txt"),
    Refused("several.npz", several_axes, "--axis", "{folder}/axis.txt"),
    Refused("another.npz", axis_of_another_cube, "--axis", "{folder}/axis.txt"),
    Refused("stack.tif", axes_unsaid, "--axes", "yxc"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[bool, Path]:
    """Networks for nine channels, with and without wavenumbers."""
    place = tmp_path_factory.mktemp("models")
    return {
        spectral: write_model(place / str(spectral), channels=9, axis=AXIS if spectral else None)
        for spectral in (True, False)
    }


def words(command: str, path: Path, model: Path) -> list[str]:
    folder = path.parent
    if command == "info":
        return ["info", str(path), "--no-picture"]
    if command == "predict":
        return ["predict", str(path), "--model", str(model), "--out", str(folder / "out"), "--outputs", "png"]
    rows = [f"s{at},{at % 2},{path.name},{'train' if at < 2 else 'val'}" for at in range(4)]
    for at in range(1, 4):
        rows[at] = rows[at].replace(path.name, f"{at}{path.name}")
    (folder / "t.csv").write_text("\n".join(["id,label,path,split", *rows]), encoding="utf-8")
    return ["ingest", str(folder / "t.csv"), "--out", str(folder / "store")]


@pytest.mark.parametrize("command", ["info", "ingest", "predict"])
@pytest.mark.parametrize("refused", REFUSED, ids=lambda each: each.name)
def test_what_the_message_advises_works(tmp_path, capsys, models, refused, command):
    path = tmp_path / refused.name
    refused.write(path)
    np.savetxt(tmp_path / "axis.txt", AXIS)
    arguments = words(command, path, models[refused.option != "--axes"])
    if command == "ingest":
        for at in range(1, 4):  # images of their own: one image is no two samples
            refused.write(tmp_path / f"{at}{path.name}")
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert refused.option in message
    assert not re.search(r"\b(wavenumbers_cm1|variable|axes|level|pixel_size_um)=", message)
    assert "Traceback" not in message
    assert main([*arguments, refused.option, refused.value.format(folder=tmp_path)]) == 0, capsys.readouterr()
    if command == "ingest":
        assert "no problems found" in capsys.readouterr().out


def test_advice_about_columns_and_sheets_works(tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    rows = [["id", "label", "path", "split", "patient"]]
    for at in range(8):
        Image.fromarray(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{at}.png")
        rows.append([f"s{at}", at % 2, f"{at}.png", ("train", "val")[at // 4], f"p{at // 2}"])
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            book.active.cell(number, column, cell)
    notes = book.create_sheet("notes")
    notes["A1"], notes["B1"], notes["A2"], notes["B2"] = "to", "do", "look", "again"
    book.active.title = "samples"
    book.save(tmp_path / "t.xlsx")
    arguments = ["ingest", str(tmp_path / "t.xlsx"), "--out", str(tmp_path / "store")]
    if main(arguments) == 1:
        assert "--sheet" in capsys.readouterr().err
        arguments += ["--sheet", "samples"]
        assert main(arguments) == 0
    said = capsys.readouterr()
    assert "--group patient" in said.out + said.err
    arguments[arguments.index("--out") + 1] = str(tmp_path / "grouped")
    assert main([*arguments, "--group", "patient"]) == 0
    assert "--group patient" not in capsys.readouterr().out


def grey_levels(path: Path) -> None:
    edge = np.zeros((8, 8), np.uint8)
    edge[3:6, 3:6], edge[4, 4] = 90, 255
    Image.fromarray(edge).save(path)


def two_numbers(path: Path) -> None:
    np.save(path, np.where(np.arange(64).reshape(8, 8) < 20, 1, -1))


def two_arrays(path: Path) -> None:
    np.savez(path, tumour=np.eye(8, dtype=bool), stroma=np.ones((8, 8), bool))


@pytest.mark.parametrize(
    ("name", "write", "option", "value", "inside"),
    [
        ("m.png", grey_levels, "--mask-threshold", "127", 1),
        ("m.png", grey_levels, "--mask-values", "255", 1),
        ("m.npy", two_numbers, "--mask-values", "1", 20),
        ("m.npz", two_arrays, "--reference-names", "tumour", 8),
    ],
)
def test_advice_about_masks_works(tmp_path, capsys, name, write, option, value, inside):
    write(tmp_path / name)
    rows = ["id,label,path,split,reference"]
    for at in range(4):
        Image.fromarray(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{at}.png")
        rows.append(f"s{at},{at % 2},{at}.png,{'train' if at < 2 else 'val'},{name if at % 2 else ''}")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    arguments = ["ingest", str(tmp_path / "t.csv"), "--out", str(tmp_path / "store")]
    assert main(arguments) == 1
    assert option in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
    assert main([*arguments, option, value]) == 0, capsys.readouterr()
    assert Store.open(tmp_path / "store").reference("s1").sum() == inside


def test_a_network_of_spectra_says_what_an_image_without_axis_needs(tmp_path, capsys):
    model = write_model(tmp_path / "model")
    np.save(tmp_path / "a.npy", cube(len(WAVENUMBERS_CM1)))
    arguments = ["predict", str(tmp_path / "a.npy"), "--model", str(model), "--out", str(tmp_path / "out")]
    arguments += ["--outputs", "png"]
    assert main(arguments) == 1
    assert "--axis FILE" in capsys.readouterr().err
    np.savetxt(tmp_path / "axis.txt", WAVENUMBERS_CM1)
    assert main([*arguments, "--axis", str(tmp_path / "axis.txt")]) == 0
    np.savetxt(tmp_path / "axis.txt", WAVENUMBERS_CM1[::-1])  # what is finished was read otherwise
    assert main([*arguments, "--axis", str(tmp_path / "axis.txt")]) == 1
    assert "choose another --out" in capsys.readouterr().err
