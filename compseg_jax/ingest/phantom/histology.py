"""Where each tissue type lies in a simulated core: crypts, stroma, mucus, inflammation, tumour.

Lengths are in µm and typical of colon mucosa: crypts about 90 µm apart and 70 µm wide, with goblet cells and
a lumen inside a ring of epithelium. Everything is a function of a random generator and a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.ingest.phantom.bands import TISSUE_TYPES

CRYPT_SPACING_UM = 90.0
CRYPT_RADIUS_UM = (29.0, 37.0)
MALIGNANT_GLAND_SPACING_UM = 60.0
DENSE_LENGTH_UM = 70.0  # patches of crowded, mucus-poor crypts
DENSE_SHARE = (0.08, 0.30)  # of the tissue
BARE_LENGTH_UM = 110.0  # stroma without crypts
BARE_SHARE = (0.05, 0.25)
INFLAMMATION_LENGTH_UM = 35.0
INFLAMMATION_SHARE = (0.04, 0.16)
TUMOUR_LENGTH_UM = 110.0
POINT_SPREAD = np.array([0.15, 0.7, 0.15])  # of the optics along either axis, per pixel


class Grid(NamedTuple):
    """A square image: pixels along an edge and the edge of a pixel in µm."""

    size: int
    pixel_size_um: float


@dataclass(frozen=True)
class Histology:
    """What is where in one core.

    Attributes:
      tissue: (y, x) bool, the core.
      tumour: (y, x) bool, the reference mask, inside ``tissue``.
      fractions: (y, x, t) float32, volume fraction of each of `TISSUE_TYPES`; the rest is lumen.
    """

    tissue: Bool[np.ndarray, "y x"]
    tumour: Bool[np.ndarray, "y x"]
    fractions: Float[np.ndarray, "y x t"]


def smooth_fields(
    rng: np.random.Generator, grid: Grid, length_um: float, count: int = 1
) -> Float[np.ndarray, "n y x"]:
    """Independent Gaussian random fields of mean 0, variance 1 and correlation length ``length_um``.

    White noise filtered by a Gaussian, in Fourier space: opposite edges continue each other.
    """
    sigma_pixels = length_um / grid.pixel_size_um / 2.0
    frequency = np.hypot(np.fft.fftfreq(grid.size)[:, None], np.fft.rfftfreq(grid.size)[None, :])
    transfer = np.exp(-2.0 * (np.pi * sigma_pixels * frequency) ** 2)
    noise = np.fft.rfft2(rng.standard_normal((count, grid.size, grid.size)))
    fields = np.fft.irfft2(noise * transfer[None], s=(grid.size, grid.size))
    fields -= fields.mean(axis=(1, 2), keepdims=True)
    return fields / fields.std(axis=(1, 2), keepdims=True)


def simulate_histology(rng: np.random.Generator, grid: Grid, tumour_share: float | None) -> Histology:
    """Draws one core.

    Args:
      rng: source of everything random; a core with and one without tumour agree outside the tumour.
      grid: the image.
      tumour_share: the tumour's share of the tissue area, or None for a healthy core.

    Returns:
      The core.
    """
    tissue = _round_core(rng, grid)
    crypts = _crypts(rng, grid, tissue)
    inflammation = _patches(rng, grid, tissue, INFLAMMATION_LENGTH_UM, INFLAMMATION_SHARE)
    healthy = np.zeros((len(TISSUE_TYPES), grid.size, grid.size))
    epithelium, mucus, stroma, inflamed, _ = healthy
    epithelium[:], mucus[:], lumen = crypts
    stroma[:] = np.clip(1.0 - epithelium - mucus - lumen, 0.0, 1.0)
    inflamed[:] = inflammation * (0.9 * stroma + 0.25 * epithelium)
    stroma *= 1.0 - 0.9 * inflammation
    epithelium *= 1.0 - 0.25 * inflammation
    mask = np.zeros_like(tissue)
    fractions = healthy
    if tumour_share is not None:
        mask = _tumour_region(rng, grid, tissue, tumour_share)
        fractions = np.where(mask[None], _malignant_tissue(rng, grid, inflammation), healthy)
    fractions = _blur(fractions * tissue[None]) * tissue[None]
    return Histology(tissue, mask, np.moveaxis(fractions, 0, -1).astype(np.float32))


def _blur(images: Float[np.ndarray, "n y x"]) -> Float[np.ndarray, "n y x"]:
    """Convolves images with the point spread of the optics; nothing lies beyond the edges."""
    before, centre, after = POINT_SPREAD
    for axis in (1, 2):
        images = np.moveaxis(images, axis, -1)
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1)))
        images = before * padded[..., :-2] + centre * images + after * padded[..., 2:]
        images = np.moveaxis(images, -1, axis)
    return images


def _round_core(rng: np.random.Generator, grid: Grid) -> Bool[np.ndarray, "y x"]:
    """A disc with a wavy, frayed rim, slightly off the centre."""
    radius = grid.size / 2.0 * rng.uniform(0.84, 0.93)
    centre = grid.size / 2.0 - 0.5 + rng.uniform(-0.03, 0.03, 2) * grid.size
    y, x = np.mgrid[: grid.size, : grid.size]
    angle = np.arctan2(y - centre[0], x - centre[1])
    rim = np.ones_like(angle)
    for order in range(2, 9):
        rim += 0.05 / order * rng.standard_normal() * np.cos(order * angle + rng.uniform(0.0, 2.0 * np.pi))
    rim += 0.015 * smooth_fields(rng, grid, 25.0)[0]
    return np.hypot(y - centre[0], x - centre[1]) < radius * np.minimum(rim, 1.05)


def _patches(
    rng: np.random.Generator,
    grid: Grid,
    tissue: Bool[np.ndarray, "y x"],
    length_um: float,
    share: tuple[float, float],
) -> Float[np.ndarray, "y x"]:
    """Soft-edged patches, 0 to 1, that cover a drawn share of the tissue."""
    field = smooth_fields(rng, grid, length_um)[0]
    level = np.quantile(field[tissue], 1.0 - rng.uniform(*share))
    return np.clip(0.5 + (field - level) / 0.5, 0.0, 1.0)


def _nearest_centre(
    rng: np.random.Generator, grid: Grid, spacing_um: float, jitter: float
) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "2 y x"]]:
    """Distance in µm to the nearest point of a jittered, rotated, warped hexagonal lattice.

    Also two numbers uniform on [0, 1] that are the same all over the cell of a point.
    """
    cells = int(np.ceil(grid.size * grid.pixel_size_um * 1.5 / spacing_um)) + 6
    offset = rng.uniform(0.5 - jitter, 0.5 + jitter, (2, cells, cells))
    marks = rng.uniform(size=(2, cells, cells))
    position = np.mgrid[: grid.size, : grid.size] - grid.size / 2.0
    warp = smooth_fields(rng, grid, 100.0, 2)
    turn = rng.uniform(0.0, np.pi)
    y, x = (position * grid.pixel_size_um + 14.0 * warp) / spacing_um
    v = np.sin(turn) * x + np.cos(turn) * y + cells / 2.0
    u = np.cos(turn) * x - np.sin(turn) * y + cells / 2.0
    row, column = np.floor(v).astype(int), np.floor(u).astype(int)
    nearest = np.full(v.shape, np.inf)
    marked = np.zeros((2, *v.shape))
    for i in (row - 1, row, row + 1):
        for j in (column - 1, column, column + 1):
            # Every other row is moved by half a cell, which makes the square lattice a hexagonal one.
            gap = np.hypot(i + offset[0, i, j] - v, j + offset[1, i, j] + 0.5 * (i % 2) - 0.25 - u)
            closer = gap < nearest
            nearest = np.where(closer, gap, nearest)
            marked = np.where(closer[None], marks[:, i, j], marked)
    return nearest * spacing_um, marked


def _crypts(
    rng: np.random.Generator, grid: Grid, tissue: Bool[np.ndarray, "y x"]
) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
    """Volume fractions of epithelium, mucus and lumen; crowded in places, missing in others."""
    distance, (girth, goblet) = _nearest_centre(rng, grid, CRYPT_SPACING_UM, 0.16)
    dense = _patches(rng, grid, tissue, DENSE_LENGTH_UM, DENSE_SHARE)
    present = 1.0 - _patches(rng, grid, tissue, BARE_LENGTH_UM, BARE_SHARE) * (1.0 - dense)
    low, high = CRYPT_RADIUS_UM
    radius = (low + (high - low) * girth) * (1.0 + 0.35 * dense)
    crypt = _disc(distance, radius, grid) * present
    inner = _disc(distance, 0.58 * radius * (1.0 - 0.8 * dense), grid) * present
    lumen = _disc(distance, 0.22 * radius, grid) * present * 0.7
    mucus = np.clip(inner - lumen, 0.0, 1.0) * (0.55 + 0.45 * goblet)
    return np.clip(crypt - mucus - lumen, 0.0, 1.0), mucus, lumen


def _disc(
    distance_um: Float[np.ndarray, "y x"], radius_um: Float[np.ndarray, "y x"], grid: Grid
) -> Float[np.ndarray, "y x"]:
    """1 inside the radius, 0 outside, a ramp one pixel wide between."""
    return np.clip((radius_um - distance_um) / grid.pixel_size_um + 0.5, 0.0, 1.0)


def _tumour_region(
    rng: np.random.Generator, grid: Grid, tissue: Bool[np.ndarray, "y x"], share: float
) -> Bool[np.ndarray, "y x"]:
    """One or a few irregular regions that cover a share of the tissue."""
    angle, off_centre = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.2, 0.8)
    y, x = (np.mgrid[: grid.size, : grid.size] - grid.size / 2.0) / (grid.size / 2.0)
    from_focus = np.hypot(y - off_centre * np.sin(angle), x - off_centre * np.cos(angle))
    # Falling away from one focus gathers the tumour; the random field makes its outline irregular.
    field = smooth_fields(rng, grid, TUMOUR_LENGTH_UM)[0] - 3.0 * from_focus
    pixels = max(1, round(share * int(tissue.sum())))
    inside = np.flatnonzero(tissue)
    mask = np.zeros(tissue.size, dtype=bool)
    mask[inside[np.argsort(-field.ravel()[inside], kind="stable")[:pixels]]] = True
    return mask.reshape(tissue.shape)


def _malignant_tissue(
    rng: np.random.Generator, grid: Grid, inflammation: Float[np.ndarray, "y x"]
) -> Float[np.ndarray, "t y x"]:
    """Volume fractions inside a tumour: solid sheets and small disordered glands with thin septa."""
    distance, (girth, _) = _nearest_centre(rng, grid, MALIGNANT_GLAND_SPACING_UM, 0.45)
    glandular = np.clip(0.6 + 0.6 * smooth_fields(rng, grid, 90.0)[0], 0.0, 1.0)
    gland = _disc(distance, MALIGNANT_GLAND_SPACING_UM * (0.45 + 0.15 * girth), grid)
    septum = 0.45 * glandular * (1.0 - gland)
    lumen = 0.30 * glandular * _disc(distance, MALIGNANT_GLAND_SPACING_UM * 0.13 * girth, grid)
    infiltrate = 0.30 * inflammation * (1.0 - septum - lumen)
    mucus = 0.5 * lumen
    return np.stack(
        [np.zeros_like(septum), mucus, septum, infiltrate, 1.0 - septum - lumen - infiltrate], axis=0
    )
