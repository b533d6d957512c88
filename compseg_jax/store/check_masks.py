"""What is remarkable with the masks of a store: they mark all, nothing, or the wrong side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

MARKS_BORDER = 0.9
"""Share of the outermost pixels that a mask of the wrong side marks."""
LEAVES_BORDER = 0.1
"""Share of them up to which a mask leaves them free."""
IN_BETWEEN = 0.05
"""Share of the masks that may lie between both where the border tells the side."""
USUAL = 2 / 3
"""Share of the samples that are alike before others are said to differ from them."""
_SHOWN = 3


@dataclass(frozen=True)
class MaskShares:
    """What the masks of one sample cover.

    Attributes:
      id: of the sample.
      is_diseased: its label.
      tissue_of_frame: share of the outermost pixels that is tissue.
      tissue_of_middle: share of the middle quarter of the image that is tissue.
      marked: share of the tissue that the reference mask marks; None where the sample has none.
      marked_of_frame: share of the outermost pixels that it marks.
    """

    id: str
    is_diseased: bool
    tissue_of_frame: float
    tissue_of_middle: float
    marked: float | None = None
    marked_of_frame: float = 0.0

    @property
    def marks_border(self) -> bool:
        """Whether the reference mask marks the border of the image, and is not just everything."""
        everything = self.marked == 1.0 and self.marked_of_frame == 1.0
        return self.marked is not None and self.marked_of_frame >= MARKS_BORDER and not everything

    @property
    def has_tissue_around(self) -> bool:
        """Whether the frame of the image is tissue and its middle is not."""
        return self.tissue_of_frame >= MARKS_BORDER and self.tissue_of_middle <= 0.5


def mask_shares(
    sample_id: str,
    tissue: Bool[np.ndarray, "y x"],
    reference: Bool[np.ndarray, "y x"] | None,
    *,
    is_diseased: bool,
) -> MaskShares:
    """Measures the masks of a sample, of which some pixel is tissue."""
    frame = np.ones_like(tissue)
    frame[1:-1, 1:-1] = False
    height, width = tissue.shape
    middle = tissue[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    shares = (float(tissue[frame].mean()), float(middle.mean()))
    if reference is None:
        return MaskShares(sample_id, is_diseased, *shares)
    marked = float(reference[tissue].mean())
    return MaskShares(sample_id, is_diseased, *shares, marked, float(reference[frame].mean()))


def mask_notes(masks: Sequence[MaskShares]) -> list[str]:
    """What is worth a look, a line each; empty where masks mark a part of the tissue and alike in all samples."""
    drawn = [each for each in masks if each.is_diseased and (each.marked or each.marked_of_frame)]
    notes = []
    full = [each for each in drawn if each.marked == 1.0 and not each.marks_border]
    if full:
        notes.append(f"{len(full)} reference mask(s) of diseased samples mark all tissue: {_names(full)}.")
    bordering = [each for each in drawn if each.marks_border]
    between = [each for each in drawn if LEAVES_BORDER < each.marked_of_frame < MARKS_BORDER]
    if len(between) > IN_BETWEEN * len(drawn):
        # Disease may fill these images, so that a marked border tells nothing but where no tissue is there.
        bordering = [each for each in bordering if each.tissue_of_frame < 0.5]
    if bordering:
        left = len(drawn) - len(bordering)
        others = f", those of {left} others do not" if left else ""
        notes.append(
            f"{len(bordering)} reference mask(s) mark the border of the image{others}: {_names(bordering)}. They may "
            "be inverted; look at them, and ingest masks that are not 0 where tissue is diseased."
        )
    odd = [each for each in masks if each.has_tissue_around]
    usual = sum(each.tissue_of_frame <= 0.5 for each in masks)
    if odd and usual >= USUAL * len(masks):
        notes.append(
            f"tissue of {len(odd)} sample(s) is the border of the image and not its middle, unlike that of {usual} "
            f"others: {_names(odd)}. Their tissue masks may be inverted; look at them."
        )
    return notes


def _names(masks: Sequence[MaskShares]) -> str:
    more = f" and {len(masks) - _SHOWN} more" if len(masks) > _SHOWN else ""
    return ", ".join(each.id for each in masks[:_SHOWN]) + more
