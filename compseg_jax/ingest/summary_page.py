"""The summary page of an ingest: what was kept and dropped and why, before and after the preparation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from compseg_jax.drawing.document import card, document, section, svg_image
from compseg_jax.drawing.numbers import UNKNOWN, label_chip
from compseg_jax.drawing.pictures import data_uri, palette_png
from compseg_jax.drawing.plots import DISEASED, HEALTHY, STYLE, svg_text
from compseg_jax.ingest.records import SampleRecord

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
    """

    title: str
    steps: Sequence[tuple[str, str]]
    arrays: Sequence[tuple[str, bytes]]


def summary_page(records: Sequence[SampleRecord], content: SummaryContent) -> str:
    """The whole page as text."""
    colours = reason_colours(records)
    sections = [_cards(records)]
    links = []
    if content.steps:
        links.append(("steps", "Steps"))
        sections.append(section("steps", "Preparation", "Applied in this order.", _steps(content.steps)))
    if content.arrays:
        links.append(("arrays", "Arrays"))
        body = "".join(_array(name, png) for name, png in content.arrays)
        text = (
            "The cores found, with their names. Wrong? Edit the CSV that <code>compseg dearray</code> writes, and give"
            " it with <code>--cores</code>."
        )
        sections.append(section("arrays", "Arrays", text, body))
    spectra = spectra_figure(records)
    if spectra is not None:
        links.append(("spectra", "Mean spectra"))
        alt = "Mean spectra of diseased and healthy samples before and after the preparation."
        text = "Means over samples of the tissue kept, bands of ± one standard deviation between samples."
        body = f'<figure class="panel wide">{svg_image(spectra, alt)}</figure>'
        sections.append(section("spectra", "Mean spectra before and after", text, body))
    maps = [record for record in records if record.reason is not None]
    if maps:
        links.append(("maps", "Quality maps"))
        body = _legend(colours) + f'<div class="sheet">{"".join(_tile(each, colours) for each in maps)}</div>'
        sections.append(
            section("maps", "Quality maps", "Which pixels are left, and why others are not.", body)
        )
    links.append(("samples", "Samples"))
    text = "Click a heading to sort. The same numbers are in summary.csv."
    sections.append(section("samples", "Every sample", text, _table(records)))
    kept = sum(record.kept for record in records)
    return document(content.title, f"{kept} of {len(records)} samples kept", links, sections)


def reason_colours(records: Sequence[SampleRecord]) -> dict[str, tuple[int, int, int]]:
    """A colour for every reason that dropped a pixel, the most frequent first."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update({name: count for name, count in record.dropped.items() if count})
    return {name: DROPPED[min(at, len(DROPPED) - 1)] for at, (name, _) in enumerate(counts.most_common())}


def _cards(records: Sequence[SampleRecord]) -> str:
    kept = [record for record in records if record.kept]
    diseased = sum(record.label for record in kept)
    tissue = sum(record.tissue for record in kept)
    dropped = sum(sum(record.dropped.values()) for record in records)
    reasons = Counter(record.why.split(" of the image")[-1].strip() for record in records if not record.kept)
    why = f"most often: {reasons.most_common(1)[0][0]}" if reasons else "all were usable"
    share = dropped / max(1, dropped + tissue)
    body = [
        card(
            "Samples kept",
            f"{len(kept)}",
            f"{diseased} diseased, {len(kept) - diseased} healthy",
            "In the store.",
        ),
        card("Samples dropped", f"{len(records) - len(kept)}", "", escape(why)),
        card("Tissue pixels", f"{tissue:,}", "", "Spectra that are trained on."),
        card("Pixels dropped", f"{share:.1%}", f"{dropped:,} pixels", "Of those that were not background."),
    ]
    return f'<div class="cards">{"".join(body)}</div>'


def _steps(steps: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{number}. {escape(name)}</th><td>{escape(settings)}</td></tr>'
        for number, (name, settings) in enumerate(steps, 1)
    )
    return f'<div class="scroll"><table class="settings"><tbody>{rows}</tbody></table></div>'


def _array(name: str, png: bytes) -> str:
    return (
        f'<figure class="panel wide"><h3>{escape(name)}</h3>'
        f'<img alt="Array {escape(name)} with its cores" src="{data_uri(png)}"></figure>'
    )


def spectra_figure(records: Sequence[SampleRecord]) -> str | None:
    """Mean spectra by label before and after the preparation; None where no sample has any."""
    measured = [record for record in records if record.kept and record.raw and record.prepared]
    if not measured:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.2), layout="constrained")
        upper, lower = figure.subplots(2, 1)
        _means(upper, measured, "raw")
        _means(lower, measured, "prepared")
        upper.set_title("before: as measured", loc="left", fontsize=10)
        lower.set_title("after the last step", loc="left", fontsize=10)
        upper.set_ylabel("absorbance")
        lower.set_ylabel("prepared value")
        lower.set_xlabel("wavenumber / cm⁻¹")
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
            axes.plot(where[falling], mean, dash, color=colour, linewidth=1.8, label=text)
            axes.fill_between(where[falling], mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlim(float(where.max()), float(where.min()))


def _legend(colours: Mapping[str, tuple[int, int, int]]) -> str:
    entries = {"kept": KEPT, "background": BACKGROUND, **colours}
    keys = "".join(
        f'<span class="key"><span class="swatch" style="background:rgb{colour}"></span>{escape(name)}</span>'
        for name, colour in entries.items()
    )
    return f'<div class="controls">{keys}</div>'


def reason_map(record: SampleRecord, colours: Mapping[str, tuple[int, int, int]]) -> bytes:
    """PNG of a sample: kept pixels, background, and the others in the colour of their reason."""
    if record.reason is None:
        raise ValueError(f"sample {record.id!r} was never read; it has no map.")
    palette = {0: (*KEPT, 255), 1: (*BACKGROUND, 255)}
    for at, name in enumerate(record.reasons[1:], 2):
        palette[at] = (*colours.get(name, BACKGROUND), 255)
    return palette_png((record.reason + 1).astype(np.uint8), palette)


def _tile(record: SampleRecord, colours: Mapping[str, tuple[int, int, int]]) -> str:
    height, width = record.reason.shape if record.reason is not None else (1, 1)
    label = "diseased" if record.label == 1 else "healthy"
    status = "kept" if record.kept else f"dropped: {escape(record.why)}"
    lost = sum(record.dropped.values())
    numbers = f"<dt>tissue</dt><dd>{record.tissue:,}</dd><dt>pixels dropped</dt><dd>{lost:,}</dd>"
    source = data_uri(reason_map(record, colours))
    return (
        f'<figure class="tile {label}"><div class="layers" style="aspect-ratio:{width / height:.4f}">'
        f'<img src="{source}" alt="Quality map of {escape(record.id)}"></div><figcaption>'
        f'<span class="id">{escape(record.id)}</span><span class="group">{status}</span>'
        f"{label_chip(record.label)}<dl>{numbers}</dl></figcaption></figure>"
    )


def _table(records: Sequence[SampleRecord]) -> str:
    reasons = list(dict.fromkeys(name for each in records for name, count in each.dropped.items() if count))
    names = ["sample", "label", "split", "status", "tissue", *reasons, "source"]
    numeric = {"tissue", *reasons}
    head = "".join(
        f'<th{" class=n" if name in numeric else ""}><button type="button">{escape(name)}</button></th>'
        for name in names
    )
    body = ""
    for record in records:
        status = "kept" if record.kept else f"dropped: {record.why}"
        cells = [
            escape(record.id),
            label_chip(record.label),
            record.split or UNKNOWN,
            escape(status),
        ]
        counts = [record.tissue, *(record.dropped.get(name, 0) for name in reasons)]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        row += "".join(f'<td class="n" data-v="{count}">{count:,}</td>' for count in counts)
        body += f"<tr>{row}<td>{escape(record.source)}</td></tr>"
    return (
        f'<div class="scroll tall"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
