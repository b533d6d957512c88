"""Every form of every layer's three products on this CPU: what ``networks.convolution.form_of`` is chosen from.

python -m benchmarks.layers [--layers 2,32,512,256 …] [--rounds 7]

A layer is batch, size, channels, features. Prints one JSON line per product with the milliseconds of each form, by
turns, and the form that the rule chooses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from compseg_jax.runtime import keep_freed_memory

LAYERS = """
    7,64,450,16 2,128,450,64 7,128,16,16 7,64,64,32 2,128,64,64 2,128,128,64 7,32,64,64 2,64,128,128 2,64,256,128
    7,16,128,128 2,32,256,256 2,32,512,256 7,8,256,256 2,16,512,512 2,16,1024,512 2,8,512,1024 2,8,1024,1024
"""


def measured(layer: tuple[int, int, int, int], rounds: int) -> list[dict[str, object]]:
    """One record for each of forward, by_input and by_kernel."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from compseg_jax.networks.convolution import FORMS, form_of

    batch, size, channels, features = layer
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((batch, size, size, channels), np.float32))
    gradient = jnp.asarray(rng.standard_normal((batch, size, size, features), np.float32))
    kernel = jnp.asarray(rng.standard_normal((3, 3, channels, features), np.float32))
    operands = {"forward": (x, kernel), "by_input": (gradient, kernel), "by_kernel": (x, gradient)}
    records: list[dict[str, object]] = []
    for product, arguments in operands.items():
        compiled = {name: jax.jit(form) for name, form in FORMS[product].items()}
        times: dict[str, list[float]] = {name: [] for name in compiled}
        for round_ in range(rounds + 1):
            for name, run in compiled.items():
                started = time.perf_counter()
                run(*arguments).block_until_ready()
                if round_:  # the first one compiles
                    times[name].append(1000 * (time.perf_counter() - started))
        medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
        chosen = form_of(x.shape, features, x.dtype)[product]
        name = f"layer/b{batch}_s{size}_c{channels}_k{features}/{product}"
        records.append({"name": name, "chosen": chosen, "ms": medians})
    return records


def main() -> None:
    """Measures the layers asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", nargs="+", default=LAYERS.split(), help="batch,size,channels,features …")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    for text in options.layers:
        numbers = text.split(",")
        if len(numbers) != 4 or not all(number.isdigit() for number in numbers):
            parser.error(f"--layers {text}: expected batch,size,channels,features, such as 2,32,512,256.")
        batch, size, channels, features = (int(number) for number in numbers)
        for record in measured((batch, size, channels, features), options.rounds):
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
