"""Where samples lie: finished ones in the folder of the predictions or below its URL, others on this machine.

In a folder work in progress lies beside the finished samples, so that the next process goes on with it. Object stores
rename nothing and are not written by pieces: there a sample is made whole in a temporary folder and then carried up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compseg_jax.config.locations import Location
from compseg_jax.runtime.files import put_new, resumable_place, temporary_folder
from compseg_jax.store.kvstore import copy_files, names_below, write_new

SAMPLES, ENTRY = "samples", "sample.json"


@dataclass(frozen=True)
class SamplePlaces:
    """Places of the samples of a run.

    Attributes:
      samples: of those that are finished.
      workplace: of those in progress.
    """

    samples: Location
    workplace: Path

    @property
    def keeps_tiles(self) -> bool:
        """Whether the next run goes on with a sample in progress."""
        return self.samples == self.workplace

    def in_progress(self, sample_id: str) -> Path:
        """Folder of a sample that is being predicted."""
        return resumable_place(self.workplace / sample_id)

    def put(self, finished: Path, sample_id: str) -> None:
        """Puts the folder of a finished sample in its place; what says that it is finished (`ENTRY`) comes last.

        Raises:
          FileExistsError: when another process was first.
          LocationError: when the place cannot be written.
        """
        if isinstance(self.samples, Path):
            put_new(finished, self.samples / sample_id)
            return
        place = self.samples / sample_id
        copy_files(finished, place, [name for name in names_below(finished) if name != ENTRY])
        if not write_new(place / ENTRY, (finished / ENTRY).read_bytes()):
            raise FileExistsError(f"{place} was finished by another process.")


@contextmanager
def sample_places(out: Location) -> Iterator[SamplePlaces]:
    """The places of a run that writes to ``out``; what is in progress below a URL is gone at the end of the block."""
    samples = out / SAMPLES
    if isinstance(samples, Path):
        yield SamplePlaces(samples, samples)
        return
    with temporary_folder("predict") as temporary:
        yield SamplePlaces(samples, temporary)
