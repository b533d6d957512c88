"""The steps between a store and the scaling of a network, and what 'auto' among them stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from compseg_jax.runtime.together import spread
from compseg_jax.spectra.preparation import (
    OfImage,
    Preparation,
    Training,
    axis_of_steps,
    check_steps,
    parse_steps,
    refuse_without_wavenumbers,
    with_step,
)
from compseg_jax.store.check_tissue import background_among_tissue
from compseg_jax.store.own_scale import TELLS_FROM_AUC, own_scale_tells
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample

NORMALISING = frozenset({"mie", "rmies", "emsc", "vector", "snv", "amide1", "area", "zscore"})
LEAST_CHANNELS_FOR_EMSC = 16
MOST_CHANNELS_OF_IMAGES = 4
"""Grey, colour, and colour with one more; cubes of more hold spectra of some kind."""


def instead_of_auto(
    cubes: PreparedStore, samples: Sequence[Sample], words: Sequence[str]
) -> tuple[list[str], str]:
    """The steps with 'auto' replaced, and a line for the user where the images decided.

    'auto' is nothing where a step has normalised the cubes already. Else it is ``emsc`` for spectra of at least 16
    channels with their wavenumbers, after ``tissue`` where background counts as tissue (`background_among_tissue`),
    ``vector`` for more than four channels without (masses, stains), and ``zscore`` for ordinary images, but where the
    scale of the training images tells their labels (`own_scale_tells`).
    """
    store = cubes.store
    applied = {each["step"] for each in store.preparation or ()}
    if "auto" not in words or applied & NORMALISING:
        return [word for word in words if word != "auto"], ""
    step, told = "", ""
    before: list[str] = []
    if store.wavenumbers_cm1 is not None:
        step = "emsc" if store.channels >= LEAST_CHANNELS_FOR_EMSC else ""
        if step and (share := background_among_tissue(cubes, samples)):
            before = ["tissue"]
            told = (
                f"every pixel counts as tissue, but {100 * share:.0f} % of them have no amide I band. They are left "
                "out (steps tissue and emsc): EMSC would bring their noise to the height of tissue. To keep them: "
                "--prepare emsc"
            )
    elif store.channels > MOST_CHANNELS_OF_IMAGES:
        step = "vector"
    elif (auc := own_scale_tells(cubes, samples)) < TELLS_FROM_AUC:
        step = "zscore"
    else:
        told = (
            "images are not brought onto a scale of their own (zscore): mean or contrast of the whole image tells "
            f"the label (AUC {auc:.2f}), and each of its pixels then would. Where scanners differ, correct for that "
            "first"
        )
    found = [*before, step] if step else []
    return [each for word in words for each in (found if word == "auto" else [word])], told


def fit_input_preparation(
    cubes: PreparedStore, samples: Sequence[Sample], words: Sequence[str]
) -> Preparation | None:
    """Fits the steps between store and scaling on training samples; None where there are none.

    'auto' stands for what `instead_of_auto` says.

    Raises:
      ValueError: when a step is unknown or does not fit the store.
    """
    store = cubes.store
    steps = parse_steps(instead_of_auto(cubes, samples, words)[0])
    if not steps:
        return None
    refuse_without_wavenumbers(steps, store.wavenumbers_cm1, f"{store.path}")
    axis = axis_of_steps(store.wavenumbers_cm1, store.channels)
    check_steps(steps, axis)
    fitted = Preparation((), np.asarray(axis, np.float64))
    ids = [sample.id for sample in samples]
    for step in steps:

        def learnt(of_image: OfImage, done: Preparation = fitted) -> Iterator[Training]:
            after = cubes.after(done)
            return spread(lambda some: (of_image(after.image(each)) for each in some), ids)

        fitted = with_step(fitted, step, learnt)
    return fitted
