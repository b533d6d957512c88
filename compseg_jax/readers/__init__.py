"""From a file to a cube or to spectra, whole (`read`) or by windows (`open_scan`)."""

from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.drawn_outlines import geojson_to_mask
from compseg_jax.readers.masks import Mask, MaskRule, read_mask
from compseg_jax.readers.point_spectra import Spectra
from compseg_jax.readers.recognition import FORMATS, Format, read, read_spectra, recognise

__all__ = [
    "FORMATS",
    "Cube",
    "CubeError",
    "Format",
    "Mask",
    "MaskRule",
    "Spectra",
    "geojson_to_mask",
    "read",
    "read_mask",
    "read_spectra",
    "recognise",
]
