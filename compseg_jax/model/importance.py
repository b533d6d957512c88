"""Which bands a trained network segments by: gradient × input, and occlusion band by band.

Both ask what distinguishes the segmented tissue from the mean tissue of the training samples, which is 0 in the
standardised cube that the network sees, and both are exact for a network that is linear in its input, where they
agree (Ancona et al. 2018, proposition 1). They tell what the network uses, not what disease changes:

- Neighbouring channels say nearly the same. A network may use any of them or share the work out, so that each
  alone seems to matter little; another seed may choose others. Believe bands, not channels.
- Gradient × input is the slope at the data: where the network saturates, it is small although the band matters.
- An occluded spectrum has a dent that no tissue has. The network's answer to it is an extrapolation.
- Scaling comes first: a band that hardly varies in training counts as much as one that varies strongly.

Sources: Shrikumar, Greenside, Shcherbina and Kundaje, arXiv:1605.01713 (2016), gradient × input; Zeiler and
Fergus, ECCV 2014, doi 10.1007/978-3-319-10590-1_53, occlusion (of image regions there); Ancona, Ceolini, Öztireli
and Gross, ICLR 2018, arXiv:1711.06104, how the two are related.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from compseg_jax.model.canvas import canvas_px, extent_of, on_canvas
from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.model import Model
from compseg_jax.networks.build import Variables, apply_network
from compseg_jax.networks.extent import Extent
from compseg_jax.readers.cube import Cube
from compseg_jax.spectra.scaling import put_standardised

VALUES_AT_ONCE = 2**24  # of the occluded copies of a cube: 64 MiB, besides the network's own features
MOST_AT_ONCE = 16
USUAL_FEATURES = 64
LEAST_DISTANCE_CM1 = 20.0
LEAST_PART_OF_LARGEST = 0.1


@dataclass(frozen=True)
class BandWidth:
    """Width of a window: in cm⁻¹ where there are wavenumbers, in channels elsewhere."""

    cm1: float = 30.0
    """About that of the narrowest bands of tissue in the mid infrared (see `bands`)."""
    channels: int = 1
    """An odd number, so that a window has a channel in its middle."""

    def __post_init__(self) -> None:
        """Refuses windows without width or middle.

        Raises:
          ValueError: naming the values found and required.
        """
        if not self.cm1 > 0 or self.channels < 1 or self.channels % 2 == 0:
            raise ValueError(
                f"band width: found {self.cm1:g} cm⁻¹ and {self.channels} channels; required more than 0 cm⁻¹ and "
                "an odd number of channels. Choose another width."
            )


@dataclass(frozen=True, eq=False)
class BandImportance:
    """What the segmentation rests on, channel by channel: means over samples, and their spread.

    Positive values speak for the segmentation. `_sd` is the standard deviation between samples, 0 for a single one.

    Attributes:
      wavenumbers_cm1: the model's axis (c,); None where channels are not wavenumbers.
      gradient: (c,) gradient × input of the mean logit of the segmented tissue, summed over all tissue pixels; in
        logits. For a linear network, the part of the mean logit that the channel contributes.
      gradient_sd: (c,) its spread.
      gradient_absolute: (c,) the same with the absolute value of every pixel's contribution: never negative, and
        large also where pixels disagree.
      gradient_absolute_sd: (c,) its spread.
      occlusion: (c,) how far the mean activation of the segmented tissue falls when the band around the channel is
        replaced by the training mean in all tissue; from −1 to 1.
      occlusion_sd: (c,) its spread.
      occlusion_logit: (c,) the same for the mean logit, which does not saturate.
      occlusion_logit_sd: (c,) its spread.
      spectrum: (c,) mean absorbance of the segmented tissue.
      baseline: (c,) mean absorbance of the training tissue, which both measures compare with.
      width: of the occluded bands.
      samples: how many samples with segmented tissue entered.
      left_out: how many without any did not.
    """

    wavenumbers_cm1: np.ndarray | None
    gradient: Float[np.ndarray, " c"]
    gradient_sd: Float[np.ndarray, " c"]
    gradient_absolute: Float[np.ndarray, " c"]
    gradient_absolute_sd: Float[np.ndarray, " c"]
    occlusion: Float[np.ndarray, " c"]
    occlusion_sd: Float[np.ndarray, " c"]
    occlusion_logit: Float[np.ndarray, " c"]
    occlusion_logit_sd: Float[np.ndarray, " c"]
    spectrum: Float[np.ndarray, " c"]
    baseline: Float[np.ndarray, " c"]
    width: BandWidth
    samples: int
    left_out: int

    def strongest(self, most: int = 6) -> list[int]:
        """Channels of the strongest bands by `occlusion_logit`, at least 20 cm⁻¹ apart, strongest first."""
        return strongest_bands(self.occlusion_logit, self.wavenumbers_cm1, most=most)


class _Sample(NamedTuple):
    """What one sample contributes, each (c,)."""

    gradient: np.ndarray
    gradient_absolute: np.ndarray
    occlusion: np.ndarray
    occlusion_logit: np.ndarray
    spectrum: np.ndarray


def band_importance(
    model: Model,
    samples: Iterable[Cube | tuple[Cube, np.ndarray]],
    *,
    threshold: float | None = None,
    width: BandWidth | None = None,
) -> BandImportance:
    """Importance of every band for the segmentation of these samples.

    Per sample and network: one gradient, and one prediction for every half width of the occluded band; compiled once
    per shape. Every sample counts once, whatever its size; of several networks the mean counts.

    Args:
      model: samples are prepared and standardised inside it, and importance is in those units.
      samples: cubes, each with its tissue (y, x) where it is known; one is held at a time.
      threshold: mean activation above which tissue is segmented; the model's own when None.
      width: of the occluded bands; 30 cm⁻¹, or one channel, when None.

    Raises:
      ModelError: when a sample does not fit the model.
      ValueError: when no sample has segmented tissue.
    """
    width = BandWidth() if width is None else width
    limit = model.threshold if threshold is None else threshold
    scalings = [network.scaling for network in model.networks]
    centres, occluded = covering_windows(len(scalings[0].mean), model.wavenumbers_cm1, width)
    found: list[_Sample] = []
    left_out = 0
    for each in samples:
        cube, tissue = (each, None) if isinstance(each, Cube) else each
        specimen = model.specimen(cube, tissue=tissue)
        prediction = model.predict_specimen(specimen)
        segmented = prediction.tissue & (prediction.activation > limit)
        if not segmented.any():
            left_out += 1
            continue
        parts = [
            _of_sample(network, seen.absorbance, seen.tissue, segmented & seen.tissue, centres, occluded)
            for seen in model.inputs(specimen)
            for network in seen.networks
            if (segmented & seen.tissue).any()
        ]
        found.append(_Sample(*(np.mean(np.stack(values), axis=0) for values in zip(*parts, strict=True))))
    if not found:
        raise ValueError(
            f"band_importance: none of {left_out} samples has tissue whose activation exceeds {limit:g}, so there is "
            "no segmentation to explain. Give samples with one, or a lower threshold."
        )
    statistics: dict[str, np.ndarray] = {}
    for name in _Sample._fields:
        values = np.stack([getattr(sample, name) for sample in found])
        statistics[name] = values.mean(axis=0)
        if name != "spectrum":
            statistics[f"{name}_sd"] = values.std(axis=0, ddof=1) if len(found) > 1 else 0 * values[0]
    return BandImportance(
        wavenumbers_cm1=model.wavenumbers_cm1,
        baseline=np.mean([np.asarray(scaling.mean) for scaling in scalings], axis=0),
        width=width,
        samples=len(found),
        left_out=left_out,
        **statistics,
    )


def _of_sample(
    extracted: ExtractedNetwork,
    absorbance: np.ndarray,
    tissue: np.ndarray,
    segmented: np.ndarray,
    centres: np.ndarray,
    occluded: np.ndarray,
) -> _Sample:
    network, variables = extracted.network, extracted.variables
    height, width = tissue.shape
    canvas = extracted.empty_canvas((height, width))
    put_standardised(absorbance, tissue, extracted.scaling, canvas[:height, :width])
    size = canvas.shape[0], canvas.shape[1]
    extent = extent_of((height, width), size)
    scaled, where = jnp.asarray(canvas), jnp.asarray(on_canvas(segmented, size))
    signed, absolute = _gradient_times_input(network, variables, scaled, where, extent)
    kept = np.concatenate([np.ones((1, occluded.shape[1]), bool), ~occluded])  # first row: nothing occluded
    answers = [
        _segmented_means(network, variables, scaled, where, jnp.asarray(rows), extent)
        for rows in _chunks(kept, _rows_at_once(scaled.shape, len(kept)))
    ]
    activation, logit = (np.concatenate([np.asarray(a[i]) for a in answers])[: len(kept)] for i in (0, 1))
    channels = np.arange(occluded.shape[1])
    fall, fall_logit = (
        np.interp(channels, centres, means[0] - means[1:]).astype(np.float32) for means in (activation, logit)
    )
    return _Sample(
        gradient=np.asarray(signed),
        gradient_absolute=np.asarray(absolute),
        occlusion=fall,
        occlusion_logit=fall_logit,
        spectrum=absorbance[segmented].mean(axis=0),
    )


@partial(jax.jit, static_argnums=0)
def _gradient_times_input(
    network: Any,
    variables: Variables,
    scaled: Float[Array, "y x c"],
    segmented: Bool[Array, "y x"],
    extent: Extent | None,
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Gradient × input of the mean logit of the segmented pixels, summed over pixels: signed and absolute."""

    def mean_logit(cube: Float[Array, "y x c"]) -> Float[Array, ""]:
        logits = apply_network(network, variables, cube[None], extent)[0, ..., 0].astype(jnp.float32)
        return jnp.mean(logits, where=segmented)

    product = jax.grad(mean_logit)(scaled) * scaled
    return product.sum(axis=(0, 1)), jnp.abs(product).sum(axis=(0, 1))


@partial(jax.jit, static_argnums=0)
def _segmented_means(
    network: Any,
    variables: Variables,
    scaled: Float[Array, "y x c"],
    segmented: Bool[Array, "y x"],
    kept: Bool[Array, "k c"],
    extent: Extent | None,
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Mean activation and mean logit of the segmented pixels, with the channels that are not kept at 0."""
    cubes = jnp.where(kept[:, None, None, :], scaled[None], 0.0)
    extents = None if extent is None else Extent(*(jnp.repeat(each, len(cubes)) for each in extent))
    logits = apply_network(network, variables, cubes, extents)[..., 0].astype(jnp.float32)
    activation, inside = jax.nn.sigmoid(logits), segmented[None]
    return jnp.mean(activation, axis=(1, 2), where=inside), jnp.mean(logits, axis=(1, 2), where=inside)


def _rows_at_once(shape: tuple[int, ...], rows: int) -> int:
    """Occluded copies of a cube (y, x, c) that are predicted together."""
    height, width, channels = shape
    fitting = VALUES_AT_ONCE // (height * width * max(channels, USUAL_FEATURES))
    return min(max(fitting, 1), MOST_AT_ONCE, rows)


def _chunks(kept: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in equal parts; the last one is filled up, so that all have one shape."""
    for start in range(0, len(kept), size):
        rows = kept[start : start + size]
        yield np.concatenate([rows, np.ones((size - len(rows), kept.shape[1]), bool)])


def importance_flops(model: Model, shape: tuple[int, int], *, width: BandWidth | None = None) -> float:
    """Floating-point operations of `band_importance` for one sample (y, x), counted without computing anything."""
    first = model.networks[0]
    channels = len(first.scaling.mean)
    windows, _ = covering_windows(channels, model.wavenumbers_cm1, BandWidth() if width is None else width)
    rows = len(windows) + 1
    canvas = canvas_px(shape, first.network)
    size = _rows_at_once((*canvas, channels), rows)
    cube = jax.ShapeDtypeStruct((*canvas, channels), jnp.float32)
    kept = jax.ShapeDtypeStruct((size, channels), bool)
    segmented = jax.ShapeDtypeStruct(canvas, bool)
    extent = extent_of(shape, canvas)
    lowered = _segmented_means.lower(first.network, first.variables, cube, segmented, kept, extent)
    once = float((lowered.cost_analysis() or {}).get("flops", math.inf)) / size
    # A gradient costs about three predictions, and one more finds the segmented tissue.
    return len(model.networks) * once * (-(-rows // size) * size + 4)


def covering_windows(
    channels: int, wavenumbers_cm1: Float[np.ndarray, " c"] | None, width: BandWidth
) -> tuple[Int[np.ndarray, " k"], Bool[np.ndarray, "k c"]]:
    """Windows that cover the whole axis, each half over the next where channels lie close enough.

    Args:
      channels: length of the axis.
      wavenumbers_cm1: (c,), rising or falling, gaps allowed; None where channels are not wavenumbers.
      width: of every window; a window holds the channels within half of it from its middle.

    Returns:
      Middle channel of each of k windows, and whether it holds each channel.
    """
    axis = np.arange(channels, dtype=np.float64) if wavenumbers_cm1 is None else wavenumbers_cm1
    half = (width.channels if wavenumbers_cm1 is None else width.cm1) / 2
    half *= 1 + 1e-6  # the rounding of an axis decides nothing
    middles = [0]
    for channel in range(1, channels):
        if channel == channels - 1 or abs(axis[channel + 1] - axis[middles[-1]]) > half:
            middles.append(channel)
    return np.array(middles), np.abs(axis[None] - axis[middles][:, None]) <= half


def strongest_bands(
    importance: Float[np.ndarray, " c"],
    wavenumbers_cm1: np.ndarray | None,
    *,
    most: int = 5,
    least_distance_cm1: float = LEAST_DISTANCE_CM1,
) -> list[int]:
    """Channels where the importance peaks, by size, at least so far apart; strongest first.

    A peak is a channel whose absolute importance is not below its neighbours' and is at least a tenth of the largest.

    Args:
      importance: (c,) of either sign.
      wavenumbers_cm1: (c,), rising or falling; without, any two peaks are far enough apart.
      most: largest number of bands.
      least_distance_cm1: between any two of them, cm⁻¹.
    """
    size = np.abs(importance)
    padded = np.concatenate(([-1.0], size, [-1.0]))
    is_peak = (
        (size >= padded[:-2]) & (size >= padded[2:]) & (size > LEAST_PART_OF_LARGEST * size.max(initial=0.0))
    )
    chosen: list[int] = []
    for channel in np.flatnonzero(is_peak)[np.argsort(-size[is_peak], kind="stable")].tolist():
        near = wavenumbers_cm1 is not None and any(
            abs(wavenumbers_cm1[channel] - wavenumbers_cm1[other]) < least_distance_cm1 for other in chosen
        )
        if not near and len(chosen) < most:
            chosen.append(channel)
    return chosen
