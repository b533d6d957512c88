"""A comparison as lines on the terminal, and the cells that the page shows as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compseg_jax.drawing.numbers import UNKNOWN, interval, number, percent
from compseg_jax.evaluation.report.report_tables import MEASURES, mean_sd
from compseg_jax.evaluation.run_records.comparison import Comparison, Difference, Side
from compseg_jax.evaluation.run_records.scores_record import Scores

COUNTS = (("diseased samples", "n_diseased"), ("healthy samples", "n_healthy"))


def comparison_text(found: Comparison) -> str:
    """The whole comparison, warnings before every number."""
    parts = [
        *(f"warning: {warning}" for warning in found.warnings),
        *(f"{side.letter}: {side.name}{_verdict(side)}" for side in found.sides),
        "",
        table([["settings that differ", *_letters(found.sides)], *setting_rows(found)])
        if found.settings
        else "settings: all the same",
        "",
        table([["figures (95 %)", *_letters(found.scored)], *figure_rows(found)]),
    ]
    if found.differences:
        assert found.same is not None
        heads = ["measure", "", "A", "other", "difference (95 %)", "higher", "lower", "of"]
        heads[2] = found.scored[0].letter
        parts += [
            "",
            f"differences from {heads[2]}, of the same {found.same.n} samples, {found.same.by}",
            table([heads, *difference_rows(found.differences)]),
        ]
    return "\n".join(parts)


def setting_rows(found: Comparison) -> list[list[str]]:
    """Fields that differ and their values."""
    return [[name, *map(_setting, values)] for name, values in found.settings.items()]


def figure_rows(found: Comparison) -> list[list[str]]:
    """Figures of each side that has a report, with their intervals; what none can tell is left out."""
    scores = [side.scores for side in found.scored if side.scores]
    rows = [["split", *(each.split or UNKNOWN for each in scores)]]
    rows += [[title, *(number(each.metrics.get(key)) for each in scores)] for title, key in COUNTS]
    rows.append(["threshold", *(number(each.metrics.get("threshold")) for each in scores)])
    for measure in MEASURES:
        cells = [_figure(each, measure.key, measure.interval) for each in scores]
        if set(cells) != {UNKNOWN}:
            rows.append([measure.title, *cells])
    for label in ("diseased", "healthy"):
        rows.append([f"Segmented area, {label}", *(percent(each.areas[label]) for each in scores)])
    return rows


def difference_rows(differences: Sequence[Difference]) -> list[list[str]]:
    """Paired differences."""
    return [
        [
            each.measure,
            each.side,
            number(each.first),
            number(each.other),
            f"{each.value:+.3f}" + (f" ({interval(each.ci95)})" if each.ci95 else ""),
            UNKNOWN if each.higher is None else str(each.higher),
            UNKNOWN if each.lower is None else str(each.lower),
            str(each.n),
        ]
        for each in differences
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _letters(sides: Sequence[Side]) -> list[str]:
    return [side.letter for side in sides]


def _verdict(side: Side) -> str:
    return f"\n   {side.scores.verdict}" if side.scores is not None and side.scores.verdict else ""


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return UNKNOWN if value is None else str(value)


def _figure(scores: Scores, key: str, interval_key: str | None) -> str:
    ci = scores.metrics.get(interval_key) if interval_key else None
    return mean_sd(scores.metrics, key) + (f" ({interval(ci)})" if ci else "")
