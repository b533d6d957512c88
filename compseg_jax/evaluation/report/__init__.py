"""Pages and pictures: the report of an evaluation, the summary of an ingest, quick looks, maps of arrays."""
