"""`compseg check STORE|RUN|PREDICTIONS`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compseg_jax.cli.next_steps import after_store, print_next
from compseg_jax.cli.parsing import HelpPage, parse, progress_bar
from compseg_jax.cli.quiet import tell
from compseg_jax.config.locations import Location
from compseg_jax.model.model_check import check_model
from compseg_jax.model.model_copies import DESCRIPTION, ENSEMBLE
from compseg_jax.prediction.formats.prediction_tables import FILE
from compseg_jax.prediction.prediction_check import check_predictions
from compseg_jax.store.check import check_values, describe, refuse_problems
from compseg_jax.store.checksums import seal
from compseg_jax.store.kvstore import exist
from compseg_jax.store.read import Store

PAGE = HelpPage(
    "check",
    text="Say what is wrong or remarkable with a store: counts, leakage, value ranges. Of a run or a model: whether "
    "its files are those that were written; of predictions: whether their values can be, and are those that were "
    "written.",
    example="compseg check data",
    groups={"options": ("data", "seal", "deep", "network")},
    positional=("data", "[STORE|RUN|PREDICTIONS]"),
)


@dataclass(frozen=True)
class CheckOptions:
    """What to check."""

    data: Location = Path("data")
    """Store, run, model or predictions; directory or URL."""
    seal: bool = False
    """First accept samples.csv and dataset.json as you edited them, and add checksums and hashes to cubes and masks
    that have none, as those of earlier releases: values stay unchanged."""
    deep: bool = False
    """Also hold cubes as measured against the hashes in samples.csv, and read the metadata of OME-Zarr; of predictions,
    hold every file against its hash."""
    network: str = ""
    """Network of your own that a model may import, as package.module:Class."""


def run(arguments: list[str]) -> None:
    """Says what is wrong or remarkable with a store, a model or predictions."""
    options = parse(CheckOptions, arguments, PAGE)
    if _is_model(options.data):
        model, said = check_model(options.data, options.network)
        tell(model=options.data, networks=len(model.networks), sealed=model.is_sealed)
        print(said)
        return
    if exist([options.data / FILE])[0]:
        print(_of_predictions(options.data, deep=options.deep))
        return
    if options.seal:
        with progress_bar("arrays") as progress:
            sealed = seal(options.data, progress)
        print(
            f"{options.data}: {sealed.arrays} cubes and masks were given checksums, {sealed.samples} samples hashes"
        )
        if sealed.accepted:
            print(f"{options.data}: samples.csv and dataset.json are accepted as they are now")
    check(options.data, deep=options.deep)
    print_next(after_store(options.data))


def _is_model(place: Location) -> bool:
    return any(exist([place / DESCRIPTION, place / "model" / DESCRIPTION, place / ENSEMBLE]))


def _of_predictions(place: Location, *, deep: bool) -> str:
    found = check_predictions(place, deep=deep)
    failed = sum(sample.status == "failed" for sample in found.samples)
    tell(predictions=place, samples=len(found.samples), failed=failed)
    counts = f"{len(found.samples)} samples, {failed} of them failed"
    lines = [f"{place}: {counts}, threshold {found.threshold:g}"]
    if without := sum(sample.status == "done" and not sample.files_sha256 for sample in found.samples):
        lines.append(
            f"note: no hashes are stated of the files of {without} samples: changes would not be noticed"
        )
    if loose := sum("activation_zarr" in each.files and not each.images_sha256 for each in found.samples):
        lines.append(
            f"note: the maps of {loose} samples, of an earlier release, do not state the checksums of their chunks: "
            "chunks that were exchanged are noticed by `check --deep` alone, and read otherwise"
        )
    return "\n".join([*lines, "no problems found"])


def check(path: Location, *, deep: bool = False) -> None:
    """Prints what was found in a store.

    Args:
      path: the store.
      deep: as of ``store.check.check_values``.

    Raises:
      StoreError: when there is no store, or something is wrong with it.
    """
    store = Store.open(path)
    findings, ranges = check_values(store, deep=deep)
    counts = {split: {"diseased": 0, "healthy": 0} for split, _ in findings.counts}
    for (split, label), number in findings.counts.items():
        counts[split]["diseased" if label else "healthy"] = number
    tell(store=path, counts=counts, problems=findings.problems, notes=findings.notes)
    print(describe(store, findings, ranges))
    refuse_problems(store, findings)
