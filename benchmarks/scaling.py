"""What several devices cost: collectives of a compiled training step on 1, 2, 4 and 8 fake CPU devices.

Fake devices share the cores, so their times say nothing; what is counted is what would cross the wires.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.cases import Case
from benchmarks.record import Record, cpu_name
from compseg_jax.runtime.versions import versions

CASE = Case("train_step", 16, 32, 32, 8)
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
_BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}


def count_collectives(program: str) -> dict[str, dict[str, int]]:
    """Number and bytes of each kind of collective in an optimised HLO program."""
    counts = {kind: {"count": 0, "bytes": 0} for kind in COLLECTIVES}
    for line in program.splitlines():
        found = re.search(r"= (.+?) (" + "|".join(COLLECTIVES) + r")(?:-start)?\(", line)
        if not found:
            continue
        shapes, kind = found.groups()
        counts[kind]["count"] += 1
        for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            counts[kind]["bytes"] += _BYTES[dtype] * math.prod(int(n) for n in sizes.split(",") if n)
    return {kind: values for kind, values in counts.items() if values["count"]}


def measured_scaling() -> Iterator[Record]:
    """One record for each number of devices; each needs a process of its own."""
    for n_devices in (1, 2, 4, 8):
        command = [sys.executable, "-m", "benchmarks.scaling", str(n_devices)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        values = json.loads(run.stdout.splitlines()[-1])
        yield {
            "name": f"scaling/{n_devices}_devices/{CASE.name}",
            "device": f"{n_devices} fake devices, {cpu_name()}",
            "versions": versions(),
            **values,
        }


def main() -> None:
    """Compiles the step for the given number of fake devices and prints what it sends."""
    import jax

    n_devices = int(sys.argv[1])
    jax.config.update("jax_num_cpu_devices", n_devices)
    import jax.numpy as jnp

    from benchmarks.cases import random_samples
    from compseg_jax import Batch, UNet, init_train_state, make_train_step
    from compseg_jax.networks.build import count_parameters
    from compseg_jax.runtime import data_mesh

    cubes, labels = random_samples(CASE)
    ones = jnp.ones(cubes.shape[:3], bool)
    batch = Batch(jnp.asarray(cubes), ones, jnp.asarray(labels, jnp.int32), jnp.ones(CASE.batch))
    state = init_train_state(jax.random.key(0), UNet(base=CASE.base), CASE.channels)
    step = make_train_step(data_mesh(n_devices))
    compiled = step.jitted.lower(state, step.padded(state.plan, batch)).compile()
    memory = compiled.memory_analysis()
    values = {
        "collectives": count_collectives(compiled.as_text() or ""),
        "parameter_bytes": 4 * count_parameters(state.variables),
        "temporary_bytes_a_device": memory.temp_size_in_bytes if memory else None,
    }
    print(json.dumps(values))


if __name__ == "__main__":
    main()
