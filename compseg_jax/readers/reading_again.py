"""A file read as those were that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from compseg_jax.readers.axis import AxisMissingError
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.reading_options import Instructions
from compseg_jax.readers.recognition import recognise
from compseg_jax.readers.scan import Scan, ask_for_transmittance, open_scan, some_spectra
from compseg_jax.readers.transmittance import TransmittanceError, seen, value_range


@dataclass(frozen=True, eq=False)
class OpenedScan:
    """A scan and how it was read.

    Attributes:
      scan: the scan.
      instructions: by which the file is read; the same give the same scan again.
      notes: in words, which of them were repeated from training.
    """

    scan: Scan
    instructions: Instructions
    notes: tuple[str, ...] = ()


def open_as_trained(path: Path, given: Instructions, trained: Instructions) -> OpenedScan:
    """Opens a file; what is not said of it, and what its format asks for, is as in training.

    Variable, order of axes and level are repeated. An axis is repeated only where the file states none: a file that
    states one may come from another instrument. A pixel size is a file's own and never repeated. That values are
    transmittance is repeated where the file does not state what they are and they look like it.

    Args:
      path: the file.
      given: what is said of it, which goes first.
      trained: what was said of the training files.

    Raises:
      CubeError: as of ``open_scan``; it names what was repeated.
      TransmittanceError: where values look like transmittance, or do not although the training files were, and nobody
        says what they are.
    """
    takes = recognise(path).takes
    repeated = {
        name: value
        for name in ("variable", "axes", "level")
        if name in takes and getattr(given, name) is None and (value := getattr(trained, name)) is not None
    }
    asked = replace(given, **repeated)
    notes = [f"{name} {value}, as for the training files" for name, value in repeated.items()]
    axis = trained.wavenumbers_cm1 if given.wavenumbers_cm1 is None else None
    with_axis = replace(asked, wavenumbers_cm1=axis)
    try:
        try:
            scan: Scan | None = open_scan(path, **asked.keywords())
        except AxisMissingError:
            if axis is None:
                raise
            scan = None
        if axis is not None and (
            scan is None or (scan.wavenumbers_cm1 is None and scan.shape[2] == axis.size)
        ):
            scan, asked = open_scan(path, **with_axis.keywords()), with_axis
            notes.append("wavenumbers as given for the training files, because it states none")
    except CubeError as error:
        if not repeated:
            raise
        names = ", ".join(f"{name}={value!r}" for name, value in repeated.items())
        raise CubeError(f"{error} (Read as the training files were: {names}.)") from error
    assert scan is not None, "opened with or without the axis of training"
    return _as_absorbance(path, OpenedScan(scan, asked, tuple(notes)), trained)


def _as_absorbance(path: Path, opened: OpenedScan, trained: Instructions) -> OpenedScan:
    said, repeated = opened.instructions.transmittance, trained.transmittance
    if said is not None or opened.scan.wavenumbers_cm1 is None or repeated == "none":
        return opened
    if repeated is None:
        ask_for_transmittance(opened.scan, said, path)
        return opened
    if opened.scan.provenance.get("quantity") is not None:
        return opened
    spectra = some_spectra(opened.scan)
    if seen(spectra, opened.scan.wavenumbers_cm1, opened.scan.provenance) != repeated:
        raise TransmittanceError(
            f"{path}: the training files were transmittance ({repeated}), and {value_range(spectra)} do not look like "
            f"it. Say transmittance={repeated!r} if they are, or transmittance='none' if they are absorbance."
        )
    asked = replace(opened.instructions, transmittance=repeated)
    note = f"transmittance {repeated}, as for the training files"
    return OpenedScan(open_scan(path, **asked.keywords()), asked, (*opened.notes, note))
