"""The mesh of devices that training and prediction run on."""

from __future__ import annotations

import jax
from jax.sharding import Mesh

DATA_AXIS = "data"


def data_mesh(n_devices: int | None = None) -> Mesh:
    """A mesh of one axis, ``data``, over all visible devices or the first ``n_devices`` of them."""
    devices = jax.devices()
    if n_devices is not None:
        if not 1 <= n_devices <= len(devices):
            raise ValueError(f"{n_devices} devices asked for; this machine shows {len(devices)}.")
        devices = devices[:n_devices]
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )
