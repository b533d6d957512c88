"""What is wrong or remarkable with a store, said before any work starts: `compseg check`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compseg_jax.runtime.typed import typed
from compseg_jax.store.check_masks import mask_notes, mask_shares
from compseg_jax.store.check_tissue import background_note
from compseg_jax.store.checksums import altered, arrays_without, is_proven
from compseg_jax.store.kvstore import exist, read_many
from compseg_jax.store.one_patient import leakage_note
from compseg_jax.store.read import SPLITS, Sample, Store, StoreError
from compseg_jax.store.relabellings import too_few_to_choose
from compseg_jax.store.splits import leaking_groups

FEWEST_VALIDATION_SAMPLES = 10
IMBALANCE_WORTH_A_NOTE = 2.0


@dataclass(frozen=True)
class Findings:
    """Result of a check.

    Attributes:
      counts: samples by (split, label).
      groups: number of groups by split.
      problems: what must be mended before training.
      notes: what is worth knowing.
    """

    counts: dict[tuple[str, int], int]
    groups: dict[str, int]
    problems: list[str]
    notes: list[str]


def check_table(store: Store, *, to_train: bool = False, supervised: bool = False) -> Findings:
    """Checks samples, splits, labels, groups and files without reading any image.

    Args:
      store: what is checked.
      to_train: whether a network is to learn from it, which takes both labels for training and validation. Otherwise a
        store whose samples are all test samples is whole: made to evaluate and predict on.
      supervised: whether reference masks are what it is to learn from.
    """
    samples = store.samples
    counts = Counter((sample.split, sample.label) for sample in samples)
    problems = []
    for sample_id, times in Counter(sample.id for sample in samples).items():
        if times > 1:
            problems.append(f"sample {sample_id!r} is listed {times} times; list it once.")
    there = exist(store.cube_folder(sample.id) / "0" / "zarr.json" for sample in samples)
    for sample, has_cube in zip(samples, there, strict=True):
        if sample.split not in SPLITS or sample.label not in (0, 1):
            problems.append(
                f"sample {sample.id!r} has split {sample.split!r} and label {sample.label}; required are "
                f"{', '.join(SPLITS)} and 0 or 1. Correct samples.csv."
            )
        if not has_cube:
            problems.append(f"sample {sample.id!r} has no cube in {store.path / 'cubes'}; ingest it again.")
        if supervised and sample.label == 1 and sample.split != "test" and not sample.has_reference:
            problems.append(f"sample {sample.id!r} has no reference mask, which target 'reference' needs.")
    for group, splits in leaking_groups([s.group for s in samples], [s.split for s in samples]).items():
        problems.append(f"group {group!r} is in {' and '.join(sorted(splits))}; move all of it to one split.")
    only_test = bool(samples) and all(sample.split == "test" for sample in samples)
    for split in () if only_test and not to_train else ("train", "val"):
        for label, name in ((1, "diseased"), (0, "healthy")):
            if not counts[split, label]:
                problems.append(
                    f"the {split} split has no {name} sample (label {label}); the method needs both."
                )
    return Findings(
        counts=dict(counts),
        groups={split: len({s.group for s in samples if s.split == split}) for split in SPLITS},
        problems=problems,
        notes=[*filter(None, [leakage_note(samples)]), *_notes(samples, counts, only_test=only_test)],
    )


def _notes(samples: Sequence[Sample], counts: Counter[tuple[str, int]], *, only_test: bool) -> list[str]:
    notes = []
    if only_test:
        notes.append("all samples are test samples: networks can be evaluated on this store, not trained.")
    healthy, diseased = counts["train", 0], counts["train", 1]
    if min(healthy, diseased) and max(healthy, diseased) >= IMBALANCE_WORTH_A_NOTE * min(healthy, diseased):
        notes.append(
            f"the training labels are imbalanced ({diseased} diseased, {healthy} healthy): consider "
            'balance = "weights" in a recipe file.'
        )
    n_val = counts["val", 0] + counts["val", 1]
    val = [sample for sample in samples if sample.split == "val"]
    few = too_few_to_choose([sample.label for sample in val], [sample.group for sample in val])
    if few and counts["val", 0] and counts["val", 1]:
        notes.append(
            f"{few}. They determine no threshold, so maps will be called 'not usable' where no masks say otherwise. "
            "`compseg train --folds 5` lets all training and validation samples choose it (or --val-fraction)."
        )
    elif n_val < FEWEST_VALIDATION_SAMPLES and not only_test:
        notes.append(
            f"{n_val} validation samples choose the best epoch and the threshold; more make both steadier."
        )
    if not counts["test", 0] or not counts["test", 1]:
        notes.append("the test split lacks a label, so no ROC curve can be drawn on it.")
    return notes


def check_values(store: Store, *, deep: bool = False) -> tuple[Findings, list[str]]:
    """:func:`check_table`, then every cube is read: finite values, tissue, value ranges (one line per split).

    Args:
      store: what is checked.
      deep: also hold cubes against the hashes that samples.csv states, and read the metadata that viewers need.
    """
    findings = check_table(store)
    problems, notes = list(findings.problems), list(findings.notes)
    lines, contradictions, masks = [], [], []
    for split in SPLITS:
        ranges, tissue_shares = [], []
        for sample in store.split(split):
            try:
                absorbance, tissue = store.read(sample.id), store.tissue(sample.id)
                reference = store.reference(sample.id) if sample.has_reference else None
                store.refuse_other_values(sample.id, absorbance, tissue)
            except StoreError as error:
                problems.append(str(error))
                continue
            if deep:
                problems += _damage_below(store, sample, absorbance)
            if not np.all(np.isfinite(absorbance)):
                problems.append(
                    f"sample {sample.id!r} holds NaN or infinite values; repair it and ingest again."
                )
                continue
            if not tissue.any():
                problems.append(f"sample {sample.id!r} is all background; remove it or give a tissue mask.")
                continue
            is_diseased = sample.label == 1
            masks.append(mask_shares(sample.id, tissue, reference, is_diseased=is_diseased))
            if reference is not None and reference[tissue].any() != is_diseased:
                contradictions.append(sample)
            ranges.append(np.percentile(absorbance[tissue], [0, 50, 100]))
            tissue_shares.append(tissue.mean())
        if ranges:
            low, middle, high = np.transpose(ranges)
            lines.append(
                f"{split:<5}  values {low.min():.4g} … {high.max():.4g}, median {np.median(middle):.4g}; "
                f"tissue {100 * min(tissue_shares):.0f}–{100 * max(tissue_shares):.0f} % of the image"
            )
    notes += [*mask_notes(masks), *background_note(store)]
    if without := arrays_without(store):
        notes.append(
            f"{len(without)} cubes and masks hold no checksums, the first of sample {without[0][0].id!r}: damage would "
            f"be read as other numbers. Add them: {typed('check', '--seal', store.path)}"
        )
    if unproven := [sample for sample in store.samples if not is_proven(sample)]:
        notes.append(
            f"samples.csv states no hashes of {len(unproven)} samples, the first {unproven[0].id!r}: cubes and masks "
            f"that were replaced would not be noticed. Add them: {typed('check', '--seal', store.path)}"
        )
    if contradictions:
        first, *others = contradictions
        also = f", then {', '.join(repr(sample.id) for sample in others[:3])}" if others else ""
        notes.append(
            f"{len(contradictions)} reference mask(s) contradict the label, the first that of {first.id!r} "
            f"({'diseased, but nothing' if first.label else 'healthy, but something'} is marked){also}"
            f"{' …' if len(others) > 3 else '.'}"
        )
    return Findings(findings.counts, findings.groups, problems, notes), lines


def _damage_below(store: Store, sample: Sample, absorbance: np.ndarray) -> list[str]:
    """What only `compseg check --deep` looks at: the hash of a cube as measured, and groups of its OME-Zarr image."""
    image = store.cube_folder(sample.id)
    problems = []
    if altered(store, sample, absorbance):
        problems.append(
            f"sample {sample.id!r} is not what was ingested: {image / '0'} and the hash in samples.csv differ. "
            "It was damaged or changed; ingest it again."
        )
    masks = ["tissue", "reference"] if sample.has_reference else ["tissue"]
    groups = [image, image / "labels", *(image / "labels" / mask for mask in masks)]
    for place, text in zip(groups, read_many(group / "zarr.json" for group in groups), strict=True):
        if not _is_group(text):
            problems.append(
                f"sample {sample.id!r}: {place / 'zarr.json'} is missing or no OME-Zarr group; ingest it again."
            )
    return problems


def _is_group(text: bytes | None) -> bool:
    try:
        values = json.loads(text or b"")
        return values["node_type"] == "group" and "version" in values["attributes"]["ome"]
    except (ValueError, KeyError, TypeError):
        return False


def refuse_problems(store: Store, findings: Findings) -> None:
    """Raises StoreError that lists the problems, if there are any."""
    if findings.problems:
        shown = "\n  ".join(findings.problems[:10])
        more = f"\n  … and {len(findings.problems) - 10} more." if len(findings.problems) > 10 else ""
        raise StoreError(f"{store.path}: {len(findings.problems)} problem(s).\n  {shown}{more}")


def describe(store: Store, findings: Findings, ranges: list[str]) -> str:
    """The findings as lines for the terminal; problems are left to :func:`refuse_problems`."""
    axis = store.wavenumbers_cm1
    channels = f"{store.channels} channels"
    if axis is not None:
        channels += f" ({axis[0]:g} … {axis[-1]:g} cm⁻¹)"
    lines = [f"{store.path}: {len(store.samples)} samples, {channels}"]
    lines.append(f"{'':<5}  {'diseased':>8} {'healthy':>8} {'groups':>7}")
    for split in SPLITS:
        diseased, healthy = findings.counts.get((split, 1), 0), findings.counts.get((split, 0), 0)
        lines.append(f"{split:<5}  {diseased:>8} {healthy:>8} {findings.groups[split]:>7}")
    lines += ranges
    lines += [f"note: {note}" for note in findings.notes]
    if not findings.problems:
        lines.append("no problems found")
    return "\n".join(lines)
