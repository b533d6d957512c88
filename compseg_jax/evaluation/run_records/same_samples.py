"""Which samples of several evaluations are the same ones, and whether their figures may be held together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compseg_jax.evaluation.run_records.scores_record import Row, Scores
from compseg_jax.store.kvstore import LocationError
from compseg_jax.store.read import Store, StoreError

Keys = Mapping[str, Row]


@dataclass(frozen=True)
class SameSamples:
    """What several evaluations share.

    Attributes:
      rows: of each evaluation, the rows of the shared samples, in one order.
      alone: of each, how many samples some other one lacks.
      relabelled: shared samples whose labels differ; in no row.
      by: how they were recognised, in words.
    """

    rows: tuple[tuple[Row, ...], ...]
    alone: tuple[int, ...]
    relabelled: int
    by: str

    @property
    def n(self) -> int:
        """How many are shared."""
        return len(self.rows[0])

    @property
    def is_one_set(self) -> bool:
        """Whether all are of the same samples with the same labels."""
        return not any(self.alone) and not self.relabelled

    def warning(self, names: Sequence[str]) -> str:
        """What must be said before the figures; '' where all are of the same samples."""
        if self.is_one_set:
            return ""
        shared = self.n + self.relabelled
        counts = "".join(f", {n} more in {name}" for name, n in zip(names, self.alone, strict=True) if n)
        said = f"Different test samples ({self.by}): {shared} in {' and '.join(names)}{counts}"
        relabelled = f"; {self.relabelled} are labelled differently and left out" if self.relabelled else ""
        if not self.n:
            return f"{said}{relabelled}. Figures cannot be held against one another, and no differences are given."
        return (
            f"{said}{relabelled}. The figures of whole reports cannot be held against one another; the differences are "
            f"of the {self.n} that are shared."
        )


def same_samples(scores: Sequence[Scores]) -> SameSamples:
    """Finds the samples that all evaluations share.

    Of one store by their ids; of several by their content, the hash of the image as it was read, where every store
    is there and states it; else by id and numbers of tissue and reference pixels.
    """
    keyed, by = _keyed(scores)
    everywhere = set(keyed[0]).intersection(*keyed[1:])
    shared = [key for key in keyed[0] if key in everywhere]
    agreeing = [key for key in shared if len({rows[key]["label"] for rows in keyed}) == 1]
    return SameSamples(
        rows=tuple(tuple(rows[key] for key in agreeing) for rows in keyed),
        alone=tuple(len(rows) - len(shared) for rows in keyed),
        relabelled=len(shared) - len(agreeing),
        by=by,
    )


def _keyed(scores: Sequence[Scores]) -> tuple[list[Keys], str]:
    places = {str(each.data) for each in scores}
    if len(places) == 1 and scores[0].data is not None:
        by_id: list[Keys] = [{row["id"]: row for row in each.rows} for each in scores]
        return by_id, "by id, of one store"
    contents = [_contents(each) for each in scores]
    known = [keys for keys in contents if keys is not None]
    if len(known) == len(contents):
        return known, "by the content of their images"
    by_pixels: list[Keys] = [
        {"/".join((row["id"], row["tissue_pixels"], row["reference_pixels"])): row for row in each.rows}
        for each in scores
    ]
    return by_pixels, "by id and numbers of pixels, as a store is not there"


def _contents(scores: Scores) -> Keys | None:
    """Rows by the content of their images; None where the store is not there or does not state all."""
    if scores.data is None:
        return None
    try:
        content = {sample.id: sample.content for sample in Store.open(scores.data).samples}
    except (StoreError, LocationError):
        return None
    keys = {content.get(row["id"], ""): row for row in scores.rows}
    return keys if "" not in keys and len(keys) == len(scores.rows) else None
