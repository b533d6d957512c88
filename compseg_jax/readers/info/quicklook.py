"""The picture of `compseg info`: a file's image with its scale, and its spectra or values of channels, as PNG."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from compseg_jax.drawing import style
from compseg_jax.drawing.pictures import colours_shown
from compseg_jax.drawing.plots import (
    HEALTHY,
    INK,
    NEUTRAL,
    Axes,
    Figure,
    Rectangle,
    colours_of_values,
    new_figure,
    plot_mean,
    png_bytes,
    show_whole_numbers,
)
from compseg_jax.readers import Spectra
from compseg_jax.readers.info.overview import Band, Sample, band_image, choose_band, is_raman, value_name
from compseg_jax.readers.info.value_summary import mean_and_sd
from compseg_jax.readers.scan import Scan
from compseg_jax.runtime.files import atomic_file

SIZE_INCHES = (11.2, 4.9)
PADS_INCHES = (0.12, 0.08)
DPI = 128
THIN_SPECTRA = 20
NOTHING, FAINT = style.colour("line"), style.colour("faint")
RGB = ("#c0392b", "#2e8b57", HEALTHY)
_SCALE_BAR_SHARE = 0.3  # longest scale bar, as share of the image's width
_LONGEST_TRUE_ASPECT = 6.0  # a strip longer than this is stretched to be seen
_GAP_STEPS = 5.0  # a step so many times the usual one is a gap, over which no line is drawn
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """An image to draw.

    Attributes:
      values: (y, x) in the unit of `label`, NaN where there is nothing; or (y, x, 3), colours from 0 to 1.
      extent_px: height and width of the whole image in pixels; `values` may be a regular subset of them.
      title: what is shown, in words.
      label: name and unit beside the colour bar.
      pixel_size_um: edge length of a pixel of the whole image in µm; None draws no scale bar.
    """

    values: Float[np.ndarray, "y x *rgb"]
    extent_px: tuple[int, int]
    title: str
    label: str
    pixel_size_um: float | None = None


@dataclass(frozen=True)
class Curves:
    """Spectra to draw.

    Attributes:
      where: (c,) wavenumbers in cm⁻¹, or numbers of channels.
      mean: (c,) the mean; its name for the legend is `name`.
      sd: (c,) standard deviation, drawn as a band.
      title: what is shown, in words.
      labels: of the horizontal and the vertical axis.
      others: (c,) spectra drawn beside the mean, by name.
      thin: (k, c) single spectra, drawn thin.
      falls: whether the horizontal axis falls from left to right, as infrared spectra are drawn.
      marked: positions on the horizontal axis of what the image shows.
    """

    where: Float[np.ndarray, " c"]
    mean: Float[np.ndarray, " c"]
    sd: Float[np.ndarray, " c"]
    name: str
    title: str
    labels: tuple[str, str]
    others: dict[str, Float[np.ndarray, " c"]] = field(default_factory=dict)
    thin: Float[np.ndarray, "k c"] | None = None
    falls: bool = True
    marked: tuple[float, ...] = ()


@dataclass(frozen=True)
class ChannelValues:
    """How often each value occurs in each channel of an ordinary image.

    Attributes:
      spectra: (n, c) the values.
      names: c names of the channels.
    """

    spectra: Shaped[np.ndarray, "n c"]
    names: tuple[str, ...]


def quicklook_png(title: str, opened: Scan | Spectra, sample: Sample) -> bytes:
    """Draws a scan's image beside its spectra, or spectra alone, under the file's name.

    Args:
      title: stands on top; the name of the file.
      opened: what is drawn; of a scan, one band image is read.
      sample: its spectra, as `overview.take_sample` returns them.

    Returns:
      a PNG of about 1430 × 630 pixels.
    """
    picture, beside = (
        (None, _single_spectra(opened)) if isinstance(opened, Spectra) else _of_scan(opened, sample)
    )
    with new_figure(*SIZE_INCHES, pads_in=PADS_INCHES, dpi=DPI) as figure, warnings.catch_warnings():
        # A file name may hold characters the font lacks; a box in their place does no harm.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.suptitle(title, fontsize=12, fontweight="bold", color=INK, parse_math=False)
        if picture is None:
            right = figure.add_subplot()
        else:
            left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
            draw_picture(figure, left, picture)
        if isinstance(beside, Curves):
            draw_curves(right, beside)
        else:
            draw_histogram(right, beside)
        return png_bytes(figure)


def check_place(out: Path, source: Path) -> None:
    """Refuses a place where a picture must not be written; call it before the long work.

    Raises:
      ValueError: `out` is not named .png, or is the file that is looked at.
      FileNotFoundError: there is no such folder.
      FileExistsError: `out` is there and not a PNG.
    """
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: the picture is a PNG; found the suffix {out.suffix!r}, required .png.")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"{out}: there is no folder {out.parent}. Create it, or choose another --out."
        )
    if not out.exists():
        return
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the file to look at, so it is left alone. Choose another --out.")
    if not out.is_file():
        raise FileExistsError(f"{out} is a folder, required a file for the picture. Choose another --out.")
    with out.open("rb") as stream:
        first = stream.read(len(_PNG_MAGIC))
    if first != _PNG_MAGIC:
        raise FileExistsError(
            f"{out} is there and is not a PNG (begins with {first!r}), so it is left alone. "
            "Choose another --out."
        )


def write_png(out: Path, content: bytes) -> None:
    """Writes the picture, so that no half of it is seen; replaces an older one."""
    with atomic_file(out) as partial:
        partial.write_bytes(content)


def _of_scan(scan: Scan, sample: Sample) -> tuple[Picture, Curves | ChannelValues]:
    if scan.wavenumbers_cm1 is None and scan.shape[2] in (1, 3):
        return _ordinary(scan, sample)
    band = choose_band(scan, sample)
    taken = band_image(scan, band.channels)
    values = band.of(taken)
    values[np.all(taken == 0, axis=2) if sample.background.any() else ~np.isfinite(values)] = np.nan
    unit = value_name(scan.provenance)
    if scan.wavenumbers_cm1 is None:
        title = f"Channel {band.channels[0]}, the strongest"
    elif len(band.channels) == 1:
        title = f"Strongest band, at {band.positions[0]:.4g} cm⁻¹"
    else:
        title = f"{band.name[0].upper()}{band.name[1:]} at {band.positions[1]:.0f} cm⁻¹"
    label = unit if len(band.channels) == 1 else f"{band.name}, {unit}"
    return Picture(values, scan.shape[:2], title, label, scan.pixel_size_um), _halves(scan, sample, band)


def _ordinary(scan: Scan, sample: Sample) -> tuple[Picture, ChannelValues]:
    """An image in its own colours, or one channel in false colours."""
    channels = scan.shape[2]
    values = band_image(scan, range(channels))
    if channels == 1:
        picture = Picture(
            values[..., 0], scan.shape[:2], "The only channel", "value as stored", scan.pixel_size_um
        )
        return picture, ChannelValues(sample.spectra, ("the only channel",))
    picture = Picture(colours_shown(values), scan.shape[:2], "The image", "", scan.pixel_size_um)
    return picture, ChannelValues(sample.spectra, ("red", "green", "blue"))


def _halves(scan: Scan, sample: Sample, band: Band) -> Curves:
    """Mean of the brighter half of the pixels, which is tissue for the most part, and of the darker half."""
    shown = sample.shown()
    brightness = np.nan_to_num(band.of(shown[:, list(band.channels)]), nan=-np.inf)
    if len(band.channels) == 1:
        brightness = band.sign * brightness
    bright = brightness >= np.median(brightness)
    mean, sd = mean_and_sd(shown[bright])
    others = {}
    if not bright.all():
        others["darker half (background, thin or no tissue), mean"] = mean_and_sd(shown[~bright])[0]
    where, label, falls = _horizontal(scan.wavenumbers_cm1, scan.shape[2], scan.provenance)
    return Curves(
        where, mean, sd, f"brighter half of {len(shown):,} pixels, mean ± SD",
        "Spectra by brightness in the image",
        (label, value_name(scan.provenance)), others, falls=falls, marked=band.positions,
    )  # fmt: skip


def _single_spectra(spectra: Spectra) -> Curves:
    """Mean and standard deviation, and evenly chosen single spectra."""
    number, channels = spectra.absorbance.shape
    mean, sd = mean_and_sd(spectra.absorbance)
    chosen = np.unique(np.linspace(0, number - 1, min(number, THIN_SPECTRA)).astype(int))
    where, label, falls = _horizontal(spectra.wavenumbers_cm1, channels, spectra.provenance)
    return Curves(
        where, mean, sd, f"mean ± SD of {number:,} spectra",
        f"{number:,} spectra" if number > 1 else "The spectrum",
        (label, value_name(spectra.provenance)), falls=falls,
        thin=spectra.absorbance[chosen].astype(np.float64),
    )  # fmt: skip


def _horizontal(
    axis: np.ndarray | None, channels: int, provenance: Mapping[str, Any]
) -> tuple[np.ndarray, str, bool]:
    """Positions, label, and whether they are drawn falling: infrared is, Raman and channels are not."""
    if axis is None:
        return np.arange(channels, dtype=np.float64), "channel", False
    if is_raman(provenance):
        return axis, "Raman shift / cm⁻¹", False
    return axis, "wavenumber / cm⁻¹", True


def nice_length(longest: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is no longer than `longest` (> 0)."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(
        max(factor * power for factor in (0.5, 1.0, 2.0, 5.0) if factor * power <= longest * (1 + 1e-9))
    )


def draw_picture(figure: Figure, axes: Axes, picture: Picture) -> None:
    """Draws an image with its colour bar and scale bar."""
    height, width = picture.extent_px
    place = (-0.5, width - 0.5, height - 0.5, -0.5)
    values = np.asarray(picture.values)
    axes.grid(visible=False)
    if values.ndim == 3:
        axes.imshow(values, extent=place)
    else:
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        colours = colours_of_values(missing=NOTHING)
        shown = np.ma.masked_invalid(values)
        image = axes.imshow(shown, cmap=colours, vmin=float(low), vmax=float(high), extent=place)
        clipped = finite.size and (finite.min() < low or finite.max() > high)
        bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, extend="both" if clipped else "neither")
        bar.set_label(picture.label, parse_math=False)
        bar.outline.set_visible(False)
        if finite.size < values.size:
            patch = Rectangle((0, 0), 1, 1, facecolor=NOTHING, edgecolor=NEUTRAL)
            axes.legend([patch], ["all-zero or NaN"], loc="upper right", fontsize=8, frameon=True)
    stretched = max(height, width) > _LONGEST_TRUE_ASPECT * min(height, width)
    axes.set_aspect("auto" if stretched else "equal")
    axes.set_title(picture.title + ", not to scale" * stretched, fontsize=10, color=INK)
    axes.set(xlabel="x / pixel", ylabel="y / pixel")
    for axis in (axes.xaxis, axes.yaxis):
        show_whole_numbers(axis, nbins=6)
    if picture.pixel_size_um and not stretched:
        _draw_scale_bar(axes, picture.pixel_size_um, picture.extent_px)


def _draw_scale_bar(axes: Axes, pixel_size_um: float, extent_px: tuple[int, int]) -> None:
    """A bar on a dark plate in the lower left corner, to be seen on any image."""
    height, width = extent_px
    length_um = nice_length(_SCALE_BAR_SHARE * width * pixel_size_um)
    share = length_um / (width * pixel_size_um)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    # Heights in shares of the axes, stretched where the image is flat or tall.
    tall = min(max(width / height, 0.5), 3.0)
    plate: dict[str, Any] = {"transform": axes.transAxes, "zorder": 5, "linewidth": 0}
    plate_width = max(share, 0.17 / min(tall, 1.0)) + 0.04
    axes.add_patch(Rectangle((0.02, 0.02), plate_width, 0.085 * tall, facecolor=INK, alpha=0.75, **plate))
    middle = 0.02 + plate_width / 2
    bar = Rectangle(
        (middle - share / 2, 0.02 + 0.014 * tall), share, 0.014 * tall, facecolor="white", **plate
    )
    axes.add_patch(bar)
    axes.text(
        middle, 0.02 + 0.036 * tall, text, transform=axes.transAxes, zorder=6, color="white", fontsize=9,
        horizontalalignment="center", verticalalignment="bottom",
    )  # fmt: skip


def draw_curves(axes: Axes, curves: Curves) -> None:
    """Draws mean and standard deviation, and the single spectra given."""
    marker = "o" if curves.where.size <= 12 else None
    common: dict[str, Any] = {"marker": marker, "markersize": 4}
    where, mean, sd = _with_gaps(curves.where, curves.mean, curves.sd)
    if curves.thin is not None:
        thin_where, *thin = _with_gaps(curves.where, *curves.thin)
        for number, line in enumerate(thin):
            name = f"{len(thin)} single spectra" if len(thin) > 1 else "the spectrum"
            colour, thickness = (FAINT, 0.7) if len(thin) > 1 else (HEALTHY, 1.6)
            axes.plot(thin_where, line, color=colour, linewidth=thickness, label=None if number else name)
    if curves.thin is None or len(curves.thin) > 1:
        opacity = 0.2 if np.any(curves.sd > 0) else None
        plot_mean(axes, where, mean, sd, colour=HEALTHY, opacity=opacity, label=curves.name, **common)
    for name, values in curves.others.items():
        other_where, other = _with_gaps(curves.where, values)
        axes.plot(other_where, other, "--", color=NEUTRAL, linewidth=1.5, label=name, **common)
    for number, position in enumerate(curves.marked):
        meaning = None if number else "what the image shows"
        axes.axvline(position, color=NEUTRAL, linestyle=":", linewidth=1, zorder=0, label=meaning)
    axes.set_title(curves.title, fontsize=10, color=INK)
    axes.set_xlabel(curves.labels[0])
    axes.set_ylabel(curves.labels[1], parse_math=False)
    low, high = float(curves.where.min()), float(curves.where.max())
    if low < high:
        axes.set_xlim((high, low) if curves.falls else (low, high))
    else:
        axes.set_xlim(low - 0.5, high + 0.5)
    axes.legend(loc="best", fontsize=9)


def _with_gaps(where: np.ndarray, *lines: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same curves with NaN put into the gaps of the axis, so that no line crosses a gap."""
    steps = np.abs(np.diff(where))
    if steps.size < 3:
        return (where, *lines)
    gaps = np.flatnonzero(steps > _GAP_STEPS * np.median(steps)) + 1
    middles = (where[gaps - 1] + where[gaps]) / 2
    return (np.insert(where, gaps, middles), *(np.insert(line, gaps, np.nan) for line in lines))


def draw_histogram(axes: Axes, shown: ChannelValues) -> None:
    """Draws the histogram of every channel."""
    colours = RGB if shown.names == ("red", "green", "blue") else (HEALTHY,)
    finite = shown.spectra[np.isfinite(shown.spectra)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    for at, name in enumerate(shown.names):
        values = shown.spectra[:, at]
        counts, edges = np.histogram(values[np.isfinite(values)].astype(np.float64), 64, (low, high))
        share = 100 * counts / max(values.size, 1)
        axes.stairs(share, edges, color=colours[at % len(colours)], linewidth=1.6, label=name)
    axes.set_title("How often each value occurs", fontsize=10, color=INK)
    axes.set(xlabel="pixel value as stored", ylabel="share of the pixels / %")
    axes.legend(loc="best", fontsize=9)
