"""Runs that follow another one on its data, in folders of its own: the second phase, the network of another view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compseg_jax.config import Training
from compseg_jax.training.checkpoint import has_checkpoint


def further_run(config: Training, name: str, **changes: Any) -> Training:
    """A run like another one but for ``changes``, which nothing follows and whose numerics were checked before.

    It begins with no network from elsewhere. It lies in the folder ``name`` of the first one, and goes on where it was
    interrupted.
    """
    out = config.out / name
    return replace(
        config,
        out=out,
        grafting=False,
        init_from=None,
        second_view=False,
        self_check=False,
        tensorboard=False,
        resume=has_checkpoint(out / "checkpoints"),
        **changes,
    )
