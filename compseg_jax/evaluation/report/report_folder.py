"""The report folder, whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from compseg_jax.drawing.document import GENERATOR
from compseg_jax.evaluation.report.importance_figure import importance_csv
from compseg_jax.evaluation.report.page import PageContent, report_page
from compseg_jax.evaluation.report.report_source import SOURCE_FILE, ReportSource
from compseg_jax.evaluation.report.report_tables import samples_csv
from compseg_jax.evaluation.report.tiles import activation_png, mask_png, spread_png, unfamiliarity_png
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model.importance import BandImportance
from compseg_jax.runtime.files import atomic_folder

FILES = ("metrics.json", "samples.csv", "report.html", "importance.csv", SOURCE_FILE)
FOLDERS = ("activation", "mask")
SPREAD_FOLDER, UNFAMILIAR_FOLDER = "spread", "unfamiliar"
PICTURE_FOLDERS = (*FOLDERS, SPREAD_FOLDER, UNFAMILIAR_FOLDER)


def check_report_folder(out: Path) -> None:
    """Refuse a place whose content a new report would destroy; call it before the long work.

    Raises:
      FileExistsError: `out` is a file, or a folder that is neither empty nor a report of ours.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file, required a folder for the report. Choose another --out.")
    found = list(out.iterdir())
    if not found:
        return
    foreign = [path for path in found if path.name not in (*FILES, *PICTURE_FOLDERS)]
    foreign += [path for name in PICTURE_FOLDERS for path in out.glob(f"{name}/*") if path.suffix != ".png"]
    page = out / "report.html"
    if page.is_file() and not foreign:
        with page.open(encoding="utf-8", errors="replace") as stream:
            if GENERATOR in stream.read(1000):
                return
    what = f"it holds {foreign[0].name}" if foreign else "its report.html is missing or not of compseg_jax"
    raise FileExistsError(
        f"{out} is not empty and not a report of compseg_jax ({what}), so it is left alone."
        " Choose another --out or empty the folder."
    )


def write_report(
    out: Path,
    results: Sequence[SampleResult],
    evaluation: Evaluation,
    *,
    model: Mapping[str, object],
    history: Sequence[Mapping[str, object]],
    wavenumbers_cm1: np.ndarray | None,
    title: str,
    importance: BandImportance | str | None = None,
    source: ReportSource | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of an evaluation and return the path of its report.html.

    Writes metrics.json, samples.csv, activation/<id>.png (8-bit value·255), mask/<id>.png (0 or 255), of ensembles
    spread/<id>.png (8-bit, 255 is a standard deviation of .5), of models that keep their training distribution
    unfamiliar/<id>.png (8-bit, above 50 outside of it), and report.html; importance.csv where importance is given;
    source.json where a source is given. A report of an earlier run at `out` is replaced.

    Args:
      out: folder of the report.
      results: the evaluated samples, in the order of `evaluation.samples`.
      evaluation: what `evaluate_samples` returned for them.
      model: settings and provenance, shown as they are; its entry `threshold` (a ThresholdChoice, its
        mapping, or a number) tells how the threshold was chosen.
      history: rows with `epoch`, `loss`, `val_loss`.
      wavenumbers_cm1: (c,) or None where channels are not wavenumbers.
      title: heading of the page.
      importance: of the bands, or the sentence that says why there is none; None: not mentioned.
      source: model and store, which `compseg view` opens.
      notes: sentences below the title, as on what was adapted in the store to suit the model.

    Raises:
      FileExistsError: `out` holds something other than a report.
      ValueError: `results` are not those of `evaluation`.
    """
    if [result.id for result in results] != [row["id"] for row in evaluation.samples]:
        raise ValueError(
            "write_report: results and evaluation.samples differ in ids or order. Pass the same results."
        )
    out = out.resolve()
    check_report_folder(out)
    content = PageContent(title, model, history, wavenumbers_cm1, importance, notes)
    with atomic_folder(out) as staging:
        _fill(staging, results, evaluation, content)
        if source is not None:
            (staging / SOURCE_FILE).write_text(source.to_json(out), encoding="utf-8")
    return out / "report.html"


def _fill(
    folder: Path, results: Sequence[SampleResult], evaluation: Evaluation, content: PageContent
) -> None:
    for name in FOLDERS:
        (folder / name).mkdir()
    numbers = {"format_version": 1, **evaluation.metrics}
    text = json.dumps(numbers, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    (folder / "samples.csv").write_text(samples_csv(evaluation.samples), encoding="utf-8")
    if isinstance(content.importance, BandImportance):
        (folder / "importance.csv").write_text(importance_csv(content.importance), encoding="utf-8")
    threshold = float(str(evaluation.metrics["threshold"]))
    for result in results:
        name = picture_name(result.id)
        (folder / "activation" / name).write_bytes(activation_png(result))
        (folder / "mask" / name).write_bytes(mask_png(result, threshold))
        if result.spread is not None:
            (folder / SPREAD_FOLDER).mkdir(exist_ok=True)
            (folder / SPREAD_FOLDER / name).write_bytes(spread_png(result.spread))
        if result.unfamiliarity is not None:
            (folder / UNFAMILIAR_FOLDER).mkdir(exist_ok=True)
            (folder / UNFAMILIAR_FOLDER / name).write_bytes(unfamiliarity_png(result.unfamiliarity))
    (folder / "report.html").write_text(report_page(results, evaluation, content), encoding="utf-8")


def picture_name(sample_id: str) -> str:
    """`<id>.png`, with characters that no file name may hold written as %XX."""
    safe = re.sub(r'[%/\\:*?"<>|\x00-\x1f]', lambda match: f"%{ord(match[0]):02X}", sample_id)
    return f"{safe}.png"
