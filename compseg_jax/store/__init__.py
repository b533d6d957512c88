"""Cubes on disk: read lazily, written whole, checked, split."""

from compseg_jax.store.read import SPLITS, Sample, Store, StoreError

__all__ = ["SPLITS", "Sample", "Store", "StoreError"]
