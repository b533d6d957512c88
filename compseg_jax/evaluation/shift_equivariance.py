"""Whether the map of a shifted image is the shifted map.

An image without its first row and column (and its last, so that both lengths keep their parity) is the image shifted by
one pixel, with nothing padded in: what was the second pixel of a cell of the poolings is now the first. A map that
follows the tissue does not change by it; one that follows the cells does. Zhang, 2019, 'Making convolutional networks
shift-invariant again' (arXiv:1904.11486), for classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.model import Model
from compseg_jax.model.specimen import Specimen
from compseg_jax.readers.scan import CubeScan
from compseg_jax.store.read import Store

MOST_SAMPLES = 4
SMALLEST_PX = 16
"""Edge of an image below which its border is most of it."""
LARGEST_BORDER = 4
"""Part of an edge, 1 in so many, that is left out at each end: what lies beyond the image moved, too."""
BORDER_PX = 16


def shift_difference(
    model: Model, store: Store, results: Sequence[SampleResult], threshold: float
) -> dict[str, object]:
    """How far maps of shifted images are from shifted maps, relative to their mean activation.

    Of up to four diseased samples of one shape, evenly spaced in their order, that have segmented tissue.

    Args:
      model: that made the maps.
      store: of the images.
      results: maps of the images as they are.
      threshold: above which tissue is segmented.

    Returns:
      `shift_equivariance`: Σ|difference| / Σ activation over the tissue away from the borders, 0 for a map that follows
      the image; None where no sample is large enough. `shift_samples`: how many were looked at.
    """
    chosen = _chosen([r for r in results if r.label == 1 and r.predicted_mask(threshold).any()])
    apart = total = 0.0
    for result in chosen:
        cube = store.cube(result.id)
        height, width = result.activation.shape
        part = np.s_[1 : height - 1, 1 : width - 1]
        shifted = replace(cube, absorbance=cube.absorbance[part])
        specimen = Specimen(CubeScan(shifted), store.background, result.tissue[part], cube.steps)
        found = model.predict_specimen(specimen)
        inner = tuple(
            slice(border, length - 2 - border)
            for length, border in ((n, min(BORDER_PX, n // LARGEST_BORDER)) for n in (height, width))
        )
        both = (found.tissue & result.tissue[part])[inner]
        before = result.activation[part][inner][both].astype(np.float64)
        apart += float(np.abs(found.activation[inner][both] - before).sum())
        total += float(before.sum())
    return {"shift_equivariance": apart / total if total > 0 else None, "shift_samples": len(chosen)}


def _chosen(segmented: Sequence[SampleResult]) -> list[SampleResult]:
    """Of the commonest shape, whose programs are compiled once; few, evenly spaced."""
    shapes = Counter(r.activation.shape for r in segmented if min(r.activation.shape) >= SMALLEST_PX)
    if not shapes:
        return []
    shape = shapes.most_common(1)[0][0]
    alike = [r for r in segmented if r.activation.shape == shape]
    n = min(MOST_SAMPLES, len(alike))
    return [alike[i * len(alike) // n] for i in range(n)]
