"""How the file of a sample was read, in words: what a person has to agree with, and where samples differ in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from compseg_jax.readers.cube import Cube
from compseg_jax.readers.reading_options import in_command_words

FACTS = {
    "format": "format",
    "variable": "variable",
    "pixels": "pixels",
    "channels": "channels",
    "axis": "axis",
    "axes": "axes",
    "pixel_size": "pixel size",
    "stored_type": "stored as",
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
    "pixels",
    "channels",
    "axis",
    "axes",
    "pixel_size",
    "stored_type",
    "bands",
    "orientation",
)


def how_read(cube: Cube, *, resized: int = 0, reference: str = "", tissue: str = "") -> dict[str, str]:
    """The facts of one sample that are known, by the names of ``FACTS``.

    Args:
      cube: as it was read; its provenance says what its reader assumed.
      resized: height and width in pixels that it was brought to, 0 for none.
      reference: how its reference mask was read, '' where it has none.
      tissue: how its tissue was found.
    """
    known = {
        name: in_command_words(str(value)) for name, value in cube.provenance.items() if value is not None
    }
    height, width, channels = cube.absorbance.shape
    axis = cube.wavenumbers_cm1
    facts = {name: known.get(name, "") for name in FACTS}
    facts["pixels"] = f"{height} × {width}" + (" (resized)" if resized else "")
    facts["channels"] = f"{channels}"
    if axis is not None:
        facts["channels"] += f", {axis[0]:g} … {axis[-1]:g} cm⁻¹"
    stated = known.get("pixel_size", "")
    if cube.pixel_size_um is None:
        facts["pixel_size"] = stated or ("unknown, resized" if resized else "not stated")
    else:
        facts["pixel_size"] = f"{cube.pixel_size_um:g} µm" + (f" ({stated})" if stated else "")
    facts["reference"], facts["tissue"] = reference, tissue
    return {name: value for name, value in facts.items() if value}


@dataclass(frozen=True)
class Usual:
    """A fact as most samples have it.

    Attributes:
      fact: its heading.
      value: the usual value, or the values there are.
      samples: how many have it; all, where samples differ freely.
    """

    fact: str
    value: str
    samples: int


@dataclass(frozen=True)
class Readings:
    """How the files of all samples were read.

    Attributes:
      count: samples that were read.
      usual: each fact as most have it.
      exceptions: id, heading and value where a sample differs from what is usual.
      varying: facts that each sample has in its own way.
    """

    count: int
    usual: tuple[Usual, ...]
    exceptions: tuple[tuple[str, str, str], ...]
    varying: tuple[str, ...]

    def in_one_line(self) -> str:
        """For the terminal: what all samples have in common, and where to look for the others."""
        said = {heading: name for name, heading in FACTS.items()}
        parts = [f"{each.fact} {each.value}" for each in self.usual if said[each.fact] in _IN_ONE_LINE]
        different = len({sample_id for sample_id, _, _ in self.exceptions})
        more = f"; {different} sample(s) differ, see the summary" if different else ""
        return f"{self.count} samples read as: {'; '.join(parts)}{more}"


NOTHING_READ = Readings(0, (), (), ())


def compare(readings: Mapping[str, Mapping[str, str]]) -> Readings:
    """What the readings of samples, by their ids, have in common."""
    usual, varying = [], []
    exceptions: list[tuple[str, str, str]] = []
    for name, heading in FACTS.items():
        values = {sample_id: facts.get(name, "") for sample_id, facts in readings.items()}
        counts = Counter(values.values())
        if not any(counts):
            continue
        value, count = counts.most_common(1)[0]
        if count < max(MOST * len(values), 1):
            varying.append(name)
            usual.append(Usual(heading, _listed(counts), len(values)))
            continue
        usual.append(Usual(heading, value or "–", count))
        exceptions += [
            (sample_id, heading, other or "–") for sample_id, other in values.items() if other != value
        ]
    return Readings(len(readings), tuple(usual), tuple(exceptions), tuple(varying))


def _listed(counts: Counter[str]) -> str:
    if len(counts) > _FEW:
        return f"{len(counts)} different"
    return ", ".join(f"{value or '–'} ({count})" for value, count in counts.most_common())
