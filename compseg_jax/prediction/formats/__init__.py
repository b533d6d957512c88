"""Predictions in the formats of other programs: GeoJSON, OME-Zarr, OME-TIFF, PNG and tables (docs/outputs.md)."""

from compseg_jax.prediction.formats.geojson import (
    Annotation,
    segmentation_features,
    segmentation_to_geojson,
    write_geojson,
)
from compseg_jax.prediction.formats.ome_tiff import (
    activation_levels,
    write_activation_tiff,
    write_mask_tiff,
)
from compseg_jax.prediction.formats.ome_zarr import ActivationMaps, ActivationMapWriter, open_maps
from compseg_jax.prediction.formats.png import write_activation_png, write_mask_png
from compseg_jax.prediction.formats.prediction_tables import (
    Predictions,
    SamplePrediction,
    parsed_sample,
    read_predictions,
    read_sample,
    write_predictions,
    write_sample,
)
from compseg_jax.prediction.formats.sample_files import SampleFormat, write_sample_files
from compseg_jax.prediction.formats.thumbnail import Overview, OverviewWriter, open_overview, overview_step
from compseg_jax.readers.drawn_outlines import geojson_to_mask

__all__ = [
    "ActivationMapWriter",
    "ActivationMaps",
    "Annotation",
    "Overview",
    "OverviewWriter",
    "Predictions",
    "SampleFormat",
    "SamplePrediction",
    "activation_levels",
    "geojson_to_mask",
    "open_maps",
    "open_overview",
    "overview_step",
    "parsed_sample",
    "read_predictions",
    "read_sample",
    "segmentation_features",
    "segmentation_to_geojson",
    "write_activation_png",
    "write_activation_tiff",
    "write_geojson",
    "write_mask_png",
    "write_mask_tiff",
    "write_predictions",
    "write_sample",
    "write_sample_files",
]
