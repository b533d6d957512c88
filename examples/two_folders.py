"""Pictures for the tutorial of the pathologist: drawn tissue, stained pink and purple, in two folders of labels.

python examples/two_folders.py PLACE makes PLACE/pictures/tumour, PLACE/pictures/normal (two of each for every patient)
and PLACE/new/slide.png, a larger picture of another patient.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

PATIENTS, PER_PATIENT, EDGE_PX = 16, 2, 64
SLIDE_PX = (192, 256)
STROMA, NUCLEUS, LUMEN = (np.array(colour) for colour in ((222, 160, 196), (112, 62, 140), (243, 232, 240)))


def tissue(rng: np.random.Generator, shape: tuple[int, int], *, diseased: bool) -> np.ndarray:
    """A picture (y, x, 3): stroma with scattered nuclei and glands, and in diseased tissue a crowd of nuclei."""
    y, x = np.indices(shape)
    grain = gaussian_filter(rng.normal(size=shape), 1.5)
    nuclei = gaussian_filter(rng.normal(size=shape), 1.0) > 0.55
    picture = np.where(nuclei[..., None], NUCLEUS, STROMA + 60 * grain[..., None])
    for _ in range(shape[0] * shape[1] // 1500):
        middle, radius = rng.uniform(0, shape), rng.uniform(5, 8)
        away = np.hypot(y - middle[0], x - middle[1])
        picture[away < radius + 2] = NUCLEUS + 40
        picture[away < radius] = LUMEN
    if diseased:
        middle, radius = rng.uniform(0.3, 0.7, 2) * shape, rng.uniform(0.2, 0.35) * min(shape)
        wobble = gaussian_filter(rng.normal(size=shape), 5)
        crowd = np.hypot(y - middle[0], x - middle[1]) < radius * (1 + 3 * wobble)
        dense = gaussian_filter(rng.normal(size=shape), 0.8) > -0.4
        picture[crowd] = np.where(dense[..., None], NUCLEUS - 40, STROMA - 60)[crowd]
    stain = rng.normal(1, 0.03, 3)
    return (picture * stain + rng.normal(0, 4, (*shape, 3))).clip(0, 255).astype(np.uint8)


def main(place: Path) -> None:
    """Draws the pictures below a folder."""
    rng = np.random.default_rng(0)
    for label in ("tumour", "normal"):
        folder = place / "pictures" / label
        folder.mkdir(parents=True)
        for patient in range(PATIENTS):
            for number in range(PER_PATIENT):
                picture = tissue(rng, (EDGE_PX, EDGE_PX), diseased=label == "tumour")
                Image.fromarray(picture).save(folder / f"patient{patient:02d}_{number}.png")
    (place / "new").mkdir()
    Image.fromarray(tissue(rng, SLIDE_PX, diseased=True)).save(place / "new" / "slide.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
