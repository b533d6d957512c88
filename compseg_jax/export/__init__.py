"""Predictions in the formats of other programs: GeoJSON, OME-Zarr, OME-TIFF, PNG and tables."""
