"""Whether the files of a prediction folder are those that were written: `compseg check PREDICTIONS`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from compseg_jax.config.locations import Location
from compseg_jax.config.regular_files import refuse_special
from compseg_jax.prediction.formats.prediction_tables import Predictions, read_predictions, read_sample
from compseg_jax.prediction.sample_places import ENTRY, SAMPLES
from compseg_jax.store.kvstore import exist, joined, names_below, read_bytes


class PredictionsDamagedError(ValueError):
    """A prediction folder does not hold what was predicted; the message names the file and the next step."""


def hash_of_output(place: Location) -> str:
    """SHA-256 of a file; of a folder, of the lines '<hash>  <name>' of all files below it, by name."""
    if isinstance(place, Path) and not place.is_dir():
        refuse_special(place)
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not isinstance(place, Path) and (content := read_bytes(place)) is not None:
        return hashlib.sha256(content).hexdigest()
    names = names_below(place)
    lines = (f"{hash_of_output(joined(place, name))}  {name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_predictions(folder: Location, *, deep: bool = False) -> Predictions:
    """Reads the tables of a prediction folder, and holds them against each other.

    Args:
      folder: of the predictions.
      deep: also read every file, and hold it against the hash that was taken when it was written.

    Raises:
      ValueError: when a table or a file is not what was written, or a file is missing.
      LocationError: when a URL cannot be reached; web servers cannot list the files of a map.
    """
    found = read_predictions(folder)
    for sample in found.samples:
        if sample.status != "done":
            continue
        place = joined(folder, f"{SAMPLES}/{sample.id}") / ENTRY
        if read_sample(place) != sample:
            raise PredictionsDamagedError(
                f"{place} states something else than predictions.json says of {sample.id!r}. It was replaced or "
                f"damaged: remove the folder {sample.id} and predict that sample again."
            )
        for kind, stated in sample.files_sha256.items() if deep else ():
            file = joined(folder, sample.files.get(kind, kind))
            if _is_missing(file) or hash_of_output(file) != stated:
                raise PredictionsDamagedError(
                    f"{file} is missing or not what was predicted of {sample.id!r}: its hash is another. Remove the "
                    f"folder {sample.id} and predict that sample again."
                )
    return found


def _is_missing(place: Location) -> bool:
    if isinstance(place, Path):
        return not place.exists()
    return not exist([place])[0] and not names_below(place)
