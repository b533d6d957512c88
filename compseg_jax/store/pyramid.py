"""Pictures with several levels on disk: written in pieces, halved strip by strip, read lazily.

What lies in the groups around them is said in ome.py; prediction/formats/ome_zarr.py puts both together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float, UInt8

from compseg_jax.config.locations import Location
from compseg_jax.runtime.files import json_text
from compseg_jax.store import ome
from compseg_jax.store.chunk_trailers import ChunkTrailers, stated_trailers
from compseg_jax.store.kvstore import open_array, read_bytes
from compseg_jax.store.read import StoreError

LONGEST_SIDE_OF_LAST_LEVEL_PX = 512
Halving = Callable[[np.ndarray], np.ndarray]


def steps(shape: tuple[int, int]) -> list[int]:
    """Full-resolution pixels that a pixel of each level spans: 1, 2, 4, … until the longer side is ≤ 512 pixels."""
    found = [1]
    while -(-max(shape) // found[-1]) > LONGEST_SIDE_OF_LAST_LEVEL_PX:
        found.append(found[-1] * 2)
    return found


def halved_mean(values: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "h w"]:
    """Mean of every 2 × 2 pixels; at odd ends of those that are there. float32."""
    return _quads(values.astype(np.float32, copy=False)).mean(axis=(1, 3), dtype=np.float32)


def halved_mask(values: UInt8[np.ndarray, "y x"]) -> UInt8[np.ndarray, "h w"]:
    """1 where at least half of every 2 × 2 pixels are set; at odd ends of those that are there."""
    return (_quads((values != 0).astype(np.uint8)).sum(axis=(1, 3), dtype=np.uint8) >= 2).astype(np.uint8)


def _quads(values: np.ndarray) -> np.ndarray:
    height, width = values.shape
    whole = np.pad(values, ((0, height % 2), (0, width % 2)), mode="edge")
    return whole.reshape(whole.shape[0] // 2, 2, whole.shape[1] // 2, 2)


@dataclass(frozen=True)
class Level:
    """An array on disk, of which parts are read and written as those of a NumPy array are.

    Indices are slices of step 1, clipped to the picture as NumPy's are.
    """

    path: Location
    array: ts.TensorStore
    trailers: bytes | None = None
    """Of its chunks as they were written, which those that are read have to have; None where they are not known."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in the order of the axes."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return np.dtype(self.array.dtype.numpy_dtype)

    def __getitem__(self, index: slice | tuple[slice, ...]) -> np.ndarray:
        """A part as a new array; raises StoreError where it is missing, damaged or another's."""
        part = self._inside(index)
        proven = self._proven_later(part)
        try:
            values: np.ndarray = self.array[part].read().result()
        except ValueError as error:
            raise StoreError(
                f"{self.path} cannot be read ({error}). It is damaged or not finished: predict again."
            ) from error
        proven()
        return values

    def _proven_later(self, part: tuple[slice, ...]) -> Callable[[], None]:
        if self.trailers is None or any(each.start >= each.stop for each in part):
            return lambda: None
        rest = (slice(0, size) for size in self.shape[len(part) :])
        return ChunkTrailers.of(self.path, self.array).refuse_others_later(self.trailers, (*part, *rest))

    def __setitem__(self, index: slice | tuple[slice, ...], values: np.ndarray) -> None:
        """Writes a part; chunks that it covers in part keep their other values."""
        self.array[self._inside(index)].write(values).result()

    def _inside(self, index: slice | tuple[slice, ...]) -> tuple[slice, ...]:
        wanted = index if isinstance(index, tuple) else (index,)
        return tuple(slice(*part.indices(size)[:2]) for part, size in zip(wanted, self.shape, strict=False))


def create_level(
    path: Path, shape: tuple[int, ...], data_type: str, axes: str, *, durable: bool = False
) -> Level:
    """Makes the array of a level, or opens it where the same one is there already.

    Args:
      path: of the array.
      shape: its sizes in the order of the axes.
      data_type: in the words of zarr.
      axes: 'yx' or 'cyx'.
      durable: waits for the disk after every write. After every file of a picture that is written at once, that
        takes ten times as long as writing.

    Raises:
      StoreError: if another array is in its place.
    """
    spec = {
        "metadata": ome.level_array(shape, data_type, axes),
        # Every chunk is stored, also one of zeros, so that a missing one is known to be damage.
        "store_data_equal_to_fill_value": True,
        **({"context": {"file_io_sync": True}} if durable else {}),
    }
    try:
        return Level(path, open_array(path, spec=spec, open=True, create=True, read=True, write=True))
    except ValueError as error:
        raise StoreError(f"{path}: another array is there ({error}). Remove it and predict again.") from error


def open_levels(
    group: Location, trailers: Mapping[str, bytes] | None = None, below: str = ""
) -> tuple[Level, ...]:
    """Levels of an OME-NGFF 0.5 image, the full resolution first; nothing is read yet.

    Args:
      group: of the image.
      trailers: of the chunks of its arrays, by their names after ``below`` (``chunk_trailers``); nothing where they are
        not known.
      below: path of the image in the group that states them, with a slash at its end.

    Raises:
      StoreError: if there is no such image, or one of its arrays is damaged.
    """
    try:
        names = [dataset["path"] for dataset in _multiscale(group)["datasets"]]
        return tuple(_opened(group / name, trailers[below + name] if trailers else None) for name in names)
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(group, error) from error


def pixel_size_um(group: Location) -> float | None:
    """Edge of a pixel of the first level in µm, None where unknown; raises StoreError as `open_levels` does."""
    multiscale = _multiscale(group)
    try:
        if multiscale["axes"][-1].get("unit") != "micrometer":
            return None
        return float(multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][-1])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _unreadable(group, error) from error


def group_attributes(group: Location, sha256: str = "") -> dict[str, Any]:
    """Attributes of a group; raises StoreError where there is none, it is damaged, or its hash is another than stated.

    Args:
      group: of an image.
      sha256: of its zarr.json; '' where it is not known.
    """
    text = read_bytes(group / "zarr.json")
    if text is None:
        raise _unreadable(group, FileNotFoundError("no zarr.json"))
    if sha256 not in ("", found := hashlib.sha256(text).hexdigest()):
        raise StoreError(
            f"{group / 'zarr.json'} has the hash {found[:12]}…, stated of this sample's is {sha256[:12]}…. It was "
            f"edited, or is another sample's: remove the folder {group.parent.name} and predict that sample again."
        )
    try:
        return dict(json.loads(text)["attributes"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(group, error) from error


def trailers_below(group: Location, sha256: str = "") -> Mapping[str, bytes]:
    """What a group states of the chunks of arrays below it; raises StoreError as `group_attributes` does."""
    try:
        return stated_trailers(group_attributes(group, sha256))
    except StoreError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(group, error) from error


def trailers_of(levels: Mapping[str, Level]) -> dict[str, str]:
    """What a group states of its arrays, by their paths in it, once they are written."""
    return {name: ChunkTrailers.of(level.path, level.array).all().hex() for name, level in levels.items()}


def _multiscale(group: Location) -> dict[str, Any]:
    try:
        return dict(group_attributes(group)["ome"]["multiscales"][0])
    except StoreError:
        raise
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _unreadable(group, error) from error


def _unreadable(group: Location, error: Exception) -> StoreError:
    return StoreError(
        f"{group} is no readable OME-Zarr 0.5 image ({error!r}). Give one that `compseg predict` wrote."
    )


def _opened(path: Location, trailers: bytes | None) -> Level:
    array = open_array(path, spec={"fill_missing_data_reads": False}, open=True, read=True)
    return Level(path, array, trailers)


def build_levels(group: Path, full: Level, halved: Halving) -> tuple[Level, ...]:
    """Writes the levels '1', '2', … of a picture (y, x) from its full resolution, by strips of one row of chunks.

    Returns:
      all levels, the full resolution first.
    """
    found, above = [full], full
    for number in range(1, len(steps((full.shape[0], full.shape[1])))):
        height, width = (-(-size // 2) for size in above.shape)
        level = create_level(group / str(number), (height, width), full.dtype.name, "yx")
        for top in range(0, height, ome.LEVEL_CHUNK):
            rows = slice(top, min(top + ome.LEVEL_CHUNK, height))
            level[rows] = halved(above[2 * rows.start : 2 * rows.stop])
        found.append(level)
        above = level
    return tuple(found)


def write_group(group: Path, metadata: dict[str, Any]) -> None:
    """Writes the zarr.json of a group."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "zarr.json").write_text(json_text(metadata), encoding="utf-8")
