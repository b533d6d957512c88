"""Parameters of a network on disk, as plain Orbax checkpoints that restore without this package."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from compseg_jax.runtime.together import process_count


class ParametersError(ValueError):
    """Parameters are missing or damaged."""


class _SaidByOrbax(logging.Filter):
    """Leaves out what Orbax prints: it raises as well what went wrong, and that becomes a sentence of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "asyncio":  # which tells of tasks of Orbax whose errors nobody took
            said = record.getMessage()
            return "never retrieved" not in said or "orbax" not in said
        return "orbax" not in record.pathname


_said_by_orbax = _SaidByOrbax()


def silence_orbax() -> None:
    """From now on nothing of Orbax, which logs through absl, stands beside our own messages."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_said_by_orbax)


def _checkpointer() -> ocp.StandardCheckpointer:
    """One that asks no other process: those that train together extract and load a network each by itself."""
    silence_orbax()
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"of_process_{own}"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=options)


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a tree of arrays as a standard Orbax checkpoint; ``folder`` must not exist."""
    if process_count() > 1:
        # Orbax takes an array of jax for one that all processes hold a part of.
        tree = jax.tree.map(np.asarray, tree)
    with _checkpointer() as checkpointer:
        checkpointer.save(folder.resolve(), tree)


def restore_tree(folder: Path) -> Any:
    """The tree of arrays that :func:`save_tree` wrote, on the default device.

    Raises:
      ParametersError: when it is missing or damaged.
    """
    if not (folder / "_METADATA").is_file():
        raise ParametersError(
            f"{folder}: no parameters found there. Give the RUN/model folder of a finished run."
        )
    one_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    try:
        with _checkpointer() as checkpointer:
            metadata = checkpointer.metadata(folder.resolve()).item_metadata.tree
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one_device), metadata
            )
            return checkpointer.restore(folder.resolve(), target)
    except (
        Exception
    ) as error:  # Orbax and TensorStore raise what they will; this is the one place they are called
        what = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ParametersError(
            f"{folder} cannot be restored: the files are damaged ({what}). Copy the model again, or extract it again."
        ) from error
