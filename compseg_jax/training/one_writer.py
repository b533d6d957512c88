"""One training a run folder: a claim that beats while the run goes on, as those on samples of predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compseg_jax.prediction.claims import Claim, Claims
from compseg_jax.runtime.together import exchanged, is_first
from compseg_jax.training.initial_state import RunError

CLAIMED = "training"
Guard = Callable[[], None]
"""Raises RunError where another process took the run over."""


@contextmanager
def only_writer(folder: Path) -> Iterator[Guard]:
    """Holds a run folder for the block; of several joined processes the first holds it for all.

    What another process claimed is watched until it is seen to work, or taken over when it does not (one that ended on
    this machine at once). Where nothing is in the folder at the end, it is removed again.

    Yields:
      What is to be called before the run is saved.

    Raises:
      RunError: when another process trains there.
    """
    new = [each for each in (folder.absolute(), *folder.absolute().parents) if not each.exists()]
    claim, refusal = _taken(folder) if is_first() else (None, "")
    if refusal := exchanged(refusal)[0]:
        raise RunError(refusal)

    def guard() -> None:
        if claim is not None and claim.is_lost():
            raise RunError(
                f"{folder}: this process did not answer for so long that another one took the run over. Leave it to "
                "that one."
            )

    try:
        with claim or contextlib.nullcontext():
            yield guard
    finally:
        if is_first():
            for each in new:
                with contextlib.suppress(OSError):  # it holds the run
                    each.rmdir()


def _taken(folder: Path) -> tuple[Claim | None, str]:
    """The claim, or why there is none."""
    claims = Claims(folder)
    claim = claims.take(CLAIMED)
    if claim is None:
        print(
            f"{folder} was claimed by {claims.holder(CLAIMED)}; looking whether that still works", flush=True
        )
        claim = claims.take_in_time(CLAIMED)
    if claim is not None:
        return claim, ""
    return None, (
        f"{folder} is being trained by {claims.holder(CLAIMED)}. Wait for it, stop it, or choose another --out."
    )
