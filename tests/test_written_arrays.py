"""The zarr.json that ingest writes by itself: the one that TensorStore would write."""

from __future__ import annotations

import json

import pytest

from compseg_jax.store import ome
from compseg_jax.store.kvstore import open_array


@pytest.mark.parametrize(
    "metadata", [ome.cube_array((3, 40, 300)), ome.mask_array((40, 300))], ids=["cube", "mask"]
)
def test_arrays_are_described_as_tensorstore_would(tmp_path, metadata):
    open_array(tmp_path / "0", spec={"metadata": metadata}, create=True, write=True)
    assert json.loads((tmp_path / "0" / "zarr.json").read_text()) == metadata
