"""Where the cores of a simulated tissue array lie and what they look like.

Cores are irregular textured discs on a turned, jittered grid; some are missing, some broken, and debris
lies between. Everything is a function of (configuration, seed) alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from compseg_jax.ingest.cores.grid import Core, CoreGrid, Status, core_name

EXTENT_QUANTILE = 0.98
_LAYOUT_STREAM, _CORE_STREAM, _DEBRIS_STREAM = 11, 12, 13  # keep the random numbers apart
_TEXTURE = 0.25  # spread of the thickness within a core
_GAP_LEVEL = -1.9  # of the texture, in standard deviations, below which there is no tissue

Shape = Literal["whole", "half", "folded", "fragments"]
BROKEN_SHAPES: tuple[Shape, ...] = ("half", "folded", "fragments")


@dataclass(frozen=True)
class ArrayPhantom:
    """What kind of tissue array to simulate."""

    rows: int = 10
    """Number of rows, at least 1."""
    columns: int = 15
    """Number of columns, at least 1."""
    missing: float = 0.1
    """Share of positions without a core; outer rows and columns keep one, or they could not be seen."""
    broken: float = 0.1
    """Share of the cores of which a half, a folded half or fragments are left."""
    rotation_deg: float = 3.0
    """By how much the rows are turned against the x axis, positive clockwise on the screen."""
    jitter: float = 0.15
    """Largest distance of a core from its position along either axis, as a share of the pitch."""
    pitch_px: tuple[float, float] = (40.0, 40.0)
    """Distance of rows and of columns (y, x)."""
    core_diameter_px: float = 26.0
    """Mean diameter of a core, at least 8 pixels."""
    radius_variation: float = 0.15
    """Largest deviation of a radius from the mean one, as a share of it."""
    debris: float = 0.5
    """Number of specks for each position; the largest has 8 % of a core's area."""
    unevenness: float = 0.3
    """Height of the background's slope over the picture, as a share of the tissue's absorbance."""
    noise: float = 0.05
    """Standard deviation of the noise, absorbance."""
    pixel_size_um: float = 25.0
    """Edge length of a pixel in µm."""

    def __post_init__(self) -> None:
        """Refuses values that no array can have.

        Raises:
          ValueError: naming the field, the value found and the values allowed.
        """
        rules = (
            ("rows", self.rows >= 1, "1 or more"),
            ("columns", self.columns >= 1, "1 or more"),
            ("missing", 0 <= self.missing < 1, "0 or more, below 1"),
            ("broken", 0 <= self.broken <= 1, "0 to 1"),
            ("rotation_deg", abs(self.rotation_deg) <= 45, "−45° to 45°"),
            ("jitter", 0 <= self.jitter <= 0.5, "0 to 0.5"),
            ("core_diameter_px", self.core_diameter_px >= 8, "8 pixels or more"),
            ("pitch_px", min(self.pitch_px) >= self.core_diameter_px, "the core diameter or more"),
            ("radius_variation", 0 <= self.radius_variation <= 0.5, "0 to 0.5"),
            ("debris", self.debris >= 0, "0 or more"),
            ("noise", self.noise >= 0, "0 or more"),
            ("pixel_size_um", self.pixel_size_um > 0, "more than 0 µm"),
        )
        for name, holds, required in rules:
            if not holds:
                raise ValueError(
                    f"array phantom {name}: found {getattr(self, name)}; required {required}. Change {name}."
                )


class Patch(NamedTuple):
    """A piece of tissue in the scan, at ``top`` and ``left``.

    Attributes:
      thickness: (y, x), 0 where there is no tissue, about 1 elsewhere.
      epithelium: (y, x), share of epithelium in the tissue, 0 to 1; the rest is stroma.
      tumour: (y, x), where a tumour would grow.
    """

    top: int
    left: int
    thickness: Float[np.ndarray, "y x"]
    epithelium: Float[np.ndarray, "y x"]
    tumour: Bool[np.ndarray, "y x"]


@dataclass(frozen=True)
class ArrayLayout:
    """Where everything of one simulated array lies.

    Attributes:
      truth: the cores; centre, radius and area are those of the tissue.
      labels: 1 (diseased) or 0 (healthy) for the name of every core that is not missing.
      patches: the tissue of every core by its name.
      debris: specks between them.
    """

    truth: CoreGrid
    labels: Mapping[str, int]
    patches: Mapping[str, Patch]
    debris: tuple[Patch, ...]


def simulate_layout(config: ArrayPhantom, seed: int) -> ArrayLayout:
    """Draws the cores and the debris of an array; raises ValueError if ``seed`` is negative."""
    if seed < 0:
        raise ValueError(f"array phantom seed: found {seed}; required 0 or more. Choose another seed.")
    rng = np.random.default_rng([_LAYOUT_STREAM, seed])
    places, shape_px = _places(config, rng)
    missing = _drawn_missing(config, rng)
    shapes = np.where(rng.random(missing.size) < config.broken, rng.integers(0, 3, missing.size), -1)
    diseased = rng.permutation(np.arange(missing.size) % 2)
    cores, labels, patches = [], {}, {}
    for k, place in enumerate(places):
        row, column = divmod(k, config.columns)
        name = core_name(row, column)
        if missing[k]:
            radius = config.core_diameter_px / 2
            y_px, x_px = place.tolist()
            cores.append(Core(name, row, column, y_px, x_px, radius, "missing", 0.0, False))
            continue
        shape: Shape = "whole" if shapes[k] < 0 else BROKEN_SHAPES[shapes[k]]
        patches[name] = _core_patch(config, np.random.default_rng([_CORE_STREAM, seed, k]), place, shape)
        labels[name] = int(diseased[k])
        state = _measured(patches[name], config.core_diameter_px)
        status: Status = "present" if shape == "whole" else "broken"
        cores.append(Core(name, row, column, *state[:3], status, state[3]))
    truth = CoreGrid(
        tuple(cores),
        config.rotation_deg,
        config.pitch_px,
        config.core_diameter_px,
        shape_px,
        f"phantom {seed}",
    )
    return ArrayLayout(truth, labels, patches, _debris(config, seed, shape_px))


def _places(
    config: ArrayPhantom, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 2"], tuple[int, int]]:
    """Centres (y, x), row by row, and the shape of a scan that holds them all."""
    turn = math.radians(config.rotation_deg)
    pitch_y, pitch_x = config.pitch_px
    index = np.mgrid[: config.rows, : config.columns].reshape(2, -1).T + rng.uniform(
        -config.jitter, config.jitter, (config.rows * config.columns, 2)
    )
    v, u = index[:, 0] * pitch_y, index[:, 1] * pitch_x
    places = np.stack(
        [math.cos(turn) * v + math.sin(turn) * u, math.cos(turn) * u - math.sin(turn) * v], axis=1
    )
    margin = 0.9 * max(config.pitch_px) * rng.uniform(0.9, 1.3, 2)
    places += (margin - places.min(axis=0))[None]
    height, width = np.ceil(places.max(axis=0) + margin).astype(int).tolist()
    return places, (height, width)


def _drawn_missing(config: ArrayPhantom, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    missing = np.zeros(config.rows * config.columns, bool)
    missing[rng.permutation(missing.size)[: round(config.missing * missing.size)]] = True
    grid = missing.reshape(config.rows, config.columns)
    for line in (grid[0], grid[-1], grid[:, 0], grid[:, -1]):
        if line.all():
            line[rng.integers(line.size)] = False
    return missing


def _core_patch(
    config: ArrayPhantom, rng: np.random.Generator, place: Float[np.ndarray, " 2"], shape: Shape
) -> Patch:
    """One core with a wavy rim, uneven thickness and small gaps; of a broken one only a part."""
    diameter = config.core_diameter_px
    half = math.ceil(0.75 * diameter)
    centre = np.rint(place).astype(int)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] - (place - centre)[:, None, None]
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    radius = diameter / 2 * (1 + rng.uniform(-config.radius_variation, config.radius_variation))
    rim = 1.0 + sum(
        0.09 / order * rng.standard_normal() * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        for order in range(2, 8)
    )
    coarse, fine = _fields(rng, y.shape, (diameter / 5, diameter / 14))
    thickness = np.exp(_TEXTURE * (coarse + fine) / math.sqrt(2) + 0.2 * rng.standard_normal())
    thickness[(fine < _GAP_LEVEL) | (distance > radius * np.clip(rim, 0.7, 1.2))] = 0
    if shape != "whole":
        thickness = _broken(thickness, (y, x, coarse), shape, rng)
    crypts = 1 / (1 + np.exp(-4 * fine))
    tumour = coarse > np.quantile(coarse[distance < radius], rng.uniform(0.2, 0.8))
    top, left = centre[0] - half, centre[1] - half
    # Only the part with tissue is kept, of a core at the border that inside the scan.
    ys, xs = (np.flatnonzero((thickness > 0).any(axis=axis)) for axis in (1, 0))
    y0, x0 = max(ys[0], -top), max(xs[0], -left)
    part = slice(y0, ys[-1] + 1), slice(x0, xs[-1] + 1)
    maps = (thickness[part].astype(np.float32), crypts[part].astype(np.float32), tumour[part])
    return Patch(int(top + y0), int(left + x0), *maps)


def _broken(
    thickness: Float[np.ndarray, "y x"],
    maps: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape: Shape,
    rng: np.random.Generator,
) -> Float[np.ndarray, "y x"]:
    y, x, field = maps
    turn = rng.uniform(0, 2 * np.pi)
    side = math.cos(turn) * y + math.sin(turn) * x
    if shape == "fragments":
        level = np.quantile(field[thickness > 0], rng.uniform(0.5, 0.7))
        return np.where(field > level, thickness, 0)
    edge = rng.uniform(-0.05, 0.2) * np.abs(side[thickness > 0]).max()
    left_over = np.where(side > edge, thickness, 0)
    return left_over * (1.8 if shape == "folded" else 1.0)


def _fields(
    rng: np.random.Generator, shape: tuple[int, ...], lengths_px: tuple[float, ...]
) -> list[Float[np.ndarray, "y x"]]:
    """Smooth random fields of mean 0 and variance 1."""
    fields = [scipy.ndimage.gaussian_filter(rng.standard_normal(shape), length / 2) for length in lengths_px]
    return [(field - field.mean()) / field.std() for field in fields]


def _measured(patch: Patch, diameter_px: float) -> tuple[float, float, float, float]:
    """Centre (y, x), radius and share of a full core's area of a patch's tissue."""
    pixels = np.argwhere(patch.thickness > 0)
    centre = pixels.mean(axis=0)
    radius = np.quantile(np.linalg.norm(pixels - centre[None], axis=1), EXTENT_QUANTILE)
    fraction = len(pixels) / (math.pi * diameter_px**2 / 4)
    return float(centre[0] + patch.top), float(centre[1] + patch.left), float(radius), fraction


def _debris(config: ArrayPhantom, seed: int, shape_px: tuple[int, int]) -> tuple[Patch, ...]:
    """Small ellipses anywhere."""
    rng = np.random.default_rng([_DEBRIS_STREAM, seed])
    specks = []
    for _ in range(round(config.debris * config.rows * config.columns)):
        radius = config.core_diameter_px / 2 * rng.uniform(0.06, 0.28)
        length, turn = rng.uniform(1.0, 1.8), rng.uniform(0, np.pi)
        half = math.ceil(radius * 2)
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        v, u = math.cos(turn) * y + math.sin(turn) * x, math.cos(turn) * x - math.sin(turn) * y
        inside = (v / length) ** 2 + (u * length) ** 2 <= radius**2
        top, left = (int(rng.integers(0, max(1, length_px - 2 * half))) for length_px in shape_px)
        thickness = (inside * rng.uniform(0.5, 1.2)).astype(np.float32)
        thickness = thickness[: shape_px[0] - top, : shape_px[1] - left]
        specks.append(Patch(top, left, thickness, np.zeros_like(thickness), thickness < 0))
    return tuple(specks)
