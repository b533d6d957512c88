"""The files of one sample, made from its finished activation.ome.zarr."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from compseg_jax.prediction.formats.geojson import Annotation, write_geojson
from compseg_jax.prediction.formats.ome_tiff import write_activation_tiff, write_mask_tiff
from compseg_jax.prediction.formats.ome_zarr import ActivationMaps
from compseg_jax.prediction.formats.png import write_activation_png, write_mask_png

AT_ONCE = 2
"""Files that are written at the same time: their compression does not hold Python's lock."""
SampleFormat = Literal["png", "geojson", "tiff"]
"""A kind of file that is written of a sample."""


def write_sample_files(
    folder: Path | str,
    maps: ActivationMaps,
    formats: Collection[SampleFormat],
    *,
    annotation: Annotation | None = None,
) -> dict[str, str]:
    """Writes a finished map in other formats at the same time, reading it in strips; each file whole or not at all.

    Args:
      folder: of the sample; files there are replaced.
      maps: as `ActivationMapWriter.finish` or `open_maps` returns it.
      formats: 'png' (activation.png, mask.png), 'geojson' (segmentation.geojson), 'tiff' (activation.ome.tif,
        mask.ome.tif).
      annotation: what the regions become in QuPath; None for tumours of any size.

    Returns:
      kind → file name, in the words of `SamplePrediction.files`.
    """
    folder = Path(folder)
    written: dict[str, str] = {}
    writers: list[Callable[[], object]] = []
    activation, mask, pixel_size_um = maps.activation, maps.segmentation, maps.pixel_size_um
    if "png" in formats:
        written |= {"activation_png": "activation.png", "mask_png": "mask.png"}
        writers += [
            partial(write_activation_png, folder / written["activation_png"], activation[0]),
            partial(write_mask_png, folder / written["mask_png"], mask[0]),
        ]
    if "geojson" in formats:
        written["geojson"] = "segmentation.geojson"
        place, about = folder / written["geojson"], annotation or Annotation()
        regions = partial(write_geojson, pixel_size_um=pixel_size_um, annotation=about)
        writers.append(lambda: regions(place, mask[0][:], activation[0]))
    if "tiff" in formats:
        written |= {"activation_tiff": "activation.ome.tif", "mask_tiff": "mask.ome.tif"}
        tiffs = folder / written["activation_tiff"], folder / written["mask_tiff"]
        writers += [
            partial(write_activation_tiff, tiffs[0], activation, pixel_size_um=pixel_size_um),
            partial(write_mask_tiff, tiffs[1], mask, pixel_size_um=pixel_size_um),
        ]
    with ThreadPoolExecutor(AT_ONCE, "compseg-export") as pool:
        for each in [pool.submit(writer) for writer in writers]:
            each.result()
    return written
