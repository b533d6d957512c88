"""Semi-real arrays: measured infrared spectra in cores that are made of noise, seen by a simulated instrument.

    python -m benchmarks.semi_real --array array_tune_1 --out data/array_tune_1 [--size 64] [--channels 234]
        [--train 100] [--val 20] [--test 40] [--measured shifted]

Spectra of four kinds of tissue (``formats/csv/collagen.csv``: collagen, DNA, glycogen, lipids, with the spread they
were measured with) and of Matrigel (``formats/octavvs_reference_mat/matrigel.mat``) are mixed into tissues as the
array's recipe says (`semi_real_recipes`), laid out by smooth random fields (`semi_real_layout`) and measured: with
varying thickness, Mie extinction, batch effect, baselines, water vapour and noise. Training and validation spots lie
on one array, test spots on another with its own batch effect and layout. Arrays called ``array_tune_…`` are for
choosing, those called ``array_report_…`` have recipes from other ranges and are for reporting. ``--measured`` writes
the test spots alone, measured in a way that a network trained on the array was not made for. COMPSEG_SHARED_DATA says
where the spectra are.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from benchmarks.semi_real_layout import TISSUES, Layout, draw_layout
from benchmarks.semi_real_recipes import ARRAYS, COMPONENTS, EFFECTS, ArrayRecipe, recipe_of
from compseg_jax.ingest.phantom.bands import BANDS
from compseg_jax.ingest.phantom.histology import Grid, simulate_histology, smooth_fields
from compseg_jax.ingest.phantom.measurement import (
    DIALS,
    SPHERE_RADII_UM,
    ArrayEffect,
    draw_array_effect,
    measure,
    mie_extinction,
)
from compseg_jax.readers.recognition import read_spectra
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter

FIRST_WAVENUMBER_CM1, LAST_WAVENUMBER_CM1 = (
    1784.0,
    920.0,
)  # measured 17 cm⁻¹ further, so that axes can be shifted
CORE_UM = 640.0  # edge of a spot's image
MODES = 4  # principal components of the spread within a kind of measured tissue
THICKNESS_UM, COMPOSITION_UM, SCATTER_UM = 150.0, 80.0, 110.0  # correlation lengths
SCATTER_RADIUS_SD_UM = 0.8
SHARE_EXPONENT = 1.5  # share = low + (high − low)·u^1.5: small tumours are the more frequent
# Lines of the ν₂ band of water vapour, cm⁻¹, as spectra of moist air show them.
VAPOUR_CM1 = (
    1456.9, 1473.5, 1490.8, 1496.2, 1507.1, 1521.3, 1539.1, 1558.5, 1569.8, 1576.2, 1617.0, 1623.6, 1635.7, 1646.0,
    1653.3, 1662.8, 1669.4, 1675.2, 1684.8, 1695.9, 1699.9, 1706.4, 1717.4, 1734.7, 1739.8, 1751.4, 1772.7,
)  # fmt: skip
VAPOUR_FWHM_CM1 = 6.0
_RADIUS_STEPS = 16
_EFFECT_STREAM, _SPOT_STREAM = 52, 53


@dataclass(frozen=True)
class Plan:
    """Sizes of the data set.

    Attributes:
      size: pixels along an edge of a spot.
      channels: wavenumbers.
      train: training spots, half of them diseased, as in the other splits.
      val: validation spots.
      test: test spots.
    """

    size: int = 64
    channels: int = 234
    train: int = 100
    val: int = 20
    test: int = 40

    @property
    def grid(self) -> Grid:
        """A spot's image; more pixels are smaller ones."""
        return Grid(self.size, CORE_UM / self.size)

    @property
    def wavenumbers_cm1(self) -> Float[np.ndarray, " c"]:
        """Equally spaced, falling."""
        return np.linspace(FIRST_WAVENUMBER_CM1, LAST_WAVENUMBER_CM1, self.channels)


@dataclass(frozen=True)
class Instrument:
    """How test spots are measured otherwise than an array's own.

    Attributes:
      shift_cm1: added to the calibration error.
      gain: factor of every absorbance, noise apart.
      scatter: factor of the Mie extinction.
    """

    shift_cm1: float = 0.0
    gain: float = 1.0
    scatter: float = 1.0


OWN = Instrument()
PHANTOM = "phantom"
INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType(
    {
        "own": OWN,
        "shifted": Instrument(shift_cm1=15.0),
        "gain": Instrument(gain=1.6),
        "no_scatter": Instrument(scatter=0.0),
    }
)
"""Ways to measure test spots; `PHANTOM`, another tissue on the same axis, stands beside them."""


class Spot(NamedTuple):
    """One spot: absorbance (y, x, c) float32, 0 without tissue; tissue and tumour (y, x) bool."""

    absorbance: Float[np.ndarray, "y x c"]
    tissue: Bool[np.ndarray, "y x"]
    tumour: Bool[np.ndarray, "y x"]


@cache
def component_spectra(folder: Path) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "n k m"]]:
    """The measured spectra that everything is mixed from.

    Args:
      folder: the shared data.

    Returns:
      Axis in cm⁻¹, rising; and of each of COMPONENTS its mean spectrum and `MODES` principal directions of its
      spread, one standard deviation long. A spectrum is 0 at the upper end and 1 at the maximum of amide I.
      Matrigel was measured once and has no spread.
    """
    tissue = read_spectra(folder / "formats" / "csv" / "collagen.csv")
    matrigel = read_spectra(folder / "formats" / "octavvs_reference_mat" / "matrigel.mat")
    rising = np.argsort(tissue.wavenumbers_cm1)
    axis, spectra = tissue.wavenumbers_cm1[rising], tissue.absorbance[:, rising].astype(np.float64)
    once = np.interp(axis, matrigel.wavenumbers_cm1, matrigel.absorbance[0])
    components = np.zeros((len(COMPONENTS), 1 + MODES, axis.size))
    for rows, name in zip(components, COMPONENTS, strict=True):
        own = spectra[np.array(tissue.names) == name] if name in tissue.names else once[None]
        own = own - own[:, axis > 1780.0].mean(axis=1, keepdims=True)
        own /= own[:, (axis > 1620.0) & (axis < 1690.0)].max(axis=1, keepdims=True)
        rows[0] = own.mean(axis=0)
        _, lengths, directions = np.linalg.svd(own - rows[0], full_matrices=False)
        count = min(MODES, len(own))
        rows[1 : 1 + count] = lengths[:count, None] / math.sqrt(len(own)) * directions[:count]
    return axis, components


def simulate(
    name: str, plan: Plan, indices: range, *, test: bool = False, instrument: Instrument = OWN
) -> Iterator[tuple[int, Spot]]:
    """Label and spot for each index of one of ARRAYS: healthy ones have even indices, diseased ones odd ones.

    Args:
      name: the array.
      plan: its sizes.
      indices: which spots.
      test: whether the spots lie on the array of the test spots.
      instrument: what is done differently to them.
    """
    recipe = recipe_of(name, test=test)
    number, _ = ARRAYS[name]
    array_rng = np.random.default_rng([_EFFECT_STREAM, number, test])
    first_share = array_rng.uniform()
    effect = draw_array_effect(array_rng, plan.channels, EFFECTS)
    effect = replace(
        effect,
        shift_cm1=effect.shift_cm1 + instrument.shift_cm1,
        response=effect.response * instrument.gain,
        baseline=effect.baseline * instrument.gain,
        scatter=effect.scatter * instrument.scatter,
    )
    basis = _basis(recipe, effect, plan.wavenumbers_cm1)
    low, high = recipe.layout.tumour_share
    for index in indices:
        layout_rng, physics_rng = np.random.default_rng([_SPOT_STREAM, number, test, index]).spawn(2)
        diseased = index % 2 == 1
        # Golden-ratio steps spread the tumours of an array evenly over the bounds.
        u = (first_share + index * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0
        share = low + (high - low) * u**SHARE_EXPONENT if diseased else None
        layout = draw_layout(layout_rng, plan.grid, recipe.layout, share)
        absorbance = np.zeros((plan.size, plan.size, plan.channels), np.float32)
        absorbance[layout.tissue] = _measured(physics_rng, plan.grid, layout, recipe, effect, basis)
        yield int(diseased), Spot(absorbance, layout.tissue, layout.tumour)


def _basis(
    recipe: ArrayRecipe, effect: ArrayEffect, axis: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "w c"]:
    """What a spectrum is a sum of, row for row as `_measured` weights it."""
    measured_axis, components = component_spectra(shared_data())
    bands_axis = axis - effect.shift_cm1
    t = np.linspace(-1.0, 1.0, axis.size)
    rows = [
        *(np.interp(bands_axis, measured_axis, row) for row in components.reshape(-1, measured_axis.size)),
        np.sum(
            [height * _band(bands_axis, *BANDS[name]) for name, height in recipe.tumour_bands.items()], axis=0
        ),
        *mie_extinction(axis, np.linspace(*SPHERE_RADII_UM, _RADIUS_STEPS)),
        np.sum([_band(axis, line, VAPOUR_FWHM_CM1) for line in VAPOUR_CM1], axis=0),
        *(t**0, t, t**2),
    ]
    return (np.array(rows) * effect.response).astype(np.float32)


def _band(axis: Float[np.ndarray, " c"], position_cm1: float, fwhm_cm1: float) -> Float[np.ndarray, " c"]:
    return np.exp(-4.0 * np.log(2.0) * ((axis - position_cm1) / fwhm_cm1) ** 2)


def _measured(
    rng: np.random.Generator,
    grid: Grid,
    layout: Layout,
    recipe: ArrayRecipe,
    effect: ArrayEffect,
    basis: Float[np.ndarray, "w c"],
) -> Float[np.ndarray, "p c"]:
    """Absorbance of the tissue pixels of one spot, in the order of the mask, float32."""
    tissue, fractions = layout.tissue, layout.fractions[layout.tissue]
    n, pixels = len(COMPONENTS), len(fractions)

    def field(length_um: float, count: int = 1) -> Float[np.ndarray, "p k"]:
        return smooth_fields(rng, grid, length_um, count)[:, tissue].T

    spot_scores, pixel_scores = rng.standard_normal((n, MODES)), field(COMPOSITION_UM, MODES)
    scores = 0.7 * recipe.variation * (spot_scores[None] + pixel_scores[:, None, :])
    of_component = np.concatenate([np.ones((pixels, n, 1)), scores], axis=2)
    uneven = np.exp(0.08 * rng.standard_normal(n) + 0.12 * field(COMPOSITION_UM, n))
    # The effect has a factor for each constituent of the phantom, of which there are more.
    amounts = fractions @ recipe.mixtures() * effect.composition[:n] * uneven
    thickness = effect.thickness * np.exp(0.15 * rng.standard_normal() + 0.2 * field(THICKNESS_UM))
    uneven_scatter = np.exp(0.3 * rng.standard_normal() + 0.5 * field(SCATTER_UM))
    strength = recipe.scatter * effect.scatter * uneven_scatter
    radius_um = (effect.radius_um + SCATTER_RADIUS_SD_UM * field(SCATTER_UM)).clip(*SPHERE_RADII_UM)
    # Linear interpolation of the extinction between tabulated radii makes scatter a part of one product.
    radii_um, step_um = np.linspace(*SPHERE_RADII_UM, _RADIUS_STEPS, retstep=True)
    weights = [
        thickness * (amounts[:, :, None] * of_component).reshape(pixels, -1),
        thickness * fractions[:, [TISSUES.index("tumour")]],
        strength * np.clip(1.0 - np.abs(radius_um - radii_um) / step_um, 0.0, 1.0),
        np.full((pixels, 1), recipe.vapour * rng.standard_normal()),
        rng.uniform(-0.02, 0.02, 3) + 0.005 * field(THICKNESS_UM, 3),
    ]
    spectra = np.concatenate(weights, axis=1).astype(np.float32) @ basis
    spectra += effect.baseline.astype(np.float32)
    # The detector loses sensitivity towards its cut-off at low wavenumbers.
    noise = (recipe.noise * np.linspace(0.8, 1.6, spectra.shape[1])).astype(np.float32)
    spectra += noise * rng.standard_normal(spectra.shape, dtype=np.float32)
    return spectra


def simulate_phantom(name: str, plan: Plan, indices: range) -> Iterator[tuple[int, Spot]]:
    """As `simulate`, but the spots are the phantom's colon tissue, measured by the phantom's instrument."""
    number, _ = ARRAYS[name]
    dials = DIALS.at(1.0)
    effect = draw_array_effect(np.random.default_rng([_EFFECT_STREAM, number]), plan.channels, dials)
    for index in indices:
        layout_rng, physics_rng = np.random.default_rng([_SPOT_STREAM, number, index]).spawn(2)
        diseased = index % 2 == 1
        histology = simulate_histology(layout_rng, plan.grid, 0.3 if diseased else None)
        absorbance = np.zeros((plan.size, plan.size, plan.channels), np.float32)
        absorbance[histology.tissue] = measure(
            physics_rng, plan.grid, histology, plan.wavenumbers_cm1, effect, dials
        )
        yield int(diseased), Spot(absorbance, histology.tissue, histology.tumour)


def shared_data() -> Path:
    """The folder that COMPSEG_SHARED_DATA names.

    Raises:
      ValueError: where it names none.
    """
    folder = os.environ.get("COMPSEG_SHARED_DATA", "")
    if not Path(folder, "formats").is_dir():
        raise ValueError(
            f"COMPSEG_SHARED_DATA: found {folder!r}; required is the folder that holds formats/csv/collagen.csv. "
            "Set it to the place of the shared data."
        )
    return Path(folder)


def write_array(folder: Path, name: str, plan: Plan | None = None) -> None:
    """Writes one of ARRAYS as a store, with reference masks.

    Raises:
      StoreError: when ``folder`` exists.
      ValueError: without the measured spectra.
    """
    plan = plan or Plan()
    after_train = plan.train + plan.train % 2
    with _writer(folder, plan) as writer:
        for split, indices in (
            ("train", range(plan.train)),
            ("val", range(after_train, after_train + plan.val)),
            ("test", range(plan.test)),
        ):
            test = split == "test"
            _add(
                writer,
                f"{name}-{'b' if test else 'a'}",
                split,
                indices,
                simulate(name, plan, indices, test=test),
            )


def variant(folder: Path, name: str, measured: str, plan: Plan | None = None) -> None:
    """Writes the test spots of one of ARRAYS, measured as one of INSTRUMENTS, or `PHANTOM` spots in their place.

    Raises:
      StoreError: when ``folder`` exists.
      ValueError: without the measured spectra.
    """
    plan = plan or Plan()
    indices = range(plan.test)
    if measured == PHANTOM:
        spots = simulate_phantom(name, plan, indices)
    else:
        spots = simulate(name, plan, indices, test=True, instrument=INSTRUMENTS[measured])
    with _writer(folder, plan) as writer:
        _add(writer, f"{name}-{measured}", "test", indices, spots)


def _writer(folder: Path, plan: Plan) -> StoreWriter:
    return StoreWriter(
        folder,
        channels=plan.channels,
        wavenumbers_cm1=plan.wavenumbers_cm1,
        pixel_size_um=plan.grid.pixel_size_um,
        background="zero",
        created_by="benchmarks.semi_real",
    )


def _add(
    writer: StoreWriter, place: str, split: str, indices: range, spots: Iterator[tuple[int, Spot]]
) -> None:
    for index, (label, spot) in zip(indices, spots, strict=True):
        name = f"{place}-{index:03d}"
        height, width = spot.tissue.shape
        sample = Sample(name, label, split, name, height, width, True, place)
        writer.add(sample, spot.absorbance, spot.tissue, spot.tumour)


def main() -> None:
    """Writes one array, or its test spots measured in another way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--array", choices=list(ARRAYS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measured", choices=[*INSTRUMENTS, PHANTOM])
    for field in fields(Plan):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    options = parser.parse_args()
    plan = Plan(**{field.name: getattr(options, field.name) for field in fields(Plan)})
    if options.measured is None:
        write_array(options.out, options.array, plan)
    else:
        variant(options.out, options.array, options.measured, plan)


if __name__ == "__main__":
    main()
