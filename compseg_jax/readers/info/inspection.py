"""What an instrument file holds, in words: axis, extent, values, the next step; for `compseg info`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import Format, Spectra, read_spectra, recognise
from compseg_jax.readers.checks import companion
from compseg_jax.readers.cube import CHANNEL_NAME, CHANNEL_VALUES, MOST_COLOURS, CubeError
from compseg_jax.readers.formats.agilent import Mosaic
from compseg_jax.readers.info.overview import Sample, choose_band, take_sample
from compseg_jax.readers.info.value_summary import histogram_lines, share_text, summarise
from compseg_jax.readers.reading_options import ReadingOptions
from compseg_jax.readers.recognition import module_of
from compseg_jax.readers.scan import Scan, open_scan
from compseg_jax.readers.transmittance import Kind, looks_like, seen

LARGE_SCAN_PIXELS = 512 * 512  # from here on a spectral image is taken for a scan of many cores
NAMES_SHOWN = 4
_PICTURES = ("image", "slide", "nifti", "dicom")  # modules whose channels are no spectrum
GAP_STEPS = 5.0  # a step so many times the usual one is a gap of the axis


@dataclass(frozen=True)
class InfoOptions(ReadingOptions):
    """Say what a file holds: shape, axis, values, a text histogram and a picture."""

    file: Path
    """Image or spectra of any readable format (a directory for zarr)."""
    out: Path | None = None
    """PNG to write; without it, the file's name with _quicklook.png in the current folder."""
    no_picture: bool = False
    """Print the text only."""


def inspect(options: InfoOptions) -> str:
    """Describes a file, and draws it unless told not to.

    Returns:
      the text to print; the picture is written to `options.out`.

    Raises:
      FileNotFoundError: if there is no such file, or no folder for the picture.
      FileExistsError: if something other than a PNG is at the place of the picture.
      CubeError: if the file or the axis cannot be read; it names the option that helps.
      ValueError: if the place of the picture is not one.
    """
    found = recognise(options.file)
    out = options.out or Path(f"{options.file.stem}_quicklook.png")
    if not options.no_picture:
        from compseg_jax.readers.info import quicklook

        quicklook.check_place(out, options.file)
    opened = _opened(options, found)
    is_image = found.module in _PICTURES and opened.wavenumbers_cm1 is None
    if isinstance(opened, Spectra):
        sample = Sample(opened.absorbance, np.zeros(len(opened.absorbance), bool))
        facts = _spectra_lines(opened)
    else:
        sample = take_sample(opened, zero_is_background=not is_image)
        facts = _scan_lines(opened, sample, options, is_image=is_image)
    lines = [f"{options.file.name}: {found.name}", _row("files", _files(options.file, opened)), *facts]
    lines += _value_lines(sample)
    if not options.no_picture:
        quicklook.write_png(out, quicklook.quicklook_png(options.file.name, opened, sample))
        lines.append(_row("picture", str(out)))
    lines.append(_row("next", _next_step(options, opened, sample, is_image=is_image)))
    return "\n".join(lines)


def _opened(options: InfoOptions, found: Format) -> Scan | Spectra:
    """The scan of a file, or its spectra where it holds no image."""
    module, given = module_of(found), options.instructions
    if not hasattr(module, "read"):
        if given.keywords():
            names = ", ".join(f"{name}=" for name in given.keywords())
            raise CubeError(
                f"{options.file}: {found.name} holds spectra with their own axis; found {names}. Leave it out."
            )
        return read_spectra(options.file)
    try:
        return open_scan(options.file, **given.keywords())
    except CubeError:
        if not hasattr(module, "read_spectra") or given.keywords():
            raise
        with suppress(CubeError):  # else the image is what the file was to hold: its error is the one to tell
            return read_spectra(options.file)
        raise


def _scan_lines(scan: Scan, sample: Sample, options: InfoOptions, *, is_image: bool) -> list[str]:
    height, width, channels = scan.shape
    size, axis = scan.pixel_size_um, scan.wavenumbers_cm1
    bytes_as_array = height * width * channels * sample.spectra.dtype.itemsize
    if size:
        field = f"{height * size / 1000:.4g} × {width * size / 1000:.4g} mm"
        pixel = f"{size:.6g} µm; field of view {field} (y × x)"
    else:
        pixel = str(scan.provenance.get("pixel_size", "not stated"))
    lines = [
        _row(
            "shape",
            f"{height:,} × {width:,} pixels × {channels:,} channel{'s' * (channels != 1)} (y × x × c)",
        ),
        *([_row("axis", "none, an ordinary image")] if is_image else _axis_lines(axis, scan.provenance)),
        _row("pixel size", pixel),
        _row(
            "type",
            f"{_stored(scan, sample)}read as {sample.spectra.dtype}, {_bytes(bytes_as_array)} as an array",
        ),
        *(
            _row(name, str(scan.provenance[key]))
            for name, key in (
                ("axes", "axes"),
                ("level", "level"),
                ("colours", "bands"),
                ("turned", "orientation"),
                ("left out", "left_out"),
            )
            if scan.provenance.get(key) not in (None, "", "as stored", "grey", "RGB")
        ),
    ]
    if "values" in scan.provenance:
        lines.append(_row("read as", str(scan.provenance["values"])))
    lines += _transmittance_lines(scan, sample, options)
    if sample.note:
        lines.append(_row("sampled", sample.note))
    if not is_image:
        number = int(sample.background.sum())
        lines.append(_row("all-zero", f"{share_text(number, sample.background.size)} pixels"))
    lines += _amide_lines(scan, sample)
    return lines


def _looks(scan: Scan, sample: Sample) -> Kind:
    return seen(sample.shown(), scan.wavenumbers_cm1, scan.provenance)


def _transmittance_lines(scan: Scan, sample: Sample, options: InfoOptions) -> list[str]:
    kind, shown = _looks(scan, sample), sample.shown()
    if options.transmittance is not None or kind == "none":
        return []
    again = f"say transmittance={kind!r} where they are, transmittance='none' where not"
    return [_row("read as", f"stored; {looks_like(shown, kind)}: {again}")]


def _stored(scan: Scan, sample: Sample) -> str:
    stored = scan.provenance.get("stored_type", "")
    return f"stored as {stored}, " if stored not in ("", str(sample.spectra.dtype)) else ""


def _amide_lines(scan: Scan, sample: Sample) -> list[str]:
    band = choose_band(scan, sample)
    if len(band.channels) != 3:
        return []
    summary = summarise(band.of(sample.shown()[:, list(band.channels)]))
    if summary is None:
        return []
    _, low, middle, high, _ = summary.percentiles
    first, top, last = band.positions
    text = f"median {middle:.4g}, 1 % {low:.4g}, 99 % {high:.4g}: {band.name.removeprefix('amide I ')} at "
    text += f"{top:.0f} cm⁻¹ {'below' if band.sign < 0 else 'above'} the line from {first:.0f} to {last:.0f}"
    return [_row("amide I", text)]


def _spectra_lines(spectra: Spectra) -> list[str]:
    number, channels = spectra.absorbance.shape
    lines = [_row("spectra", f"{number:,} of {channels:,} points")]
    if "measurement" in spectra.provenance:
        lines.append(_row("measurement", str(spectra.provenance["measurement"])))
    if spectra.names:
        different = list(dict.fromkeys(spectra.names))
        more = f" … ({len(different)} different)" if len(different) > NAMES_SHOWN else ""
        lines.append(_row("names", ", ".join(different[:NAMES_SHOWN]) + more))
    if spectra.positions_um is not None:
        (left, top), (right, bottom) = spectra.positions_um.min(axis=0), spectra.positions_um.max(axis=0)
        lines.append(_row("positions", f"x {left:g} … {right:g} µm, y {top:g} … {bottom:g} µm"))
    size = _bytes(spectra.absorbance.nbytes)
    return [
        *lines,
        *_axis_lines(spectra.wavenumbers_cm1, spectra.provenance),
        _row("type", f"read as {spectra.absorbance.dtype}, {size} as an array"),
    ]


def _value_lines(sample: Sample) -> list[str]:
    spectra = sample.spectra
    finite = np.isfinite(spectra)
    not_numbers = int(np.isnan(spectra).sum())
    infinite = spectra.size - int(finite.sum()) - not_numbers
    lines = [_row("NaN, infinite", f"{not_numbers:,} and {infinite:,} of {spectra.size:,} values")]
    shown = sample.shown()
    summary = summarise(shown)
    if summary is None:
        return [*lines, _row("values", "none is finite")]
    names = ("min", "1 %", "median", "99 %", "max")
    statistics = (f"{name} {value:.4g}" for name, value in zip(names, summary.percentiles, strict=True))
    left_out = " (all-zero pixels left out)" if len(shown) < len(spectra) else ""
    heading = f"how often each value occurs, from 1 % to 99 %{left_out}"
    return [*lines, _row("values", ", ".join(statistics)), "", heading, *histogram_lines(summary), ""]


def _axis_lines(axis: np.ndarray | None, provenance: Mapping[str, Any]) -> list[str]:
    if axis is None and CHANNEL_NAME in provenance:
        values = provenance[CHANNEL_VALUES]
        text = f"{provenance[CHANNEL_NAME]}, {values[0]:.6g} … {values[-1]:.6g}, {len(values):,} points"
        return [_row("axis", f"{text}; no wavenumbers")]
    if axis is None:
        return [
            _row("axis", "none stated; give one with --axis FILE, one wavenumber in cm⁻¹ for each channel")
        ]
    stated = _row("axis stated", str(provenance.get("axis", "not known")))
    if axis.size == 1:
        return [_row("axis", f"{axis[0]:.6g} cm⁻¹, 1 point"), stated]
    steps = np.abs(np.diff(axis))
    gaps = steps > GAP_STEPS * np.median(steps)
    usual = steps[~gaps]
    step = f"step {usual.mean():.4g} cm⁻¹"
    if np.ptp(usual) > 0.01 * usual.mean():
        step = f"step {usual.min():.4g} to {usual.max():.4g} cm⁻¹"
    if gaps.any():
        step += f", {gaps.sum()} gap{'s' * bool(gaps.sum() > 1)} of up to {steps.max():.4g} cm⁻¹"
    way = "rising" if axis[-1] > axis[0] else "falling"
    text = f"{axis[0]:.6g} … {axis[-1]:.6g} cm⁻¹, {axis.size:,} points, {step}, {way}"
    return [_row("axis", text), stated]


def _files(path: Path, opened: Scan | Spectra) -> str:
    if isinstance(opened, Mosaic):
        tiles = [tile for row in opened.tiles for tile in row]
        size = _bytes(sum(tile.stat().st_size for tile in tiles))
        return f"{opened.path.name} and {len(tiles):,} tile{'s' * (len(tiles) != 1)} ({size})"
    if path.is_dir():
        size = _bytes(sum(part.stat().st_size for part in path.rglob("*") if part.is_file()))
        return f"folder {path.name} ({size})"
    provenance = opened.provenance
    named = [path, *(Path(str(provenance[key])) for key in ("source", "header") if key in provenance)]
    if str(provenance.get("format", "")).startswith("Agilent") and (parameters := companion(path, (".bsp",))):
        named.append(parameters)
    return ", ".join(f"{file.name} ({_bytes(file.stat().st_size)})" for file in dict.fromkeys(named))


def _next_step(options: InfoOptions, opened: Scan | Spectra, sample: Sample, *, is_image: bool) -> str:
    name = shlex.quote(str(options.file))
    if isinstance(opened, Spectra):
        return "spectra serve as reference or constituents of EMSC: readers.read_spectra reads them"
    height, width, channels = opened.shape
    if options.transmittance is None and _looks(opened, sample) != "none":
        return f"compseg info {name} --transmittance {_looks(opened, sample)}{options.words}"
    is_spectral = not is_image and CHANNEL_NAME not in opened.provenance
    if opened.wavenumbers_cm1 is None and is_spectral and channels > MOST_COLOURS:
        return f"compseg info {name} --axis FILE{options.words}"
    if not is_image and height * width >= LARGE_SCAN_PIXELS:
        return f"compseg dearray {name}{options.words}"
    return (
        f"list the samples in a table (id, label, path): compseg ingest TABLE.csv{options.words} --out STORE"
    )


def _bytes(number: int) -> str:
    power = min(max(len(str(number)) - 1, 0) // 3, 4)
    return f"{number / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def _row(name: str, text: str) -> str:
    return f"{name:<13}  {text}"
