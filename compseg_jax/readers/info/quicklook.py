"""The picture of `compseg info`: a file's image and spectra as PNG, by matplotlib without its state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from compseg_jax.drawing.plots import STYLE
from compseg_jax.readers import Spectra
from compseg_jax.readers.info.overview import Band, Sample, band_image, choose_band, is_raman, value_name
from compseg_jax.readers.info.quicklook_axes import (
    INK,
    ChannelValues,
    Curves,
    Picture,
    draw_curves,
    draw_histogram,
    draw_picture,
)
from compseg_jax.readers.info.value_summary import mean_and_sd
from compseg_jax.readers.scan import Scan
from compseg_jax.runtime.files import atomic_file

SIZE_INCHES = (11.2, 4.9)
DPI = 128
THIN_SPECTRA = 20
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


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
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A file name may hold characters the font lacks; a box in their place does no harm.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = Figure(figsize=SIZE_INCHES, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08), dpi=DPI)
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
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": "compseg_jax"})
    return buffer.getvalue()


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
    largest = float(np.max(values, initial=0, where=np.isfinite(values)))
    full = next((full for full in (1.0, 255.0, 65535.0) if largest <= full), largest)
    picture = Picture(values / full, scan.shape[:2], "The image", "", scan.pixel_size_um)
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
