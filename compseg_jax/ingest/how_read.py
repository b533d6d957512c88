"""How the file of a sample was read, in words: what a person has to agree with, and where samples differ in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compseg_jax.readers.cube import CHANNEL_NAME, CHANNEL_VALUES, Cube
from compseg_jax.readers.reading_options import in_command_words

FACTS = {
    "format": "format",
    "variable": "variable",
    "level": "level",
    "pixels": "pixels",
    "resized": "resized",
    "channels": "channels",
    "axis": "axis",
    "axes": "axes",
    "pixel_size": "pixel size",
    "stored_type": "stored as",
    "values": "values",
    "bands": "colours",
    "orientation": "orientation",
    "left_out": "left out",
    "reference": "reference mask",
    "tissue": "tissue",
}
"""Column of summary.csv and heading of the page for each fact, in their order."""
MOST = 0.7
"""Share of the samples from which a value counts as the usual one, and others as exceptions."""
_FEW = 3
_IN_ONE_LINE = (
    "format",
    "variable",
    "level",
    "pixels",
    "resized",
    "channels",
    "axis",
    "axes",
    "pixel_size",
    "stored_type",
    "values",
    "bands",
    "orientation",
    "reference",
)


def how_read(
    cube: Cube, shape: tuple[int, int], *, resized: int = 0, reference: str = "", tissue: str = ""
) -> dict[str, str]:
    """The facts of one sample that are known, by the names of ``FACTS``.

    Args:
      cube: as it was read, or resized; its provenance says what its reader assumed.
      shape: rows and columns of its file.
      resized: height and width in pixels that it was brought to, 0 for none.
      reference: how its reference mask was read, '' where it has none.
      tissue: how its tissue was found.
    """
    known = {
        name: in_command_words(str(value)) for name, value in cube.provenance.items() if value is not None
    }
    axis = cube.wavenumbers_cm1
    facts = {name: known.get(name, "") for name in FACTS}
    facts["pixels"] = f"{shape[0]} × {shape[1]}"
    facts["channels"] = f"{cube.absorbance.shape[2]}"
    if axis is not None:
        facts["channels"] += f", {axis[0]:g} … {axis[-1]:g} cm⁻¹"
    elif CHANNEL_NAME in cube.provenance:
        values = cube.provenance[CHANNEL_VALUES]
        facts["channels"] += f", {values[0]:g} … {values[-1]:g} {cube.provenance[CHANNEL_NAME]}"
    if cube.is_picture:
        facts["axis"] = ""  # nobody expects one of colours
    stated = known.get("pixel_size", "")
    if cube.pixel_size_um is None:
        facts["pixel_size"] = stated or ("unknown after resizing" if resized else "not stated")
    else:
        facts["pixel_size"] = f"{cube.pixel_size_um:g} µm" + (f" ({stated})" if stated else "")
    facts["resized"] = f"to {resized} × {resized} pixels" if resized else ""
    facts["reference"], facts["tissue"] = reference, tissue
    return {name: value for name, value in facts.items() if value}


@dataclass(frozen=True)
class Fact:
    """A fact as most samples that have it at all have it.

    Attributes:
      name: one of ``FACTS``.
      value: what most have; where samples differ freely, the values there are.
      samples: how many have it.
    """

    name: str
    value: str
    samples: int


@dataclass(frozen=True)
class Difference:
    """A fact that some samples have otherwise than most.

    Attributes:
      name: one of ``FACTS``.
      value: what they have.
      samples: their ids.
    """

    name: str
    value: str
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Readings:
    """How the files of all samples were read.

    Attributes:
      count: samples that were read.
      usual: each fact as most have it.
      exceptions: where samples differ from what is usual.
      varying: names of facts that each sample has in its own way.
    """

    count: int
    usual: tuple[Fact, ...]
    exceptions: tuple[Difference, ...]
    varying: tuple[str, ...]

    def mixed_types(self) -> str:
        """A warning where samples are stored in several types, whose numbers may be on other scales; else ''."""
        name = "stored_type"
        usual = [each.value for each in self.usual if each.name == name]
        others = sorted({each.value for each in self.exceptions if each.name == name})
        if not others and name not in self.varying:
            return ""
        listed = ", ".join([*usual, *others])
        return f"samples are stored in several types ({listed}): look whether their values are on one scale"

    def in_one_line(self) -> str:
        """For the terminal: what all or most samples have in common, and how many have not."""
        parts = [
            f"{FACTS[each.name]} {each.value}"
            for each in self.usual
            if each.name in _IN_ONE_LINE and each.samples >= MOST * self.count
        ]
        different = len({sample_id for each in self.exceptions for sample_id in each.samples})
        more = f" · {different} differ in something, see the summary" if different else ""
        return f"{self.count} samples read as: {' · '.join(parts)}{more}"


NOTHING_READ = Readings(0, (), (), ())


def compare(readings: Mapping[str, Mapping[str, str]]) -> Readings:
    """What the readings of samples, by their ids, have in common."""
    usual, varying, exceptions = [], [], []
    for name in FACTS:
        having: dict[str, list[str]] = {}
        for sample_id, facts in readings.items():
            if name in facts:
                having.setdefault(facts[name], []).append(sample_id)
        if not having:
            continue
        count = sum(map(len, having.values()))
        value = max(having, key=lambda value: len(having[value]))
        if len(having[value]) < MOST * count:
            varying.append(name)
            usual.append(Fact(name, _listed(name, having), count))
            continue
        usual.append(Fact(name, value, len(having[value])))
        others = ((other, ids) for other, ids in having.items() if other != value)
        exceptions += [Difference(name, other, tuple(ids)) for other, ids in others]
    return Readings(len(readings), tuple(usual), tuple(exceptions), tuple(varying))


def _listed(name: str, having: Mapping[str, list[str]]) -> str:
    """Values that samples have each in its own way: all of them, their range, or how many there are."""
    if len(having) <= _FEW:
        return ", ".join(f"{value} ({len(ids)})" for value, ids in having.items())
    if name == "pixels":
        heights, widths = zip(*(map(int, value.split(" × ")) for value in having), strict=True)
        return f"{min(heights)}–{max(heights)} × {min(widths)}–{max(widths)}"
    return f"{len(having)} different"
