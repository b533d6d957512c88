"""`compseg compare A B [C …]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.cli.quiet import tell
from compseg_jax.config.locations import refuse_url
from compseg_jax.config.ranges import Bootstrap, Count, Seed, check_ranges
from compseg_jax.evaluation.run_records.comparison import compare
from compseg_jax.evaluation.run_records.comparison_page import check_page, write_comparison
from compseg_jax.evaluation.run_records.comparison_text import comparison_text

PAGE = HelpPage(
    "compare",
    text="Hold runs or reports against the first of them: settings that differ, verdicts, figures, paired differences "
    "of the same samples; with --out a page that shows their maps side by side. docs/runs.md says how to read it.",
    example="compseg compare runs/one runs/other --out comparison.html",
    groups={"options": ("folders", "out", "split"), "measure": ("samples", "bootstrap", "seed")},
    positional=("folders", "RUN RUN …"),
)


@dataclass(frozen=True)
class CompareOptions:
    """What to compare."""

    folders: tuple[Path, ...] = ()
    """Runs of `compseg train` or reports of `compseg evaluate`, two or more."""
    out: Path | None = None
    """Page to write; none where it is not given."""
    split: str = "test"
    """Of a run's reports the one of this split; 'out of fold' for the folds of ensembles."""
    samples: Count = 24
    """Most samples whose maps the page shows: those whose segmented areas differ most."""
    bootstrap: Bootstrap = 1000
    """Resamples for the 95 % intervals."""
    seed: Seed = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        check_ranges(self)
        for folder in self.folders:
            refuse_url(folder, "runs and reports are read from this machine. Copy it first")


def run(arguments: list[str]) -> None:
    """Says how they differ."""
    options = parse(CompareOptions, arguments, PAGE)
    if options.out is not None:
        check_page(options.out)
    found = compare(options.folders, split=options.split, n_bootstrap=options.bootstrap, seed=options.seed)
    tell(**found.to_json())
    page = None if options.out is None else write_comparison(options.out, found, samples=options.samples)
    print(comparison_text(found))
    if page is not None:
        tell(page=page)
        print(f"page: {page}")
