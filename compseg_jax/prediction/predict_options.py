"""What to predict, with what, and where to."""

from __future__ import annotations

import math
from collections import Counter
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
    match: Literal["auto", "no"] = "auto"
    """'auto': where 8 images or more lie lower or higher on the maps than the validation samples, by more than chance,
    as on another array, day or instrument, maps are moved towards their level (docs/decisions/73). 'no', and with
    --threshold: maps as the network gives them."""
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
    smooth_um: float | None = None
    """How far outlines in the GeoJSON may run from the edges of pixels, in µm, so that they have fewer corners. When
    not given: as far as every pixel stays inside or outside; 0: along the edges."""
    class_name: str = "Tumor"
    """Class of the regions in QuPath."""
    shard: str = ""
    """I/N: the I-th of N parts of the samples, for a task of a job array; the last one to finish writes the tables."""
    ray: str = ""
    """Predict by shards on a Ray cluster that sees the same folders: local (this machine), auto, HOST:PORT or
    ray://HOST:PORT; needs the extra 'ray'."""
    merge: bool = False
    """Predict nothing: write the tables of what is there, and say what is missing."""
    scans: tuple[Path, ...] = ()
    """Scans of tissue arrays, whose cores are predicted: one row a core, calls, a picture and outlines of the array."""
    cores: tuple[Path, ...] = ()
    """CSV of `compseg dearray` for each scan, in their order, edited or not; cores are found when not given."""
    to_training_scale: bool = False
    """Bring images whose pixels are of another size than in training to that size, and their maps back."""

    def __post_init__(self) -> None:
        if isinstance(self.out, Path):
            refuse_url(self.out, "A Path loses a slash of a URL; give compseg_jax.config.location(TEXT)")
        elif self.scans:
            raise ValueError(
                f"--scans: the calls on arrays are written to a folder, not to {self.out}. Name one."
            )
        if not self.inputs and not self.scans:
            raise ValueError(
                "no input: name files, folders or stores, as in `compseg predict --model M INPUT … --out D`, or scans "
                "of tissue arrays with --scans."
            )
        if self.cores and len(self.cores) != len(self.scans):
            raise ValueError(
                f"--cores: found {len(self.cores)} for {len(self.scans)} scans; give one for each, in their order."
            )
        names = Counter(path.stem.lower() for path in self.scans)
        if names and names.most_common(1)[0][1] > 1:
            raise ValueError(
                f"--scans: two are named {names.most_common(1)[0][0]!r}; predict them into different folders."
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold {self.threshold}: an activation from 0 to 1 is required.")
        if not self.memory_gib > 0:
            raise ValueError(f"--memory-gib {self.memory_gib}: more than 0 is required.")
        if self.tile_px is not None and self.tile_px < 1:
            raise ValueError(f"--tile-px {self.tile_px}: at least 1 is required.")
        if self.min_area_um2 is not None and not 0 <= self.min_area_um2 < math.inf:
            raise ValueError(f"--min-area-um2 {self.min_area_um2}: an area of 0 or more is required.")
        if self.smooth_um is not None and not 0 <= self.smooth_um < math.inf:
            raise ValueError(f"--smooth-um {self.smooth_um}: a distance of 0 or more is required.")
        if not self.class_name.strip():
            raise ValueError("--class-name: a name is required, such as Tumor.")
        if self.ray and (self.shard or self.merge):
            raise ValueError(
                "--ray makes the shards and joins their tables itself: leave out --shard and --merge."
            )
        if self.shard:
            if self.merge:
                raise ValueError("--merge joins the tables of all shards: leave out --shard.")
            Shard.parsed(self.shard)
