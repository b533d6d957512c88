"""The 3×3 convolution, written out for CPUs: the same numbers as ``lax``, in the form that a shape runs fastest in.

XLA's CPU backend computes the forward pass of a convolution well and its gradients badly: the weight gradient
becomes a convolution with the image for a kernel, after both were transposed, and the input gradient transposes
the kernel. Here each of the three (forward, by input, by kernel) is a matrix product where that is faster:

- *Winograd* F(2×2, 3×3): 16 products a 2×2 cell instead of 36, for many channels on many pixels.
- *stacked taps*: one product over the nine shifted copies of the narrower side, for few pixels (kernels larger
  than the image) and for the first layer of a spectral cube (hundreds of channels to a few features).
- *plain*: ``lax.conv_general_dilated``, everywhere else, on accelerators, and in bfloat16.

``form_of`` holds the rules, measured layer by layer (docs/performance.md); ``form="plain"`` switches all of it off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from compseg_jax.runtime import has_onednn_convolutions

Form = Literal["fast", "plain"]
Image = Float[Array, "b y x c"]
Kernel = Float[Array, "3 3 c k"]
Product = Float[Array, "b y x k"]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
TAPS = tuple((i, j) for i in range(3) for j in range(3))

# Winograd pays where both sides have many channels; for the weight gradient, where plain is slow, earlier.
WINOGRAD_LEAST_CHANNELS = 64
WINOGRAD_LEAST_PRODUCT = {"forward": 128 * 128, "by_input": 128 * 128, "by_kernel": 64 * 64}
# Below it the forward pass and the gradient by the input gain a millisecond, for a dozen loops more to compile.
WINOGRAD_LEAST_WORK = {"forward": 2**24, "by_input": 2**24, "by_kernel": 0}
# Below it the kernel is larger than the image: reading it is the work, and transforming it would double that.
FEW_PIXELS = 256
FEW_PIXELS_LEAST_CHANNELS = 256
# Input channels for one output feature from which on the nine taps are put side by side on the output's side.
WIDE_INPUT = 4

# Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015), section 4.1:
# y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A on tiles of 4×4 inputs and 2×2 outputs.
B_T = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
A_T = ((1, 1, 1, 0), (0, 1, -1, -1))
Matrix = Sequence[Sequence[float]]


def convolution_3x3(x: Image, kernel: Kernel, form: Form = "fast") -> Product:
    """3×3 convolution with stride 1 and zero padding to the same size ('same'), without bias.

    Args:
      x: images (b, y, x, c).
      kernel: weights (3, 3, c, k) of the same dtype.
      form: 'plain' uses ``lax.conv_general_dilated`` and its own derivatives (also forward-mode ones);
        'fast' chooses by shape on CPU, and has reverse-mode derivatives only.

    Returns:
      (b, y, x, k), equal to ``lax.conv_general_dilated`` up to rounding.
    """
    return _plain(x, kernel) if form == "plain" else _fast(x, kernel)


@jax.custom_vjp
def add_bias(x: Image, bias: Float[Array, " c"]) -> Image:
    """``x`` plus one number per channel; its derivative by ``bias`` is a product: ten times faster by XLA on CPUs."""
    return x + bias.reshape(1, 1, 1, -1)


def _sum_over_pixels(gradient: Image) -> Float[Array, " c"]:
    flat = _rows(gradient)
    return lax.platform_dependent(
        flat,
        cpu=lambda rows: jnp.ones((1, rows.shape[0]), rows.dtype) @ rows,
        default=lambda rows: jnp.sum(rows, axis=0, keepdims=True),
    )[0]


add_bias.defvjp(
    lambda x, bias: (add_bias(x, bias), None),
    lambda _, gradient: (gradient, _sum_over_pixels(gradient)),
)


def _plain(x: Image, kernel: Kernel) -> Product:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS)


def _plain_by_input(gradient: Product, kernel: Kernel) -> Image:
    return lax.conv_general_dilated(
        gradient, kernel[::-1, ::-1], (1, 1), "SAME", dimension_numbers=("NHWC", "HWOI", "NHWC")
    )


def _plain_by_kernel(x: Image, gradient: Product) -> Kernel:
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], gradient.shape[-1]), x.dtype)
    return jax.linear_transpose(functools.partial(_plain, x), kernel)(gradient)[0]


def form_of(shape: tuple[int, ...], features: int, dtype: jnp.dtype) -> dict[str, str]:
    """Which form each of the three products takes on a CPU, from the measurements in docs/performance.md.

    Args:
      shape: (b, y, x, c) of the input.
      features: features k of the output.
      dtype: precision of both.

    Returns:
      'plain', 'winograd' or 'taps' for 'forward', 'by_input' and 'by_kernel'.
    """
    b, height, width, channels = shape
    n_pixels = b * height * width
    plain = dict.fromkeys(("forward", "by_input", "by_kernel"), "plain")
    if dtype == jnp.bfloat16:
        return plain
    narrow = min(channels, features)
    if n_pixels < FEW_PIXELS:
        many = narrow >= FEW_PIXELS_LEAST_CHANNELS
        return {**plain, "by_input": "taps", "by_kernel": "taps"} if many else plain
    if channels >= WIDE_INPUT * features:
        return {**plain, "by_kernel": "taps", "forward": "plain" if has_onednn_convolutions() else "taps"}
    if height % 2 == width % 2 == 0 and narrow >= WINOGRAD_LEAST_CHANNELS:
        product, work = channels * features, n_pixels * channels * features
        pays = {
            name: product >= WINOGRAD_LEAST_PRODUCT[name] and work >= WINOGRAD_LEAST_WORK[name]
            for name in plain
        }
        return {name: "winograd" if pays[name] else "plain" for name in plain}
    return plain


@jax.custom_vjp
def _fast(x: Image, kernel: Kernel) -> Product:
    return _on_cpu("forward", x, kernel.shape[-1], x, kernel)


def _fast_forward(x: Image, kernel: Kernel) -> tuple[Product, tuple[Image, Kernel]]:
    return _fast(x, kernel), (x, kernel)


def _fast_backward(kept: tuple[Image, Kernel], gradient: Product) -> tuple[Image, Kernel]:
    x, kernel = kept
    features = kernel.shape[-1]
    # Not before the gradient is there: XLA would transpose and transform images and kernels in the forward pass, and
    # keep the results. The kernel's gradient comes last, or the kernel would be copied before it is updated in place.
    x, kernel, gradient = lax.optimization_barrier((x, kernel, gradient))
    by_input = _on_cpu("by_input", x, features, gradient, kernel)
    x, gradient, by_input = lax.optimization_barrier((x, gradient, by_input))
    return by_input, _on_cpu("by_kernel", x, features, x, gradient)


_fast.defvjp(_fast_forward, _fast_backward)


def _on_cpu(product: str, x: Image, features: int, *operands: Array) -> Array:
    """One of the three products in its CPU form where the program is compiled for CPUs, plain elsewhere."""
    form = form_of(x.shape, features, x.dtype)[product]
    plain = FORMS[product]["plain"]
    if form == "plain":
        return plain(*operands)
    return lax.platform_dependent(*operands, cpu=FORMS[product][form], default=plain)


def _shifted(image: Image, i: int, j: int) -> Image:
    """``image`` moved so that the pixel at (y + i − 1, x + j − 1) comes to (y, x), zeros from outside."""
    _, height, width, _ = image.shape
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return padded[:, i : i + height, j : j + width]


def _all_shifted(image: Image) -> Float[Array, "b y x all"]:
    """The image as every tap sees it, side by side: along x, then along y, since XLA makes no loop of nine parts."""
    _, height, width, _ = image.shape
    padded = _padded(image)
    along_x = lax.optimization_barrier(jnp.concatenate([padded[:, :, j : j + width] for j in range(3)], -1))
    return jnp.concatenate([along_x[:, i : i + height] for i in range(3)], axis=-1)


def _padded(image: Image) -> Float[Array, "b y_all x_all c"]:
    """With zeros around. Kept as an array: XLA would pad within each of the loops that read it."""
    return lax.optimization_barrier(jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))))


def _sum(parts: Sequence[Array]) -> Array:
    return functools.reduce(jnp.add, parts)


def _rows(image: Array) -> Float[Array, "pixels c"]:
    return image.reshape(-1, image.shape[-1])


def _taps(x: Image, kernel: Kernel) -> Product:
    """One product of the input with all nine taps, then nine shifted additions of the few output features."""
    channels, features = kernel.shape[2:]
    flat = kernel.transpose(2, 0, 1, 3).reshape(channels, 9 * features)
    parts = (_rows(x) @ flat).reshape(*x.shape[:3], 9, features)
    return _sum([_shifted(parts[:, :, :, 3 * i + j], i, j) for i, j in TAPS])


def _taps_by_input(gradient: Product, kernel: Kernel) -> Image:
    """One product with the kernel as it lies in memory, then nine shifted additions."""
    _, _, channels, features = kernel.shape
    flat = kernel.reshape(9 * channels, features)
    parts = lax.dot_general(_rows(gradient), flat, (((1,), (1,)), ((), ())))
    parts = parts.reshape(*gradient.shape[:3], 9, channels)
    return _sum([_shifted(parts[:, :, :, 3 * i + j], 2 - i, 2 - j) for i, j in TAPS])


def _taps_by_kernel(x: Image, gradient: Product) -> Kernel:
    """One product with the nine shifted copies of the narrower of the two side by side."""
    channels, features = x.shape[-1], gradient.shape[-1]
    over_pixels = (((0,), (0,)), ((), ()))
    if channels <= features:
        shifted = _rows(_all_shifted(x))
        return lax.dot_general(shifted, _rows(gradient), over_pixels).reshape(3, 3, channels, features)
    shifted = _rows(_all_shifted(gradient))
    product = lax.dot_general(_rows(x), shifted, over_pixels)
    return product.reshape(channels, 3, 3, features)[:, ::-1, ::-1].transpose(1, 2, 0, 3)


def _combined(matrix: Matrix, parts: Sequence[Array], axis: int) -> Array:
    """The sums of ``parts`` by the rows of a small constant matrix, without its zeros, stacked along ``axis``."""
    sums = []
    for row in matrix:
        terms = [_times(factor, part) for factor, part in zip(row, parts, strict=True) if factor]
        sums.append(_sum(terms))
    return jnp.stack(sums, axis)


def _transposed(matrix: Matrix) -> Matrix:
    return list(zip(*matrix, strict=True))


def _times(factor: float, part: Array) -> Array:
    return part if factor == 1 else jnp.asarray(factor, part.dtype) * part


def _transformed_input(x: Image) -> Float[Array, "16 cells c"]:
    """Bᵀ x B of the overlapping 4×4 tiles of an image: down the columns of all tiles, then along their rows."""
    _, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = _combined(B_T, [padded[:, i : i + height - 1 : 2] for i in range(4)], axis=0)
    both = _combined(B_T, [columns[:, :, :, j : j + width - 1 : 2] for j in range(4)], axis=1)
    return both.reshape(16, -1, channels)


def _transformed_kernel(kernel: Kernel) -> Float[Array, "16 c k"]:
    columns = _combined(G, [kernel[i] for i in range(3)], axis=0)
    return _combined(G, [columns[:, j] for j in range(3)], axis=1).reshape(16, *kernel.shape[2:])


def _product(a: Array, b: Array, over_a: int, over_b: int) -> Array:
    return lax.dot_general(a, b, (((over_a,), (over_b,)), ((0,), (0,))))


def _image_of_cells(products: Float[Array, "16 cells k"], shape: tuple[int, ...]) -> Product:
    """Aᵀ m A of each cell, its 2×2 pixels put in their places."""
    b, height, width = shape
    tiles = products.reshape(4, 4, b, height // 2, width // 2, -1)
    rows = _combined(A_T, [tiles[:, j] for j in range(4)], axis=4)
    return _combined(A_T, [rows[i] for i in range(4)], axis=2).reshape(b, height, width, -1)


def _winograd(x: Image, kernel: Kernel) -> Product:
    products = _product(_transformed_input(x), _transformed_kernel(kernel), 2, 1)
    return _image_of_cells(products, x.shape[:3])


def _winograd_by_input(gradient: Product, kernel: Kernel) -> Image:
    """The convolution with the turned kernel, summed over its features where they lie."""
    turned = _transformed_kernel(kernel[::-1, ::-1])
    return _image_of_cells(_product(_transformed_input(gradient), turned, 2, 2), gradient.shape[:3])


def _winograd_by_kernel(x: Image, gradient: Product) -> Kernel:
    """Gᵀ[(Bᵀ x B) ⊙ (A ∂y Aᵀ)]G, summed over the cells: the derivative of the formula by w."""
    b, height, width, features = gradient.shape
    cells = gradient.reshape(b, height // 2, 2, width // 2, 2, features)
    columns = _combined(_transposed(A_T), [cells[:, :, i] for i in range(2)], axis=0)
    both = _combined(_transposed(A_T), [columns[:, :, :, :, j] for j in range(2)], axis=1)
    products = _product(_transformed_input(x), both.reshape(16, -1, features), 1, 1)
    tile = products.reshape(4, 4, *products.shape[1:])
    rows = _combined(_transposed(G), [tile[:, j] for j in range(4)], axis=1)
    return _combined(_transposed(G), [rows[i] for i in range(4)], axis=0)


FORMS: dict[str, dict[str, Callable[..., Array]]] = {
    "forward": {"plain": _plain, "winograd": _winograd, "taps": _taps},
    "by_input": {"plain": _plain_by_input, "winograd": _winograd_by_input, "taps": _taps_by_input},
    "by_kernel": {"plain": _plain_by_kernel, "winograd": _winograd_by_kernel, "taps": _taps_by_kernel},
}
