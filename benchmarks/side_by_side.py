"""Networks trained side by side (``vmap``) against the same ones after another: a JSON line for each case.

python -m benchmarks.side_by_side [--members 3] [--repeats 9]

The step of the default recipe, compiled and on this machine; the two are measured in turns. ``ratio`` is the time of a
step side by side over that of its members' steps one after the other: below 1 where side by side is faster.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import cpu_name, measurement
from compseg_jax import Batch, UNet, init_train_state
from compseg_jax.config import RECIPES
from compseg_jax.runtime import keep_freed_memory
from compseg_jax.runtime.versions import versions
from compseg_jax.training.side_by_side import stacked, train_step_of_each
from compseg_jax.training.step import train_step

# Base features, image size, channels: the tests', the demo's, a spot of a discrete-frequency scan.
CASES = ((4, 16, 8), (16, 64, 16), (16, 64, 128))
BATCH_SIZE = 7


def batch_of(size: int, channels: int, seed: int) -> Batch:
    """Random samples, half of them diseased."""
    rng = np.random.default_rng(seed)
    return Batch(
        cube=jnp.asarray(rng.standard_normal((BATCH_SIZE, size, size, channels), np.float32)),
        tissue=jnp.ones((BATCH_SIZE, size, size), bool),
        label=jnp.asarray(np.arange(BATCH_SIZE) % 2, jnp.int32),
        weight=jnp.ones(BATCH_SIZE),
    )


def seconds_of(call: Callable[[], Any]) -> float:
    """Time of one call."""
    started = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - started


def measure(base: int, size: int, channels: int, members: int, repeats: int) -> dict[str, Any]:
    """Both ways in turns."""
    recipe = RECIPES["default"]
    network = UNet(base=base, depth=1, head_bias=-3.0)
    states = [
        init_train_state(jax.random.key(seed), network, channels, objective=recipe.objective)
        for seed in range(members)
    ]
    batches = tuple(batch_of(size, channels, seed) for seed in range(members))
    alone, together, all_states = jax.jit(train_step), jax.jit(train_step_of_each), stacked(states)

    def one_after_the_other() -> list[Any]:
        return [alone(state, batch) for state, batch in zip(states, batches, strict=True)]

    def side_by_side() -> Any:
        return together(all_states, batches)

    times: dict[str, list[float]] = {"side": [], "after": []}
    for index in range(repeats + 1):
        pair = {"after": seconds_of(one_after_the_other), "side": seconds_of(side_by_side)}
        if index:  # the first compiles
            for name, seconds in pair.items():
                times[name].append(seconds)
    device = jax.devices()[0]
    return measurement(
        f"side_by_side/b{base}_c{channels}_s{size}_m{members}",
        cpu_name() if device.platform == "cpu" else device.device_kind,
        versions(),
        times["side"],
        ("one after the other", times["after"]),
    )


def main() -> None:
    """Measures every case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for case in CASES:
        print(json.dumps(measure(*case, options.members, options.repeats)), flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
