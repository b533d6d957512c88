"""`compseg predict`: extracted networks on files, folders and stores, into a folder of maps."""

from compseg_jax.runtime.lazy_names import lazy_names

_HOMES = {
    "ActivationMapWriter": "formats",
    "ActivationMaps": "formats",
    "Annotation": "formats",
    "Overview": "formats",
    "OverviewWriter": "formats",
    "Predictions": "formats",
    "SampleFormat": "formats",
    "SamplePrediction": "formats",
    "activation_levels": "formats",
    "geojson_to_mask": "formats",
    "open_maps": "formats",
    "open_overview": "formats",
    "overview_step": "formats",
    "read_predictions": "formats",
    "read_sample": "formats",
    "segmentation_features": "formats",
    "segmentation_to_geojson": "formats",
    "write_activation_png": "formats",
    "write_activation_tiff": "formats",
    "write_geojson": "formats",
    "write_mask_png": "formats",
    "write_mask_tiff": "formats",
    "write_predictions": "formats",
    "write_sample": "formats",
    "write_sample_files": "formats",
}

__all__ = list(_HOMES)

__getattr__ = lazy_names(__name__, _HOMES)
