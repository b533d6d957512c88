"""Folders of predictions for tests, written by hand with zarr-python, as docs/outputs.md lays them out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

OVERVIEW_PX = 512


def reduced(values: np.ndarray) -> np.ndarray:
    """Means over 2×2 pixels of the last two axes, whose lengths are even."""
    *rest, height, width = values.shape
    return values.reshape(*rest, height // 2, 2, width // 2, 2).mean(axis=(-3, -1), dtype=np.float32)


def write_image(
    path: Path,
    levels: Sequence[np.ndarray],
    *,
    pixel_size_um: float | None = None,
    chunk: int = 512,
    **attributes: Any,
) -> zarr.Group:
    """An OME-Zarr 0.5 image, finest level first."""
    names = "cyx"[-levels[0].ndim :]
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    axes = [
        {"name": n, "type": "channel"} if n == "c" else {"name": n, "type": "space", **unit} for n in names
    ]
    datasets = []
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    for index, level in enumerate(levels):
        factor = levels[0].shape[-1] / level.shape[-1] * (pixel_size_um or 1.0)
        scale = [1.0 if n == "c" else factor for n in names]
        datasets.append(
            {"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
        chunks = tuple(
            size if n == "c" else min(chunk, size) for n, size in zip(names, level.shape, strict=True)
        )
        array = group.create_array(
            str(index),
            shape=level.shape,
            dtype=level.dtype,
            chunks=chunks,
            compressors=None,
            config={"write_empty_chunks": True},
            dimension_names=names,
        )
        array[:] = level
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs.update(attributes)
    return group


def pyramid(values: np.ndarray) -> list[np.ndarray]:
    """Halved until at most 512 pixels a side."""
    levels = [values]
    while max(levels[-1].shape[-2:]) > OVERVIEW_PX:
        levels.append(reduced(levels[-1]).astype(values.dtype))
    return levels


def write_sample(
    folder: Path,
    sample_id: str,
    activation: np.ndarray,
    tissue: np.ndarray,
    *,
    source: str,
    channels: int,
    threshold: float,
    overview: np.ndarray | None = None,
    wavenumbers_cm1: list[float] | None = None,
    **entry: Any,
) -> dict[str, Any]:
    """One sample's maps; returns its entry of predictions.json."""
    place = folder / "samples" / sample_id
    pixel_size_um = entry.get("pixel_size_um")
    image = write_image(place / "activation.ome.zarr", pyramid(activation), pixel_size_um=pixel_size_um)
    labels = image.create_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["segmentation", "tissue"]}
    for name, mask in (("segmentation", tissue & (activation > threshold)), ("tissue", tissue)):
        levels = pyramid(mask.astype(np.float32))
        write_image(
            place / "activation.ome.zarr" / "labels" / name,
            [(level >= 0.5).astype(np.uint8) for level in levels],
            pixel_size_um=pixel_size_um,
        )
    if overview is not None:
        about = {"step_px": -(-activation.shape[1] // overview.shape[2]), "wavenumbers_cm1": wavenumbers_cm1}
        write_image(place / "overview.ome.zarr", [overview], pixel_size_um=pixel_size_um, compseg=about)
    values = {
        "id": sample_id, "source": source, "store_id": None, "status": "done", "error": None,
        "height_px": activation.shape[0], "width_px": activation.shape[1], "pixel_size_um": None, "channels": channels,
        "score": float(activation[tissue].mean()), "area_fraction": float((activation[tissue] > threshold).mean()),
        "area_low": None, "area_high": None, "tissue_px": int(tissue.sum()), "label": None, "dice": None,
        "seconds": 0.1, "files": {"activation_zarr": f"samples/{sample_id}/activation.ome.zarr"},
    }  # fmt: skip
    values |= entry
    (place / "sample.json").write_text(json.dumps(values))
    return values


def write_predictions(
    folder: Path, entries: Sequence[dict[str, Any]], *, threshold: float, model: dict[str, Any] | None = None
) -> Path:
    """predictions.json of samples that were written."""
    values = {
        "format": "compseg-predictions", "version": 1, "threshold": threshold, "samples": list(entries), "options": {},
        "model": model or {"path": "gone/model", "weights_sha256": "0" * 64, "recipe": "default"}, "versions": {},
    }  # fmt: skip
    (folder / "predictions.json").write_text(json.dumps(values))
    return folder


def write_slide(folder: Path, size: int, *, channels: int = 64, threshold: float = 0.35) -> Path:
    """One large slide whose source is gone, made of one repeated tile so that it costs little."""
    tile = np.random.default_rng(0).random((size // 8, size // 8), np.float32)
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    activation = np.tile(tile, (8, 8)) * ramp
    tissue = np.ones((size, size), bool)
    tissue[: size // 4] = False
    activation *= tissue
    overview = np.random.default_rng(1).random((channels, OVERVIEW_PX, OVERVIEW_PX), np.float32)
    entry = write_sample(
        folder, "slide", activation, tissue, source="gone.dms", channels=channels, threshold=threshold,
        overview=overview, pixel_size_um=5.5,
    )  # fmt: skip
    return write_predictions(folder, [entry], threshold=threshold)
