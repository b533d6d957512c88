"""Which pixels hold tissue: by the rule of a store, or from the height of amide I."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Bool, Float

from compseg_jax.readers.amide_i import AMIDE_I_TOP_CM1
from compseg_jax.readers.cube import Background
from compseg_jax.spectra.resampling import AnyArray

BASELINE_CM1 = (1760.0, 1800.0)  # above the ester C=O band near 1740 cm⁻¹: no tissue absorption
SILENT_CM1 = (1760.0, 2250.0)  # from there to atmospheric CO₂ near 2350 cm⁻¹ nothing of tissue is sharp
THINNEST_SHARE = 0.15  # of the tissue's median: what lies below is background, however raised it is
SMALLEST_HEIGHT = 1e-3  # absorbance; below it tissue is not distinguished from noise
NOISE_SPECTRA = 1 << 16  # as many measure the noise of an image to better than 1 %
BACKGROUND_SPREADS = 6.0  # standard deviations of the background between its median and the threshold


@dataclass(frozen=True)
class TissueOptions:
    """How the amide I map is cut into tissue and background."""

    threshold: float | None = None
    """Least height of amide I of tissue, in absorbance. None: found from the image, never below `floor`."""
    floor: float = 0.05
    """Least threshold that is found, in absorbance. A section of 1 µm still reaches about .1, and the baseline of
    clean substrate stays within about .02."""
    noise_factor: float = 5.0
    """Least threshold that is found, in standard deviations of the map's noise; at 5 one pixel of empty substrate
    in some millions passes. The noise is measured where tissue is silent, which takes three channels between 1760
    and 2250 cm⁻¹; with fewer, `floor` alone guards."""
    min_area_px: int = 16
    """Tissue specks of fewer pixels (8-connected) are removed: dust, single bad pixels."""
    min_hole_px: int = 8
    """Holes of fewer pixels (4-connected, not at the image's edge) are filled; larger ones, such as a lumen, stay
    background."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"threshold: found {self.threshold}; it must be a finite absorbance, or None.")
        for name in ("floor", "noise_factor", "min_area_px", "min_hole_px"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}: found {getattr(self, name)}; it must be 0 or more.")


def tissue_from_background(absorbance: np.ndarray, background: Background) -> np.ndarray:
    """Tissue (y, x) of a cube (y, x, c) by the rule of its store.

    'zero': pixels whose channels are all 0 are background, as instruments' software and the paper mask
    them. 'none': every pixel is tissue, as in an ordinary image, where black is a value like any other.
    """
    if background == "zero":
        return np.any(absorbance != 0, axis=-1)
    return np.ones(absorbance.shape[:2], bool)


def band_channels(wavenumbers_cm1: np.ndarray, band_cm1: tuple[float, float], what: str) -> slice:
    """The channels of a band, ends included, on a rising or falling axis.

    Args:
      wavenumbers_cm1: strictly monotonic axis in cm⁻¹, shape (c,); its values must be known (not traced).
      band_cm1: lower and upper end of the band in cm⁻¹.
      what: name of the band for the error, for example "amide I".

    Raises:
      ValueError: if no channel lies in the band.
    """
    axis = np.asarray(wavenumbers_cm1, np.float64)
    low, high = band_cm1
    inside = np.flatnonzero((axis >= low) & (axis <= high))
    if inside.size == 0:
        span = f"{axis.min():g}–{axis.max():g} cm⁻¹" if axis.size else "no channel"
        raise ValueError(
            f"{what}: no channel between {low:g} and {high:g} cm⁻¹ (found {axis.size} channels, {span}); "
            "measure or keep that band, or do without what needs it."
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def amide_i_map(
    absorbance: Float[AnyArray, "*leading c"], wavenumbers_cm1: np.ndarray
) -> Float[Array, "*leading"]:
    """Height of amide I: mean over 1640–1670 cm⁻¹ above the level at 1760–1800 cm⁻¹, in absorbance.

    Below amide I no band is free of tissue (the valley near 1480 cm⁻¹ keeps a fifth of amide I), so the
    baseline is level and rests on the free side alone: one definition for every axis, without bias by
    composition. Over the 125 cm⁻¹ between the two bands a scattering slope remains in it. Pure, any leading
    axes, in the dtype of ``absorbance``; not finite where a channel of the two bands is not.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, rising or falling, shape (c,); known values, not traced.

    Returns:
      Heights, shape (…).

    Raises:
      ValueError: if the axis does not fit, or has no channel in one of the bands.

    Source: amide I (1600–1700 cm⁻¹) as the measure of thickness: Lasch 2012,
    doi:10.1016/j.chemolab.2012.03.011; Baker et al. 2014, doi:10.1038/nprot.2014.110.
    """
    spectra = jnp.asarray(absorbance)
    axis = checked_axis(spectra.shape, wavenumbers_cm1)
    top = band_channels(axis, AMIDE_I_TOP_CM1, "amide I")
    base = band_channels(axis, BASELINE_CM1, "baseline of amide I")
    return jnp.mean(spectra[..., top], axis=-1) - jnp.mean(spectra[..., base], axis=-1)


def checked_axis(shape: tuple[int, ...], wavenumbers_cm1: np.ndarray) -> np.ndarray:
    """The axis as float64 on the host.

    Raises:
      ValueError: if it does not belong to spectra of this shape or is not strictly monotonic.
    """
    axis = np.asarray(wavenumbers_cm1, np.float64)
    if axis.ndim != 1 or len(shape) == 0 or axis.shape[0] != shape[-1]:
        raise ValueError(
            f"wavenumbers_cm1: found shape {axis.shape} for spectra of shape {tuple(shape)}; the last axis of "
            "the spectra needs one wavenumber per channel. Give the axis that belongs to them."
        )
    steps = np.diff(axis)
    if not (np.all(np.isfinite(axis)) and (np.all(steps > 0) or np.all(steps < 0))):
        raise ValueError(
            "wavenumbers_cm1: found values that are not finite and strictly rising or falling; sort the "
            "channels along the axis and remove repeated ones."
        )
    return axis


def tissue_mask(
    absorbance: Float[np.ndarray, "y x c"],
    wavenumbers_cm1: Float[np.ndarray, " c"],
    *,
    options: TissueOptions | None = None,
) -> Bool[np.ndarray, "y x"]:
    """Tissue of an infrared image, from its amide I map (`amide_i_map`, `mask_from_amide_i`).

    Works on images with and without background, and on empty ones. Pixels with values that are not finite in
    the bands of amide I are not tissue.

    Args:
      absorbance: image before any normalisation, shape (y, x, c).
      wavenumbers_cm1: axis in cm⁻¹, rising or falling, shape (c,).
      options: threshold, floors and areas; None: the defaults of `TissueOptions`.

    Raises:
      ValueError: if the image has not three axes or its wavenumbers lack amide I or its baseline.
    """
    if np.ndim(absorbance) != 3:
        raise ValueError(f"absorbance: found shape {np.shape(absorbance)}; an image (y, x, c) is required.")
    axis = checked_axis(np.shape(absorbance), wavenumbers_cm1)
    amide_i = np.asarray(amide_i_map(jnp.asarray(absorbance), axis))
    silent = np.asarray(absorbance)[..., band_channels(axis, SILENT_CM1, "silent band")]
    measured = silent.reshape(amide_i.size, -1)[:: noise_stride(amide_i.size)]
    return mask_from_amide_i(amide_i, noise=map_noise(measured, axis), options=options)


def mask_from_amide_i(
    amide_i: Float[np.ndarray, "y x"], *, noise: float = 0.0, options: TissueOptions | None = None
) -> Bool[np.ndarray, "y x"]:
    """Tissue of a map of amide I heights, in absorbance, with noise of the given standard deviation.

    Otsu's threshold on a logarithmic scale parts the map; if the lower part is background, that is, below the
    floors or below .15 of the upper part's median, the threshold is 6 robust standard deviations above the
    background's median, or Otsu's where that is lower. Otherwise everything above the floors is tissue. Specks
    are removed and small holes filled.

    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    options = options or TissueOptions()
    finite = np.isfinite(amide_i)
    threshold = options.threshold
    if threshold is None:
        threshold = _find_threshold(amide_i[finite], max(options.floor, options.noise_factor * noise))
    mask = finite & (np.where(finite, amide_i, -np.inf) >= threshold)
    return _clean(mask, options) & finite


def _find_threshold(heights: Float[np.ndarray, " p"], floor: float) -> float:
    tissue = heights[heights >= floor]
    if tissue.size == 0:
        return floor
    # On a logarithmic scale thick tissue does not draw the threshold away from thin tissue.
    parted = math.exp(otsu(np.log(np.maximum(heights, max(floor / 2, SMALLEST_HEIGHT)).astype(np.float64))))
    low, high = heights[heights < parted], heights[heights >= parted]
    if low.size == 0 or np.median(low) >= max(floor, THINNEST_SHARE * float(np.median(high))):
        return floor
    middle = float(np.median(low))
    spread = 1.4826 * float(np.median(np.abs(low - middle)))
    return max(floor, min(parted, middle + BACKGROUND_SPREADS * spread))


def otsu(values: Float[np.ndarray, " p"]) -> float:
    """The threshold that parts values into two classes of greatest variance between them.

    Exact, without a histogram: halfway between two neighbouring sorted values; of equal values, that value.
    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    ordered = np.sort(values)
    n = ordered.size
    below = np.arange(1, n)
    sums = np.cumsum(ordered)[:-1]
    between = (sums / below - (ordered.sum() - sums) / (n - below)) ** 2 * below * (n - below)
    between[np.diff(ordered) <= 0] = -1.0
    if n < 2 or between.max() < 0:
        return float(ordered[0])
    cut = int(np.argmax(between))
    return float((ordered[cut] + ordered[cut + 1]) / 2)


def noise_stride(n_pixels: int) -> int:
    """Every how many pixels, counted row by row, one measures the noise of an image of so many."""
    return 1 + n_pixels // NOISE_SPECTRA


def map_noise(silent: Float[np.ndarray, "n s"], axis: np.ndarray) -> float:
    """Standard deviation of the amide I map for white noise, by second differences where tissue is silent.

    Args:
      silent: spectra of pixels (`noise_stride`) in the channels of `SILENT_CM1`.
      axis: the whole axis in cm⁻¹.
    """
    with np.errstate(invalid="ignore"):  # values that are not finite are left out below
        second = np.abs(np.diff(silent, 2, axis=-1))
    usable = second[np.isfinite(second)]
    if usable.size == 0:
        return 0.0
    n_top, n_base = (
        channels.stop - channels.start
        for channels in (band_channels(axis, AMIDE_I_TOP_CM1, "a"), band_channels(axis, BASELINE_CM1, "b"))
    )
    channel_noise = float(np.median(usable)) / (0.67449 * math.sqrt(6.0))
    return channel_noise * math.sqrt(1.0 / n_top + 1.0 / n_base)


def _clean(mask: Bool[np.ndarray, "y x"], options: TissueOptions) -> Bool[np.ndarray, "y x"]:
    labels, _ = scipy.ndimage.label(mask, np.ones((3, 3), bool))
    areas = np.bincount(labels.ravel())
    kept = areas >= options.min_area_px
    kept[0] = False
    mask = kept[labels]
    holes, _ = scipy.ndimage.label(~mask)
    small = np.bincount(holes.ravel()) < options.min_hole_px
    small[0] = False
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        small[edge] = False  # what reaches the edge may go on beyond it
    return mask | small[holes]
