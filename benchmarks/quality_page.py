"""Puts rows of the quality benchmark together: one results file, the tables of docs/quality.md, and its figure.

    python -m benchmarks.quality_page runs/quality/quality.json [MORE.json …]

Writes benchmarks/results/quality.json and docs/images/quality.png, and prints the tables as Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.quality import DATASETS, EVERYTHING, Row, table, with_everything, write_rows
from compseg_jax.config import RECIPES

RIVALS = tuple(name for name in RECIPES if name not in ("default", "supervised"))
MOST_COLUMNS = 5
ORDER = ("default", *RIVALS, "supervised")


def merged(paths: Sequence[Path]) -> list[Row]:
    """The rows of several files, each cell once (the later one counts), by data set, recipe and seed."""
    cells: dict[tuple[str, str, int], Row] = {}
    for path in paths:
        for row in json.loads(path.read_text()):
            if row["recipe"] != EVERYTHING:
                cells[row["dataset"], row["recipe"], row["seed"]] = row
    datasets = list(DATASETS)
    return sorted(
        cells.values(),
        key=lambda row: (datasets.index(row["dataset"]), ORDER.index(row["recipe"]), row["seed"]),
    )


def compared(rows: Sequence[Row]) -> list[Row]:
    """The rows of data sets that `default` and at least one rival were run on."""

    def ran(dataset: str, recipes: Sequence[str]) -> bool:
        return any(row["dataset"] == dataset and row["recipe"] in recipes for row in rows)

    return [row for row in rows if ran(row["dataset"], ("default",)) and ran(row["dataset"], RIVALS)]


def values(rows: Sequence[Row], name: str, **where: str) -> list[float]:
    """One number of the rows that match; what never trained scored nothing: Dice 0, AUC .5."""
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    empty = 0.5 if name == "auc" else 0.0
    return [empty if row[name] is None else float(row[name]) for row in chosen]


def over_all(rows: Sequence[Row]) -> str:
    """Means over data sets of the means over seeds, best first, as Markdown."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    lines = ["| recipe | mean Dice | mean AUC | mean PxAP | failed cells |", "|---|---|---|---|---|"]
    found = []
    for recipe in ORDER:
        own = [row for row in rows if row["recipe"] == recipe]
        if {row["dataset"] for row in own} != set(datasets):
            continue
        means = [
            np.mean([np.mean(values(own, name, dataset=dataset)) for dataset in datasets])
            for name in ("dice", "auc", "pxap")
        ]
        found.append((means, recipe, sum(row["failed"] for row in own), len(own)))
    for means, recipe, failed, n in sorted(found, key=lambda each: -each[0][0]):
        lines.append(f"| {recipe} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.3f} | {failed} of {n} |")
    return "\n".join(lines)


def against_the_best(rows: Sequence[Row]) -> str:
    """`default` beside the best rival of each data set, with the standard error of their difference over seeds."""
    lines = [
        "| data set | measure | default | best rival | difference ± standard error | within one |",
        "|---|---|---|---|---|---|",
    ]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        for name in ("dice", "auc"):
            own = values(rows, name, dataset=dataset, recipe="default")
            others = {rival: values(rows, name, dataset=dataset, recipe=rival) for rival in RIVALS}
            others = {rival: found for rival, found in others.items() if found}
            best = max(others, key=lambda rival: float(np.mean(others[rival])))
            difference = float(np.mean(own) - np.mean(others[best]))
            enough = len(own) > 1 and len(others[best]) > 1
            error = float(np.hypot(standard_error(own), standard_error(others[best])))
            spread = f" ± {error:.3f}" if enough else ""
            ahead = "ahead" if difference >= 0 else "behind"
            verdict = ("yes" if difference >= -error else "no") if enough else f"{ahead}, one seed"
            label = {"dice": "Dice", "auc": "AUC"}[name]
            lines.append(
                f"| {dataset} | {label} | {np.mean(own):.3f} | {best} {np.mean(others[best]):.3f} | "
                f"{difference:+.3f}{spread} | {verdict} |"
            )
    return "\n".join(lines)


def standard_error(seeds: Sequence[float]) -> float:
    """Of the mean over seeds; 0 where there is one seed, which has no spread to tell."""
    return float(np.std(seeds, ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else 0.0


def figure(rows: Sequence[Row], path: Path) -> None:
    """Dice and AUC of every recipe on every data set, one dot per seed, hollow where it failed to train."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    recipes = [recipe for recipe in ORDER if any(row["recipe"] == recipe for row in rows)]
    columns = min(MOST_COLUMNS, len(datasets))
    lines = 2 * -(-len(datasets) // columns)
    size = 2.3 * columns + 1.2, 2.8 * lines
    drawn, axes = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for unused in axes[-2:, len(datasets) - columns * (lines // 2 - 1) :].flat:
        unused.remove()
    measures = (("dice", "Dice", 0.0, (0.0, 0.5, 1.0)), ("auc", "AUC of samples", 0.4, (0.5, 0.75, 1.0)))
    for line, (name, label, least, ticks) in enumerate(measures):
        for number, dataset in enumerate(datasets):
            axis = axes[2 * (number // columns) + line][number % columns]
            axis.set_xticks(ticks)
            for place, recipe in enumerate(recipes):
                colour = {"default": "#0072B2", "supervised": "#999999"}.get(recipe, "#D55E00")
                for row in rows:
                    if (row["dataset"], row["recipe"]) != (dataset, recipe):
                        continue
                    (value,) = values([row], name)
                    face = "white" if row["failed"] else colour
                    axis.plot(value, place, "o", ms=5, mec=colour, mfc=face, mew=1.1, alpha=0.9)
                found = values(rows, name, dataset=dataset, recipe=recipe)
                if found:
                    axis.plot([np.mean(found)] * 2, [place - 0.32, place + 0.32], color=colour, lw=1.6)
            everything = [row["dice_predict_everything"] for row in rows if row["dataset"] == dataset
                          and row.get("dice_predict_everything")]  # fmt: skip
            chance = 0.5 if name == "auc" else everything[0] if everything else None
            if chance is not None:
                axis.axvline(chance, color="#555555", lw=0.9, ls=":")
            axis.set_xlim(least - 0.03, 1.03)
            axis.set_yticks(range(len(recipes)), recipes)
            axis.grid(axis="x", color="#e5e5e5", lw=0.7)
            axis.set_axisbelow(True)
            for side in ("top", "right", "left"):
                axis.spines[side].set_visible(False)
            axis.tick_params(axis="y", length=0)
            axis.set_xlabel(label)
            if line == 0:
                axis.set_title(dataset.replace("_", " "), fontsize=10)
    axes[0][0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=130)
    plt.close(drawn)


def main() -> None:
    """Merges, writes, draws and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/quality.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/images/quality.png"))
    options = parser.parse_args()
    rows = merged(options.results)
    write_rows(options.out, rows)
    both = compared(rows)
    figure(both, options.figure)
    print("\n\n".join((over_all(both), against_the_best(both), table(with_everything(rows)))))


if __name__ == "__main__":
    main()
