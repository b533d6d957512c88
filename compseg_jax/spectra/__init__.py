"""From an instrument file to a clean cube: readers, scatter correction, scaling and simulated arrays."""
