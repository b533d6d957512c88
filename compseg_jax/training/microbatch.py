"""Samples computed at once where memory decides: ``--microbatch auto``.

The gradient of a sum over samples is the sum of those of its parts, so how many are computed at once changes rounding
alone, and the memory that a step takes. That is asked of the compiled program: of the whole batch first, then of the
parts that would fit by what is known so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import jax
import jax.numpy as jnp

from compseg_jax.networks.build import NETWORKS, Module, Variables, input_dtype
from compseg_jax.runtime.memory import reading_limit_bytes, reading_limit_in_words
from compseg_jax.runtime.together import exchanged
from compseg_jax.training.feed import stays_resident
from compseg_jax.training.programs import Programs
from compseg_jax.training.step import TrainState

SHARE_OF_DEVICE = 0.8
"""Of an accelerator's memory that a training may take."""
GIB = 2**30


@dataclass(frozen=True)
class Allowed:
    """Memory for a training step and the data that stay beside it, and the same in words."""

    n_bytes: float
    words: str

    @classmethod
    def on(cls, platform: str, stats: Mapping[str, int]) -> Allowed:
        """As for reading files on CPUs (``--max-memory``); elsewhere most of the device's that is not in use.

        Args:
          platform: of the device.
          stats: what it says of its memory.
        """
        if platform == "cpu":
            return cls(reading_limit_bytes(), reading_limit_in_words())
        if "bytes_limit" not in stats:
            return cls(math.inf, "how much the device has is not known")
        n_bytes = SHARE_OF_DEVICE * stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        return cls(n_bytes, f"{n_bytes / GIB:.3g} GiB are allowed (of the device's memory)")


def with_microbatch_that_fits(programs: Programs, state: TrainState) -> tuple[Programs, TrainState, str]:
    """Programs and state with as many samples at once as the memory allows, and a line that says so.

    Networks whose layers look at the whole batch, or might (dropout, batch normalisation, one's own), keep it.
    """
    size, devices = programs.config.batch_size, programs.mesh.size
    whole = size + -size % devices
    if _needs_whole_batch(state.plan.network, state.variables):
        said = "as the network may look at all of them together (dropout, batch normalisation, your own)"
        return *_with(programs, state, 0), f"microbatch: all {size} samples at once, {said}"
    parts = (-(-size // n) for n in range(1, size + 1))
    choices = sorted({part + -part % devices for part in parts}, reverse=True)
    device = programs.mesh.local_devices[0]
    own = Allowed.on(device.platform, device.memory_stats() or {})
    allowed = min(exchanged(own), key=attrgetter("n_bytes"))
    taken: dict[int, float] = {}
    choice = whole
    while True:
        tried = _with(programs, state, 0 if choice == whole else choice)
        taken[choice] = bytes_of_training(*tried)
        smaller = [each for each in choices if each < choice]
        if taken[choice] <= allowed.n_bytes or not smaller:
            break
        choice = next((each for each in smaller if expected(each, taken) <= allowed.n_bytes), smaller[-1])
    if taken[choice] > allowed.n_bytes:  # nothing fits; of small images parts can take more than the whole
        choice = min(taken, key=taken.__getitem__)
        tried = _with(programs, state, 0 if choice == whole else choice)
    at_once = f"all {size} samples" if choice == whole else f"{choice} of {size} samples"
    others = "" if choice == whole else f" ({taken[whole] / GIB:.3g} GiB with all of them)"
    taken_gib = f"{taken[choice] / GIB:.3g} GiB"
    return *tried, f"microbatch: {at_once} at once; training takes {taken_gib}{others}, {allowed.words}"


def expected(size: int, taken: Mapping[int, float]) -> float:
    """Bytes for ``size`` samples at once, on the line through the last two sizes that are known, or through 0."""
    (n, n_bytes), (last, found) = [(0, 0.0), *taken.items()][-2:]
    return found + (size - last) * (n_bytes - found) / (n - last)


def bytes_of_training(programs: Programs, state: TrainState) -> float:
    """What a training step takes by its compiled program, with the networks and the data kept beside it."""
    config = programs.config
    dtype = input_dtype(config.network)
    analysis = programs.compiled_training(state).memory_analysis()
    program = 0
    if analysis is not None:
        program = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes
        program += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    # A loop on the device has the training samples among its arguments.
    beside = [programs.val] if programs.device_loop is not None else [programs.train, programs.val]
    resident = [
        each.scaled_bytes * jnp.dtype(dtype).itemsize / 4
        for each in beside
        if stays_resident(each, programs.mesh, config.feed, config.resident_limit_gib, dtype)
    ]
    # The best network; where devices look ahead, a candidate for it and a copy of the state.
    kept: list[Any] = [state.variables]
    if programs.device_loop is not None:
        kept += [state.variables, state]
    return program + sum(resident) + sum(leaf.nbytes for leaf in jax.tree.leaves(kept))


def _with(programs: Programs, state: TrainState, microbatch: int) -> tuple[Programs, TrainState]:
    config = replace(programs.config, microbatch=microbatch)
    return replace(programs, config=config), replace(state, plan=replace(state.plan, microbatch=microbatch))


def _needs_whole_batch(network: Module, variables: Variables) -> bool:
    own = isinstance(network, tuple(NETWORKS.values()))
    return not own or len(variables) > 1 or getattr(network, "dropout", 0) > 0
