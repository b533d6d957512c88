"""How often the 95 % interval of an AUC holds the true one: simulated samples, a JSON line a case and a table.

python -m benchmarks.auc_coverage [--replicates 2000] [--bootstrap-replicates 300] [--out FILE]

About a minute on one core. Scores of healthy samples are standard normal, those of diseased ones are shifted, which
gives the true AUC; a part of the variance is that of the group (patient). 'before' is the percentile bootstrap of whole
groups that reports had until 2026-11-28.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

from benchmarks.record import Record
from compseg_jax.evaluation.scores.auc_interval import auc_interval
from compseg_jax.evaluation.scores.bootstrap import group_multiplicities, interval_95, weighted_auc
from compseg_jax.runtime.versions import versions

Scores = tuple[np.ndarray, np.ndarray, list[str]]
N_BOOTSTRAP = 400


@dataclass(frozen=True)
class Case:
    """Samples to draw: of each label, the sizes of its groups.

    Attributes:
      name: as in the table.
      diseased: samples of each diseased group.
      healthy: of each healthy group.
      shift: of diseased scores.
      correlation: part of the variance that a group shares.
      spread: standard deviation of diseased scores.
      floor: lower scores are this, as areas of 0 are.
      paired: each group has samples of both labels, as many as in ``diseased`` and ``healthy``.
    """

    name: str
    diseased: Sequence[int]
    healthy: Sequence[int]
    shift: float
    correlation: float = 0.0
    spread: float = 1.0
    floor: float = -np.inf
    paired: bool = False

    def draw(self, rng: np.random.Generator) -> Scores:
        """Scores, labels and groups of one evaluation."""
        parts = []
        of_diseased, of_healthy = (rng.normal(size=len(sizes)) for sizes in (self.diseased, self.healthy))
        of_groups = {1: of_diseased, 0: of_diseased if self.paired else of_healthy}
        for label, sizes in ((1, self.diseased), (0, self.healthy)):
            group = np.repeat(np.arange(len(sizes)), sizes)
            shared = np.sqrt(self.correlation) * of_groups[label][group]
            own = np.sqrt(1 - self.correlation) * rng.normal(size=len(group))
            scores = label * self.shift + (self.spread if label else 1.0) * (shared + own)
            parts.append((np.maximum(scores, self.floor), group, label))
        labels = np.concatenate([np.full(len(group), label) for _, group, label in parts])
        groups = [f"{label * (not self.paired)}-{each}" for _, group, label in parts for each in group]
        return np.concatenate([scores for scores, _, _ in parts]), labels, groups

    def true_auc(self) -> float:
        """P(diseased > healthy) + P(equal)/2; equal are those at the floor."""
        if self.paired:
            pairs = len(self.diseased)
            apart, within = (norm.cdf(self.shift / np.sqrt(2 * (1 - rho))) for rho in (0, self.correlation))
            return float(apart + (within - apart) / pairs)
        if np.isinf(self.floor):
            return float(norm.cdf(self.shift / np.hypot(1, self.spread)))
        at = np.linspace(self.floor, 12, 200_001)
        below = norm.cdf(at)
        density = norm.pdf((at - self.shift) / self.spread) / self.spread
        both_low = norm.cdf(self.floor) * norm.cdf((self.floor - self.shift) / self.spread)
        return float(np.trapezoid(below * density, at) + both_low / 2)


def shift_of(auc: float, spread: float = 1.0) -> float:
    """The shift that gives an AUC."""
    return float(norm.ppf(auc) * np.hypot(1, spread))


def singles(n: int) -> list[int]:
    """Samples that share nothing."""
    return [1] * n


CASES = (
    Case("20 + 20, AUC .9325", singles(20), singles(20), shift_of(0.9325)),
    Case("50 + 50, AUC .9325", singles(50), singles(50), shift_of(0.9325)),
    Case("10 + 10, AUC .97", singles(10), singles(10), shift_of(0.97)),
    Case("5 + 5, AUC .9", singles(5), singles(5), shift_of(0.9)),
    Case("5 + 5, AUC .6", singles(5), singles(5), shift_of(0.6)),
    Case("3 + 3, AUC .9", singles(3), singles(3), shift_of(0.9)),
    Case("4 + 40, AUC .95", singles(4), singles(40), shift_of(0.95)),
    Case("20 + 20, AUC .97, diseased three times as spread", singles(20), singles(20), shift_of(0.97, 3), spread=3),
    Case("20 + 20, half of the healthy at 0", singles(20), singles(20), 1.5, floor=0.0),
    Case("10 + 10, AUC .9999: all ranked right", singles(10), singles(10), shift_of(0.9999)),
    Case("4 + 4 groups of 5, ρ .5, AUC .9", [5] * 4, [5] * 4, shift_of(0.9), 0.5),
    Case("4 + 4 groups of 5, ρ .9, AUC .9325", [5] * 4, [5] * 4, shift_of(0.9325), 0.9),
    Case("4 + 4 groups of 5, ρ 0, AUC .9", [5] * 4, [5] * 4, shift_of(0.9)),
    Case("4 + 4 groups of 20, ρ .3, AUC .8", [20] * 4, [20] * 4, shift_of(0.8), 0.3),
    Case("4 + 4 groups of 1, 2, 8, 12, ρ .6, AUC .9", [1, 2, 8, 12], [1, 2, 8, 12], shift_of(0.9), 0.6),
    Case("3 + 3 groups of 5, ρ .5, AUC .9", [5] * 3, [5] * 3, shift_of(0.9), 0.5),
    Case("10 + 10 groups of 4, ρ .5, AUC .9325", [4] * 10, [4] * 10, shift_of(0.9325), 0.5),
    Case("8 groups of 3 + 3, ρ .5, AUC .9", [3] * 8, [3] * 8, shift_of(0.9), 0.5, paired=True),
    Case("2 + 2 groups of 5, ρ .5, AUC .9", [5] * 2, [5] * 2, shift_of(0.9), 0.5),
)  # fmt: skip


def bootstrapped(scores: np.ndarray, labels: np.ndarray, groups: list[str]) -> list[float] | None:
    """The interval that reports had before."""
    weights = group_multiplicities(labels.tolist(), groups, n_bootstrap=N_BOOTSTRAP, seed=0)
    return interval_95(weighted_auc(scores, labels, weights))


def coverage(
    case: Case, interval: Callable[..., list[float] | None], replicates: int, seed: int
) -> tuple[float, float] | None:
    """Part of the intervals that hold the true AUC, and their mean width; None where there is no interval."""
    rng, true, held, widths = np.random.default_rng(seed), case.true_auc(), 0, 0.0
    for _ in range(replicates):
        found = interval(*case.draw(rng))
        if found is None:
            return None
        held += found[0] <= true <= found[1]
        widths += found[1] - found[0]
    return held / replicates, widths / replicates


def measured(case: Case, replicates: int, bootstrap_replicates: int, seed: int) -> Record:
    """One line of the results."""
    record: Record = {"case": case.name, "auc": round(case.true_auc(), 4)}
    for name, interval, n in (
        ("before", bootstrapped, bootstrap_replicates),
        ("now", auc_interval, replicates),
    ):
        found = coverage(case, interval, n, seed) if n else None
        record[name] = found and {"held": round(found[0], 3), "width": round(found[1], 3), "of": n}
    return record


def table(records: Sequence[Record]) -> str:
    """Coverage and mean width, before and now."""
    lines = ["| samples | held, before | held, now | width, before | width, now |", "|---|---|---|---|---|"]
    for record in records:
        cells = [
            f"{record[when][what]:.3f}" if record[when] else "refused"
            for what in ("held", "width")
            for when in ("before", "now")
        ]
        lines.append(f"| {record['case']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulates all cases, prints the table and keeps the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--bootstrap-replicates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file of the JSON lines")
    options = parser.parse_args()
    records: list[Record] = []
    for case in CASES:
        records.append(measured(case, options.replicates, options.bootstrap_replicates, options.seed))
        print(json.dumps(records[-1], ensure_ascii=False), flush=True)
    if options.out is not None:
        arguments = " ".join(["python -m benchmarks.auc_coverage", *sys.argv[1:]])
        head = {"command": arguments, "versions": versions()}
        options.out.write_text(
            "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in [head, *records])
        )
    print(table(records))


if __name__ == "__main__":
    main()
