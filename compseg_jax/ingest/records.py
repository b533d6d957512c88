"""What became of every sample of a table on its way into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float, Int

from compseg_jax.drawing.pictures import colours_shown, jpeg_bytes
from compseg_jax.ingest.how_read import FACTS
from compseg_jax.readers.cube import Cube
from compseg_jax.runtime.csv_tables import csv_text
from compseg_jax.spectra.preparation import Image

THUMBNAIL_PX = 200


@dataclass(frozen=True, eq=False)
class SampleRecord:
    """One sample, kept or dropped.

    Attributes:
      id: its name in the table.
      label: 1 diseased, 0 healthy.
      source: file, and core where it is one.
      kept: whether it is in the store.
      why: why it was dropped, in words; '' where it was kept.
      split: its split.
      dropped: pixels dropped by reason.
      tissue: pixels kept.
      marked: pixels of the reference mask that are marked; None where the sample has none.
      reading: how its file was read, by the names of ``how_read.FACTS``; empty where it never was.
      reason: why a pixel was dropped, (y, x): index into ``reasons``, −1 where it was kept; None where the
        image was never read.
      reasons: the reasons in words.
      raw: mean spectrum (c,) before the preparation of the pixels kept, with its axis (c,).
      prepared: mean spectrum after it, with its axis.
      colours: JPEG of an image in colours, as it was read; empty of others.
      aspect: width over height of that.
    """

    id: str
    label: int
    source: str
    kept: bool = True
    why: str = ""
    split: str = ""
    tissue: int = 0
    marked: int | None = None
    reading: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    reason: Int[np.ndarray, "y x"] | None = None
    reasons: tuple[str, ...] = ()
    raw: tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]] | None = None
    prepared: tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]] | None = None
    colours: bytes = b""
    aspect: float = 1.0


def measured(before: Image, after: Image) -> dict[str, object]:
    """The fields of a record that follow from an image before and after its preparation."""
    still = after.mask[before.mask]
    means = {}
    if still.any():
        means = {
            "raw": (before.wavenumbers_cm1, before.spectra[still].mean(axis=0)),
            "prepared": (after.wavenumbers_cm1, after.spectra.mean(axis=0)),
        }
    return {
        "tissue": int(after.mask.sum()),
        "dropped": after.counts(),
        "reason": after.reason,
        "reasons": after.reasons,
        **means,
    }


def in_colours(cube: Cube) -> dict[str, Any]:
    """The fields of a record that show an ordinary image in its own colours; none for others."""
    height, width, channels = cube.absorbance.shape
    if not cube.is_picture or channels != 3:
        return {}
    step = max(1, max(height, width) // (2 * THUMBNAIL_PX))
    values = colours_shown(cube.absorbance[::step, ::step])
    image = PIL.Image.fromarray(np.rint(values * 255).astype(np.uint8))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return {"colours": jpeg_bytes(image), "aspect": width / height}


def records_csv(records: Sequence[SampleRecord]) -> str:
    """The records as CSV: one row per sample, a column for each reason that dropped pixels and each fact of reading."""
    reasons = list(dict.fromkeys(name for record in records for name in record.dropped))
    facts = [name for name in FACTS if any(name in record.reading for record in records)]
    head = ["id", "label", "split", "status", "why", "tissue_pixels", "reference_pixels"]
    rows = [
        [
            record.id,
            record.label,
            record.split,
            "kept" if record.kept else "dropped",
            record.why,
            record.tissue,
            "" if record.marked is None else record.marked,
            *(record.dropped.get(name, 0) for name in reasons),
            record.source,
            *(record.reading.get(name, "") for name in facts),
        ]
        for record in records
    ]
    return csv_text([*head, *reasons, "source", *facts], rows)
