"""JCAMP-DX files (.jdx, .dx): infrared, Raman and UV-vis spectra, one or several in linked blocks.

Layout as published: McDonald & Wilks, Applied Spectroscopy 42 (1988) 151, JCAMP-DX 4.24. Labelled records
(`##NPOINTS= 12`), and the spectrum as `(X++(Y..Y))`, lines of one x and its following y values, plain or compressed
(packed, squeezed, differences, repetitions), or as `(XY..XY)`, pairs. The compressed form states the last value of a
line again as the first of the next; every line states its x; and NPOINTS counts the points. All three are compared.

Parsed here because the package jcamp prints what does not agree and goes on.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks, text_lines
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.point_spectra import Spectra

_RECORD = re.compile(r"##([^=]*)=(.*)")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
# The E of an exponent is also a squeezed digit; in compressed tables no number has an exponent.
_PLAIN = re.compile(rf"\s*(?:({_NUMBER})|(\?)|([,;]))")
_COMPRESSED = re.compile(r"\s*(?:([+-]?\d+\.?\d*)|([@A-Ia-i]\d*)|([%J-Rj-r]\d*)|([S-Zs]\d*)|(\?)|([,;]))")
_FIRST_X = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]\d+)?)")
_IS_COMPRESSED = re.compile(r"[@%A-DF-Za-df-z]")
_SQUEEZED = {
    **{letter: at for at, letter in enumerate("@ABCDEFGHI")},
    **{letter: -at for at, letter in enumerate("abcdefghi", 1)},
}
_DIFFERENCE = {
    **{letter: at for at, letter in enumerate("%JKLMNOPQR")},
    **{letter: -at for at, letter in enumerate("jklmnopqr", 1)},
}
_REPETITION = {letter: at for at, letter in enumerate("STUVWXYZs", 1)}
_TABLES = ("XYDATA", "XYPOINTS")
_NOT_SPECTRA = {"PEAKTABLE": "a table of peaks", "PEAKASSIGNMENTS": "assignments of peaks", "NTUPLES": "n-tuples",
                "RADATA": "an interferogram", "DATATABLE": "a page of n-tuples"}  # fmt: skip
# A spectrum is stated by so many points that a repetition may stand for; more is forged.
_MOST_PER_BYTE = 1000


@dataclass
class _Block:
    """Records of a block by their names, and the lines of its table."""

    records: dict[str, str] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)
    kind: str = ""


def holds(path: Path) -> bool:
    """Whether a file begins with the records of JCAMP-DX."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    return re.search(rb"^\s*##\s*TITLE\s*=", head, re.IGNORECASE | re.MULTILINE) is not None


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a file that have a wavenumber, Raman shift or wavelength, by the titles of their blocks.

    Raises:
      CubeError: if the file is damaged (its checks do not agree), holds no such spectrum, or spectra on several
        axes.
    """
    path = Path(path)
    with checks.Reading(path, "a JCAMP-DX file"):
        every = _blocks(text_lines.read_lines(path))
        blocks = [block for block in every if block.kind in _TABLES]
        others = [block for block in every if block.kind in _NOT_SPECTRA]
        spectral = [block for block in blocks if _unit(block) is not None]
        if not spectral:
            found = [f"{block.kind} in {block.records.get('XUNITS', 'no unit')!r}" for block in blocks]
            found += [_NOT_SPECTRA[block.kind] for block in others]
            raise CubeError(
                f"{path}: found no spectrum with a wavenumber or wavelength, but {', '.join(found[:6]) or 'no table'}. "
                "Export spectra as XYDATA or XYPOINTS in 1/CM, NANOMETERS or MICROMETERS."
            )
        units = [str(_unit(block)) for block in spectral]
        read = [_spectrum(block, path) for block in spectral]
        axes = [
            axis.to_wavenumbers_cm1(x, unit, path, spaced_evenly=False)
            for (x, _), unit in zip(read, units, strict=True)
        ]
        if not all(axis.same_axis(axes[0], other) for other in axes):
            raise CubeError(
                f"{path}: its {len(axes)} spectra lie on several axes. Give each a file of its own."
            )
        values = np.stack([y for _, y in read])
    names = tuple(block.records.get("TITLE", "") for block in spectral)
    provenance = {
        "source": str(path),
        "format": "JCAMP-DX",
        "quantity": spectral[0].records.get("YUNITS", "not stated"),
        "axis": f"{spectral[0].kind}, {units[0]} in the file",
        "direction": axis.direction(axes[0]),
        "stored_type": "text",
    }
    passed = len(blocks) + len(others) - len(spectral)
    if passed:
        provenance["left_out"] = f"{passed} blocks that are no spectra with a wavenumber or wavelength"
    return Spectra(values, axes[0], names, None, provenance)


def _blocks(lines: list[str]) -> list[_Block]:
    """The blocks of a file, those of a linked file too, without comments."""
    blocks: list[_Block] = []
    name = ""
    for line in lines:
        line = line.split("$$", 1)[0].rstrip()
        record = _RECORD.match(line.lstrip()) if line.lstrip().startswith("##") else None
        if record is None:
            if blocks and line.strip():
                if name == blocks[-1].kind:
                    blocks[-1].table.append(line)
                elif name:
                    blocks[-1].records[name] += "\n" + line.strip()
            continue
        name = re.sub(r"[\s/_-]", "", record.group(1)).upper()
        if name == "TITLE" or not blocks:
            blocks.append(_Block())
        value = record.group(2).strip()
        if name in _TABLES or name in _NOT_SPECTRA:
            blocks[-1].kind = name
        blocks[-1].records.setdefault(name, value)
    return blocks


def _unit(block: _Block) -> str | None:
    stated = block.records.get("XUNITS", "")
    inner = re.search(r"\(([^()]*)\)", stated)
    return next((unit for unit in (stated, inner.group(1) if inner else "") if axis.unit_named(unit)), None)


def _spectrum(block: _Block, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a block, (c,) each."""
    form = re.sub(r"\s", "", block.records[block.kind]).upper()
    x_factor, y_factor = _number(block, "XFACTOR", path, 1.0), _number(block, "YFACTOR", path, 1.0)
    points = int(_number(block, "NPOINTS", path))
    if not 1 < points < _MOST_PER_BYTE * path.stat().st_size:
        raise CubeError(f"{path}: NPOINTS is {points}; required is a number that the file can hold. Damaged.")
    if form.startswith("(XY..XY)"):
        numbers = np.array([value for line in block.table for value in _plain(line, path)])
        if numbers.size != 2 * points:
            raise CubeError(f"{path}: found {numbers.size} numbers for {points} pairs; cut or damaged.")
        return x_factor * numbers[::2], y_factor * numbers[1::2]
    if not form.startswith("(X++(Y..Y))"):
        raise CubeError(f"{path}: its table has the form {form!r}; read are (X++(Y..Y)) and (XY..XY).")
    first, last = _number(block, "FIRSTX", path), _number(block, "LASTX", path)
    x = np.linspace(first, last, points)
    y = _ordinates(block.table, x, x_factor, path)
    return x, y_factor * y


def _ordinates(lines: list[str], x: np.ndarray, x_factor: float, path: Path) -> np.ndarray:
    """The y values of lines that each begin with their x, shape of x, before the factor."""
    step = abs(x[-1] - x[0]) / (x.size - 1)
    is_compressed = any(_IS_COMPRESSED.search(line) for line in lines)
    found: list[float] = []
    is_difference = False
    for line in lines:
        start = _FIRST_X.match(line)
        if start is None:
            raise CubeError(f"{path}: the line {line[:40]!r} of its table begins with no number. Damaged.")
        is_check, text = is_difference, line[start.end() :]
        if is_compressed:
            values, is_difference = _compressed(text, x.size + 1 - len(found), path)
        else:
            values, is_difference = _plain(text, path), False
        if is_check and len(found) == x.size and len(values) == 1:
            continue  # what stands for the check after the last point is not agreed upon
        if is_check and (not values or values[0] != found[-1]):
            raise CubeError(
                f"{path}: the line at x = {start.group(1)} begins with {values[:1]}, the one before it ends with "
                f"{found[-1]:g}; they must agree. The file is damaged; export it again."
            )
        at = len(found) - is_check
        stated = x_factor * float(start.group(1))
        decimals = len(start.group(1).partition(".")[2])
        if at < x.size and abs(stated - x[at]) > step + abs(x_factor) * 10.0**-decimals:
            raise CubeError(
                f"{path}: a line begins at x = {stated:g}, where point {at} of {x.size} from {x[0]:g} to {x[-1]:g} is "
                f"at {x[at]:g}. A line is missing or the axis is wrong; export the file again."
            )
        found += values[1:] if is_check else values
        if len(found) > x.size:
            break
    if len(found) != x.size:
        more = "more than" if len(found) > x.size else "only"
        raise CubeError(f"{path}: found {more} {min(len(found), x.size)} of {x.size} points. Cut or damaged.")
    return np.array(found)


def _plain(text: str, path: Path) -> list[float]:
    values = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        token = _PLAIN.match(text, at)
        if token is None:
            raise CubeError(f"{path}: {text[at : at + 20]!r} in its table is no number. Damaged.")
        at = token.end()
        if token.group(1):
            values.append(float(token.group(1)))
        elif token.group(2):
            values.append(np.nan)  # a value that was not measured
    return values


def _compressed(text: str, most: int, path: Path) -> tuple[list[float], bool]:
    """Values of a line, at most one more than `most`, and whether its last is stated by a difference."""
    values: list[float] = []
    difference: float | None = None
    at = 0
    text = text.rstrip()
    while at < len(text):
        token = _COMPRESSED.match(text, at)
        if token is None:
            raise CubeError(f"{path}: {text[at : at + 20]!r} in its table is no number. Damaged.")
        at = token.end()
        plain, squeezed, differing, repeated, missing, _ = token.groups()
        if plain or squeezed:
            values.append(float(plain) if plain else _lettered(squeezed, _SQUEEZED))
            difference = None
        elif missing:
            values.append(np.nan)
            difference = None
        elif differing or repeated:
            if not values:
                raise CubeError(
                    f"{path}: a line of its table begins with {token.group().strip()!r}. Damaged."
                )
            times = 1
            if repeated:
                times = min(int(_lettered(repeated, _REPETITION)) - 1, most)
            else:
                difference = _lettered(differing, _DIFFERENCE)
            for _ in range(times):
                values.append(values[-1] + (difference or 0))
        if len(values) > most:
            break
    return values, difference is not None


def _lettered(token: str, digits: dict[str, int]) -> float:
    """The number of a token whose first digit and sign are one letter."""
    first = digits[token[0]]
    number = float(f"{abs(first)}{token[1:]}")
    return -number if first < 0 else number


def _number(block: _Block, name: str, path: Path, otherwise: float | None = None) -> float:
    stated = block.records.get(name, "").strip()
    if not stated and otherwise is not None:
        return otherwise
    try:
        value = float(stated.replace(",", "."))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise CubeError(f"{path}: {name} is {stated!r}; required is a number. Export the file again.")
    return value
