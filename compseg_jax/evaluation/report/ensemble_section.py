"""What a page says about an ensemble: its networks, their agreement, and the scores out of fold."""

from __future__ import annotations

from collections.abc import Mapping

from compseg_jax.drawing.document import section
from compseg_jax.evaluation.report import report_tables as tables
from compseg_jax.evaluation.report.tiles import FULL_SPREAD, SPREAD_COLOUR
from compseg_jax.evaluation.scores.sample_scores import SampleRow

SPREAD_CONTROL = (
    '<label><input type="radio" name="view" id="view-spread"> disagreement of the networks'
    f'<span class="swatch" style="background:rgb({",".join(map(str, SPREAD_COLOUR))})"></span>'
    f" (full colour: SD {FULL_SPREAD:g})</label>"
)


def links(metrics: Mapping[str, object]) -> list[tuple[str, str]]:
    """Anchors and names of the sections that there are."""
    found = [("ensemble", "Ensemble")] if isinstance(metrics.get("ensemble"), Mapping) else []
    if isinstance(metrics.get("cross_validation"), Mapping):
        found.append(("cross-validation", "Cross-validation"))
    return found


def sections(metrics: Mapping[str, object]) -> list[str]:
    """Sections on the agreement of the networks and on cross-validation; none for a single network."""
    found = []
    ensemble, scores = metrics.get("ensemble"), metrics.get("cross_validation")
    if isinstance(ensemble, Mapping):
        found.append(section("ensemble", "Ensemble", _ensemble_text(ensemble), ""))
    if isinstance(scores, Mapping):
        text = (
            f"{scores['folds']} folds of training and validation samples, whole groups each "
            f"({scores['n_groups']} groups, {scores['n_diseased']} diseased and {scores['n_healthy']} healthy "
            "samples). Each sample is predicted by the networks that did not train on its group; their epoch was "
            "chosen by the loss on its fold, its threshold on the other folds."
        )
        found.append(
            section(
                "cross-validation",
                "Cross-validation",
                text,
                tables.measures_table({**scores, "by_group": None}),
            )
        )
    return found


def _ensemble_text(ensemble: Mapping[str, object]) -> str:
    said = (
        f"{ensemble['n_members']} networks ({ensemble['folds']} folds × {ensemble['seeds']} seeds); maps and scores "
        "are of their mean activation. “± area” is the standard deviation over the networks of the segmented part, "
    )
    if ensemble["label_agreement_mean"] is None:
        return said + "at the threshold given for this evaluation."
    return said + (
        "“networks agree” the share of them that call the sample as the mean map does, diseased where more than "
        f"{tables.percent(ensemble['area_cut'])} of the tissue is segmented (chosen out of fold). On average "
        f"{tables.percent(ensemble['label_agreement_mean'])} agree."
    )


def tile_numbers(row: SampleRow) -> list[tuple[str, str]]:
    """What the caption of a picture says about the networks' agreement."""
    numbers = []
    if row.get("area_spread") is not None:
        numbers.append(("± area", tables.percent(row["area_spread"])))
    if row.get("label_agreement") is not None:
        numbers.append(("agree", tables.percent(row["label_agreement"])))
    return numbers
