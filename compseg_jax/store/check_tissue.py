"""Whether what counts as tissue of infrared images is tissue: seen by amide I before anything is trained."""

from __future__ import annotations

import numpy as np

from compseg_jax.readers.amide_i import AMIDE_I_TOP_CM1
from compseg_jax.store.read import Store, StoreError

SAMPLES_LOOKED_AT = 6
LARGEST_ABSORBANCE = 10.0
"""An image of which more than 1 % is larger holds counts, as of a Raman microscope."""
WORTH_A_NOTE = 0.1
"""Share of the pixels of an image without amide I, in the median sample, from which on it is said."""


def background_note(store: Store) -> list[str]:
    """A note where every pixel of raw infrared images counts as tissue, and many have no amide I band.

    A spectrum of glass or of an empty slide is noise, which EMSC and a vector norm bring to the height of tissue.
    """
    from compseg_jax.spectra.tissue import BASELINE_CM1, tissue_mask

    axis = store.wavenumbers_cm1
    if axis is None or store.preparation is not None:
        return []
    if not all(np.any((axis >= low) & (axis <= high)) for low, high in (AMIDE_I_TOP_CM1, BASELINE_CM1)):
        return []
    shares = []
    for sample in store.split("train")[:SAMPLES_LOOKED_AT]:
        try:
            absorbance, tissue = store.read(sample.id), store.tissue(sample.id)
        except StoreError:
            continue
        if not tissue.all() or not np.percentile(absorbance, 99) <= LARGEST_ABSORBANCE:
            return []
        shares.append(1 - tissue_mask(absorbance, axis).mean())
    if not shares or (share := float(np.median(shares))) < WORTH_A_NOTE or share == 1:
        return []
    return [
        f"every pixel counts as tissue, but {100 * share:.0f} % of them have no amide I band (median of {len(shares)} "
        "training samples). Networks may learn nothing from the noise of background: leave it out, with `--prepare "
        "tissue` of compseg ingest or `--prepare tissue emsc` of compseg train (docs/spectra.md)."
    ]
