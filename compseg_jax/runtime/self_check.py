"""Does this machine compute right? A second's check against float64 NumPy: `compseg doctor`, and before training.

Compilers have shipped wrong code: jaxlib 0.10.2 miscomputes a mapped matrix-vector product followed by a
reduction on CPU (jax issue 39103); oneDNN, as jaxlib 0.11.2 runs it, the weight gradient of a 1×1 convolution
to one feature on processors with AVX-512; and some releases gave wrong results on single GPU models. A network
trained on wrong gradients looks like one that does not converge.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-4  # of the largest value; TF32 convolutions on GPUs stay below 2e-3
ACCELERATOR_TOLERANCE = 5e-3
POINTWISE_ADVICE = (
    "networks of this package do without it; in one of your own, use flax.linen.Dense for such a layer."
)
ROWS_THAT_SHOW_ISSUE_39103 = 32_769


class WrongResults(RuntimeError):
    """The compiler or device computes wrong numbers."""


@dataclass(frozen=True)
class Check:
    """One computation compared with NumPy in float64.

    Attributes:
      name: what was computed.
      error: largest deviation, as a share of the largest value.
      tolerance: the deviation that single precision explains.
      advice: of a computation that the package's own networks do without, how to do without it too.
    """

    name: str
    error: float
    tolerance: float
    advice: str = ""

    @property
    def passed(self) -> bool:
        """Whether the deviation is within what single precision explains."""
        return bool(self.error <= self.tolerance)


def self_check() -> list[Check]:
    """Compares convolutions, their gradients and the pattern of jax issue 39103 with NumPy."""
    tolerance = TOLERANCE if jax.default_backend() == "cpu" else ACCELERATOR_TOLERANCE
    return [
        *_convolution("3×3 convolution", 3, 4, tolerance),
        *_convolution("1×1 convolution to one feature", 1, 1, tolerance, POINTWISE_ADVICE),
        _mapped_product_and_reduction(tolerance),
    ]


def _convolution(name: str, side: int, features: int, tolerance: float, advice: str = "") -> list[Check]:
    rng = np.random.default_rng(0)
    image, kernel = rng.standard_normal((2, 9, 11, 5)), rng.standard_normal((side, side, 5, features))
    weights = rng.standard_normal((2, 9, 11, features))

    def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    @jax.jit
    def forward_and_backward(
        image: jax.Array, kernel: jax.Array, weights: jax.Array
    ) -> tuple[jax.Array, ...]:
        value, pull_back = jax.vjp(convolve, image, kernel)
        return value, *pull_back(weights)

    found = forward_and_backward(*(jnp.asarray(values, jnp.float32) for values in (image, kernel, weights)))
    expected = _convolution_in_numpy(image, kernel, weights)
    names = (name, f"gradient of a {name} by the image", f"gradient of a {name} by the kernel")
    return [
        Check(each, _deviation(value, truth), tolerance, advice)
        for each, value, truth in zip(names, found, expected, strict=True)
    ]


def _mapped_product_and_reduction(tolerance: float) -> Check:
    rows = np.zeros((ROWS_THAT_SHOW_ISSUE_39103, 3))
    rows[:, 0] = np.arange(len(rows))
    matrix = jnp.eye(3, dtype=jnp.float32)
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))
    found = compiled(jnp.asarray(rows, jnp.float32))
    return Check(
        "mapped product and reduction (jax issue 39103)", _deviation(found, rows[:, 0] ** 2), tolerance
    )


def _convolution_in_numpy(
    image: np.ndarray, kernel: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Value and gradients of the 'same' convolution, term by term from its definition."""
    _, height, width, _ = image.shape
    side = kernel.shape[0]
    edge = side // 2
    padded = np.pad(image, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    value = np.zeros(weights.shape)
    by_padded, by_kernel = np.zeros(padded.shape), np.zeros(kernel.shape)
    for y in range(side):
        for x in range(side):
            window = (slice(None), slice(y, y + height), slice(x, x + width))
            value += padded[window] @ kernel[y, x]
            by_padded[window] += weights @ kernel[y, x].T
            by_kernel[y, x] = np.einsum("byxc,byxk->ck", padded[window], weights)
    return value, by_padded[:, edge : edge + height, edge : edge + width], by_kernel


def _deviation(found: jax.Array, expected: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(found, np.float64) - expected)) / np.max(np.abs(expected)))


def refuse_wrong_results() -> None:
    """Raises WrongResults when a check fails that the package's networks need, and prints advice on the others."""
    failed = [check for check in self_check() if not check.passed]
    for check in failed:
        if check.advice:
            print(f"{check.name} is off by {check.error:.1e} on this machine: {check.advice}")
    failed = [check for check in failed if not check.advice]
    if failed:
        worst = "; ".join(f"{c.name} is off by {c.error:.1e} (allowed {c.tolerance:.0e})" for c in failed)
        raise WrongResults(
            f"this machine computes wrong numbers: {worst}. Import compseg_jax before jax, remove your own XLA_FLAGS, "
            "or use another jaxlib release; `compseg doctor` shows details. "
            "`self_check = false` in a recipe file trains anyway."
        )


def describe(checks: list[Check], versions: dict[str, str]) -> str:
    """Devices, versions, flags and checks as lines for the terminal."""
    devices = ", ".join(f"{device.platform} {device.device_kind}" for device in jax.devices())
    lines = [
        f"devices   {devices}",
        f"versions  {', '.join(f'{name} {value}' for name, value in versions.items())}",
        f"XLA_FLAGS {os.environ.get('XLA_FLAGS', '') or '(none)'}",
    ]
    for check in checks:
        verdict = "right" if check.passed else "WRONG"
        lines.append(
            f"{verdict}     {check.name}: deviation {check.error:.1e}, allowed {check.tolerance:.0e}"
        )
        if check.advice and not check.passed:
            lines.append(f"          {check.advice}")
    return "\n".join(lines)
