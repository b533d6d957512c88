"""From an extracted network and a store to a report: `compseg evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from compseg_jax.config.locations import Location, refuse_url
from compseg_jax.config.ranges import Bootstrap, Seed, Share, check_ranges
from compseg_jax.config.serialisation import flat
from compseg_jax.drawing.pictures import colours_shown
from compseg_jax.evaluation.agreement import Agreement, WhereAgreement, with_agreement
from compseg_jax.evaluation.calls import with_calls
from compseg_jax.evaluation.cross_validation import result_of
from compseg_jax.evaluation.departures import with_departures
from compseg_jax.evaluation.left_out import NotScored, nothing_to_score, with_left_out
from compseg_jax.evaluation.matching import dice_without, matched, with_match
from compseg_jax.evaluation.report.report_folder import check_report_folder, write_report
from compseg_jax.evaluation.report.report_source import ReportSource
from compseg_jax.evaluation.report.report_tables import headline, threshold_story
from compseg_jax.evaluation.scales import with_scales
from compseg_jax.evaluation.scores.map_measures import MapFacts
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.summary import evaluate_samples
from compseg_jax.evaluation.shift_equivariance import shift_difference
from compseg_jax.evaluation.sightings import sighting_of, title_of, with_sightings
from compseg_jax.evaluation.verdict import unchecked, with_verdict
from compseg_jax.model import (
    BandImportance,
    Departure,
    Model,
    ModelError,
    Prediction,
    band_importance,
    load_model,
)
from compseg_jax.model.canvas import canvas_px
from compseg_jax.model.importance import importance_flops
from compseg_jax.model.left_out import LeftOut, why_nothing_is_left
from compseg_jax.model.level import Match
from compseg_jax.model.model_card import CARD, figures_of
from compseg_jax.model.model_description import UNSEALED
from compseg_jax.model.model_files import add_evaluation
from compseg_jax.model.run_folder import model_of_run, run_of, store_of
from compseg_jax.model.seen import Sighting
from compseg_jax.model.training_trouble import TROUBLE, trouble_of
from compseg_jax.readers.amide_i import AMIDE_I_CM1
from compseg_jax.readers.cube import Cube
from compseg_jax.runtime.together import is_first, spread, told
from compseg_jax.runtime.tracking import track
from compseg_jax.store.read import Sample, Store, StoreError

PREVIEW_PERCENTILES = (1, 99)
FEWEST_CHANNELS_EXPLAINED = 8  # of images without wavenumbers: three colours need no figure
EXPLAINED_SAMPLES = (12, 6, 3)  # most, and what is tried where that takes too long
LONGEST_EXPLANATION_S = 20.0
COMPILATION_S = 3.0  # of the programs for one size of canvas
FLOPS_A_SECOND = {"cpu": 4e10}  # measured on two cores; a cautious figure for everything else:
ACCELERATOR_FLOPS_A_SECOND = 2e12
SETTINGS_SHOWN = (
    "recipe",
    "config",
    "best_epoch",
    "epochs_trained",
    "parameters",
    "weights_sha256",
    "versions",
)


TRACKED_FILES = ("report.html", "metrics.json", "samples.csv", "importance.csv")


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, on what, and where to."""

    model: Location = Path("runs/train/model")
    """Run of `compseg train`, of one network or an ensemble, or its folder model; a URL too."""
    data: Location | None = None
    """Store, directory or URL, as made by `compseg ingest` or `compseg phantom`; the one that the model was trained on,
    where its run says which, else ./data, when not given."""
    out: Path = Path("runs/report")
    """Folder of the report; an older report there is replaced, anything else is left alone."""
    split: str = "test"
    """Split to evaluate: train, val or test."""
    threshold: Share | None = None
    """Activation above which a pixel is segmented, 0 to 1; the model's own when not given."""
    match: Literal["auto", "no"] = "auto"
    """'auto': where 8 samples or more lie lower or higher on the maps than the validation samples, by more than chance,
    as on another array, day or instrument, maps are moved towards their level, without any label (docs/decisions/73).
    'no', and with --threshold: maps as the network gives them."""
    bootstrap: Bootstrap = 1000
    """Resamples for the 95 % intervals."""
    seed: Seed = 0
    """Seed of the resampling."""
    network: str = ""
    """Network of your own that the model may import, as package.module:Class; code that a model names is not run
    otherwise."""
    importance: Literal["auto", "yes", "no"] = "auto"
    """Show which bands drive the segmentation of up to 12 diseased samples. 'auto': for spectra, where fewer than 20
    seconds are expected, of 6 or 3 samples if need be. docs/report.md says how to read it."""
    to_training_scale: bool = False
    """Bring samples whose pixels are of another size than in training to that size, and their maps back."""
    title: str = ""
    """Heading of the report; made from store and split when empty."""

    def __post_init__(self) -> None:
        check_ranges(self)
        refuse_url(self.out, "reports are written to a folder. Name one, and copy it from there")


@dataclass(frozen=True)
class _Looked:
    """What is kept of a sample once its prediction is gone."""

    result: SampleResult
    dice_without: float | None
    agreement: Agreement
    where: WhereAgreement
    departure: Departure | None
    sighting: Sighting | None
    scale: float | None
    left_out: LeftOut
    notes: tuple[str, ...]


def evaluate(
    options: EvaluateOptions, *, progress: Callable[[float, int], None] = lambda done, total: None
) -> tuple[Path, str]:
    """Evaluates and writes the report; returns the path of report.html and the headline numbers.

    Of several processes that were joined each looks at its share of the samples, and the first one writes.

    Args:
      options: what to evaluate, on what, and where to.
      progress: told how many samples are done, and of how many.

    Raises:
      StoreError, ModelError, FileExistsError: before any work, when the inputs do not fit together.
    """
    check_report_folder(options.out)
    model = load_model(options.model, network=options.network).with_threshold(options.threshold)
    store = Store.open(store_of(options.model) if options.data is None else options.data)
    samples = store.split(options.split)
    if not samples:
        splits = sorted({sample.split for sample in store.samples})
        raise StoreError(
            f"{store.path} has no samples in the split {options.split!r}, only in {', '.join(splits)}. "
            "Choose one with --split."
        )
    if options.match == "no" or options.threshold is not None:
        match = Match.none("not asked for" if options.match == "no" else "a threshold was given")
    else:
        model, match = matched(model, store, samples, to_training_scale=options.to_training_scale)
    looked: list[_Looked | NotScored] = []
    seen = spread(lambda some: _looked_at(options, model, store, some), samples)
    for number, each in enumerate(seen, 1):
        if is_first():  # the maps of all samples are kept by the process that draws them
            looked.append(each)
        progress(number, len(samples))
    return told(lambda: _reported(options, model, match, store, looked))


def _looked_at(
    options: EvaluateOptions, model: Model, store: Store, samples: Sequence[Sample]
) -> Iterator[_Looked | NotScored]:
    """Predicts samples of a store, and keeps what the report says of them."""
    for sample, cube, prediction in model.predict_store(
        store, samples, to_training_scale=options.to_training_scale
    ):
        if not prediction.tissue.any():
            yield NotScored(sample.id, why_nothing_is_left(prediction.left_out, prediction.tissue.size))
            continue
        where = WhereAgreement.empty()
        if sample.label == 1 and len(model.networks) > 1:
            where = WhereAgreement.of_prediction(prediction, model.threshold)
        yield _Looked(
            result=(result := _result(store, sample, cube, prediction, model.threshold)),
            dice_without=dice_without(result, prediction, model),
            agreement=Agreement.of(prediction, model.threshold, model.area_cut_in_use),
            where=where,
            departure=prediction.departure,
            sighting=sighting_of(model, sample, cube),
            scale=prediction.scale,
            left_out=dict(prediction.left_out),
            notes=tuple(prediction.notes),
        )


def _reported(
    options: EvaluateOptions,
    model: Model,
    match: Match,
    store: Store,
    seen: Sequence[_Looked | NotScored],
) -> tuple[Path, str]:
    """Writes the report; returns its page and the headline numbers."""
    looked = [each for each in seen if isinstance(each, _Looked)]
    not_scored = [each for each in seen if isinstance(each, NotScored)]
    if not looked:
        raise nothing_to_score(not_scored)
    results = [each.result for each in looked]
    sightings = [each.sighting for each in looked]
    notes = dict.fromkeys(
        note for each in looked for note in each.notes
    )  # in the order they come up, each once
    evaluation = evaluate_samples(
        results,
        threshold=model.threshold,
        seed=options.seed,
        n_bootstrap=options.bootstrap,
        area_rule=model.area_rule(),
        facts=_facts(model),
    )
    trouble = trouble_of(network.description for network in model.networks)
    evaluation = replace(
        evaluation,
        metrics=evaluation.metrics
        | shift_difference(model, store, results, model.threshold)
        | {"second_view": model.description.get("second_view"), TROUBLE: trouble},
    ).with_notes([each["sentence"] for each in trouble])
    if len(model.networks) > 1:
        where = reduce(WhereAgreement.merge, (each.where for each in looked), WhereAgreement.empty())
        evaluation = with_agreement(evaluation, model, [each.agreement for each in looked], where)
    evaluation = with_sightings(evaluation, model, sightings)
    evaluation = with_verdict(evaluation, threshold_supported=_is_supported(model))
    evaluation = evaluation.with_notes(unchecked(evaluation.metrics))
    evaluation = with_calls(with_departures(evaluation, model, [each.departure for each in looked]), model)
    scales = [each.scale for each in looked]
    evaluation = with_scales(evaluation, scales, to_training_scale=options.to_training_scale)
    evaluation = with_left_out(evaluation, [each.left_out for each in looked], not_scored)
    evaluation = with_match(evaluation, match, [each.dice_without for each in looked])
    adapted = [f"Adapted to the model: {note}." for note in notes]
    evaluation = evaluation.with_notes(
        adapted if model.is_sealed else [*adapted, f"{UNSEALED[0].upper()}{UNSEALED[1:]}."]
    )
    settings = _settings(model, store, options)
    title = options.title or title_of(store.name, options.split, sightings)
    page = write_report(
        options.out,
        results,
        evaluation,
        model=settings,
        history=list(model.description.get("history", [])),
        wavenumbers_cm1=model.wavenumbers_cm1,
        importance=_importance(model, store, results, asked=options.importance),
        title=title,
        notes=adapted,
        source=ReportSource(
            model=options.model,
            data=store.path,
            split=options.split,
            weights_sha256=model.weights_sha256,
            threshold_story=threshold_story(settings, model.threshold),
            title=title,
            odds=match.odds,
        ),
    )
    said = [*_kept(options, model, store, evaluation.metrics), *_tracked(options, model, evaluation.metrics)]
    unscored = [f"not scored: {each.id}: {each.why}" for each in not_scored]
    return page, "\n".join([headline(evaluation.metrics), *unscored, *said])


def _kept(options: EvaluateOptions, model: Model, store: Store, metrics: Mapping[str, Any]) -> list[str]:
    """Keeps the figures with the model where it lies in its run and has its own threshold; why not, where it fails."""
    folder = None if options.threshold is not None else model_of_run(options.model)
    if folder is None or len(model.networks) > 1:
        return []
    figures = figures_of(metrics, store=store.name, split=options.split)
    try:
        add_evaluation(folder, model.networks[0], figures)
    except (ModelError, OSError) as error:
        return [f"model card: not written ({error})"]
    return [f"model card: {folder / CARD}"]


def _tracked(options: EvaluateOptions, model: Model, metrics: Mapping[str, Any]) -> list[str]:
    """Sends figures and files of the report to MLflow, where its environment says so; to the run of the training."""
    run = run_of(options.model)
    config = model.description.get("config", {})
    tracking = track(
        run or options.out, {**flat(config), "evaluated": str(options.model)}, is_kept=run is not None
    )
    if tracking is None:
        return []
    numbers = {f"{options.split}/{name}": value for name, value in metrics.items()}
    ends = {
        f"{name}_{end}": each
        for name, value in numbers.items()
        if name.endswith("_ci95") and value
        for end, each in zip(("low", "high"), value, strict=True)
    }
    tracking.metrics({**numbers, **ends})
    tracking.tags({f"{options.split}/verdict": metrics["verdict"]["sentence"]})
    written = (options.out / name for name in TRACKED_FILES)
    tracking.artifacts([path for path in written if path.is_file()], f"report_{options.split}")
    tracking.end("FINISHED")
    return [f"MLflow: run {tracking.run_id}"]


def _facts(model: Model) -> MapFacts:
    depths = [getattr(network.network, "depth", None) for network in model.networks]
    known = [depth for depth in depths if depth is not None]
    return MapFacts.of(max(known) if known else None, model.threshold_choice.get("diseased_fraction"))


def _is_supported(model: Model) -> bool | None:
    """Whether labels determine the threshold in use; None where it was given, or the model does not say."""
    own = model.threshold_choice
    return own.get("supported") if own["threshold"] == model.threshold else None


def _result(
    store: Store, sample: Sample, cube: Cube, prediction: Prediction, threshold: float
) -> SampleResult:
    segmented = prediction.tissue & (prediction.activation > threshold)
    return replace(
        result_of(sample, prediction, store),
        preview=preview(cube.absorbance, prediction.tissue, cube.wavenumbers_cm1),
        spectrum_inside=_mean_spectrum(prediction.absorbance, segmented),
        spectrum_outside=_mean_spectrum(prediction.absorbance, prediction.tissue & ~segmented),
        spread=prediction.spread,
        unfamiliarity=prediction.unfamiliarity,
    )


def _importance(
    model: Model,
    store: Store,
    results: Sequence[SampleResult],
    *,
    asked: Literal["auto", "yes", "no"],
) -> BandImportance | str | None:
    """Importance of the bands, why there is none, or None where it is not wanted or not spectral."""
    few = store.wavenumbers_cm1 is None and store.channels < FEWEST_CHANNELS_EXPLAINED
    if asked == "no" or (asked == "auto" and few):
        return None
    segmented = [r for r in results if r.label == 1 and r.predicted_mask(model.threshold).any()]
    if not segmented:
        return "Not computed: no diseased sample has segmented tissue."
    chosen = _evenly(segmented, EXPLAINED_SAMPLES[0])
    if asked == "auto":
        network = model.networks[0].network
        canvases = {r.id: canvas_px((r.tissue.shape[0], r.tissue.shape[1]), network) for r in segmented}
        flops = {canvas: importance_flops(model, canvas) for canvas in set(canvases.values())}
        tried = [_evenly(segmented, n) for n in EXPLAINED_SAMPLES]
        expected_s = [_expected_s([canvases[each.id] for each in some], flops) for some in tried]
        fitting = [
            some for some, seconds in zip(tried, expected_s, strict=True) if seconds <= LONGEST_EXPLANATION_S
        ]
        if not fitting:
            return (
                f"Not computed: about {expected_s[-1]:.0f} s were expected for {len(tried[-1])} samples. "
                "Evaluate with --importance yes to have it."
            )
        chosen = fitting[0]
    return band_importance(model, ((store.cube(each.id), store.tissue(each.id)) for each in chosen))


def _evenly(results: Sequence[SampleResult], most: int) -> list[SampleResult]:
    """Up to so many, evenly spaced in their order."""
    n = min(most, len(results))
    return [results[i * len(results) // n] for i in range(n)]


def _expected_s(canvases: Sequence[tuple[int, int]], flops: Mapping[tuple[int, int], float]) -> float:
    """Counted, not timed: whether a report has the figure does not depend on what else the machine does."""
    speed = FLOPS_A_SECOND.get(jax.devices()[0].platform, ACCELERATOR_FLOPS_A_SECOND)
    return COMPILATION_S * len(set(canvases)) + sum(flops[canvas] for canvas in canvases) / speed


def _mean_spectrum(absorbance: np.ndarray, pixels: np.ndarray) -> np.ndarray | None:
    return absorbance[pixels].mean(axis=0) if pixels.any() else None


def preview(
    absorbance: np.ndarray, tissue: np.ndarray, wavenumbers_cm1: Sequence[float] | np.ndarray | None
) -> np.ndarray:
    """A picture in [0, 1] of a cube: the band nearest amide I, its own colours, or the mean of the channels.

    But for colours, values are stretched between their 1st and 99th percentile over the tissue; other pixels are 0.
    """
    if wavenumbers_cm1 is None and absorbance.shape[2] == 3 and absorbance.min() >= 0:
        return colours_shown(absorbance)
    if wavenumbers_cm1 is not None:
        picture = absorbance[..., int(np.argmin(np.abs(np.asarray(wavenumbers_cm1) - AMIDE_I_CM1)))]
    elif absorbance.shape[2] == 3:
        picture = absorbance  # prepared, and no colours any more
    else:
        picture = absorbance.mean(axis=-1)
    low, high = np.percentile(picture[tissue], PREVIEW_PERCENTILES)
    stretched = np.clip((picture - low) / max(float(high - low), 1e-12), 0.0, 1.0)
    return np.where(tissue if picture.ndim == 2 else tissue[..., None], stretched, 0.0)


def _settings(model: Model, store: Store, options: EvaluateOptions) -> dict[str, object]:
    settings = {name: model.description[name] for name in SETTINGS_SHOWN if name in model.description}
    return {
        "threshold": model.threshold_choice,
        "model": str(options.model),
        "data": str(store.path),
        "split": options.split,
        **settings,
    }
