"""What the caller says of files: the same options for every command, repeated by predictions, words that fit both."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.reading_again import open_as_trained
from compseg_jax.readers.reading_options import (
    NOTHING_SAID,
    OPTIONS,
    READING,
    Instructions,
    ReadingOptions,
    in_command_words,
)
from compseg_jax.store.read import Store

ROOM = Path(__file__).parents[1] / "compseg_jax"
READING_COMMANDS = ("info", "dearray", "ingest", "predict")
AXIS = np.linspace(1800, 1000, 9)


def cube(channels=9):
    return np.random.default_rng(0).random((4, 5, channels)).astype(np.float32)


def texts_of(path: Path) -> list[str]:
    """String literals of a module, those of f-strings with … in place of values, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (each.value if isinstance(each, ast.Constant) else "'…'" for each in node.values)
            found.append("".join(map(str, parts)))
    return found


def test_every_command_that_reads_files_has_every_option():
    for name in READING_COMMANDS:
        page = importlib.import_module(f"compseg_jax.cli.{name}").PAGE
        shown = {field for fields in page.groups.values() for field in fields}
        assert set(READING) <= shown, name


def test_every_message_names_options_that_these_commands_have():
    options = {f"--{name.replace('_', '-')}" for name in READING}
    assert set(OPTIONS.values()) == options
    messages = [text for path in sorted((ROOM / "readers").rglob("*.py")) for text in texts_of(path)]
    advising = [text for text in messages if re.search(rf"\b({'|'.join(OPTIONS)})=", text)]
    assert len(advising) > 8
    for text in advising:
        said = in_command_words(text)
        assert not re.search(rf"\b({'|'.join(OPTIONS)})=", said), text
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", said)) <= options, text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Give one with wavenumbers_cm1=, one value", "Give one with --axis FILE, one value"),
        ("Name one with variable=.", "Name one with --variable NAME."),
        ("found variable='a/b'. Leave it out.", "found --variable a/b. Leave it out."),
        ("level=2 or level=", "--level 2 or --level N"),
        ("say axes='yxc' or axes='cyx'", "say --axes yxc or --axes cyx"),
        ("give pixel_size_um=.", "give --pixel-size UM."),
        ("pixel_size_um=0.25.", "--pixel-size 0.25."),
        ("the variable = 3 of somebody", "the variable = 3 of somebody"),
    ],
)
def test_words_of_a_command(message, words):
    assert in_command_words(message) == words


def test_instructions_survive_json():
    given = Instructions(AXIS, "a", "cyx", 2, 0.5)
    again = Instructions.from_json(given.to_json())
    np.testing.assert_array_equal(again.wavenumbers_cm1, AXIS)
    assert again.to_json() == given.to_json()
    assert NOTHING_SAID.to_json() == {}
    assert Instructions.from_json({}).keywords() == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"axes": "xyz"}, r"found axes='xyz'; required are the letters y, x and c"),
        ({"level": -1}, r"found level=-1; required is 0"),
        ({"pixel_size_um": 0.0}, r"found pixel_size_um=0\.0; required is a length"),
        ({"pixel_size_um": float("nan")}, r"required is a length"),
        ({"variable": "a"}, r"found variable='a'\. Leave it out"),
        ({"level": 1}, r"has one resolution; found level=1"),
    ],
)
def test_what_no_file_can_be_read_by_is_refused(tmp_path, given, message):
    np.save(tmp_path / "a.npy", cube())
    with pytest.raises(CubeError, match=message):
        read(tmp_path / "a.npy", **given)


def test_the_caller_states_the_pixel_size(tmp_path):
    np.savez(tmp_path / "a.npz", absorbance=cube(), wavenumbers_cm1=AXIS, pixel_size_um=5.5)
    assert read(tmp_path / "a.npz").pixel_size_um == 5.5
    found = read(tmp_path / "a.npz", pixel_size_um=2.0)
    assert (found.pixel_size_um, found.provenance["pixel_size"]) == (2.0, "given by the caller")


def test_what_was_said_of_training_files_is_repeated(tmp_path):
    first, second = cube(), cube() + 1
    np.savez(tmp_path / "two.npz", a=first, b=second)
    trained = Instructions(AXIS, "b")
    opened = open_as_trained(tmp_path / "two.npz", NOTHING_SAID, trained)
    np.testing.assert_array_equal(opened.scan.window(slice(None), slice(None)), second)
    np.testing.assert_array_equal(opened.scan.wavenumbers_cm1, AXIS)
    assert opened.notes[0] == "variable b, as for the training files"
    assert len(opened.notes) == 2
    np.testing.assert_array_equal(opened.instructions.wavenumbers_cm1, AXIS)
    said = open_as_trained(tmp_path / "two.npz", Instructions(variable="a"), trained)
    np.testing.assert_array_equal(said.scan.window(slice(None), slice(None)), first)
    np.savez(tmp_path / "third.npz", c=first)
    with pytest.raises(CubeError, match=r"no array 'b'.*Read as the training files were: variable='b'"):
        open_as_trained(tmp_path / "third.npz", NOTHING_SAID, trained)


def test_an_axis_of_the_file_goes_before_that_of_training(tmp_path):
    own = AXIS - 3
    np.savez(tmp_path / "own.npz", absorbance=cube(), wavenumbers_cm1=own)
    opened = open_as_trained(tmp_path / "own.npz", NOTHING_SAID, Instructions(AXIS))
    np.testing.assert_array_equal(opened.scan.wavenumbers_cm1, own)
    assert opened.notes == ()
    np.save(tmp_path / "short.npy", cube(3))  # a photograph among the files keeps its colours
    assert (
        open_as_trained(tmp_path / "short.npy", NOTHING_SAID, Instructions(AXIS)).scan.wavenumbers_cm1 is None
    )


def test_a_store_remembers_what_was_said(tmp_path):
    from compseg_jax.ingest.ingest_options import IngestOptions
    from compseg_jax.ingest.to_store import ingest

    np.savetxt(tmp_path / "axis.txt", AXIS)
    lines = ["id,label,path,split"]
    for at in range(4):
        np.savez(tmp_path / f"s{at}.npz", other=cube(), data=cube() + at)
        lines.append(f"s{at},{at % 2},s{at}.npz,{'train' if at < 2 else 'val'}")
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    options = IngestOptions(axis=tmp_path / "axis.txt", variable="data", pixel_size=5.5)
    ingest(tmp_path / "t.csv", tmp_path / "store", options)
    store = Store.open(tmp_path / "store")
    assert store.reading == {"wavenumbers_cm1": AXIS.tolist(), "variable": "data", "pixel_size_um": 5.5}
    np.testing.assert_array_equal(store.read("s3"), cube() + 3)
    np.testing.assert_array_equal(store.wavenumbers_cm1, AXIS)
    assert store.pixel_size_um == 5.5


def test_options_are_what_read_takes(tmp_path):
    np.savetxt(tmp_path / "axis.txt", AXIS)
    options = ReadingOptions(axis=tmp_path / "axis.txt", variable="v", axes="yxc", level=1, pixel_size=2.0)
    assert options.words == f" --axis {tmp_path}/axis.txt --variable v --axes yxc --level 1 --pixel-size 2.0"
    assert ReadingOptions(variable="my data").words == " --variable 'my data'"
    keywords = options.instructions.keywords()
    np.testing.assert_array_equal(keywords.pop("wavenumbers_cm1"), AXIS)
    assert keywords == {"variable": "v", "axes": "yxc", "level": 1, "pixel_size_um": 2.0}
