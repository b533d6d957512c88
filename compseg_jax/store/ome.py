"""What zarr.json files say: OME-NGFF 0.5 groups, and the arrays inside them, of stores and of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OME_VERSION = "0.5"
TILE = 32
"""Edge in pixels of what is read at once: an inner chunk holds the whole spectra of one tile."""
LARGEST_SHARD = 256
"""Longest edge in pixels of a file of the store."""
LEVEL_CHUNK = 512
"""Longest edge in pixels of a chunk of a picture with several levels."""
BANDS_IN_FILE = 32
"""Most channels of a thumbnail in one file; each is a chunk of its own, so that one is read alone."""
CHECKSUM: dict[str, Any] = {"name": "crc32c"}
"""Last codec of what is compressed: Blosc and Zstandard read most altered bytes as other numbers."""


def image_group(name: str, pixel_size_um: float | None) -> dict[str, Any]:
    """Group of a cube: one resolution level, array '0', axes (c, y, x)."""
    return _group({"version": OME_VERSION, "multiscales": [_multiscale(name, "cyx", pixel_size_um)]})


def labels_group(names: list[str]) -> dict[str, Any]:
    """Group that lists the masks of an image."""
    return _group({"version": OME_VERSION, "labels": names})


def mask_group(name: str, pixel_size_um: float | None) -> dict[str, Any]:
    """Group of a mask: a label image of the image two levels up, array '0', axes (y, x)."""
    return _group(
        {
            "version": OME_VERSION,
            "multiscales": [_multiscale(name, "yx", pixel_size_um)],
            "image-label": {"source": {"image": "../../"}},
        }
    )


def cube_array(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Array (c, y, x), sharded; the bytes of a tile lie channel-last, as they are used."""
    channels, height, width = shape
    lz4 = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}
    shard = [channels, *(min(-(-size // TILE) * TILE, LARGEST_SHARD) for size in (height, width))]
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [channels, TILE, TILE],
            "codecs": [
                {"name": "transpose", "configuration": {"order": [1, 2, 0]}},
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "blosc", "configuration": {**lz4, "typesize": 4, "blocksize": 0}},
                CHECKSUM,
            ],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, CHECKSUM],
        },
    }
    return _array(shape, "float32", shard, [sharding], "cyx")


def mask_array(shape: tuple[int, int]) -> dict[str, Any]:
    """Array (y, x) of 0 and 1, in one chunk."""
    zstd: dict[str, Any] = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    codecs = [{"name": "bytes"}, zstd, CHECKSUM]
    return _array(shape, "uint8", list(shape), codecs, "yx")


def pyramid_group(
    name: str, axes: str, steps: Sequence[int], pixel_size_um: float | None, **more: Any
) -> dict[str, Any]:
    """Group of an image or label image with several levels, arrays '0', '1', …

    Args:
      name: of the image.
      axes: 'yx' or 'cyx'.
      steps: full-resolution pixels that a pixel of each level spans, in each direction.
      pixel_size_um: edge of a full-resolution pixel in µm, or None.
      more: further entries beside ``multiscales``, such as ``omero``.
    """
    multiscale = _multiscale(name, axes, pixel_size_um)
    multiscale["datasets"] = [
        {"path": str(level), "coordinateTransformations": _placed(axes, step, pixel_size_um or 1.0)}
        for level, step in enumerate(steps)
    ]
    multiscale["type"] = "mean"
    return _group({"version": OME_VERSION, "multiscales": [multiscale], **more})


def level_array(shape: tuple[int, ...], data_type: str, axes: str) -> dict[str, Any]:
    """Array of one level. Pictures (y, x) are cut into chunks; bands (c, y, x) are chunks of sharded files."""
    blosc = {"cname": "zstd", "clevel": 3, "shuffle": "noshuffle" if data_type == "uint8" else "shuffle"}
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}}
        if data_type != "uint8"
        else {"name": "bytes"},
        {"name": "blosc", "configuration": blosc | {"typesize": 1 if data_type == "uint8" else 4}},
        CHECKSUM,
    ]
    if axes != "cyx":
        return _array(shape, data_type, [min(size, LEVEL_CHUNK) for size in shape], codecs, axes)
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, *shape[1:]],
            "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, CHECKSUM],
        },
    }
    return _array(shape, data_type, [min(shape[0], BANDS_IN_FILE), *shape[1:]], [sharding], axes)


def _placed(axes: str, step: int, pixel_size: float) -> list[dict[str, Any]]:
    """Where the pixels of a level lie: positions are those of centres, so that of its first one moves."""
    scale = [1.0 if axis == "c" else step * pixel_size for axis in axes]
    placed: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if step > 1:
        shift = [0.0 if axis == "c" else (step - 1) / 2 * pixel_size for axis in axes]
        placed.append({"type": "translation", "translation": shift})
    return placed


def _group(ome: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}


def _multiscale(name: str, axes: str, pixel_size_um: float | None) -> dict[str, Any]:
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    scale = [1.0 if axis == "c" or pixel_size_um is None else pixel_size_um for axis in axes]
    return {
        "name": name,
        "axes": [
            {"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space", **unit}
            for axis in axes
        ],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }


def _array(
    shape: tuple[int, ...], data_type: str, chunk: list[int], codecs: list[dict[str, Any]], axes: str
) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": codecs,
        "dimension_names": list(axes),
        "fill_value": 0,
    }
