"""A store after a preparation: its cubes as a network takes them, and what is fitted on training samples.

A training run reads each cube once and prepares it once (:class:`PreparedStore`): steps are fitted, the scaling is
fitted, principal components are drawn, the network is fed and the threshold is chosen from the same prepared cubes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import RLock

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.runtime import free_memory_bytes
from compseg_jax.runtime.together import spread
from compseg_jax.spectra.preparation import (
    FittedStep,
    Image,
    KeptChunks,
    Preparation,
    apply_step,
    axis_of_steps,
    content_key,
    image_key,
    without_broken,
)
from compseg_jax.spectra.scaling import BandMoments, Scaling, band_moments
from compseg_jax.store.fingerprint import values_of
from compseg_jax.store.read import Sample, Store, StoreError

MOST_SAMPLES_AT_ONCE = min(8, os.cpu_count() or 1)
SHARE_OF_FREE_MEMORY = 0.25
"""Of the memory that is free when a run starts, which cubes may take; those beyond it are read again when needed."""
FOLDER = "prepared"
"""Beside a run: its prepared cubes, until it is finished (docs/format.md)."""

CubeAndTissue = tuple[Float[np.ndarray, "y x c"], Bool[np.ndarray, "y x"]]


class CubeMemory:
    """Cubes of one store, raw or after steps: in memory as many as fit, and prepared ones on disk too.

    Cubes are held by a hash of the steps before them, with all that these were fitted to, so preparations that
    differ only in what they have learnt never mix. The files on disk are named after those and the raw spectra.

    Args:
      kept: where prepared cubes are kept on disk, for runs that are resumed and cubes that memory does not hold.
      for_folds: whether preparations that have learnt from other samples follow one another. They share what lies
        before the first step that learns, and that is held beside the prepared cubes.
      most_bytes: memory that cubes may take; a quarter of what is free when None.
    """

    def __init__(
        self, kept: KeptChunks | None = None, *, for_folds: bool = False, most_bytes: float | None = None
    ) -> None:
        self.for_folds = for_folds
        self.broken: set[str] = set()
        """Samples with NaN or infinite values among those read."""
        self.contents: dict[str, str] = {}
        """Hashes of images, by sample."""
        self.values: dict[str, str] = {}
        """What their raw cubes held when they were read, by sample."""
        self._kept = kept
        self._most_bytes = SHARE_OF_FREE_MEMORY * free_memory_bytes() if most_bytes is None else most_bytes
        self._held: dict[tuple[str, str], CubeAndTissue] = {}
        self._bytes = 0
        self._raw_keys: dict[str, str] = {}
        self._noted: set[str] = set()
        self._disk_is_full = False
        self._lock = RLock()

    def note_raw(self, sample_id: str, raw: CubeAndTissue, *, to_be_prepared: bool) -> bool:
        """Takes note of a cube that was read: whether its values are finite, and what names its files.

        Returns:
          False where it was read before and held something else.
        """
        found = values_of(*raw)
        if self.values.setdefault(sample_id, found) != found:
            return False
        if sample_id not in self._noted and not np.all(np.isfinite(raw[0])):
            self.broken.add(sample_id)
        self._noted.add(sample_id)
        if to_be_prepared:
            self.name_raw(sample_id, raw)
        return True

    def name_raw(self, sample_id: str, raw: CubeAndTissue) -> None:
        """Names the files that a cube has on disk after steps, where cubes are kept there."""
        if self._kept is not None and sample_id not in self._raw_keys:
            self._raw_keys[sample_id] = image_key(raw[0][raw[1]], raw[1])

    def get(self, sample_id: str, after: str) -> CubeAndTissue | None:
        """A cube after the steps of that hash ('' for none), where it is held or kept."""
        held = self._held.get((sample_id, after))
        if held is not None or self._kept is None or not after or sample_id not in self._raw_keys:
            return held
        found = self._kept.get(self._file(sample_id, after))
        if found is None:
            return None
        tissue = found["tissue"]
        cube = np.zeros((*tissue.shape, found["spectra"].shape[1]), np.float32)
        cube[tissue] = found["spectra"]
        self._hold((sample_id, after), (cube, tissue), ())
        return cube, tissue

    def put(
        self,
        sample_id: str,
        after: str,
        found: CubeAndTissue,
        *,
        instead_of: str | None,
        in_use: Sequence[str],
    ) -> None:
        """Holds a cube, and keeps it where steps made it.

        Args:
          sample_id: of the sample.
          after: hash of the steps; '' for none.
          found: cube and tissue.
          instead_of: hash of the steps after which it need not be held any more.
          in_use: hashes of the preparation in use; cubes of others make room.
        """
        if instead_of is not None:
            self._let_go((sample_id, instead_of))
        self._hold((sample_id, after), found, in_use)
        if self._kept is None or not after or self._disk_is_full:
            return
        try:
            self._kept.put(self._file(sample_id, after), spectra=found[0][found[1]], tissue=found[1])
        except OSError as error:
            print(f"{self._kept.folder}: no further prepared cubes are kept on disk ({error})", flush=True)
            self._disk_is_full = True

    def forget(self, sample_ids: Iterable[str]) -> None:
        """Gives the memory of samples back; what is on disk stays."""
        chosen = set(sample_ids)
        with self._lock:
            for key in [key for key in self._held if key[0] in chosen]:
                self._let_go(key)

    def remove_files(self) -> None:
        """Removes what is kept on disk, once the run is finished."""
        if self._kept is not None:
            self._kept.remove()

    def _file(self, sample_id: str, after: str) -> str:
        return f"{self._raw_keys[sample_id]}-{after}"

    def _hold(self, key: tuple[str, str], found: CubeAndTissue, in_use: Sequence[str]) -> None:
        size = sum(array.nbytes for array in found)
        with self._lock:
            superseded = [other for other in self._held if other[1] not in in_use] if in_use else []
            while superseded and self._bytes + size > self._most_bytes:
                self._let_go(superseded.pop(0))
            if key not in self._held and self._bytes + size <= self._most_bytes:
                for array in found:
                    array.flags.writeable = False
                self._held[key] = found
                self._bytes += size

    def _let_go(self, key: tuple[str, str]) -> None:
        with self._lock:
            found = self._held.pop(key, None)
            self._bytes -= sum(array.nbytes for array in found or ())


@dataclass(frozen=True, eq=False)
class PreparedStore:
    """A store after a preparation: each cube is read once and prepared once, as long as memory or disk hold it.

    Attributes:
      store: where cubes are read.
      preparation: steps that they still have to go through; None for none.
      memory: of the cubes that were read and prepared, shared with the same store after other preparations.
    """

    store: Store
    preparation: Preparation | None = None
    memory: CubeMemory = field(default_factory=CubeMemory)

    def after(self, preparation: Preparation | None) -> PreparedStore:
        """The same store after another preparation."""
        return replace(self, preparation=preparation)

    def read(self, sample_id: str) -> CubeAndTissue:
        """A sample's cube (y, x, c) after the preparation, float32, and its tissue (y, x); not to be changed."""
        return self.read_together([sample_id])[sample_id]

    def read_together(self, sample_ids: Iterable[str]) -> dict[str, CubeAndTissue]:
        """The same of several samples, by id; what must be read is read concurrently."""
        found = {sample_id: self._known(sample_id) for sample_id in dict.fromkeys(sample_ids)}
        reads = {
            sample_id: self.store.read_later(sample_id)
            for sample_id, furthest in found.items()
            if furthest is None
        }
        complete = {}
        for sample_id, furthest in found.items():
            if furthest is None:
                raw = reads[sample_id].result(), self.store.tissue(sample_id)
                if not self.memory.note_raw(sample_id, raw, to_be_prepared=self.preparation is not None):
                    raise StoreError(
                        f"{self.store.path}: sample {sample_id!r} is not what it was when it was first read: the store "
                        "was changed or replaced meanwhile. Let nothing write there, and start again."
                    )
                self.store.refuse_another(sample_id, self.memory.values[sample_id])
                # Named by its spectra, it may be on disk, from before the run was stopped.
                furthest = self._furthest(sample_id) or self._begun(sample_id, raw)
            complete[sample_id] = self._to_the_end(sample_id, *furthest)
        return complete

    def content(self, sample: Sample) -> str:
        """What a sample's image is recognised by; once a run hashed where the store does not state it."""
        known = self.memory.contents
        if sample.id not in known:
            known[sample.id] = self.store.content(sample.id)
        return known[sample.id]

    def values(self, sample: Sample) -> str:
        """What a sample's raw cube held when it was read, which is done where it was not."""
        if sample.id not in self.memory.values:
            self.read(sample.id)
        return self.memory.values[sample.id]

    def image(self, sample_id: str) -> Image:
        """A sample after the preparation, as a further step takes it."""
        cube, tissue = self.read(sample_id)
        return Image.of(cube, self._axes[-1], tissue)

    @property
    def _steps(self) -> tuple[FittedStep, ...]:
        return () if self.preparation is None else self.preparation.steps

    @cached_property
    def _axes(self) -> list[Float[np.ndarray, " c"]]:
        """The axis before the first step, after it, …, after the last."""
        axes = [axis_of_steps(self.store.wavenumbers_cm1, self.store.channels)]
        for fitted in self._steps:
            axes.append(fitted.step.axis_after(axes[-1]))
        return axes

    @cached_property
    def _hashes(self) -> list[str]:
        """Of no step, of the first, …, of all of them."""
        hashes = [""]
        for fitted, axis in zip(self._steps, self._axes, strict=False):
            before = np.frombuffer(hashes[-1].encode(), np.uint8)
            hashes.append(content_key(fitted.step, fitted.fitted, axis, before))
        return hashes

    @cached_property
    def _shared(self) -> int | None:
        """Steps before the first that learns from training samples, where folds follow one another."""
        if not self.memory.for_folds:
            return None
        learning = [n for n, fitted in enumerate(self._steps) if fitted.step.needs_training]
        return learning[0] if learning else len(self._steps)

    def _furthest(self, sample_id: str) -> tuple[int, CubeAndTissue] | None:
        """How many steps a cube that need not be read has been through, and the cube."""
        for done in reversed(range(len(self._hashes))):
            found = self.memory.get(sample_id, self._hashes[done])
            if found is not None:
                return done, found
        return None

    def _known(self, sample_id: str) -> tuple[int, CubeAndTissue] | None:
        """`_furthest`, also of a cube that was read before there was a preparation: it may be on disk after it."""
        found = self._furthest(sample_id)
        if found is None or found[0] or not self._steps:
            return found
        self.memory.name_raw(sample_id, found[1])
        return self._furthest(sample_id)

    def _begun(self, sample_id: str, raw: CubeAndTissue) -> tuple[int, CubeAndTissue]:
        if self._shared == 0 or not self._steps:
            self.memory.put(sample_id, "", raw, instead_of=None, in_use=self._hashes)
        return 0, raw

    def _to_the_end(self, sample_id: str, done: int, found: CubeAndTissue) -> CubeAndTissue:
        for end in sorted({self._shared or 0, len(self._steps)}):
            if end > done:
                image = Image.of(found[0], self._axes[done], found[1])
                image = image if done else without_broken(image)
                for fitted in self._steps[done:end]:
                    image = apply_step(fitted, image)
                found = image.absorbance, image.mask
                replaced = None if done == self._shared else self._hashes[done]
                self.memory.put(sample_id, self._hashes[end], found, instead_of=replaced, in_use=self._hashes)
                done = end
        return found


def axis_after(store: Store, preparation: Preparation | None) -> np.ndarray | None:
    """The axis of a store's cubes after a preparation (k,); None for ordinary images."""
    if store.wavenumbers_cm1 is None or preparation is None:
        return store.wavenumbers_cm1
    return preparation.wavenumbers_cm1


def fit_scaling(cubes: PreparedStore, samples: Iterable[Sample]) -> Scaling:
    """Standardisation over the tissue of ``samples`` after the preparation, several read at a time.

    Each of several processes reads its share of them.

    Raises:
      ValueError: at a sample with NaN or infinite values.
    """
    from concurrent.futures import ThreadPoolExecutor

    def moments(sample: Sample) -> BandMoments:
        found = cubes.read(sample.id)
        if sample.id in cubes.memory.broken:
            raise ValueError(
                f"{cubes.store.path}: sample {sample.id!r} holds NaN or infinite values; ingest it again "
                "(`compseg ingest` refuses such images and says where they are)."
            )
        return band_moments(*found)

    with ThreadPoolExecutor(MOST_SAMPLES_AT_ONCE, thread_name_prefix="compseg-scaling") as threads:
        return Scaling.of_moments(spread(lambda some: threads.map(moments, some), list(samples)))
