"""The summary page of an ingest: what was kept and dropped and why, before and after the preparation.

How it looks lies in drawing/templates/summary.html.j2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compseg_jax.drawing import document
from compseg_jax.drawing.pictures import palette_png
from compseg_jax.drawing.plots import DISEASED, HEALTHY, Axes, label_channels, new_figure, plot_mean, svg_text
from compseg_jax.ingest.how_read import FACTS, NOTHING_READ, Difference, Fact, Readings
from compseg_jax.ingest.records import SampleRecord

EXCEPTIONS_SHOWN = 200
SAMPLES_NAMED = 8
PICTURES_SHOWN = 60
KEPT, BACKGROUND = (38, 110, 150), (226, 231, 235)
# Okabe and Ito's colours for every kind of colour vision, without the blue that means kept.
DROPPED = ((213, 94, 0), (230, 159, 0), (204, 121, 167), (0, 158, 115), (240, 228, 66), (0, 0, 0))


@dataclass(frozen=True)
class SummaryContent:
    """What a summary shows besides the samples.

    Attributes:
      title: heading of the page.
      steps: the preparation steps in words, each with its settings.
      arrays: name and PNG of each array with its cores drawn in.
      notes: what was assumed of the table, in words.
      readings: how the files were read.
    """

    title: str
    steps: Sequence[tuple[str, str]]
    arrays: Sequence[tuple[str, bytes]]
    notes: Sequence[str] = ()
    readings: Readings = NOTHING_READ


def summary_page(records: Sequence[SampleRecord], content: SummaryContent) -> str:
    """The whole page as text."""
    colours = reason_colours(records)
    whys = Counter(record.why.split(" of the image")[-1].strip() for record in records if not record.kept)
    steps = [(f"{number}. {name}", settings) for number, (name, settings) in enumerate(content.steps, 1)]
    return document.page(
        "summary",
        title=content.title,
        records=records,
        most_often=whys.most_common(1)[0][0] if whys else None,
        tissue_px=sum(record.tissue for record in records if record.kept),
        dropped_px=sum(sum(record.dropped.values()) for record in records),
        steps=steps,
        arrays=content.arrays,
        notes=content.notes,
        readings=content.readings,
        exceptions=[_in_words(each) for each in content.readings.exceptions[:EXCEPTIONS_SHOWN]],
        usual=[(FACTS[each.name], _of_all(each, content.readings.count)) for each in content.readings.usual],
        any_marked=any(record.marked is not None for record in records),
        varying={name: FACTS[name] for name in content.readings.varying},
        spectra=spectra_figure(records),
        maps=[(each, reason_map(each, colours)) for each in records if each.reason is not None],
        pictures=_evenly([record for record in records if record.colours and record.reason is None]),
        are_colours=any(record.colours for record in records),
        legend={"kept": KEPT, "background": BACKGROUND, **colours},
        reasons=list(dict.fromkeys(name for each in records for name, n in each.dropped.items() if n)),
    )


def _evenly(records: Sequence[SampleRecord]) -> list[SampleRecord]:
    """At most `PICTURES_SHOWN`, evenly spaced in their order."""
    n = min(len(records), PICTURES_SHOWN)
    return [records[index * len(records) // n] for index in range(n)]


def _of_all(usual: Fact, count: int) -> str:
    return usual.value if usual.samples == count else f"{usual.value} ({usual.samples} of {count} samples)"


def _in_words(each: Difference) -> tuple[str, str, str]:
    more = len(each.samples) - SAMPLES_NAMED
    names = ", ".join(each.samples[:SAMPLES_NAMED]) + (f" and {more} more" if more > 0 else "")
    return FACTS[each.name], each.value, names


def reason_colours(records: Sequence[SampleRecord]) -> dict[str, tuple[int, int, int]]:
    """A colour for every reason that dropped a pixel, the most frequent first."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update({name: count for name, count in record.dropped.items() if count})
    return {name: DROPPED[min(at, len(DROPPED) - 1)] for at, (name, _) in enumerate(counts.most_common())}


def spectra_figure(records: Sequence[SampleRecord]) -> str | None:
    """Mean spectra by label before and after the preparation; None where no sample has any, or is in colours."""
    measured = [record for record in records if record.kept and record.raw and record.prepared]
    if not measured or any(record.colours for record in records):  # colours are no spectra
        return None
    with new_figure(9.6, 6.2) as figure:
        upper, lower = figure.subplots(2, 1)
        _means(upper, measured, "raw")
        _means(lower, measured, "prepared")
        upper.set_title("before: as measured", loc="left", fontsize=10)
        lower.set_title("after the last step", loc="left", fontsize=10)
        upper.set_ylabel("absorbance")
        lower.set_ylabel("prepared value")
        upper.legend(fontsize=9)
        return svg_text(figure)


def _means(axes: Axes, records: Sequence[SampleRecord], name: str) -> None:
    first: tuple[np.ndarray, np.ndarray] = getattr(records[0], name)
    where = first[0]
    falling = np.argsort(where)
    for label, word, colour, dash in ((1, "diseased", DISEASED, "-"), (0, "healthy", HEALTHY, "--")):
        spectra = []
        for record in records:
            own, values = getattr(record, name)
            if record.label == label:
                order = np.argsort(own)
                spectra.append(np.interp(where[falling], own[order], values[order]))
        if spectra:
            mean, sd = np.mean(spectra, axis=0), np.std(spectra, axis=0)
            text = f"{word} (n = {len(spectra)})"
            plot_mean(axes, where[falling], mean, sd, dash, colour=colour, label=text)
    label_channels(axes, where)


def reason_map(record: SampleRecord, colours: Mapping[str, tuple[int, int, int]]) -> bytes:
    """PNG of a sample: kept pixels, background, and the others in the colour of their reason."""
    if record.reason is None:
        raise ValueError(f"sample {record.id!r} was never read; it has no map.")
    palette = {0: (*KEPT, 255), 1: (*BACKGROUND, 255)}
    for at, name in enumerate(record.reasons[1:], 2):
        palette[at] = (*colours.get(name, BACKGROUND), 255)
    return palette_png((record.reason + 1).astype(np.uint8), palette)
