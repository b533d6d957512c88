"""Whether what counts as tissue of infrared images is tissue: seen by amide I before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compseg_jax.readers.amide_i import AMIDE_I_TOP_CM1
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample, Store, StoreError

SAMPLES_LOOKED_AT = 6
LARGEST_ABSORBANCE = 10.0
"""An image of which more than 1 % is larger holds counts, as of a Raman microscope."""
WORTH_A_NOTE = 0.1
"""Share of the pixels of an image without amide I, in the median sample, from which on it is said."""


def background_among_tissue(cubes: PreparedStore, samples: Sequence[Sample]) -> float:
    """Share of the pixels of raw infrared images that count as tissue and have no amide I band.

    Of the median of the first samples; 0 where a mask is known, no pixel or every pixel has none, or the axis or the
    values are not those of infrared absorbance. A spectrum of glass or of an empty slide is noise, which EMSC and a
    vector norm bring to the height of tissue. Pixels that hold no number are left out, as everywhere.

    Args:
      cubes: where samples are read from, before any preparation.
      samples: training samples.
    """
    from compseg_jax.spectra.tissue import BASELINE_CM1, tissue_mask

    axis = cubes.store.wavenumbers_cm1
    if axis is None or cubes.store.preparation is not None:
        return 0.0
    if not all(np.any((axis >= low) & (axis <= high)) for low, high in (AMIDE_I_TOP_CM1, BASELINE_CM1)):
        return 0.0
    shares = []
    for sample in samples[:SAMPLES_LOOKED_AT]:
        try:
            absorbance, tissue = cubes.read(sample.id)
        except StoreError:
            continue
        whole = np.isfinite(absorbance).all(axis=-1)
        if not tissue.all() or not whole.any() or np.percentile(absorbance[whole], 99) > LARGEST_ABSORBANCE:
            return 0.0
        found = tissue_mask(np.where(whole[..., None], absorbance, 0), axis)
        shares.append(1 - found[whole].mean())
    share = float(np.median(shares)) if shares else 0.0
    return share if WORTH_A_NOTE <= share < 1 else 0.0


def background_note(store: Store) -> list[str]:
    """A note of `background_among_tissue`, and what leaves it out."""
    share = background_among_tissue(PreparedStore(store), store.split("train"))
    if not share:
        return []
    return [
        f"every pixel counts as tissue, but {100 * share:.0f} % of them have no amide I band (median of the first "
        "training samples): background, which recipes that prepare spectra by themselves leave out. "
        "`--prepare tissue` of compseg ingest does it for every recipe (docs/spectra.md)."
    ]
