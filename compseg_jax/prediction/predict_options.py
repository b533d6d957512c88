"""What to predict, with what, and where to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compseg_jax.config.locations import Location, refuse_url
from compseg_jax.prediction.shard import Shard
from compseg_jax.readers.reading_options import ReadingOptions

Output = Literal["zarr", "png", "geojson", "tiff"]


@dataclass(frozen=True)
class PredictOptions(ReadingOptions):
    """What to predict, with what, and where to."""

    inputs: tuple[Location, ...] = ()
    """Files of any readable format, stores (URLs too), or folders of files (and their subfolders)."""
    model: Location = Path("runs/train/model")
    """Extracted network: the model folder of a training run (RUN/model), or RUN itself of an ensemble; a folder
    or a URL."""
    out: Location = Path("runs/predictions")
    """Folder of the predictions, or a URL (s3://, gs://); samples that are finished there are not done again."""
    outputs: tuple[Output, ...] = ("zarr", "png", "geojson")
    """What is written of each sample: OME-Zarr image and labels, 8-bit PNG, GeoJSON for QuPath, OME-TIFF pyramids."""
    threshold: float | None = None
    """Activation above which a pixel is segmented, 0 to 1; the model's own when not given."""
    average_over: Literal["none", "flips", "dihedral"] = "none"
    """Mean of the maps of the image and its flips (4 times the work), or flips and quarter turns (8 times)."""
    split: str = ""
    """Of stores, only the samples of this split: train, val or test; all of them when not given."""
    network: str = ""
    """Network of your own that the model may import, as package.module:Class; code that a model names is not run
    otherwise."""
    memory_gib: float = 2.0
    """Memory in GiB that tiles and networks may take at once; the program itself takes about half a GiB more."""
    tile_px: int | None = None
    """Edge of the tiles of large images in pixels, a multiple of 2^depth; chosen to lose little when not given."""

    min_area_um2: float | None = None
    """Smaller regions are left out of the GeoJSON and smaller holes filled, in µm²; when not given, those below what
    the network resolves, 4^depth pixels. 0: none. Masks and maps stay as they are."""
    fill_holes: bool = False
    """Fill all holes of the regions in the GeoJSON."""
    class_name: str = "Tumor"
    """Class of the regions in QuPath."""
    shard: str = ""
    """I/N: the I-th of N parts of the samples, for a task of a job array; the last one to finish writes the tables."""
    merge: bool = False
    """Predict nothing: write the tables of what is there, and say what is missing."""

    def __post_init__(self) -> None:
        if isinstance(self.out, Path):
            refuse_url(self.out, "A Path loses a slash of a URL; give compseg_jax.config.location(TEXT)")
        if not self.inputs:
            raise ValueError(
                "no input: name files, folders or stores, as in `compseg predict --model M INPUT … --out D`."
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold {self.threshold}: an activation from 0 to 1 is required.")
        if not self.memory_gib > 0:
            raise ValueError(f"--memory-gib {self.memory_gib}: more than 0 is required.")
        if self.tile_px is not None and self.tile_px < 1:
            raise ValueError(f"--tile-px {self.tile_px}: at least 1 is required.")
        if self.min_area_um2 is not None and not 0 <= self.min_area_um2 < math.inf:
            raise ValueError(f"--min-area-um2 {self.min_area_um2}: an area of 0 or more is required.")
        if not self.class_name.strip():
            raise ValueError("--class-name: a name is required, such as Tumor.")
        if self.shard:
            if self.merge:
                raise ValueError("--merge joins the tables of all shards: leave out --shard.")
            Shard.parsed(self.shard)
