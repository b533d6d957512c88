"""What is measured: sizes of network and batch, and the random samples that every framework is given.

Imports only NumPy, so that peers with another Python can read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["train_step", "forward"]


@dataclass(frozen=True)
class Case:
    """A training step or forward pass of the U-Net of depth 4.

    Attributes:
      kind: what is run.
      base: features of the first level.
      channels: channels of the cubes.
      size: height and width of the cubes, in pixels.
      batch: samples per step.
    """

    kind: Kind
    base: int
    channels: int
    size: int
    batch: int

    @property
    def name(self) -> str:
        """Such as train_step/base16_c450_s64_b7."""
        return f"{self.kind}/base{self.base}_c{self.channels}_s{self.size}_b{self.batch}"

    @classmethod
    def of_name(cls, name: str) -> Case:
        """The case of a name."""
        kind, _, sizes = name.partition("/")
        found = re.fullmatch(r"base(\d+)_c(\d+)_s(\d+)_b(\d+)", sizes)
        if kind not in ("train_step", "forward") or found is None:
            raise ValueError(
                f"case {name!r}: expected train_step/ or forward/ and sizes, such as forward/base16_c450_s64_b7."
            )
        base, channels, size, batch = (int(number) for number in found.groups())
        return cls(kind, base, channels, size, batch)  # type: ignore[arg-type]


CPU_SIZES = ((16, 450, 64, 7), (16, 32, 128, 7), (64, 450, 128, 2))
GPU_SIZES = ((64, 450, 256, 7),)


def cases(sizes: tuple[tuple[int, int, int, int], ...]) -> list[Case]:
    """Training step and forward pass at each of ``sizes``."""
    kinds: tuple[Kind, ...] = ("train_step", "forward")
    return [Case(kind, *numbers) for numbers in sizes for kind in kinds]


def random_samples(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Cubes (b, y, x, c) of unit variance and labels 0, 1, 0, … (b,), float32."""
    rng = np.random.default_rng(0)
    shape = (case.batch, case.size, case.size, case.channels)
    return rng.standard_normal(shape, np.float32), (np.arange(case.batch) % 2).astype(np.float32)


def flop_per_step(case: Case, depth: int = 4) -> float:
    """Floating-point operations of the convolutions, a multiplication and an addition counted as two.

    A training step is three forward passes, less the gradient by the input of the first convolution, which
    nobody needs.
    """
    pixels = float(case.batch * case.size**2)
    widths = [case.base * 2**level for level in range(depth + 1)]
    forward = first = 2 * 9 * pixels * case.channels * case.base
    for level, width in enumerate(widths):
        here = pixels / 4**level
        if level:
            forward += 2 * 9 * here * widths[level - 1] * width
        forward += 2 * 9 * here * width * width
        if level < depth:
            # Up-convolution (each output pixel sees one input pixel), then the two merging convolutions.
            forward += 2 * here * 2 * width * width
            forward += 2 * 9 * here * (2 * width * width + width * width)
    forward += 2 * pixels * case.base
    return forward if case.kind == "forward" else 3 * forward - first
