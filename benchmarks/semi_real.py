"""Semi-real arrays: measured infrared spectra in cores that are made of noise, measured by a simulated instrument.

    python -m benchmarks.semi_real --array array_tune_1 --out data/array_tune_1 [--size 64] [--channels 234]

The spectra of four kinds of tissue (``formats/csv/collagen.csv``: collagen, DNA, glycogen, lipids, with the spread
they were measured with) and of Matrigel (``formats/octavvs_reference_mat/matrigel.mat``) are mixed into tissues;
which mixture is tumour, how large and how fine it grows, how strong scatter and noise are, is the array's recipe.
Training and validation spots lie on one array, test spots on another with its own batch effect and layout. Arrays
called ``array_tune_…`` are for choosing; recipes of ``array_report_…`` come from other ranges and are for reporting.
The spectra are found by COMPSEG_SHARED_DATA.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from benchmarks.semi_real_layout import TISSUES, LayoutRecipe, draw_layout
from compseg_jax.ingest.phantom.bands import BANDS
from compseg_jax.ingest.phantom.histology import Grid, smooth_fields
from compseg_jax.ingest.phantom.measurement import SPHERE_RADII_UM, draw_array_effect, mie_extinction
from compseg_jax.readers.recognition import read_spectra
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter

FIRST_WAVENUMBER_CM1, LAST_WAVENUMBER_CM1 = 1784.0, 920.0  # 17 cm⁻¹ inside what was measured
MEASURED = ("DNA", "collagen", "glycogen", "lipids")
COMPONENTS = (*MEASURED, "matrigel")
MODES = 4  # principal components of the spread within a kind of measured tissue
PIXEL_SIZE_UM = 10.0
THICKNESS_UM, COMPOSITION_UM, SCATTER_UM = 150.0, 80.0, 110.0  # correlation lengths
RADIUS_STEPS = 16
# Lines of the ν₂ band of water vapour, cm⁻¹, as every FTIR spectrum of moist air shows them.
VAPOUR_CM1 = (
    1456.9, 1473.5, 1490.8, 1496.2, 1507.1, 1521.3, 1539.1, 1558.5, 1569.8, 1576.2, 1617.0, 1623.6, 1635.7, 1646.0,
    1653.3, 1662.8, 1669.4, 1675.2, 1684.8, 1695.9, 1699.9, 1706.4, 1717.4, 1734.7, 1739.8, 1751.4, 1772.7,
)  # fmt: skip
VAPOUR_FWHM_CM1 = 6.0
_RECIPE_STREAM, _EFFECT_STREAM, _SPOT_STREAM = 51, 52, 53

# Amounts of COMPONENTS in healthy tissues.  DNA   collagen glycogen lipids matrigel
_HEALTHY: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "epithelium": (0.50, 0.05, 0.15, 0.05, 0.25),
        "stroma": (0.08, 0.75, 0.03, 0.04, 0.10),
        "mucus": (0.15, 0.05, 0.65, 0.05, 0.10),
        "fat": (0.10, 0.15, 0.02, 0.68, 0.05),
        "inflammation": (0.70, 0.08, 0.03, 0.05, 0.14),
    }
)


@dataclass(frozen=True)
class ArrayRecipe:
    """What the spots of one array are made of.

    Attributes:
      layout: how cores are built.
      tumour_change: (components,) added to the epithelium's amounts; sums to 0.
      tumour_bands: change of absorbance, relative to amide I, of some of `bands.BANDS` in tumour.
      scatter: absorbance per unit of Mie extinction efficiency.
      noise: absorbance.
      vapour: standard deviation of the vapour's amount over spots, absorbance of its lines.
      variation: of composition, in standard deviations as measured.
      effects: spreads for `draw_array_effect`.
    """

    layout: LayoutRecipe
    tumour_change: tuple[float, ...]
    tumour_bands: Mapping[str, float]
    scatter: float
    noise: float
    vapour: float
    variation: float
    effects: Mapping[str, float]


class Ranges(NamedTuple):
    """From where the recipes of a purpose are drawn, each a low and a high end."""

    changes: tuple[tuple[float, ...], ...]
    """Directions of the tumour's change, of which an array takes a mixture of two."""
    bands: tuple[str, ...]
    contrast: tuple[float, float]
    band_change: tuple[float, float]
    smallest_share: tuple[float, float]
    largest_share: tuple[float, float]
    crypt_um: tuple[float, float]
    region_um: tuple[float, float]
    scatter: tuple[float, float]
    noise: tuple[float, float]


#         DNA   collagen glycogen lipids matrigel
TUNING = Ranges(
    changes=((0.6, 0.0, -1.0, 0.0, 0.4), (0.8, 0.2, -0.5, -0.5, 0.0)),
    bands=("phosphate s", "phosphate as", "amide I beta", "ester C=O"),
    contrast=(0.055, 0.07),
    band_change=(0.004, 0.006),
    smallest_share=(0.08, 0.12),
    largest_share=(0.55, 0.7),
    crypt_um=(40.0, 60.0),
    region_um=(70.0, 100.0),
    scatter=(0.02, 0.035),
    noise=(0.008, 0.012),
)
REPORTING = Ranges(
    changes=((-0.6, 0.0, -0.4, 0.2, 0.8), (0.4, -0.2, -0.8, 0.6, 0.0), (0.3, 0.5, -0.9, 0.0, 0.1)),
    bands=("ribose", "DNA backbone", "carboxylate", "CH2 bending", "glycogen 1155", "amide III"),
    contrast=(0.055, 0.07),
    band_change=(0.004, 0.006),
    smallest_share=(0.12, 0.16),
    largest_share=(0.42, 0.54),
    crypt_um=(64.0, 90.0),
    region_um=(105.0, 140.0),
    scatter=(0.037, 0.055),
    noise=(0.005, 0.0075),
)
ARRAYS: Mapping[str, tuple[int, Ranges]] = MappingProxyType(
    {f"array_tune_{n}": (n, TUNING) for n in (1, 2)}
    | {f"array_report_{n}": (100 + n, REPORTING) for n in (1, 2, 3)}
)


@dataclass(frozen=True)
class SpotPlan:
    """Sizes of the data set.

    Attributes:
      size: pixels along an edge of a spot.
      channels: wavenumbers.
      train, val, test: spots of each split, half of them diseased.
    """

    size: int = 64
    channels: int = 234
    train: int = 100
    val: int = 20
    test: int = 40


@dataclass(frozen=True)
class Fault:
    """How test spots are measured otherwise than those the network was trained on.

    Attributes:
      shift_cm1: added to the calibration error.
      gain: factor of every absorbance.
      scatter: factor of the scatter.
    """

    shift_cm1: float = 0.0
    gain: float = 1.0
    scatter: float = 1.0


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "same": Fault(),
        "shifted": Fault(shift_cm1=15.0),
        "gain": Fault(gain=1.6),
        "no_scatter": Fault(scatter=0.0),
    }
)


class Spot(NamedTuple):
    """One spot: absorbance (y, x, c) float32, 0 without tissue; tissue and tumour (y, x) bool."""

    absorbance: Float[np.ndarray, "y x c"]
    tissue: Bool[np.ndarray, "y x"]
    tumour: Bool[np.ndarray, "y x"]


def recipe_of(name: str, *, test: bool = False) -> ArrayRecipe:
    """The recipe of a named array; that of its test spots has the same tumour in another layout."""
    number, ranges = ARRAYS[name]
    rng = np.random.default_rng([_RECIPE_STREAM, number])

    def draw(bounds: tuple[float, float]) -> float:
        return float(rng.uniform(*bounds))

    first, second = rng.choice(len(ranges.changes), 2, replace=False)
    part = rng.uniform(0.2, 0.8)
    change = part * np.array(ranges.changes[first]) + (1.0 - part) * np.array(ranges.changes[second])
    change *= draw(ranges.contrast) / np.abs(change).max()
    bands = rng.choice(len(ranges.bands), 2, replace=False)
    heights = [draw(ranges.band_change) * float(rng.choice((-1.0, 1.0))) for _ in bands]
    layout = LayoutRecipe(
        crypt_um=draw(ranges.crypt_um),
        region_um=draw(ranges.region_um),
        tumour_um=draw((110.0, 180.0)),
        sharpness=draw((2.5, 5.0)),
        epithelium=draw((0.1, 0.6)),
        mucus=draw((-1.0, -0.3)),
        fat=draw((-1.6, -0.9)),
        inflammation=draw((-1.1, -0.5)),
        margin=draw((0.2, 0.5)),
        septa=draw((0.15, 0.35)),
        tumour_share=(draw(ranges.smallest_share), draw(ranges.largest_share)),
    )
    recipe = ArrayRecipe(
        layout=layout,
        tumour_change=tuple(float(value) for value in change),
        tumour_bands={ranges.bands[band]: height for band, height in zip(bands, heights, strict=True)},
        scatter=draw(ranges.scatter),
        noise=draw(ranges.noise),
        vapour=draw((0.002, 0.006)),
        variation=draw((0.5, 0.7)),
        effects={
            "array_gain": 0.15, "array_response": 0.02, "array_offset": 0.02, "array_slope": 0.02,
            "array_shift_cm1": 1.0, "array_composition": 0.06, "array_thickness": 0.15, "array_scatter": 0.3,
        },
    )  # fmt: skip
    if not test:
        return recipe
    factors = rng.uniform(0.85, 1.2, 4)
    other = replace(
        layout,
        crypt_um=layout.crypt_um * factors[0],
        region_um=layout.region_um * factors[1],
        tumour_um=layout.tumour_um * factors[2],
        epithelium=layout.epithelium + float(rng.uniform(-0.2, 0.2)),
        inflammation=layout.inflammation + float(rng.uniform(-0.2, 0.2)),
    )
    return replace(recipe, layout=other, noise=recipe.noise * float(factors[3]))


@cache
def component_spectra(folder: Path) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "k n m"]]:
    """Axis (rising, cm⁻¹), and of each of COMPONENTS the mean spectrum and `MODES` directions of its spread.

    A spectrum starts from 0 at the upper end and has its amide I maximum at 1; a direction is one standard
    deviation long. Matrigel was measured once and has none.
    """
    tissue = read_spectra(folder / "formats" / "csv" / "collagen.csv")
    matrigel = read_spectra(folder / "formats" / "octavvs_reference_mat" / "matrigel.mat")
    order = np.argsort(tissue.wavenumbers_cm1)
    axis, spectra = tissue.wavenumbers_cm1[order], tissue.absorbance[:, order].astype(np.float64)
    found = np.zeros((len(COMPONENTS), 1 + MODES, axis.size))
    names = np.array(tissue.names)
    for row, name in zip(found, MEASURED, strict=False):
        own = _normalised(axis, spectra[names == name])
        row[0] = own.mean(axis=0)
        _, lengths, directions = np.linalg.svd(own - row[0], full_matrices=False)
        row[1:] = lengths[:MODES, None] / math.sqrt(len(own)) * directions[:MODES]
    up = np.argsort(matrigel.wavenumbers_cm1)
    on_axis = np.interp(axis, matrigel.wavenumbers_cm1[up], matrigel.absorbance[0, up])
    found[-1, 0] = _normalised(axis, on_axis[None])[0]
    return axis, found


def _normalised(axis: Float[np.ndarray, " m"], spectra: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    lifted = spectra - spectra[:, axis > 1780.0].mean(axis=1, keepdims=True)
    return lifted / lifted[:, (axis > 1620.0) & (axis < 1690.0)].max(axis=1, keepdims=True)


def wavenumber_axis(channels: int) -> Float[np.ndarray, " c"]:
    """Equally spaced wavenumbers in cm⁻¹, falling."""
    return np.linspace(FIRST_WAVENUMBER_CM1, LAST_WAVENUMBER_CM1, channels)


def simulate(
    name: str, plan: SpotPlan, indices: range, *, test: bool = False, fault: Fault = FAULTS["same"]
) -> Iterator[tuple[int, Spot]]:
    """Spots of a named array with their labels, healthy (even index) and diseased (odd index) in turn."""
    recipe = recipe_of(name, test=test)
    number, _ = ARRAYS[name]
    grid = Grid(plan.size, PIXEL_SIZE_UM * 64 / plan.size)
    rng = np.random.default_rng([_EFFECT_STREAM, number, test])
    first_share = rng.uniform()
    effect = draw_array_effect(rng, plan.channels, recipe.effects)
    effect = replace(
        effect, shift_cm1=effect.shift_cm1 + fault.shift_cm1, response=effect.response * fault.gain,
        baseline=effect.baseline * fault.gain, scatter=effect.scatter * fault.scatter,
    )  # fmt: skip
    axis = wavenumber_axis(plan.channels)
    columns = _Columns.of(recipe, axis, effect.shift_cm1)
    low, high = recipe.layout.tumour_share
    for index in indices:
        layout_rng, rng = np.random.default_rng([_SPOT_STREAM, number, test, index]).spawn(2)
        # Golden-ratio steps spread the shares evenly; small tumours are the more frequent.
        u = (first_share + index * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0
        diseased = index % 2 == 1
        layout = draw_layout(
            layout_rng, grid, recipe.layout, low + (high - low) * u**1.5 if diseased else None
        )
        tissue = layout.tissue

        def field(length_um: float, count: int = 1) -> Float[np.ndarray, "p n"]:
            return smooth_fields(rng, grid, length_um, count)[:, tissue].T

        amounts = layout.fractions[tissue] @ columns.mixtures
        spot_scores = rng.standard_normal((len(COMPONENTS), MODES))
        pixel_scores = field(COMPOSITION_UM, MODES)
        scores = recipe.variation * (0.7 * spot_scores[None] + 0.7 * pixel_scores[:, None, :])
        spread = np.concatenate([np.ones((*scores.shape[:2], 1)), scores], axis=2)
        uneven = np.exp(
            0.08 * rng.standard_normal(len(COMPONENTS)) + 0.12 * field(COMPOSITION_UM, len(COMPONENTS))
        )
        thickness = effect.thickness * np.exp(0.15 * rng.standard_normal() + 0.2 * field(THICKNESS_UM))
        weights = [
            ((amounts * effect.composition[: len(COMPONENTS)] * uneven)[:, :, None] * spread).reshape(
                len(amounts), -1
            )
        ]
        weights.append(layout.fractions[tissue][:, [TISSUES.index("tumour")]])
        weights = [thickness * each for each in weights]
        strength = (
            recipe.scatter * effect.scatter * np.exp(0.3 * rng.standard_normal() + 0.5 * field(SCATTER_UM))
        )
        radius = (effect.radius_um + 0.8 * field(SCATTER_UM)).clip(*SPHERE_RADII_UM)
        step = columns.radii_um[1] - columns.radii_um[0]
        weights.append(strength * np.clip(1.0 - np.abs(radius - columns.radii_um) / step, 0.0, 1.0))
        weights.append(np.broadcast_to(recipe.vapour * rng.standard_normal(), thickness.shape))
        curve = rng.uniform(-0.02, 0.02, 3) + 0.005 * field(THICKNESS_UM, 3)
        weights.append(curve)
        spectra = np.concatenate(weights, axis=1).astype(np.float32) @ (
            columns.spectra * effect.response
        ).astype(np.float32)
        spectra += effect.baseline.astype(np.float32)
        noise = (recipe.noise * np.linspace(0.8, 1.6, axis.size)).astype(np.float32)
        spectra += noise * rng.standard_normal(spectra.shape, dtype=np.float32)
        absorbance = np.zeros((plan.size, plan.size, axis.size), np.float32)
        absorbance[tissue] = spectra
        yield int(diseased), Spot(absorbance, tissue, layout.tumour)


class _Columns(NamedTuple):
    """What a pixel's absorbance is the weighted sum of, and which amounts of components make each tissue."""

    spectra: Float[np.ndarray, "k c"]
    mixtures: Float[np.ndarray, "t n"]
    radii_um: Float[np.ndarray, " r"]

    @classmethod
    def of(cls, recipe: ArrayRecipe, axis: Float[np.ndarray, " c"], shift_cm1: float) -> _Columns:
        measured_axis, components = component_spectra(Path(os.environ["COMPSEG_SHARED_DATA"]))
        flat = components.reshape(-1, measured_axis.size)
        spectra = np.stack([np.interp(axis - shift_cm1, measured_axis, row) for row in flat])
        change = sum(
            height * _gaussian(axis - shift_cm1, *BANDS[band]) for band, height in recipe.tumour_bands.items()
        )
        radii = np.linspace(*SPHERE_RADII_UM, RADIUS_STEPS)
        vapour = sum(_gaussian(axis, line, VAPOUR_FWHM_CM1) for line in VAPOUR_CM1)
        t = np.linspace(-1.0, 1.0, axis.size)
        rows = [spectra, change[None], mie_extinction(axis, radii), vapour[None], np.stack([t**0, t, t**2])]
        healthy = np.array([_HEALTHY[name] for name in TISSUES[:-1]])
        tumour = (healthy[0] + np.array(recipe.tumour_change)).clip(0.0)
        return cls(np.concatenate(rows), np.concatenate([healthy, tumour[None] / tumour.sum()]), radii)


def _gaussian(axis: Float[np.ndarray, " c"], position_cm1: float, fwhm_cm1: float) -> Float[np.ndarray, " c"]:
    return np.exp(-4.0 * np.log(2.0) * ((axis - position_cm1) / fwhm_cm1) ** 2)


def write_array(folder: Path, name: str, plan: SpotPlan = SpotPlan()) -> None:
    """Writes the store of a named array."""
    train = range(plan.train)
    val = range(plan.train + plan.train % 2, plan.train + plan.train % 2 + plan.val)
    with _writer(folder, plan) as writer:
        for split, indices in (("train", train), ("val", val), ("test", range(plan.test))):
            _add(writer, name, plan, split, indices, FAULTS["same"])


def variant(folder: Path, name: str, fault: str, plan: SpotPlan = SpotPlan()) -> None:
    """Writes the test spots of a named array as one of FAULTS would have them measured."""
    with _writer(folder, plan) as writer:
        _add(writer, name, plan, "test", range(plan.test), FAULTS[fault])


def _writer(folder: Path, plan: SpotPlan) -> StoreWriter:
    return StoreWriter(
        folder,
        channels=plan.channels,
        wavenumbers_cm1=wavenumber_axis(plan.channels),
        pixel_size_um=PIXEL_SIZE_UM * 64 / plan.size,
        background="zero",
        created_by="benchmarks.semi_real",
    )


def _add(writer: StoreWriter, name: str, plan: SpotPlan, split: str, indices: range, fault: Fault) -> None:
    test = split == "test"
    place = f"{name}-{'b' if test else 'a'}"
    spots = simulate(name, plan, indices, test=test, fault=fault)
    for index, (label, spot) in zip(indices, spots, strict=True):
        sample = Sample(
            f"{place}-{index:03d}", label, split, f"{place}-{index:03d}", plan.size, plan.size, True, place
        )
        writer.add(sample, spot.absorbance, spot.tissue, spot.tumour)


def main() -> None:
    """Writes one array."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--array", choices=list(ARRAYS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measured", choices=list(FAULTS), help="the test spots alone, measured so")
    for field in dataclasses.fields(SpotPlan):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    options = vars(parser.parse_args())
    plan = SpotPlan(**{field.name: options[field.name] for field in dataclasses.fields(SpotPlan)})
    if options["measured"]:
        variant(options["out"], options["array"], options["measured"], plan)
    else:
        write_array(options["out"], options["array"], plan)


if __name__ == "__main__":
    main()
