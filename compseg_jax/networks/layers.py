"""The layers that U-Net and SegNet are made of, written for what XLA runs fast.

Every layer takes and returns (b, y, x, c). 'Same' padding and level-wise cropping make the result
independent of any padding: nothing outside the image is ever seen, whatever its height and width. Layers that mix
pixels take the images' extent where these do not fill their canvas (`extent`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from compseg_jax.networks.convolution import Form, add_bias, convolution_3x3
from compseg_jax.networks.extent import Extent, kept
from compseg_jax.networks.normalisation import BATCH_MOMENTUM, EPSILON, Normalisation

Activation = Callable[[Array], Array]


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + eˣ), with its derivative taken from the output: σ(x) = 1 − e^{−softplus(x)}.

    So the backward pass keeps one array, the output, instead of two. Computed in float32 at least; of half precision
    the output is what is kept, too: without a barrier XLA keeps the float32 it was rounded from, in twice the memory.
    """
    wide = _at_least_float32(x)
    y = (jnp.maximum(wide, 0) + _log1p_below_one(jnp.exp(-jnp.abs(wide)))).astype(x.dtype)
    return jax.lax.platform_dependent(y, cpu=jax.lax.optimization_barrier, default=lambda y: y)


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = softplus(primals[0])
    if jnp.finfo(y.dtype).bits < 32:
        y = jax.lax.optimization_barrier(y)
    return y, tangents[0] * _one_minus_exp(_at_least_float32(y)).astype(y.dtype)


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


# Least relative error of log(1 + e)/e on [0, 1] by a polynomial of degree 9, lowest power first: 5e-9.
_LOG1P_BELOW_ONE = (
    1.0, -0.4999990242, 0.3332996240, -0.2495413352, 0.1967593855,
    -0.1530559052, 0.1060365141, -0.0569594999, 0.0198514441, -0.0032440211,
)  # fmt: skip


def _log1p_below_one(e: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + e) for e in [0, 1], as e times a polynomial; rounding leaves 2e-7 of the value.

    XLA's log1p takes twice the time on CPU, and a quotient would be kept in memory between two loops.
    """
    if e.dtype == jnp.float64:
        return jnp.log1p(e)
    return e * jnp.polyval(jnp.asarray(_LOG1P_BELOW_ONE[::-1], e.dtype), e, unroll=16)


def _one_minus_exp(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 − e^{−y} for y ≥ 0, by its series below ¼, where the difference would cancel (6 terms leave 5e-8).

    XLA's expm1 takes twice the time on CPU.
    """
    if y.dtype == jnp.float64:
        return -jnp.expm1(-y)
    terms = jnp.asarray([1 / math.factorial(n) for n in range(6, 0, -1)], y.dtype)
    return jnp.where(y < 0.25, y * jnp.polyval(terms, -y, unroll=16), 1 - jnp.exp(-y))


ACTIVATIONS: dict[str, Activation] = {
    "softplus": softplus,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "elu": nn.elu,
}

INITIALISERS: dict[str, Callable[..., Array]] = {
    "glorot_uniform": nn.initializers.glorot_uniform(),
    "glorot_normal": nn.initializers.glorot_normal(),
    "he_normal": nn.initializers.he_normal(),
    "lecun_normal": nn.initializers.lecun_normal(),
}

Spread = Callable[[int, int], np.float32]
Draw = Callable[[PRNGKeyArray, int], Array]

# The same as (scale by fan-in and fan-out, draw of n numbers at scale 1). A normal distribution cut at
# two standard deviations keeps .8796 of its own.
_CUT_SD = 0.87962566103423978


def _uniform(key: PRNGKeyArray, n: int) -> Float[Array, " n"]:
    return jax.random.uniform(key, (n,), jnp.float32, -1.0, 1.0)


def _cut_normal(key: PRNGKeyArray, n: int) -> Float[Array, " n"]:
    return jax.random.truncated_normal(key, -2.0, 2.0, (n,), jnp.float32)


KERNEL_SPREADS: dict[str, tuple[Spread, Draw]] = {
    "glorot_uniform": (lambda fan_in, fan_out: np.float32(np.sqrt(6.0 / (fan_in + fan_out))), _uniform),
    "glorot_normal": (
        lambda fan_in, fan_out: np.float32(np.sqrt(2.0 / (fan_in + fan_out)) / _CUT_SD),
        _cut_normal,
    ),
    "he_normal": (lambda fan_in, fan_out: np.float32(np.sqrt(2.0 / fan_in) / _CUT_SD), _cut_normal),
    "lecun_normal": (lambda fan_in, fan_out: np.float32(np.sqrt(1.0 / fan_in) / _CUT_SD), _cut_normal),
}


def max_pool(x: Float[Array, "b y x c"], extent: Extent | None = None) -> Float[Array, "b y2 x2 c"]:
    """2×2 maximum with stride 2; an odd last row or column forms cells of its own; 0 beyond ``extent``."""
    b, height, width, c = x.shape
    x = kept(x, extent, float(jnp.finfo(x.dtype).min))
    odd_y, odd_x = height % 2, width % 2
    if odd_y or odd_x:
        x = jnp.pad(x, ((0, 0), (0, odd_y), (0, odd_x), (0, 0)), mode="edge")
    pooled = x.reshape(b, (height + odd_y) // 2, 2, (width + odd_x) // 2, 2, c).max(axis=(2, 4))
    return pooled if extent is None else kept(pooled, extent.halved)


def crop_to(x: Float[Array, "b y x c"], height: int, width: int) -> Float[Array, "b y2 x2 c"]:
    """The top left ``height`` × ``width`` pixels."""
    return x[:, :height, :width, :]


class Conv(nn.Module):
    """3×3 convolution with bias and 'same' padding; the parameters, names and start of ``nn.Conv``."""

    features: int
    kernel_init: str = "glorot_uniform"
    dtype: Any = jnp.float32
    form: Form = "fast"
    channels: int | None = None

    @nn.compact
    def __call__(self, *images: Float[Array, "b y x _"]) -> Float[Array, "b y x features"]:
        """Applies the convolution; channels beyond ``channels`` are padding, and zero.

        Several images count as one whose channels are theirs, one after the other, and are not put together for it: on
        two cores the product with 16 + 16 channels takes two thirds of the time, and a third of the memory.
        """
        n_channels = sum(image.shape[-1] for image in images)
        shape = (3, 3, self.channels or n_channels, self.features)
        kernel = self.param("kernel", INITIALISERS[self.kernel_init], shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, n_channels - shape[2]), (0, 0)))
        *images, kernel, bias = nn.dtypes.promote_dtype(*images, kernel, bias, dtype=self.dtype)
        ends = np.cumsum([image.shape[-1] for image in images])
        products = [
            convolution_3x3(image, kernel[:, :, end - image.shape[-1] : end], self.form)
            for image, end in zip(images, ends.tolist(), strict=True)
        ]
        return add_bias(functools.reduce(jnp.add, products), bias)


class ConvBlock(nn.Module):
    """``n_convolutions`` times 3×3 convolution, 'same' padding, dropout, normalisation, activation."""

    features: int
    n_convolutions: int = 2
    activation: str = "softplus"
    kernel_init: str = "glorot_uniform"
    dtype: Any = jnp.float32
    form: Form = "fast"
    channels: int | None = None
    normalisation: str = "none"
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b y x c"],
        train: bool = False,
        extent: Extent | None = None,
        beside: Float[Array, "b y x k"] | None = None,
    ) -> Float[Array, "b y x features"]:
        """Applies the block; dropout and the statistics of the batch in training only.

        ``x``, and what lies ``beside`` its channels, is 0 beyond ``extent``; what comes out is not.
        """
        for index in range(self.n_convolutions):
            channels = self.channels if index == 0 else None
            x = kept(x, extent) if index else x
            images = (x,) if index or beside is None else (x, beside)
            x = Conv(self.features, self.kernel_init, self.dtype, self.form, channels)(*images)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = Normalisation(self.normalisation, self.dtype)(x, train, extent)
            x = ACTIVATIONS[self.activation](x)
        return x


# Recomputed in the backward pass; whether it trains (argument 2, self being 0) is no array.
RematConvBlock = nn.remat(ConvBlock, static_argnums=(2,))


class SpectralFront(nn.Module):
    """1×1 convolution without bias, from all channels to ``features``.

    A cube of 450 wavenumbers then costs 450·f + 9·f·k products per pixel instead of 9·450·k. Zeros stay zeros, so
    it commutes with the padding of the first convolution, and both are one linear map (``fold_front``).
    """

    features: int
    kernel_init: str = "glorot_uniform"
    dtype: Any = jnp.float32
    channels: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x features"]:
        """Projects the spectra; channels of ``x`` beyond ``channels`` are padding, and zero."""
        shape = (1, 1, self.channels or x.shape[-1], self.features)
        kernel = self.param("kernel", INITIALISERS[self.kernel_init], shape, jnp.float32)
        kernel = jnp.pad(kernel[0, 0], ((0, x.shape[-1] - shape[2]), (0, 0)))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], self.features)


class UpConvolution(nn.Module):
    """2×2 transposed convolution with stride 2, as one matrix product and a depth-to-space.

    With stride equal to its size no two outputs share an input, so the product is exact; XLA's own
    transposed convolution is several times slower on CPU.
    """

    features: int
    kernel_init: str = "glorot_uniform"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b y x c"], extent: Extent | None = None
    ) -> Float[Array, "b y2 x2 features"]:
        """Doubles height and width; each pixel becomes its own cell, whatever lies beside it."""
        b, height, width, channels = x.shape
        kernel = self.param(
            "kernel", INITIALISERS[self.kernel_init], (2, 2, channels, self.features), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        weights = kernel.transpose(2, 0, 1, 3).reshape(channels, 4 * self.features)
        cells = (x.reshape(-1, channels) @ weights).reshape(b, height, width, 2, 2, self.features)
        pixels = cells.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * height, 2 * width, self.features)
        return add_bias(pixels, bias)


class BilinearUpConvolution(nn.Module):
    """1×1 convolution, then bilinear doubling: the way up that leaves no comb.

    The four pixels of a 2×2 cell share one kernel, so no objective can be content with one or two of them, as it can
    with those of :class:`UpConvolution` (Odena, Dumoulin and Olah, 2016, doi 10.23915/distill.00003). Both steps are
    linear and commute; the product is taken where pixels are fewer.
    """

    features: int
    kernel_init: str = "glorot_uniform"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b y x c"], extent: Extent | None = None
    ) -> Float[Array, "b y2 x2 features"]:
        """Doubles height and width."""
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", INITIALISERS[self.kernel_init], shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        projected = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], self.features)
        down = bilinear_doubled(projected, 1, None if extent is None else extent.rows)
        return add_bias(bilinear_doubled(down, 2, None if extent is None else extent.columns), bias)


def bilinear_doubled(
    x: Float[Array, "b ..."], axis: int, lengths: Int[Array | np.ndarray, " b"] | None = None
) -> Float[Array, "b ..."]:
    """Twice as many values along an axis, each ¾ of the nearest and ¼ of the next; ends are repeated.

    Args:
      x: images of a batch, the first axis.
      axis: what is doubled.
      lengths: where each image ends along it; None: where the axis does.
    """
    length = x.shape[axis]
    before = jnp.concatenate([_part(x, axis, 0, 1), _part(x, axis, 0, length - 1)], axis)
    after = jnp.concatenate([_part(x, axis, 1, length), _part(x, axis, length - 1, length)], axis)
    if lengths is not None:
        is_last = jnp.arange(length)[None, :] == lengths[:, None] - 1
        along = (x.shape[0], *(length if at == axis else 1 for at in range(1, x.ndim)))
        after = jnp.where(is_last.reshape(along), x, after)
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * length, *x.shape[axis + 1 :])


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


WAYS_UP: dict[str, type[UpConvolution] | type[BilinearUpConvolution]] = {
    "transposed": UpConvolution,
    "bilinear": BilinearUpConvolution,
}


class Pointwise(nn.Module):
    """1×1 convolution with bias as a matrix product; the parameters, names and start of ``nn.Conv``.

    As a convolution its weight gradient to one feature is wrong where oneDNN (jaxlib 0.11.2) uses AVX-512.
    """

    features: int
    kernel_init: Callable[..., Array]
    bias_init: Callable[..., Array]

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x features"]:
        """Maps the features of each pixel."""
        kernel = self.param("kernel", self.kernel_init, (1, 1, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(
            *x.shape[:-1], self.features
        ) + bias.reshape(1, 1, 1, -1)


class Head(nn.Module):
    """1×1 convolution to ``maps`` logits, always in float32.

    ``bias`` shifts the first map's starting activation; a second map, a⁻, starts at the opposite one.

    Attributes:
      maps: logits per pixel.
      bias: starting bias of the first map.
      kernel_init: initialiser of the kernels.
      norm: normalise the logits over the batch, and shift them by ``bias`` after it.
      attention_features: hidden features of a gated second map, wᵀ(tanh(Vh) ⊙ sigmoid(Uh)); 0 for a linear one.

    Source: of the gate, Ilse, Tomczak and Welling (2018), equation 9, arXiv:1802.04712.
    """

    maps: int = 1
    bias: float = 0.0
    kernel_init: str = "glorot_uniform"
    norm: bool = False
    attention_features: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"], train: bool = False) -> Float[Array, "b y x maps"]:
        """Logits of each pixel."""

        def start(_key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
            return jnp.full(shape, self.bias, dtype) * jnp.where(jnp.arange(shape[0]) == 0, 1.0, -1.0)

        x = x.astype(jnp.float32)
        bias_init = nn.initializers.zeros_init() if self.norm else start
        gated = self.attention_features > 0 and self.maps > 1
        linear = self._pointwise(self.maps - 1 if gated else self.maps, "Conv_0", bias_init)
        logits = linear(x)
        if self.norm:
            logits = nn.BatchNorm(not train, momentum=BATCH_MOMENTUM, epsilon=EPSILON, bias_init=start)(
                logits
            )
        return jnp.concatenate([logits, self._attention(x)], axis=-1) if gated else logits

    def _attention(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x 1"]:
        zeros = nn.initializers.zeros_init()
        content = jnp.tanh(self._pointwise(self.attention_features, "attention_content", zeros)(x))
        gate = jax.nn.sigmoid(self._pointwise(self.attention_features, "attention_gate", zeros)(x))
        return self._pointwise(1, "attention", zeros)(content * gate)

    def _pointwise(self, features: int, name: str, bias_init: Callable[..., Array]) -> nn.Module:
        init = INITIALISERS[self.kernel_init]
        return Pointwise(features, init, bias_init, name=name)
