"""compseg_jax as a worker process (see ``benchmarks/worker.py``): the step that training runs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case, random_samples
from benchmarks.record import cpu_name
from benchmarks.worker import Prepared, serve
from compseg_jax import Batch, UNet, init_train_state, make_train_step
from compseg_jax.runtime import compile_clock, data_mesh, keep_freed_memory
from compseg_jax.runtime.versions import versions
from compseg_jax.training.device_loop import DeviceLoop
from compseg_jax.training.initial_state import CHANNEL_MULTIPLE
from compseg_jax.training.loop import STEPS_A_DISPATCH
from compseg_jax.training.order import Draw
from compseg_jax.training.step import make_evaluate_step


def prepare(case: Case) -> Prepared:
    """The case in compseg_jax, as training runs it.

    On CPU float32, step by step; on an accelerator bfloat16 with padded channels, many steps per dispatch.
    """
    on_cpu = jax.default_backend() == "cpu"
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    cubes, labels = random_samples(case)
    batch = jax.device_put(
        Batch(
            cube=jnp.asarray(cubes, dtype),
            tissue=jnp.ones(cubes.shape[:3], bool),
            label=jnp.asarray(labels, jnp.int32),
            weight=jnp.ones(case.batch),
        )
    )
    network = UNet(base=case.base, dtype=dtype)
    multiple = 1 if on_cpu else CHANNEL_MULTIPLE
    state = init_train_state(jax.random.key(0), network, case.channels, channel_multiple=multiple)
    mesh = data_mesh(1)
    train_step, evaluate_step, loop = make_train_step(mesh), make_evaluate_step(mesh), DeviceLoop(mesh)
    draws = [Draw(np.arange(case.batch), np.ones(case.batch, np.float32))] * STEPS_A_DISPATCH

    def train_on_host(n: int) -> float:
        nonlocal state
        for _ in range(n):
            state, metrics = train_step(state, batch)
        return float(metrics["loss"])

    def train_on_device(n: int) -> float:
        nonlocal state
        for first in range(0, n, STEPS_A_DISPATCH):
            last = min(STEPS_A_DISPATCH, n - first)
            state, metrics = loop.train(state, batch, draws, 0, last)
        return float(metrics["loss"][last - 1])

    train = train_on_host if on_cpu else train_on_device

    def forward(n: int) -> float:
        for _ in range(n):
            metrics = evaluate_step(state, batch)
        return float(metrics["loss"].sum())

    device = jax.devices()[0]
    description = {
        "framework": f"jax {jax.__version__}",
        "device": cpu_name() if on_cpu else device.device_kind,
        "versions": versions(),
    }
    peak: Callable[[], int] | None = None if on_cpu else lambda: device.memory_stats()["peak_bytes_in_use"]
    return Prepared(forward if case.kind == "forward" else train, description, peak)


if __name__ == "__main__":
    keep_freed_memory()  # as the commands do
    compile_clock()  # as training does: it returns what a compilation took of memory
    serve(prepare)
