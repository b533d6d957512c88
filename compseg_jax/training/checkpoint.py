"""Checkpoints of a run, by Orbax: the latest two, with hashes of their files, which are compared before they are read.

What Orbax and TensorStore raise is turned into :class:`CheckpointError` here, and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from compseg_jax.model.parameters import silence_orbax
from compseg_jax.networks.build import Variables
from compseg_jax.runtime.files import JsonFormat, file_sha256, json_text, remove, write_text
from compseg_jax.runtime.together import is_first, wait_for_all
from compseg_jax.training.step import TrainState

KEPT = 2
"""Checkpoints of a run: where the newest is damaged, the one before it is there."""
BYTES_A_FILE, BYTES_BESIDE = 4096, 2**17
"""What a checkpoint takes beside its arrays: blocks that are not full, and files about them."""
ITEMS = ("state", "best", "progress")
HASHES = "sha256.json"
Restored = tuple[TrainState, Variables, dict[str, Any]]


class CheckpointError(ValueError):
    """There is no checkpoint to go on from, or it belongs to another run."""


class DamagedCheckpointError(CheckpointError):
    """One checkpoint is damaged or was not finished."""


HASHES_JSON = JsonFormat(
    "compseg-checkpoint",
    version=1,
    required=("files",),
    absent="It holds no hashes.",
    again="go on from another checkpoint",
    error=DamagedCheckpointError,
)


class Checkpoints:
    """The latest checkpoints of a run, saved in the background, atomically.

    A checkpoint is named after the number of steps done, in all starts of the run, and holds three items:
    ``state``, the arrays of the training state; ``best``, the network's variables at the least validation loss so
    far, which can be restored alone; and ``progress`` (JSON). ``sha256.json`` beside them, written as soon as they are
    there, holds the hash of each file. Use as a context manager: leaving it waits for what is still being written.

    Args:
      folder: where they lie.
      guard: called before each is written; raises where this process must not write any more.
    """

    def __init__(self, folder: Path, guard: Callable[[], None] = lambda: None) -> None:
        self.folder = folder.resolve()
        self._guard = guard
        silence_orbax()
        # Several processes wait for one another by name, and networks trained side by side are saved at once.
        name = hashlib.blake2b(folder.parent.name.encode(), digest_size=8).hexdigest()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
            multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name),
        )
        with _as_one_error(f"{self.folder} cannot be opened"):
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._hashing: threading.Thread | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _as_one_error(
            f"{self.folder}: the last checkpoint cannot be written, go on with --resume once it can"
        ):
            self._wait()
            self._manager.close()

    def save(
        self, state: TrainState, best: Variables, progress: dict[str, Any], *, number: int | None = None
    ) -> None:
        """Saves a state and the best variables so far in the background, as ``number`` (its steps when None).

        Raises:
          CheckpointError: when this one, or the one before, cannot be written.
        """
        number = int(state.step) if number is None else number
        self._guard()
        self._refuse_full_disk(state, best)
        with _as_one_error(f"{self.folder}: a checkpoint cannot be written, go on with --resume once it can"):
            self._wait()
            self._manager.save(
                number,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_arrays(state)),
                    best=ocp.args.StandardSave(best),
                    progress=ocp.args.JsonSave(progress),
                ),
                force=True,
            )
        if is_first():
            self._hashing = threading.Thread(target=self._hash, args=(number,), name="compseg-checkpoint")
            self._hashing.start()

    def _refuse_full_disk(self, state: TrainState, best: Variables) -> None:
        """A disk that is full in the midst of a checkpoint ends each of Orbax's writes with a message of its own."""
        arrays = jax.tree.leaves([_arrays(state), best])
        needed = sum(leaf.nbytes for leaf in arrays) + len(arrays) * BYTES_A_FILE + BYTES_BESIDE
        free = shutil.disk_usage(self.folder).free
        if is_first() and free < needed:
            raise CheckpointError(
                f"{self.folder}: a checkpoint takes up to {needed / 1e6:.1f} MB, and the disk has {free / 1e6:.1f} MB "
                "left. Make room, and go on with --resume."
            )

    def _hash(self, number: int) -> None:
        # Whoever waits for a checkpoint that failed meets its error; without hashes it counts as not finished.
        with contextlib.suppress(Exception):
            self._manager.wait_until_finished()
            write_hashes(self.folder / str(number))

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.join()
        self._manager.wait_until_finished()

    @property
    def latest_step(self) -> int | None:
        """Steps done at the latest checkpoint; None where there is none."""
        self._wait()
        return self._manager.latest_step()

    def restore(self, like: TrainState) -> Restored:
        """The state, best variables and progress saved last; ``like`` gives shapes and plan.

        Where the newest checkpoint is damaged, or was not finished, the terminal says so, it is put aside, and the one
        before it is read.

        Raises:
          CheckpointError: when there is no checkpoint, all are damaged, or it holds another network.
        """
        self._wait()
        found = numbers_in(self.folder)
        if not found:
            raise CheckpointError(f"{self.folder} holds no checkpoint. Start the run without --resume.")
        wrong: dict[int, str] = {}
        unhashed = [number for number in found if not (self.folder / str(number) / HASHES).is_file()]
        # One without hashes is from an earlier release, or its process was killed in the midst of it.
        for number in sorted(found, key=lambda each: (each not in unhashed, each), reverse=True):
            folder = self.folder / str(number)
            try:
                refuse_damage(folder, hashed=number not in unhashed)
                restored = self._restored(folder, like, hashed=number not in unhashed)
            except DamagedCheckpointError as error:
                wrong[number] = str(error)
                continue
            if number in unhashed:
                print(f"{folder} holds no hashes, as those of earlier releases: it is taken as it is")
            self._put_aside([each for each in found if each > number], wrong, number)
            return restored
        told = "; ".join(wrong[number] for number in sorted(wrong, reverse=True))
        raise CheckpointError(f"{told}. No checkpoint is whole: start a new run with another --out.")

    def _put_aside(self, numbers: list[int], wrong: dict[int, str], taken: int) -> None:
        """Makes room for the checkpoints that follow the one taken."""
        if not numbers:
            return
        for number in sorted(numbers, reverse=True):
            why = wrong.get(number, f"{self.folder / str(number)} was not finished")
            print(f"{why}: put aside as {number}.damaged, the run goes on from {taken}")
        wait_for_all()  # all have read what they need
        if is_first():
            for number in numbers:
                aside = self.folder / f"{number}.damaged"
                remove(aside)
                (self.folder / str(number)).rename(aside)
        wait_for_all()
        self._manager.reload()

    def _restored(self, folder: Path, like: TrainState, *, hashed: bool) -> Restored:
        # Laid out as they are now: the run may go on with other devices, and other processes.
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), _arrays(like)
        )
        error = CheckpointError if hashed else DamagedCheckpointError
        with _as_one_error(f"{folder} cannot be read", error):
            _refuse_another_network(folder / "best", shapes["variables"])
            saved = self._manager.restore(
                int(folder.name),
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(shapes),
                    best=ocp.args.StandardRestore(shapes["variables"]),
                    progress=ocp.args.JsonRestore(),
                ),
            )
            return replace(like, **saved["state"]), saved["best"], dict(saved["progress"])


def write_hashes(folder: Path) -> None:
    """Keeps the hash of each file of a checkpoint beside it."""
    files = {name: file_sha256(folder / name) for name in _files(folder)}
    write_text(folder / HASHES, json_text(HASHES_JSON.stamped({"files": files})))


def refuse_damage(folder: Path, *, hashed: bool = True) -> None:
    """Raises DamagedCheckpointError where a checkpoint is not what was written, as far as that can be told."""
    if missing := [item for item in ITEMS if not (folder / item).is_dir()]:
        raise DamagedCheckpointError(f"{folder} is damaged: {' and '.join(missing)} missing")
    if not hashed:
        return
    try:
        stated = HASHES_JSON.read(folder / HASHES)["files"]
        found = {name: file_sha256(folder / name) for name in _files(folder)}
    except (OSError, DamagedCheckpointError) as error:
        raise DamagedCheckpointError(f"{folder} is damaged: {error}") from error
    if found != stated:
        names = sorted(name for name in {*found, *stated} if found.get(name) != stated.get(name))
        raise DamagedCheckpointError(f"{folder} is damaged: {names[0]} is not what was written")


def _files(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in files if path.name != HASHES)


def numbers_in(folder: Path) -> list[int]:
    """Of all checkpoints in a folder, whole or not, rising."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


@contextmanager
def _as_one_error(what: str, error: type[CheckpointError] = CheckpointError) -> Iterator[None]:
    """Any error of Orbax, TensorStore and the file system as one of ours."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as foreign:  # neither library says which it raises
        lines = str(foreign).strip().splitlines() or [type(foreign).__name__]
        raise error(f"{what} ({lines[0]})") from foreign


def has_checkpoint(folder: Path) -> bool:
    """Whether a run's folder of checkpoints holds one; a run killed before its first epoch ended leaves none."""
    return bool(numbers_in(folder))


def _arrays(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("step", "seed", "variables", "moments")}


def _refuse_another_network(folder: Path, variables: Variables) -> None:
    """Compares shapes before anything is read: Orbax leaves reads behind when it fails in the midst of them."""
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.metadata(folder).item_metadata.tree
    found, required = (
        {
            jax.tree_util.keystr(path): tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (saved, variables)
    )
    differing = sorted(
        name for name in found.keys() | required.keys() if found.get(name) != required.get(name)
    )
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{folder.parent} does not fit the network asked for: {name} has shape {found.get(name)}, required is "
            f"{required.get(name)}. Resume with the options the run was started with, or start a new run."
        )
