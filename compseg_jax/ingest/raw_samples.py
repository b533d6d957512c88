"""The raw image of a row of the table: read, resized, with its masks, and compared with the first one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool
from PIL import Image

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions, MaskKind
from compseg_jax.ingest.table import Row
from compseg_jax.ingest.tissue_arrays import TissueArray
from compseg_jax.readers import Mask, read, read_mask
from compseg_jax.readers.axis import TOLERANCE_CM1, same_axis
from compseg_jax.readers.cube import CHANNEL_NAME, CHANNEL_VALUES, Background, Cube, CubeError
from compseg_jax.readers.masks import DRAWN_SUFFIXES, NoneInsideError
from compseg_jax.readers.scan import CubeScan, ask_for_transmittance
from compseg_jax.spectra.tissue import tissue_from_background
from compseg_jax.store.fingerprint import content_of
from compseg_jax.store.write import SAME_PIXELS


@dataclass(frozen=True, eq=False)
class RawSample:
    """One sample before any preparation.

    Attributes:
      cube: its image, absorbance float32.
      shape: its rows and columns as read, before it was resized.
      tissue: the tissue mask of the table and how it was read, None where it names none.
      own: pixels that belong to this core and not to its neighbours; None for whole images.
      resized_from: hash of the image before it was resized; '' where it was not.
      resized_um: edge of its pixels after that; None where it was not resized, or they are not square any more.
    """

    cube: Cube
    shape: tuple[int, int]
    tissue: Mask | None = None
    own: Bool[np.ndarray, "y x"] | None = None
    resized_from: str = ""
    resized_um: float | None = None

    @property
    def pixel_size_um(self) -> float | None:
        """Edge of a pixel of the image as it is stored; None where unknown."""
        return self.resized_um if self.resized_from else self.cube.pixel_size_um

    @cached_property
    def content(self) -> str:
        """What the image is recognised by, in this store or another."""
        return self.resized_from or content_of(self.cube.absorbance, self.cube.wavenumbers_cm1)

    def candidates(self, background: Background) -> Bool[np.ndarray, "y x"]:
        """Pixels that may hold this sample's tissue: those of its mask, else by the rule of the store."""
        given = self.tissue
        tissue = tissue_from_background(self.cube.absorbance, background) if given is None else given.inside
        return tissue if self.own is None else tissue & self.own


def read_sample(row: Row, array: TissueArray | None, options: IngestOptions) -> RawSample:
    """Reads the image of a row, or cuts its core out of an array.

    Raises:
      IngestError: naming the row, when the file cannot be read or a mask does not fit.
    """
    own = None
    try:
        if array is None:
            cube = read(row.path, **options.instructions.keywords())
            ask_for_transmittance(CubeScan(cube), options.transmittance, row.path)
        else:
            cube, own = array.cut(row.core, options.margin)
    except CubeError as error:
        raise IngestError(f"{row.name}: {error}") from error
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused as such
        absorbance = np.asarray(cube.absorbance, np.float32)
    shape = absorbance.shape[:2]
    resized_from = ""
    if options.resize:
        resized_from = content_of(absorbance, cube.wavenumbers_cm1)
        channels = [_resized(absorbance[..., c], options.resize) for c in range(absorbance.shape[2])]
        absorbance = np.stack(channels, axis=-1)
    resized_um = _resized_um(cube.pixel_size_um, shape, options.resize) if options.resize else None
    pixel_size_um = None if options.resize else cube.pixel_size_um
    cube = replace(cube, absorbance=absorbance, pixel_size_um=pixel_size_um)
    return RawSample(cube, shape, read_mask_of(row, "tissue", shape, options), own, resized_from, resized_um)


def read_mask_of(row: Row, kind: MaskKind, shape: tuple[int, int], options: IngestOptions) -> Mask | None:
    """A mask that the table names for an image of `shape`, resized as the image was; None where it names none.

    Raises:
      IngestError: naming the row, when the file cannot be read as a mask or does not fit the image.
    """
    path = row.reference if kind == "reference" else row.tissue
    if path is None:
        return None
    try:
        mask = read_mask(path, shape=shape, rule=options.mask_rule(kind))
    except CubeError as error:
        # What marks disease is not drawn on a healthy sample.
        if not (isinstance(error, NoneInsideError) and kind == "reference" and row.label == 0):
            words = options.in_mask_words(str(error), kind)
            raise IngestError(f"{row.name}: {words}") from error
        mask = Mask(np.zeros(shape, bool), "GeoJSON: outlines of other classes alone; no area is inside")
    found = mask.inside.shape
    if path.suffix.lower() in DRAWN_SUFFIXES and options.resize and found == (options.resize,) * 2:
        return mask  # drawn on the resized image, as the viewer shows it
    is_squeezed = abs(found[0] * shape[1] / (found[1] * shape[0]) - 1) > PROPORTION_TOLERANCE
    if found != shape and (is_squeezed or not options.resize):
        advice = "Give the mask of this image, turned and cut as it is" if is_squeezed else "Use --resize"
        raise IngestError(
            f"{row.place()}: the mask {path} has {found[0]}×{found[1]} pixels, the image {shape[0]}×{shape[1]}. They "
            f"must match. {advice}."
        )
    if not options.resize:
        return mask
    return replace(mask, inside=_resized(mask.inside, options.resize) >= 0.5)


def along_axis(sample: RawSample, wavenumbers_cm1: np.ndarray) -> RawSample:
    """The sample with its channels reversed where its axis is the given one the other way round, else as it is."""
    cube = sample.cube
    own = cube.wavenumbers_cm1
    if own is None or own.size < 2 or not same_axis(own[::-1], wavenumbers_cm1):
        return sample
    said = f"{cube.provenance.get('axis', 'in the file')}; channels reversed, as the first sample's run"
    turned = replace(
        cube,
        absorbance=cube.absorbance[:, :, ::-1],
        wavenumbers_cm1=own[::-1],
        provenance={**cube.provenance, "axis": said},
    )
    return replace(sample, cube=turned)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """Mean of the pixels that a new, larger one covers; between pixels where the image is enlarged."""
    method = Image.Resampling.BILINEAR if size > min(image.shape) else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), method))


def _resized_um(own_um: float | None, shape: tuple[int, int], size: int) -> float | None:
    """Edge of a pixel after resizing; None where unknown, or no longer a square."""
    height, width = shape
    if own_um is None or abs(height / width - 1) > SAME_PIXELS:
        return None
    return own_um * (height + width) / 2 / size


PROPORTION_TOLERANCE = 0.05
"""By which height to width of an image and its mask may differ where both are resized: thumbnails round to pixels."""
_SAME_CHANNELS = 1e-6
"""Within which m/z and energies are the same, relative: exporters round them to single precision."""


def check_same_axis(first: Cube, other: Cube, first_name: str, other_name: str) -> None:
    """Raises IngestError unless both cubes have the same channels, wavenumbers and pixel size."""
    if first.absorbance.shape[2] != other.absorbance.shape[2]:
        raise IngestError(
            f"{other_name} has {other.absorbance.shape[2]} channels, {first_name} has "
            f"{first.absorbance.shape[2]}; all cubes of a store need the same. "
            "Ingest them separately, or "
            + (
                "save all pictures in grey or all in colour."
                if first.is_picture and other.is_picture
                else "bring them to one axis first: --prepare resample."
            )
        )
    if (first.wavenumbers_cm1 is None) != (other.wavenumbers_cm1 is None):
        raise IngestError(
            f"only one of {first_name} and {other_name} states its wavenumbers; all cubes of a store need the "
            "same axis. Give both, or neither."
        )
    if first.wavenumbers_cm1 is not None and other.wavenumbers_cm1 is not None:
        worst = float(np.max(np.abs(first.wavenumbers_cm1 - other.wavenumbers_cm1)))
        if worst > TOLERANCE_CM1:
            raise IngestError(
                f"the wavenumbers of {other_name} differ from those of {first_name} by up to {worst:.3g} cm⁻¹; "
                f"all cubes of a store need the same axis (to {TOLERANCE_CM1} cm⁻¹). Resample them to one "
                "axis first: --prepare resample."
            )
    one, two = (np.array(each.provenance.get(CHANNEL_VALUES, ())) for each in (first, other))
    if one.shape != two.shape or not np.allclose(one, two, rtol=_SAME_CHANNELS, atol=0):
        name = first.provenance.get(CHANNEL_NAME) or other.provenance.get(CHANNEL_NAME)
        raise IngestError(
            f"the channels of {other_name} are other {name} than those of {first_name}; all cubes of a store need the "
            "same. Bring the samples to common ones in one export, or ingest them separately."
        )
    check_same_pixels(first, other, first_name, other_name)


def check_same_pixels(first: Cube, other: Cube, first_name: str, other_name: str) -> None:
    """Raises IngestError where both cubes state their pixel size and differ in it."""
    own, theirs = first.pixel_size_um, other.pixel_size_um
    if own and theirs and not np.isclose(own, theirs, rtol=SAME_PIXELS, atol=0):
        raise IngestError(
            f"a pixel of {other_name} measures {theirs:g} µm, one of {first_name} {own:g} µm; a network "
            "sees pixels, so all cubes of a store need the same. Resample them, or use --resize."
        )
