"""Variants of the paper's training step in one process, a JSON line each: compiler options, padding, activation.

python -m benchmarks.gpu_variants [--small] [--seconds 150]

Each is compiled as training runs it (a loop of steps in one dispatch) and timed; what did not fit into the seconds is
named. 'relu' is no variant to ship: it bounds what SoftPlus costs.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.record import Record, measurement
from compseg_jax import Batch, UNet, init_train_state
from compseg_jax.runtime import DATA_AXIS, data_mesh
from compseg_jax.runtime.devices import placed
from compseg_jax.runtime.versions import versions
from compseg_jax.training.device_loop import train_steps
from compseg_jax.training.initial_state import CHANNEL_MULTIPLE

GIB = 2**30


@dataclass(frozen=True)
class Variant:
    """What differs from the step as shipped.

    Attributes:
      name: of the record.
      options: of the compiler.
      activation: of the hidden layers.
      channel_multiple: channels are padded to a multiple of it.
    """

    name: str
    options: dict[str, bool | str] = field(default_factory=dict)
    activation: str = "softplus"
    channel_multiple: int = CHANNEL_MULTIPLE


ALL_COMMANDS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,WHILE,DYNAMIC_SLICE_FUSION"
VARIANTS = (
    Variant("as shipped"),
    Variant("relu", activation="relu"),
    Variant("channels padded to a multiple of 8", channel_multiple=8),
    Variant("channels not padded", channel_multiple=1),
    Variant("no excess precision", {"xla_allow_excess_precision": False}),
    Variant("no command buffers", {"xla_gpu_enable_command_buffer": ""}),
    Variant("command buffers of everything", {"xla_gpu_enable_command_buffer": ALL_COMMANDS}),
    Variant("cuDNN fusion of convolutions", {"xla_gpu_experimental_enable_conv_fusion": True}),
)


@dataclass(frozen=True)
class Sizes:
    """Of the network, its data and the measurement."""

    base: int = 64
    channels: int = 450
    size: int = 256
    batch: int = 7
    samples: int = 28
    steps: int = 32
    rounds: int = 5


SMALL = Sizes(base=4, channels=6, size=16, batch=4, samples=8, steps=2, rounds=2)


def measured(variant: Variant, sizes: Sizes) -> Record:
    """Compiles and times a variant: seconds a step, of the compilation, and the program's own memory."""
    mesh = data_mesh(1)
    everywhere, by_sample = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (DATA_AXIS,)))
    n, image = sizes.samples, (sizes.size, sizes.size)
    draw_cube = jax.jit(lambda key: jax.random.normal(key, (n, *image, sizes.channels), jnp.bfloat16))
    samples = Batch(
        cube=draw_cube(jax.random.key(0)),
        tissue=jnp.ones((n, *image), bool),
        label=jnp.arange(n, dtype=jnp.int32) % 2,
        weight=jnp.ones(n),
    )
    network = UNet(base=sizes.base, dtype=jnp.bfloat16, activation=variant.activation)
    state = placed(
        init_train_state(
            jax.random.key(0), network, sizes.channels, channel_multiple=variant.channel_multiple
        ),
        everywhere,
    )
    drawn = np.random.default_rng(0).integers(0, n, (sizes.steps, sizes.batch)).astype(np.int32)
    weights = np.ones(drawn.shape, np.float32)
    rest = (samples, drawn, weights, np.int32(0), np.int32(sizes.steps))
    program = jax.jit(
        partial(train_steps, by_sample=by_sample), out_shardings=everywhere, donate_argnums=(0,)
    )
    started = time.perf_counter()
    # The options are those of GPUs: other compilers refuse what they do not know.
    options = variant.options if jax.default_backend() == "gpu" else {}
    compiled = program.lower(state, *rest).compile(compiler_options=options)
    compile_s = time.perf_counter() - started
    seconds = []
    for index in range(1 + sizes.rounds):
        started = time.perf_counter()
        state, metrics = compiled(state, *rest)
        last_loss = float(metrics["loss"][-1])
        if index:  # the first round warms up
            seconds.append((time.perf_counter() - started) / sizes.steps)
    return measurement(
        f"variant/{variant.name}",
        jax.devices()[0].device_kind,
        versions(),
        seconds,
        least_s=round(min(seconds), 6),
        compile_s=round(compile_s, 1),
        temporary_gib=round(memory.temp_size_in_bytes / GIB, 3)
        if (memory := compiled.memory_analysis())
        else None,
        last_loss=last_loss,
    )


def main() -> None:
    """Measures one variant after the other while there is time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="sizes that a CPU manages, two variants")
    parser.add_argument("--seconds", type=float, default=150, help="no variant is begun after them")
    options = parser.parse_args()
    end = time.perf_counter() + options.seconds
    sizes = SMALL if options.small else Sizes()
    for variant in VARIANTS[:2] if options.small else VARIANTS:
        if time.perf_counter() > end:
            print(json.dumps({"name": f"variant/{variant.name}", "not_measured": "no time left"}), flush=True)
            continue
        try:
            record = measured(variant, sizes)
        except (ValueError, RuntimeError) as error:  # an option that this release does not know, or no memory
            record = {"name": f"variant/{variant.name}", "failed": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
