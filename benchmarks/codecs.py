"""What codecs of a cube's chunks cost to read, in pairs within one run: `python -m benchmarks.codecs`.

Each round reads the cube once by each arrangement, in an order of its own; what is told is the median over rounds of
the processor time by that of the same round without checksums. docs/decisions/57 says what was chosen.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from benchmarks.reading import CROP, MB, smooth_cube
from compseg_jax.runtime import keep_freed_memory
from compseg_jax.store.kvstore import open_array
from compseg_jax.store.ome import CHECKSUM, cube_array
from compseg_jax.store.read import PendingRead

SIZE_PX, CHANNELS, CROPS = 256, 450, 8
PLAIN = "as today, no checksum"
Codecs = list[dict[str, Any]]


def arrangements(today: Codecs) -> dict[str, Codecs]:
    """Codecs of inner chunks by their names; ``today`` ends with Blosc and the checksum."""
    *layout, blosc, checksum = today

    def with_blosc(**changes: Any) -> Codecs:
        return [*layout, {**blosc, "configuration": blosc["configuration"] | changes}, checksum]

    return {
        PLAIN: [*layout, blosc],
        "as today: over compressed bytes": today,
        "over raw bytes": [
            *layout,
            checksum,
            {**blosc, "configuration": blosc["configuration"] | {"typesize": 1}},
        ],
        "bit shuffle": with_blosc(shuffle="bitshuffle"),
        "LZ4 level 1": with_blosc(clevel=1),
        "LZ4 level 9": with_blosc(clevel=9),
        "Zstandard level 1": with_blosc(cname="zstd", clevel=1),
        "blocks of 64 KiB": with_blosc(blocksize=1 << 16),
        "not compressed": [*layout, checksum],
        "not compressed, no checksum": layout,
    }


def main() -> None:
    """Writes the cube by each arrangement, and prints what reading it costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codecs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="reads by each arrangement (default: 15)")
    parser.add_argument("--keep-memory", action="store_true", help="as commands do, keep freed memory")
    options = parser.parse_args()
    if options.keep_memory and not keep_freed_memory():
        parser.error("freed memory cannot be kept here")
    cube = np.ascontiguousarray(smooth_cube(np.random.default_rng(0), SIZE_PX, CHANNELS).transpose(2, 0, 1))
    with tempfile.TemporaryDirectory() as folder:
        places = _written(Path(folder), cube)
        print(f"{cube.nbytes / MB:.0f} MB; processor time in ms, and by that of {PLAIN!r}")
        corners = np.random.default_rng(1).integers(0, SIZE_PX - CROP + 1, (CROPS, 2)).tolist()
        windows = [(slice(y, y + CROP), slice(x, x + CROP)) for y, x in corners]
        for what, chosen in (("whole", [(slice(None), slice(None))]), (f"{CROPS} crops of {CROP}", windows)):
            _told(what, places, partial(_read, windows=chosen), options.rounds)


def _written(folder: Path, cube: np.ndarray) -> dict[str, tuple[Path, float]]:
    """Places of the arrays, and their MB."""
    found = {}
    sharding = cube_array(cube.shape)["codecs"][0]["configuration"]
    for number, (name, codecs) in enumerate(arrangements(sharding["codecs"]).items()):
        metadata, place = cube_array(cube.shape), folder / str(number)
        configuration = metadata["codecs"][0]["configuration"]
        configuration["codecs"] = codecs
        if CHECKSUM not in codecs:
            configuration["index_codecs"] = [each for each in sharding["index_codecs"] if each != CHECKSUM]
        open_array(place, spec={"metadata": metadata}, create=True, write=True).write(cube).result()
        found[name] = place, sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / MB
    return found


def _read(place: Path, windows: list[tuple[slice, slice]]) -> None:
    array = open_array(place, open=True, read=True)[ts.d["y", "x", "c"].transpose[:]]
    for rows, columns in windows:
        PendingRead.of(place, array[rows, columns]).result()


def _told(
    what: str, places: dict[str, tuple[Path, float]], read: Callable[[Path], None], rounds: int
) -> None:
    times: dict[str, list[float]] = {name: [] for name in places}
    for round_ in range(rounds + 1):
        for name in np.random.default_rng(round_).permutation(list(places)).tolist():
            began = time.process_time()
            read(places[name][0])
            if round_:  # the first brings the files into memory
                times[name].append(time.process_time() - began)
    for name, taken in times.items():
        by_plain = statistics.median(own / plain for own, plain in zip(taken, times[PLAIN], strict=True))
        size = f"{places[name][1]:.1f} MB"
        print(
            f"{what:<15} {name:<33} {size:>9} {1e3 * statistics.median(taken):7.1f} {by_plain:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
