"""One evaluated sample, and the numbers that can be read off it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from compseg_jax.model.diseased_area import AreaRule

SampleRow = dict[str, str | int | float | None]


@dataclass(frozen=True)
class SampleResult:
    """What evaluation knows of one sample: the network's map, the label and, where it exists, the truth.

    Outside the tissue the prediction is nothing: activations there count as 0, in the mask, the scores
    and the pixel measures alike.
    """

    id: str
    label: int
    """1 diseased, 0 healthy."""
    group: str
    """What samples may share (a patient, an array); equal to `id` where they share nothing."""
    activation: np.ndarray
    """(y, x) float in [0, 1]."""
    tissue: np.ndarray
    """(y, x) bool, at least one pixel True."""
    reference: np.ndarray | None
    """(y, x) bool, the pixels an expert calls diseased; None where nobody looked."""
    preview: np.ndarray
    """(y, x) or (y, x, 3) float in [0, 1], for pictures only."""
    unsmoothed: np.ndarray | None = None
    """(y, x) the map before it was smoothed, where a threshold is chosen by it; None where it was not."""
    spectrum_inside: np.ndarray | None = None
    """(c,) mean absorbance of the tissue above the threshold; None where no pixel is."""
    spectrum_outside: np.ndarray | None = None
    """(c,) mean absorbance of the tissue below it; None where no pixel is."""
    spread: np.ndarray | None = None
    """(y, x) standard deviation of the activation over the networks of an ensemble; None for a single one."""
    unfamiliarity: np.ndarray | None = None
    """(y, x) how far each pixel lies outside of training, above 1 outside; None where the model cannot say."""

    def predicted_activation(self) -> np.ndarray:
        """(y, x) float32 activation, 0 outside the tissue."""
        return np.where(self.tissue, self.activation, 0).astype(np.float32)

    def predicted_mask(self, threshold: float) -> np.ndarray:
        """(y, x) bool: tissue whose activation lies above the threshold."""
        return np.asarray(self.tissue & (self.activation > threshold))

    def truth(self) -> np.ndarray | None:
        """(y, x) bool truth of every pixel; a healthy sample without a reference has no diseased pixel."""
        if self.reference is None and self.label == 0:
            return np.zeros(self.activation.shape, np.bool_)
        return self.reference


def check_results(results: Sequence[SampleResult]) -> None:
    """Refuse what cannot be evaluated.

    Raises:
      ValueError: naming the sample, the array, the value found and the value required.
    """
    if not results:
        raise ValueError("No sample to evaluate: the split is empty. Choose a split that holds samples.")
    seen: set[str] = set()
    for result in results:
        where = f"sample {result.id!r}"
        if result.id in seen:
            raise ValueError(f"{where} occurs twice: ids must be unique. Rename one of the two.")
        seen.add(result.id)
        if result.label not in (0, 1):
            raise ValueError(f"{where}: label is {result.label!r}, required 0 (healthy) or 1 (diseased).")
        _check_arrays(result, where)


def _check_arrays(result: SampleResult, where: str) -> None:
    shape = result.activation.shape
    if len(shape) != 2:
        raise ValueError(f"{where}: activation has shape {shape}, required (y, x).")
    if not np.isfinite(result.activation).all():
        raise ValueError(
            f"{where}: activation holds NaN or Inf. The network or its input is broken: check both."
        )
    low, high = float(result.activation.min()), float(result.activation.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"{where}: activation lies in [{low:.4g}, {high:.4g}], required [0, 1]."
            " Pass it through the sigmoid first."
        )
    for name, array in (("tissue", result.tissue), ("reference", result.reference)):
        if array is None:
            continue
        if array.shape != shape:
            raise ValueError(
                f"{where}: {name} has shape {array.shape}, required {shape} like the activation."
            )
        if array.dtype != np.bool_:
            raise ValueError(
                f"{where}: {name} has dtype {array.dtype}, required bool. Compare it with 0 first."
            )
    if not result.tissue.any():
        raise ValueError(f"{where}: the tissue mask is empty. Leave the sample out or give it a tissue mask.")
    if result.preview.shape not in (shape, (*shape, 3)):
        raise ValueError(
            f"{where}: preview has shape {result.preview.shape}, required {shape} or {(*shape, 3)}."
        )


def sample_row(result: SampleResult, threshold: float, area_rule: AreaRule | None = None) -> SampleRow:
    """The row of samples.csv: scores always, agreement with the reference where it can be told (else None).

    `area_fraction` is the sample score of Schuhmacher et al. 2019: the part of the tissue whose
    activation lies above the threshold. `area_low` and `area_high` are the interval of the part that is
    diseased (`area_interval`), None without a rule for it. Agreement is told for diseased samples with a reference that
    marks something; precision is 0 where nothing was predicted. `pixel_ap` and `pixel_auc` rank the
    pixels of tissue and reference; they need pixels of both kinds.
    """
    mask = result.predicted_mask(threshold)
    tissue_pixels = int(result.tissue.sum())
    activations = result.activation[result.tissue]
    interval = None if area_rule is None else area_rule.interval(activations)
    low, high = (None, None) if interval is None else interval
    row: SampleRow = {
        "id": result.id,
        "label": result.label,
        "group": result.group,
        "area_fraction": float(mask.sum() / tissue_pixels),
        "area_low": low,
        "area_high": high,
        "mean_activation": float(activations.mean(dtype=np.float64)),
        "tissue_pixels": tissue_pixels,
        "reference_pixels": None if result.reference is None else int(result.reference.sum()),
    }
    row.update(dict.fromkeys(AGREEMENT))
    if result.label == 1 and result.reference is not None and result.reference.any():
        row.update(_agreement(result, result.reference, mask))
    return row


AGREEMENT = ("dice", "iou", "precision", "recall", "dice_predict_everything", "pixel_ap", "pixel_auc")


def _agreement(result: SampleResult, reference: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    found = int((mask & reference).sum())
    predicted, actual = int(mask.sum()), int(reference.sum())
    findable, tissue = int((result.tissue & reference).sum()), int(result.tissue.sum())
    values = {
        "dice": 2 * found / (predicted + actual),
        "iou": found / (predicted + actual - found),
        "precision": found / predicted if predicted else 0.0,
        "recall": found / actual,
        "dice_predict_everything": 2 * findable / (tissue + actual),
    }
    ranked = result.tissue | reference
    truth, score = reference[ranked], result.predicted_activation()[ranked]
    if not truth.all():
        values["pixel_ap"] = float(average_precision_score(truth, score))
        values["pixel_auc"] = float(roc_auc_score(truth, score))
    return values
