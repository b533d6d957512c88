"""What a training step moves on a GPU, read off the program that XLA compiles for it: no GPU is needed.

python -m benchmarks.gpu_program --target FILE [--base 64 --channels 450 --size 256 --batch 7] [--keep FILE]

Needs jax-cuda13-pjrt and jax-cuda13-plugin of jax's release, nvidia-cuda-nvcc and nvidia-nvvm beside jax, and the
description of a card as XLA's sources have it (xla/backends/gpu/target_config/specs/*.txtpb). Compiles
the step of the paper's network as training runs it (bfloat16, padded channels, a loop of steps) and prints a JSON line:
kernels a step, and the bytes that they read and write, by kind. Kernels that stay in a cache read less.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.record import Record

BYTES = {
    "f32": 4,
    "bf16": 2,
    "f16": 2,
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "u16": 2,
    "s32": 4,
    "u32": 4,
    "s64": 8,
    "u64": 8,
}
_SHAPE = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"(?:ROOT )?%([\w.\-]+) = (\(.*?\)|[\w\[\],{}:()*]+?) ([\w\-]+)\((.*)$")
_PICKS = re.compile(r" (gather|dynamic-slice)\(")
NO_KERNEL = ("parameter", "get-tuple-element", "tuple", "constant", "bitcast")
KINDS = (
    ("convolution", r"__cudnn\$conv"),
    ("matrix product", r"%gemm_|cublas"),
    ("batch: gather and pad", r"jit\(_pad\)|/gather"),
    ("up-convolution and concatenation", r"jvp\(UNet\)+/(up_|concatenate)"),
    ("max pool", r"jvp\(UNet\)+/(reduce_max|eq|select|reshape)"),
    ("bias and activation, backward", r"transpose\(jvp\(UNet\)\)/(down|bottleneck|merge)"),
    ("bias and activation, forward", r"/jvp\(UNet\)/(down|bottleneck|merge)\w*/(add|convert)"),
)
"""The first pattern that an instruction's line holds is its kind; where none does, it is 'other'."""


@dataclass(frozen=True)
class Kernel:
    """One instruction of a step.

    Attributes:
      kind: of ``KINDS``, or 'other'.
      n_bytes: of its operands and results.
      line: as XLA prints it.
    """

    kind: str
    n_bytes: int
    line: str


def n_bytes(shape: str) -> int:
    """Bytes of a shape, or of all shapes of a tuple.

    >>> n_bytes("(bf16[7,2]{1,0}, f32[])")
    32
    """
    sizes = (
        (BYTES[name], [int(each) for each in dims.split(",") if each]) for name, dims in _SHAPE.findall(shape)
    )
    return sum(size * math.prod(dims) for size, dims in sizes)


def kernels_of(program: str) -> list[Kernel]:
    """The instructions of the computation that holds most convolutions: the step, be it alone or a loop's body."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in program.splitlines():
        if found := _COMPUTATION.match(line):
            lines = computations.setdefault(found.group(1), [])
        else:
            lines.append(line.strip())
    step = max(computations.values(), key=lambda own: sum("__cudnn$conv" in line for line in own))
    picking = {name for name, own in computations.items() if any(map(_PICKS.search, own))}
    return list(_kernels(step, picking))


def _kernels(lines: list[str], picking: set[str]) -> Iterator[Kernel]:
    """``picking`` are the computations that read a part of an operand: as much as they put out."""
    found = [match for match in map(_INSTRUCTION.match, lines) if match]
    shapes = {match.group(1): match.group(2) for match in found}
    for match in found:
        _, shape, operation, rest = match.groups()
        if operation in NO_KERNEL:
            continue
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        called = re.search(r"calls=%([\w.\-]+)", rest)
        most = n_bytes(shape) if called and called.group(1) in picking else math.inf
        moved = n_bytes(shape) + sum(
            int(min(n_bytes(shapes[name]), most)) for name in operands if name in shapes
        )
        kind = next((name for name, pattern in KINDS if re.search(pattern, match.string)), "other")
        yield Kernel(kind, moved, match.string)


def compiled_step(options: argparse.Namespace) -> Any:
    """The loop over steps of `training/device_loop.py`, compiled for the card."""
    os.environ.setdefault("XLA_FLAGS", "--xla_gpu_autotune_level=0")  # there is nothing to time kernels on
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # nor a driver or cuDNN to ask
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from compseg_jax import Batch, UNet, init_train_state
    from compseg_jax.training.device_loop import train_steps
    from compseg_jax.training.initial_state import CHANNEL_MULTIPLE

    card = topologies.get_topology_desc(
        "", platform="cuda", target_config=options.target.read_text(), topology="1x1x1"
    )
    mesh = Mesh(np.array(card.devices), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, by_sample = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))

    def shape(sizes: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(sizes, dtype)

    def on_card(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere)

    network = UNet(base=options.base, dtype=jnp.bfloat16)
    state = init_train_state(jax.random.key(0), network, options.channels, channel_multiple=CHANNEL_MULTIPLE)
    n, image = options.samples, (options.size, options.size)
    samples = Batch(
        cube=shape((n, *image, options.channels), jnp.bfloat16),
        tissue=shape((n, *image), jnp.bool_),
        label=shape((n,), jnp.int32),
        weight=shape((n,), jnp.float32),
    )
    steps = (-(-n // options.batch), options.batch)
    draws = [shape(steps, dtype) for dtype in (jnp.int32, jnp.float32)]
    bounds = [shape((), jnp.int32)] * 2
    program = jax.jit(
        partial(train_steps, by_sample=by_sample), out_shardings=everywhere, donate_argnums=(0,)
    )
    state, samples = jax.tree.map(on_card, (state, samples))
    return program.lower(state, samples, *map(on_card, draws), *map(on_card, bounds)).compile()


def record_of(compiled: Any, options: argparse.Namespace) -> Record:
    """Kernels and bytes of a step, in all and by kind, and the memory that it needs beside its arguments.

    Of an operand from which a kernel gathers or slices, as much is counted as it puts out.
    """
    from compseg_jax.runtime.versions import versions

    kernels = kernels_of(compiled.as_text())
    moved: dict[str, int] = defaultdict(int)
    for kernel in kernels:
        moved[kernel.kind] += kernel.n_bytes
    return {
        "name": f"program/base{options.base}_c{options.channels}_s{options.size}_b{options.batch}",
        "target": options.target.stem,
        "versions": versions(),
        "kernels": len(kernels),
        "gb_a_step": round(sum(moved.values()) / 1e9, 3),
        "gb_by_kind": {kind: round(own / 1e9, 3) for kind, own in sorted(moved.items())},
        "temporary_gib": round(compiled.memory_analysis().temp_size_in_bytes / 2**30, 3),
    }


def main() -> None:
    """Compiles the step and prints what it moves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", type=Path, required=True, help="description of the card, .txtpb")
    for name, value in {"base": 64, "channels": 450, "size": 256, "batch": 7, "samples": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--keep", type=Path, help="file for the program's text")
    options = parser.parse_args()
    compiled = compiled_step(options)
    if options.keep is not None:
        options.keep.write_text(compiled.as_text())
    print(json.dumps(record_of(compiled, options)))


if __name__ == "__main__":
    main()
