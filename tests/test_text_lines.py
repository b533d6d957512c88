"""Text of unknown encoding, delimiter and decimal mark; and pixel sizes that a file states."""

from __future__ import annotations

import re

import pytest

from compseg_jax.readers import pixel_size, text_lines
from compseg_jax.readers.cube import CubeError


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_lines_of_any_encoding(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("µ 45°\r\n1\t2\r3\n".encode(encoding))
    assert text_lines.read_lines(tmp_path / "a.txt") == ["µ 45°", "1\t2", "3", ""]


@pytest.mark.parametrize("content", [b"1\0\0\x82\x03", b"\xff\xfe1"])
def test_what_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(CubeError, match="text"):
        text_lines.read_lines(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["1000,0.25", "1001,0.5"], [["1000", "0.25"], ["1001", "0.5"]]),
        (["1000, 0.25", "1001, 0.5"], [["1000", "0.25"], ["1001", "0.5"]]),
        (["1000,5;0,25", "1001,5;0,5"], [["1000.5", "0.25"], ["1001.5", "0.5"]]),
        (["wave, cm-1\tvalue", "1000,5\t-,25"], [["wave, cm-1", "value"], ["1000.5", "-.25"]]),
        (["1000,5  0,25", " 1001,5  5"], [["1000.5", "0.25"], ["1001.5", "5"]]),
        (["1000.5 1e-3", "1001.5 5"], [["1000.5", "1e-3"], ["1001.5", "5"]]),
        (["1,000.5\t2", "1,001\t2.5"], [["1000.5", "2"], ["1001", "2.5"]]),
        (["1.000,5\t2", "999\t2,5"], [["1000.5", "2"], ["999", "2.5"]]),
        (['"1000,5","0,25"', '"1001,5","5"'], [["1000.5", "0.25"], ["1001.5", "5"]]),
        (["a title", "1000\t1", "1001\t2"], [["a title"], ["1000", "1"], ["1001", "2"]]),
    ],
)
def test_cells_of_any_delimiter_and_decimal_mark(tmp_path, lines, found):
    assert text_lines.cells(lines, tmp_path) == found


def test_a_comma_that_may_be_either_is_refused(tmp_path):
    with pytest.raises(CubeError, match="decimal comma or a comma after thousands"):
        text_lines.cells(["1,000\t5", "1,002\t6"], tmp_path)


def test_numbers():
    assert [cell for cell in ("1", "-.5e3", "1d4", "nan", "1_000", "", "x", "1,5") if text_lines.is_number(cell)] == [
        "1", "-.5e3", "1d4", "nan",
    ]  # fmt: skip
    assert text_lines.number("1D4") == 1e4
    assert text_lines.number("-INF") == float("-inf")


@pytest.mark.parametrize(
    ("sizes_um", "size_um", "said"),
    [
        ([2.7], 2.7, "stated"),
        ([2.7, 2.7], 2.7, "stated"),
        ([1.0, 1.001], 1.0005, "stated"),
        (
            [5000.0, 5000.0],
            None,
            r"5000 µm: not believed.*pixel_size_um= .*\(5 where the file means millimetres\)",
        ),
        ([1e9], None, "not believed.*where you know it$"),
        ([2.0, 4.0], None, "2 × 4 µm are not square; give pixel_size_um="),
        ([0.0], None, "no length; give pixel_size_um="),
        ([float("nan")], None, "no length"),
        ([], None, "no length"),
    ],
)
def test_pixel_sizes_are_those_of_a_microscope(sizes_um, size_um, said):
    found, words = pixel_size.judged(sizes_um, "stated")
    assert found == (None if size_um is None else pytest.approx(size_um))
    assert re.search(said, words)
