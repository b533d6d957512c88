"""How long a user waits: the command line's help, the import, and compiling the demo's step, first and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.record import Record, cpu_name, measurement
from compseg_jax.runtime.versions import versions

COMPILE = """
import json, time
import jax
from compseg_jax.runtime import cache_compilations
from compseg_jax.training.step import make_train_step, init_train_state
from compseg_jax.config import RECIPES
from compseg_jax.networks.build import build_network
from compseg_jax import Batch
import dataclasses, jax.numpy as jnp
cache_compilations()
config = RECIPES["default"]
network = build_network(dataclasses.replace(config.network, base=8))
state = init_train_state(jax.random.key(0), network, 64, objective=config.objective, n_steps=900,
                         optimiser=config.optimiser, augmentation=config.augment)
shape = (7, 64, 64)
batch = Batch(jnp.zeros((*shape, 64)), jnp.ones(shape, bool), jnp.zeros(7, jnp.int32), jnp.ones(7))
step = make_train_step()
started = time.perf_counter()
step.jitted.lower(state, batch).compile()
print(json.dumps(time.perf_counter() - started))
"""


def measured_starting(rounds: int) -> Iterator[Record]:
    """Help, import, and the demo step's compilation without and with a filled cache."""
    commands = {
        "start/compseg_help": [sys.executable, "-m", "compseg_jax.cli", "--help"],
        "start/import_compseg_jax": [sys.executable, "-c", "import compseg_jax"],
        "start/python_alone": [sys.executable, "-c", "pass"],
    }
    for name, command in commands.items():
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        yield measurement(name, cpu_name(), versions(), times)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        # The same program twice: on CPUs with jaxlib 0.11 the second is compiled too (runtime.cache_compilations).
        for name, n in (("start/compile_demo_step", 1), ("start/compile_demo_step_again", 3)):
            times = []
            for _ in range(n):
                run = subprocess.run(
                    [sys.executable, "-c", COMPILE],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=environment,
                )
                times.append(float(json.loads(run.stdout.splitlines()[-1])))
            yield measurement(name, cpu_name(), versions(), times)
