"""Checkpoints of a run, by Orbax."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from compseg_jax.networks.build import Variables
from compseg_jax.training.step import TrainState


class CheckpointError(ValueError):
    """There is no checkpoint to go on from, or it belongs to another run."""


class Checkpoints:
    """The latest checkpoint of a run, saved in the background, atomically.

    A checkpoint is named after the number of steps done, in all starts of the run, and holds three items:
    ``state``, the arrays of the training state; ``best``, the network's variables at the least validation loss so
    far, which can be restored alone; and ``progress`` (JSON). Use as a context manager: leaving it waits for what
    is still being written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        # Several processes wait for one another by name, and networks trained side by side are saved at once.
        name = hashlib.blake2b(folder.parent.name.encode(), digest_size=8).hexdigest()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
            multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name),
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def save(
        self, state: TrainState, best: Variables, progress: dict[str, Any], *, number: int | None = None
    ) -> None:
        """Saves a state and the best variables so far in the background, as ``number`` (its steps when None)."""
        self._manager.save(
            int(state.step) if number is None else number,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_arrays(state)),
                best=ocp.args.StandardSave(best),
                progress=ocp.args.JsonSave(progress),
            ),
            force=True,
        )

    @property
    def latest_step(self) -> int | None:
        """Steps done at the latest checkpoint; None where there is none."""
        self._manager.wait_until_finished()
        return self._manager.latest_step()

    def restore(self, like: TrainState) -> tuple[TrainState, Variables, dict[str, Any]]:
        """The state, best variables and progress saved last; ``like`` gives shapes and plan.

        Raises:
          CheckpointError: when there is no checkpoint, or it holds another network.
        """
        step = self.latest_step
        if step is None:
            raise CheckpointError(f"{self.folder} holds no checkpoint. Start the run without --resume.")
        # Laid out as they are now: the run may go on with other devices, and other processes.
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), _arrays(like)
        )
        _refuse_another_network(self.folder / str(step) / "best", shapes["variables"])
        try:
            saved = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(shapes),
                    best=ocp.args.StandardRestore(shapes["variables"]),
                    progress=ocp.args.JsonRestore(),
                ),
            )
        except ValueError as error:
            raise CheckpointError(
                f"{self.folder}/{step} does not fit the run asked for ({error}). Resume with the options the run "
                "was started with, or start a new run."
            ) from error
        return replace(like, **saved["state"]), saved["best"], saved["progress"]


def has_checkpoint(folder: Path) -> bool:
    """Whether a run's folder of checkpoints holds one; a run killed before its first epoch ended leaves none."""
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def _arrays(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("step", "seed", "variables", "moments")}


def _refuse_another_network(folder: Path, variables: Variables) -> None:
    """Compares shapes before anything is read: Orbax leaves reads behind when it fails in the midst of them."""
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is missing: the checkpoint is damaged or from an earlier revision. Start a new run."
        )
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
