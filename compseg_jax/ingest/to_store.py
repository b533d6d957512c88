"""From a table and images, or scans of tissue arrays, to a store: `compseg ingest`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compseg_jax.config.locations import Location, Url
from compseg_jax.ingest.cores.core_map import core_map_png
from compseg_jax.ingest.folders import read_folders
from compseg_jax.ingest.how_read import Readings, compare, how_read
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.raw_samples import (
    RawSample,
    along_axis,
    check_same_axis,
    check_same_pixels,
    read_mask_of,
    read_sample,
)
from compseg_jax.ingest.records import SampleRecord, in_colours, measured, records_csv
from compseg_jax.ingest.same_images import SameValues, join_same_images
from compseg_jax.ingest.summary_page import SummaryContent, summary_page
from compseg_jax.ingest.table import Row, read_table, with_splits
from compseg_jax.ingest.tissue_arrays import TissueArray, join_cores, open_arrays
from compseg_jax.readers import Mask
from compseg_jax.readers.cube import Background, Cube
from compseg_jax.spectra.preparation import (
    Image,
    KeptChunks,
    Preparation,
    PreparationError,
    Step,
    axis_of_steps,
    fit_preparation,
    parse_steps,
    refuse_without_wavenumbers,
)
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter, refuse_existing

Progress = Callable[[float, int], None]


def ingest(
    table: Path,
    out: Location,
    options: IngestOptions,
    *,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Makes the store ``out`` from a table, or a folder with one of images for each label; see :class:`IngestOptions`.

    Chunks of expensive preparation steps are kept in a folder beside ``out`` (``kept_folder``) until the store
    is complete: the same call, after a run that was stopped, goes on where that one was.

    Args:
      table: lists the samples, or the folder of label folders.
      out: the store; it must not exist.
      options: how the table and its files are read.
      progress: told how much is done, and of how much.
      say: told what is assumed, in words, a line each, as soon as it is known.

    Raises:
      IngestError: at the first file that cannot be used; no store is left behind.
      PreparationError: when a preparation step is unknown or does not fit.
      StoreError, LocationError: when ``out`` exists, or cannot be written.
    """
    refuse_existing(out)
    steps = parse_steps(options.prepare)
    listed = read_folders(table, options) if table.is_dir() else read_table(table, options)
    rows = listed.rows
    arrays = open_arrays(options)
    unread: list[SampleRecord] = []
    if arrays:
        rows, unread = join_cores(table, rows, arrays)
    for note in listed.notes:
        say(f"{table.name}: {note}")
    of_arrays = [array.note for array in arrays.values() if array.note]
    for note in of_arrays:
        say(note)
    source = _Source(options, arrays)
    # Before anything else of the files: most often all lack the same, such as an axis.
    first = source.read(rows[0])
    source = replace(source, along=first.cube.wavenumbers_cm1)
    rows, joined = join_same_images(table, rows)
    rows = with_splits(table, rows, options)
    notes = [*listed.notes, *of_arrays, *joined]
    for note in joined:
        say(f"{table.name}: {note}")
    same = SameValues(table)
    kept = KeptChunks(kept_folder(out))
    training = [row for row in rows if row.split == "train"]
    total = len(rows) + len(training) * sum(step.needs_training for step in steps)
    preparation = None
    if steps:
        refuse_without_wavenumbers(steps, first.cube.wavenumbers_cm1, rows[0].place())
        axis = axis_of_steps(first.cube.wavenumbers_cm1, first.cube.absorbance.shape[2])
        images = source.images(training, lambda done: progress(done, total))
        preparation = fit_preparation(steps, axis, images, kept=kept)
    writer = _writer(table, out, first.cube, preparation, options)
    records = []
    with writer:
        for done, row in enumerate(rows, total - len(rows)):
            progress(done, total)
            sample = first if row is rows[0] else source.read(row)
            same.add(row, sample.content)
            if preparation is None:
                check_same_axis(first.cube, sample.cube, rows[0].place(), row.place())
                records.append(_add(writer, row, sample, options))
                continue
            check_same_pixels(first.cube, sample.cube, rows[0].place(), row.place())

            def share(part: float, before: int = done) -> None:
                progress(before + part, total)

            prepared = _prepared(preparation, _image(sample), row, kept, share)
            records.append(_add_prepared(writer, row, sample, prepared, options))
        progress(total, total)
        if not any(record.kept for record in records):
            raise IngestError(
                f"{table}: no sample is left after the preparation, the first dropped because {records[0].why}. "
                "Loosen `tissue` and `quality`, or look at a file with `compseg info`."
            )
        readings = compare({record.id: record.reading for record in records})
        _add_summary(writer, [*records, *unread], steps, list(arrays.values()), notes, readings)
    kept.remove()
    say(readings.in_one_line())
    if mixed := readings.mixed_types():
        say(f"note: {mixed}")


def _add_summary(
    writer: StoreWriter,
    records: list[SampleRecord],
    steps: tuple[Step, ...],
    arrays: list[TissueArray],
    notes: list[str],
    readings: Readings,
) -> None:
    pictures = [(array.path.name, core_map_png(array.shown, array.grid)) for array in arrays]
    words = [(step.name, step.in_words()) for step in steps]
    content = SummaryContent(f"Ingest of {writer.path.name}", words, pictures, notes, readings)
    writer.add_file("summary.html", summary_page(records, content))
    writer.add_file("summary.csv", records_csv(records))


def kept_folder(out: Location) -> Path:
    """Where the corrected chunks of an unfinished store are kept: beside it, or here where it is written to a URL."""
    if isinstance(out, Url):
        return Path(f"{out.name}.partial")
    return out.with_name(f"{out.name}.partial")


@dataclass(frozen=True, eq=False)
class _Source:
    """Where the raw images of rows come from."""

    options: IngestOptions
    arrays: dict[Path, TissueArray]
    along: np.ndarray | None = None
    """Axis of the first sample; the channels of one that runs the other way are reversed."""

    def read(self, row: Row) -> RawSample:
        sample = read_sample(row, self.arrays.get(row.path) if row.core else None, self.options)
        return sample if self.along is None else along_axis(sample, self.along)

    def images(self, rows: list[Row], progress: Callable[[int], None]) -> Callable[[], Iterator[Image]]:
        """Gives the images before the first step anew at each call; ``progress`` counts over all calls."""
        seen = [0]

        def read_all() -> Iterator[Image]:
            for row in rows:
                yield _image(self.read(row))
                seen[0] += 1
                progress(seen[0])

        return read_all


def _image(sample: RawSample) -> Image:
    """The image before the first step; pixels of a spectral cube whose channels are all 0 are background."""
    axis = axis_of_steps(sample.cube.wavenumbers_cm1, sample.cube.absorbance.shape[2])
    background: Background = "none" if sample.cube.is_picture else "zero"
    return Image.of(sample.cube.absorbance, axis, sample.candidates(background))


def _background(cube: Cube, options: IngestOptions) -> Background:
    if options.prepare:
        return "zero"
    if options.background != "auto":
        return options.background
    return "none" if cube.is_picture else "zero"


def _writer(
    table: Path, out: Location, first: Cube, preparation: Preparation | None, options: IngestOptions
) -> StoreWriter:
    axis = axis_of_steps(first.wavenumbers_cm1, first.absorbance.shape[2])
    axis = axis if preparation is None else preparation.wavenumbers_cm1
    return StoreWriter(
        out,
        channels=axis.size,
        wavenumbers_cm1=None if first.wavenumbers_cm1 is None else axis,
        pixel_size_um=None,
        background=_background(first, options),
        created_by=f"compseg ingest {table.name}",
        preparation=None if preparation is None else preparation.to_json(),
        reading=options.instructions.to_json(),
    )


def _prepared(
    preparation: Preparation, image: Image, row: Row, kept: KeptChunks, progress: Callable[[float], None]
) -> tuple[Image, Image]:
    try:
        return image, preparation(image, kept=kept, progress=progress)
    except PreparationError as error:
        raise IngestError(f"{row.place()}: {error}") from error


def _add_prepared(
    writer: StoreWriter, row: Row, sample: RawSample, prepared: tuple[Image, Image], options: IngestOptions
) -> SampleRecord:
    before, after = prepared
    share, why = float(after.mask.mean()), ""
    reference = read_mask_of(row, "reference", sample.shape, options)
    if share < max(options.least_tissue, 1 / after.mask.size):
        why = f"{share:.1%} of the image is tissue, required {options.least_tissue:.1%}"
    else:
        entry = _entry(row, sample, has_reference=reference is not None)
        writer.add(entry, after.absorbance, after.mask, None if reference is None else reference.inside)
    return SampleRecord(
        id=row.id,
        label=row.label,
        source=row.source(),
        kept=not why,
        why=why,
        split=row.split,
        marked=None if reference is None else int(reference.inside.sum()),
        reading=_how_read(sample, reference, options),
        **measured(before, after),  # type: ignore[arg-type]
        **in_colours(sample.cube),
    )


def _add(writer: StoreWriter, row: Row, sample: RawSample, options: IngestOptions) -> SampleRecord:
    absorbance = sample.cube.absorbance
    if not np.all(np.isfinite(absorbance)):
        where = np.argwhere(~np.isfinite(absorbance))
        raise IngestError(
            f"{row.place()}: {len(where)} values are NaN, infinite or beyond float32, the first at pixel "
            f"(y={where[0][0]}, x={where[0][1]}), channel {where[0][2]}. Repair those pixels, or set them to 0 and "
            "give a tissue mask."
        )
    tissue = sample.candidates(_background(sample.cube, options))
    if not tissue.any():
        raise IngestError(
            f"{row.place()}: the sample is all background, no pixel holds tissue. Remove the row, or give a "
            "tissue mask."
        )
    reference = read_mask_of(row, "reference", sample.shape, options)
    entry = _entry(row, sample, has_reference=reference is not None)
    writer.add(entry, absorbance, tissue, None if reference is None else reference.inside)
    return SampleRecord(
        id=row.id,
        label=row.label,
        source=row.source(),
        split=row.split,
        tissue=int(tissue.sum()),
        marked=None if reference is None else int(reference.inside.sum()),
        reading=_how_read(sample, reference, options),
        **in_colours(sample.cube),
    )


def _how_read(sample: RawSample, reference: Mask | None, options: IngestOptions) -> dict[str, str]:
    if sample.tissue is not None:
        tissue = f"mask of the table; {sample.tissue.words}"
    elif _background(sample.cube, options) == "zero" and not (sample.cube.is_picture and options.prepare):
        tissue = "pixels of which some channel is not 0"
    else:
        tissue = "every pixel"
    tissue += ", nearer to this core than to others" if sample.own is not None else ""
    tissue += ", then by the preparation" if options.prepare else ""
    return how_read(
        replace(sample.cube, pixel_size_um=sample.pixel_size_um),
        sample.shape,
        resized=options.resize,
        reference="" if reference is None else reference.words,
        tissue=tissue,
    )


def _entry(row: Row, sample: RawSample, *, has_reference: bool) -> Sample:
    height, width, _ = sample.cube.absorbance.shape
    return Sample(
        id=row.id,
        label=row.label,
        split=row.split,
        group=row.group,
        height=height,
        width=width,
        has_reference=has_reference,
        source=row.source(),
        content=sample.content,
        pixel_size_um=sample.pixel_size_um,
    )
