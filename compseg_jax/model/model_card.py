"""README.md of a model folder: what it learnt from, how good it is and on what, its limits, how it is used.

Model cards: Mitchell et al. 2019, 'Model Cards for Model Reporting' (doi 10.1145/3287560.3287596). Everything in it is
read from model.json, so it is written anew when that changes; packages for other programs hold the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import jax

from compseg_jax.drawing.numbers import interval, number, percent
from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.run_folder import GRAFTING
from compseg_jax.networks.receptive_field import receptive_field, why_not_local
from compseg_jax.runtime.versions import __version__

CARD = "README.md"
EVALUATIONS, LEARNT_FROM, LICENCE = "evaluations", "learnt_from", "licence"
"""Entries of model.json that the card is made from; docs/format.md writes them down."""
NOT_STATED = "not stated"
TARGETS = {
    "label": "Labels of whole samples trained it, and no mask: it marks what tells diseased samples from healthy ones "
    "in its training data, which may be something other than the disease.",
    "reference": "Reference masks trained it: it marks what resembles the masked regions of its training data.",
}
NO_DEVICE = "It is for research and no medical device."
NOT_FOR = (
    "Diagnosis, or any decision about a patient. " + NO_DEVICE,
    "Tissue, staining, instruments, sample preparation or scales that it was not evaluated on: evaluate it first.",
    "Saying what causes a disease: it marks what goes along with a label in its training data.",
)
SPLITS = {"train": "trained it", "val": "chose epoch and threshold"}
FIGURES = (
    ("AUC of the segmented area (0.5 is guessing)", "auc_area"),
    ("Dice in diseased samples", "dice_mean"),
    ("Dice of marking everything", "dice_predict_everything"),
    ("Sensitivity of calls", "sensitivity"),
    ("Specificity of calls", "specificity"),
    ("Segmented part of healthy tissue", "false_positive_area_healthy"),
)
SAW_ROLES = ("training", "choice", "training_group", "choice_group")
_PERCENTAGES = frozenset({"false_positive_area_healthy"})
_SHARES = ("auc_area_ci95", "dice_mean_ci95", "n_with_reference", "n_diseased", "n_healthy", "threshold")


def figures_of(metrics: Mapping[str, Any], *, store: str, split: str) -> dict[str, Any]:
    """What a model keeps of an evaluation: figures with intervals, on which samples, and whether it had seen them.

    Args:
      metrics: as in metrics.json.
      store: name of the store.
      split: whose samples they are.
    """
    calls, seen = metrics.get("calls") or {}, metrics.get("seen") or {}
    by_group, verdict = metrics.get("by_group") or {}, metrics.get("verdict") or {}
    return {
        "store": store,
        "split": split,
        "is_test": None if seen.get("unknown") and not any(map(seen.get, SAW_ROLES)) else seen.get("is_test"),
        "seen": seen.get("sentence"),
        "verdict": verdict.get("sentence"),
        "n_groups": by_group.get("n_groups"),
        **{name: metrics.get(name) for name in _SHARES},
        **{
            name: metrics.get(name)
            for name in ("auc_area", "dice_mean", "dice_predict_everything", "false_positive_area_healthy")
        },
        **{
            name: calls.get(name)
            for name in ("sensitivity", "sensitivity_ci95", "specificity", "specificity_ci95")
        },
    }


def with_evaluation(model: ExtractedNetwork, figures: Mapping[str, Any]) -> ExtractedNetwork:
    """The model with the figures of an evaluation, which replace earlier ones of the same store and split."""
    kept = [
        each
        for each in model.description.get(EVALUATIONS, [])
        if (each["store"], each["split"]) != (figures["store"], figures["split"])
    ]
    return replace(model, description={**model.description, EVALUATIONS: [*kept, dict(figures)]})


def card(model: ExtractedNetwork, *, title: str = "", licence: str = "", use: str = "") -> str:
    """The text of the card, Markdown.

    Args:
      model: the model.
      title: heading; made from the training data when empty.
      licence: instead of the model's own.
      use: how it is used, a code block; by this package when empty.
    """
    store = model.description.get(LEARNT_FROM, {}).get("store")
    sections = {
        "What it learnt from": _bullets(_learnt_from(model)),
        "Verdict and figures": "\n\n".join(_figures(model.description)),
        "Limits": _bullets([*_limits(model), *(f"Not for: {each}" for each in NOT_FOR)]),
        "Preparation": "\n".join(steps_in_words(model)) or "None: it takes images as they were measured.",
        "Licence": _licence(licence or model.description.get(LICENCE, NOT_STATED)),
        "Use": f"```\n{use or _use()}\n```",
    }
    heading = title or f"Segmenting network{f' of {store}' if store else ''}"
    text = "\n\n".join(f"## {name}\n\n{content}" for name, content in sections.items())
    return f"# {heading}\n\n{_what(model)}\n\n{text}\n"


def out_of_scope(model: ExtractedNetwork) -> str:
    """What it learnt from and what it is not for, in one line."""
    return " ".join([*_target(model), NO_DEVICE])


def _what(model: ExtractedNetwork) -> str:
    recipe = model.description.get("recipe")
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
    return (
        f"A {type(model.network).__name__} of {parameters:,} parameters that gives every pixel of an image an "
        f"activation from 0 to 1; pixels above {number(float(model.threshold))} are segmented. Trained with compseg_jax"
        f"{f', recipe `{recipe}`' if recipe else ''}. This page is made by compseg_jax {__version__} from "
        "model.json, and again at every evaluation: do not edit it."
    )


def _learnt_from(model: ExtractedNetwork) -> list[str]:
    description = model.description
    known = description.get(LEARNT_FROM)
    said = []
    if known:
        said.append(f"Data: the store `{known['store']}`.")
        for split, role in SPLITS.items():
            n = known[split]
            groups = f" of {n['groups']} groups" if n["groups"] < n["diseased"] + n["healthy"] else ""
            said.append(f"{n['diseased']} diseased and {n['healthy']} healthy samples{groups} {role}.")
    else:
        store = (description.get("config") or {}).get("data")
        named = f"the store `{PurePath(store).name}`; its samples are" if store else ""
        said.append(f"Data: {named or 'the samples are'} not stated, as the model is of an earlier release.")
    if (description.get("config") or {}).get("init_from"):
        said.append("It went on from another network, which learnt from data of its own.")
    if (description.get(GRAFTING) or {}).get("kept"):
        said.append(
            "The most active part of a sample was asked for first; a second phase of training learnt from what was "
            "marked, put into healthy samples."
        )
    pixel = description.get("pixel_size_um")
    said.append(
        f"Axis: {channels_in_words(model)}; pixels of {'unknown size' if pixel is None else f'{pixel:g} µm'}."
    )
    return [*said, *_target(model)]


def _target(model: ExtractedNetwork) -> list[str]:
    target = (model.description.get("config") or {}).get("objective", {}).get("target")
    return [TARGETS[target]] if target in TARGETS else []


def _figures(description: Mapping[str, Any]) -> list[str]:
    evaluations = description.get(EVALUATIONS, [])
    if not evaluations:
        return [
            "Not evaluated: nobody knows how good it is. `compseg evaluate` on samples that it has not seen says it, "
            "here too."
        ]
    return [part for each in evaluations for part in _evaluation(each)]


def _evaluation(found: Mapping[str, Any]) -> list[str]:
    groups = f" of {found['n_groups']} groups" if found["n_groups"] else ""
    samples = f"{found['n_diseased']} diseased and {found['n_healthy']} healthy samples{groups}"
    kind = {True: "a test: it saw none of them before", False: "no test", None: "not known to be a test"}[
        found["is_test"]
    ]
    rows = [
        f"| {title} | {_value(key, found[key])} | {interval(found.get(f'{key}_ci95'))} |"
        for title, key in FIGURES
        if found[key] is not None
    ]
    masks = (
        "" if found["n_with_reference"] else " No reference masks, so nothing says how right its maps are."
    )
    return [
        f"### `{found['store']}`, split {found['split']}: {kind}",
        *([found["verdict"]] if found["verdict"] else []),
        f"{samples}. Seen before: {found['seen'] or 'not known.'}{masks}",
        "\n".join(["| measure | value | 95 % interval |", "|---|---|---|", *rows]),
    ]


def _value(key: str, value: float) -> str:
    return percent(value) if key in _PERCENTAGES else number(value)


def _limits(model: ExtractedNetwork) -> list[str]:
    said = [_view(model), _familiarity(model)]
    second = model.description.get("second_view")
    if second and second.get("where") is not None:
        said.append(
            f"A second network of another view marks the same tissue to {number(second['where'], 2)} (1 is the same, "
            "0 is chance)."
        )
    choice = model.description.get("threshold_choice") or {}
    if choice.get("supported") is False:
        said.append(f"Its threshold was not chosen from data: {choice.get('reason', 'no reason recorded')}.")
    return said


def _view(model: ExtractedNetwork) -> str:
    size = "Images may have any size."
    field = receptive_field(model.network)
    if field is None:
        return f"{size} The whole image bears on every pixel: {why_not_local(model.network)}."
    reached = [field.needed(place, place) for place in range(field.multiple)]
    edge = max(high - low + 1 for low, high in reached)
    smoothed = model.smoothing_px
    smoothing = (
        f" Its map is smoothed by a Gaussian of {smoothed:g} pixels over the tissue." if smoothed else ""
    )
    own = f"A pixel is judged by {edge} × {edge} pixels at most, itself in their middle, and by nothing else."
    return f"{size} {own}{smoothing}"


def _familiarity(model: ExtractedNetwork) -> str:
    known = model.distribution
    if known is None:
        return (
            "It keeps no training distribution, so it cannot say that an image lies outside of its training."
        )
    return (
        "Images that lie outside of its training (by T² or Q of their spectra"
        f"{', or by texture' if known.texture is not None else ''}) are called undecided; the limits are from "
        f"{known.samples} held-out samples. Images inside may be wrong, too."
    )


def _licence(licence: str) -> str:
    if licence == NOT_STATED:
        return "Not stated: ask those who trained it before you use it or hand it on."
    return licence


def _use() -> str:
    return (
        "compseg predict FILES --model THIS_FOLDER --out predictions\n\n"
        "from compseg_jax.model import load_model\n"
        'model = load_model("THIS_FOLDER")\n'
        "activation = model(cube)  # a Cube, as compseg_jax.readers.read gives it"
    )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def channels_in_words(model: ExtractedNetwork) -> str:
    """The channels and their axis."""
    axis, channels = model.wavenumbers_cm1, len(model.scaling.mean)
    if axis is None:
        return f"{channels} channels"
    return f"{channels} wavenumbers, {axis[0]:g} … {axis[-1]:g} cm⁻¹"


def steps_in_words(model: ExtractedNetwork) -> list[str]:
    """The steps that raw spectra go through before the network, numbered; empty where it takes raw ones."""
    preparation = model.preparation
    if preparation is None:
        return []
    listed = ((each.step.name, each.step.in_words()) for each in preparation.steps)
    return [
        f"{place}. {name}" + (f" ({words})" if words else "") for place, (name, words) in enumerate(listed, 1)
    ]
