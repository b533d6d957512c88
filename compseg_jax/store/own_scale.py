"""Whether ordinary images may be brought onto a scale of their own, asked of the labels of training samples.

Images of several scanners differ in brightness and contrast, and ``zscore`` takes that out. But a lesion is part of
its image: a large or dark one changes mean and standard deviation, and once they are taken out, each pixel of healthy
tissue around the lesion tells the label. A network that sees a few pixels then marks all but the lesion. So what is
taken out must not tell the label by itself (docs/decisions/66).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from compseg_jax.runtime.together import spread
from compseg_jax.spectra.preparation import without_broken
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample

TELLS_FROM_AUC = 0.8
"""From here on mean or standard deviation of images tell their labels; 1 where a lesion covers a quarter of a picture,
.5 to .7 in brain scans of many scanners, ultrasound and glands, which need a scale of their own."""


def own_scale_tells(cubes: PreparedStore, samples: Sequence[Sample]) -> float:
    """The AUC, .5 to 1, with which mean or standard deviation of the best channel tells labels apart.

    Args:
      cubes: where samples are read from.
      samples: training samples; .5 where they are all of one label.
    """

    def scales(some: Iterable[Sample]) -> Iterator[Float[np.ndarray, " k"] | None]:
        for sample in some:
            # Pixels that hold no number are left out, as everywhere.
            spectra = without_broken(cubes.image(sample.id)).spectra.astype(np.float64)
            yield np.concatenate([spectra.mean(axis=0), spectra.std(axis=0)]) if len(spectra) else None

    found = [
        (sample.label, scale)
        for sample, scale in zip(samples, spread(scales, samples), strict=True)
        if scale is not None
    ]
    labels = np.array([label for label, _ in found])
    n_diseased = int(labels.sum())
    n_healthy = len(labels) - n_diseased
    if not n_diseased or not n_healthy:
        return 0.5
    ranks = rankdata(np.stack([scale for _, scale in found]), axis=0)
    # Mann and Whitney (1947): ranks of the diseased samples, less the least they can be.
    above = ranks[labels == 1].sum(axis=0) - n_diseased * (n_diseased + 1) / 2
    auc = above / (n_diseased * n_healthy)
    return float(np.maximum(auc, 1 - auc).max())
