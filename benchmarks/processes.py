"""What several processes cost on one machine: the same training steps by 1, 2 and 4 joined CPU processes.

Processes share the cores of the machine, so they cannot be faster than one that has all; the processor time of all of
them together says what is computed, or waited for actively, beyond that of one.

    python -m benchmarks.processes
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.cases import Case
from benchmarks.record import Record, cpu_name
from benchmarks.scaling import count_collectives
from compseg_jax.runtime.versions import versions

CASE = Case("train_step", 16, 32, 64, 8)
PROCESSES = (1, 2, 4)
WARM_UP, STEPS = 2, 12


def measured_processes() -> Iterator[Record]:
    """One record for each number of processes; efficiencies are relative to the first."""
    alone: dict[str, float] = {}
    for count in PROCESSES:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            place = f"localhost:{probe.getsockname()[1]}"
        command = [sys.executable, "-m", "benchmarks.processes", str(count), place]
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "1",
            "OMP_NUM_THREADS": "1",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false",
        }
        started = [
            subprocess.Popen(
                [*command, str(number)], env=environment, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            for number in range(count)
        ]
        said = [process.communicate()[0] for process in started]
        if any(process.returncode for process in started):
            raise RuntimeError(f"{count} processes: one of them ended with an error, printed above.")
        values = [json.loads(text.splitlines()[-1]) for text in said]
        median_s = statistics.median(values[0]["steps_s"])
        processor_s = sum(value["processor_s"] for value in values) / STEPS
        alone = alone or {"median_s": median_s, "processor_s": processor_s}
        yield {
            "name": f"processes/{count}/{CASE.name}",
            "device": f"{count} processes, {cpu_name()}, {os.cpu_count()} cores",
            "versions": versions(),
            "median_s": median_s,
            "speed_up": alone["median_s"] / median_s,
            "processor_s_a_step": processor_s,
            "processor_efficiency": alone["processor_s"] / processor_s,
            "collectives": values[0]["collectives"],
            "parameter_bytes": values[0]["parameter_bytes"],
        }


def main() -> None:
    """The steps of one of the processes."""
    count, place, number = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    import jax

    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(place, count, number, cluster_detection_method="deactivate")
    import numpy as np

    from benchmarks.cases import random_samples
    from compseg_jax import Batch, UNet, init_train_state, make_train_step
    from compseg_jax.networks.build import count_parameters
    from compseg_jax.runtime import data_mesh
    from compseg_jax.runtime.devices import from_own_rows, own_rows, placed

    cubes, labels = random_samples(CASE)
    step = make_train_step(data_mesh())
    rows = own_rows(step.by_sample, CASE.batch)
    own = Batch(
        np.asarray(cubes)[rows],  # type: ignore[arg-type]
        np.ones(cubes.shape[:3], bool)[rows],  # type: ignore[arg-type]
        np.asarray(labels, np.int32)[rows],  # type: ignore[arg-type]
        np.ones(CASE.batch, np.float32)[rows],  # type: ignore[arg-type]
    )
    batch = from_own_rows(own, step.by_sample, CASE.batch)
    state = init_train_state(jax.random.key(0), UNet(base=CASE.base), CASE.channels)
    parameter_bytes = 4 * count_parameters(state.variables)
    state = placed(state, step.replicated)
    program = step.jitted.lower(state, batch).compile().as_text()
    seconds, begun = [], 0.0
    for index in range(WARM_UP + STEPS):
        if index == WARM_UP:
            begun = time.process_time()
        start = time.perf_counter()
        state, metrics = step.jitted(state, batch)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    values = {
        "steps_s": seconds[WARM_UP:],
        "processor_s": time.process_time() - begun,
        "collectives": count_collectives(program or ""),
        "parameter_bytes": parameter_bytes,
    }
    print(json.dumps(values), flush=True)
    if count > 1:
        jax.distributed.shutdown()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for record in measured_processes():
            print(json.dumps(record), flush=True)
    else:
        main()
