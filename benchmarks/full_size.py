"""One training step of the paper's U-Net at full size, its time and peak memory, as one JSON line.

python -m benchmarks.full_size [--size 256] [--channels 450] [--base 64] [--batch 7] [--microbatch 1] [--remat]
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

from compseg_jax import Batch, UNet, init_train_state, make_train_step
from compseg_jax.runtime.versions import versions

GIB = 2**30


def main() -> None:
    """Runs the step once, compilation apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("size", 256), ("channels", 450), ("base", 64), ("batch", 7), ("microbatch", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--remat", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.batch, options.size, options.size)
    batch = Batch(
        cube=jnp.asarray(rng.standard_normal((*shape, options.channels), np.float32)),
        tissue=jnp.ones(shape, bool),
        label=jnp.arange(options.batch, dtype=jnp.int32) % 2,
        weight=jnp.ones(options.batch),
    )
    network = UNet(base=options.base, remat=options.remat)
    state = init_train_state(jax.random.key(0), network, options.channels, microbatch=options.microbatch)
    step = make_train_step()
    started = time.perf_counter()
    compiled = step.jitted.lower(state, step.padded(state.plan, batch)).compile()
    compile_s = time.perf_counter() - started
    started = time.perf_counter()
    _, metrics = compiled(jax.device_put(state, step.replicated), jax.device_put(batch, step.by_sample))
    loss = float(metrics["loss"])
    line = {
        "name": f"full_size/base{options.base}_c{options.channels}_s{options.size}_b{options.batch}",
        "device": jax.devices()[0].device_kind,
        "microbatch": options.microbatch,
        "remat": options.remat,
        "step_s": round(time.perf_counter() - started, 2),
        "compile_s": round(compile_s, 2),
        "loss": loss,
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
        "versions": versions(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
