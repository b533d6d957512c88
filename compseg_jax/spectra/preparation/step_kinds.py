"""What a preparation step is, and the state that steps hand on: the spectra of one image and its mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from compseg_jax.spectra.denoising import SpectralMoments

Fitted = Mapping[str, np.ndarray]
BACKGROUND = "background"
MEAN = "mean"
"""Where a step takes a reference spectrum: the mean of the training tissue, in place of a file."""


class PreparationError(ValueError):
    """A preparation step cannot be read or does not fit the spectra; the message says which and what to do."""


class Training(NamedTuple):
    """What a step may learn from, over the tissue of the training samples prepared so far.

    Attributes:
      moments: of the spectra.
      noise: of the noise, estimated from neighbouring pixels.
    """

    moments: SpectralMoments
    noise: SpectralMoments


class Corrected(NamedTuple):
    """Spectra a step returns; ``failed`` (n,) is 0, or 1 + the index of the reason in ``step.failures``."""

    spectra: Float[np.ndarray, "n c"]
    failed: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Image:
    """The spectra of one image on their way through the steps.

    Attributes:
      spectra: of the pixels in ``mask``, row by row, shape (n, c), float32.
      wavenumbers_cm1: their axis, shape (c,).
      mask: pixels still kept, (y, x).
      reason: why a pixel is not kept, (y, x): an index into ``reasons``; −1 where it is kept.
      reasons: reasons met so far, in words; the first is the background.
    """

    spectra: Float[np.ndarray, "n c"]
    wavenumbers_cm1: Float[np.ndarray, " c"]
    mask: Bool[np.ndarray, "y x"]
    reason: Int[np.ndarray, "y x"] = field(repr=False)
    reasons: tuple[str, ...] = (BACKGROUND,)

    @classmethod
    def of(
        cls,
        absorbance: Float[np.ndarray, "y x c"],
        wavenumbers_cm1: Float[np.ndarray, " c"],
        mask: Bool[np.ndarray, "y x"],
    ) -> Image:
        """The image before the first step; pixels outside ``mask`` are background."""
        spectra = np.asarray(absorbance[mask], np.float32)
        return cls(spectra, wavenumbers_cm1, mask, np.where(mask, -1, 0).astype(np.int16))

    @property
    def absorbance(self) -> Float[np.ndarray, "y x c"]:
        """The cube (y, x, c), 0 where no pixel is kept."""
        cube = np.zeros((*self.mask.shape, self.spectra.shape[1]), np.float32)
        cube[self.mask] = self.spectra
        return cube

    def dropped(self, keep: Bool[np.ndarray, " n"], why: str) -> Image:
        """The image without the spectra that are not to be kept, for a reason in words."""
        if keep.all():
            return self
        known = why in self.reasons
        reasons = self.reasons if known else (*self.reasons, why)
        mask, reason = self.mask.copy(), self.reason.copy()
        mask[self.mask] = keep
        reason[self.mask & ~mask] = reasons.index(why)
        return replace(self, spectra=self.spectra[keep], mask=mask, reason=reason, reasons=reasons)

    def counts(self) -> dict[str, int]:
        """Pixels dropped by each reason, the background left out."""
        return {name: int(np.sum(self.reason == at)) for at, name in enumerate(self.reasons) if at}


@dataclass(frozen=True)
class Step:
    """One step of a preparation; its dataclass fields are its settings, their docstrings their help."""

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether ``fit`` always needs the training samples."""
    learns_noise: ClassVar[bool] = False
    """Whether it needs the noise of the training samples too."""
    expensive: ClassVar[bool] = False
    """Whether corrected chunks are worth keeping on disk."""
    needs_wavenumbers: ClassVar[bool] = True
    """Whether channels must be wavenumbers; other steps also work on ordinary images."""
    files: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file of spectra, unless empty or ``MEAN``."""
    failures: ClassVar[tuple[str, ...]] = ()
    """Reasons for which the step drops spectra, in words."""
    by_pixel: ClassVar[bool] = True
    """Whether each pixel is treated by its own spectrum alone; other steps make a survey of the whole image."""

    @property
    def needs_training(self) -> bool:
        """Whether ``fit`` needs the training samples with these settings."""
        return self.learns

    def axis_after(self, wavenumbers_cm1: Float[np.ndarray, " c"]) -> Float[np.ndarray, " k"]:
        """The axis after the step; raises PreparationError where the step does not fit the axis before it."""
        return wavenumbers_cm1

    def fit(self, wavenumbers_cm1: Float[np.ndarray, " c"], training: Training | None) -> Fitted:
        """Arrays that the step takes from files or from the training samples and that are stored with it."""
        return {}

    def settings(self) -> dict[str, Any]:
        """The settings by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def in_words(self) -> str:
        """The settings as people read them."""
        words = {None: "none", True: "yes", False: "no"}
        shown = {
            name: words[value] if value is None or isinstance(value, bool) else value
            for name, value in self.settings().items()
        }
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items() if value != "")


@dataclass(frozen=True)
class PureStep(Step):
    """A step that is a pure function of each spectrum; the pipeline compiles it."""

    def transform(
        self,
        spectra: Float[Array, "n c"],
        wavenumbers_cm1: Float[np.ndarray, " c"],
        fitted: Mapping[str, Array],
    ) -> Float[Array, "n k"]:
        """The spectra after the step; not finite where a spectrum cannot be prepared."""
        raise NotImplementedError


@dataclass(frozen=True)
class HostStep(Step):
    """A step that organises its own computation, one chunk of spectra at a time."""

    def correct(
        self, spectra: Float[np.ndarray, "n c"], wavenumbers_cm1: Float[np.ndarray, " c"], fitted: Fitted
    ) -> Corrected:
        """The spectra after the step, and which of them failed why."""
        raise NotImplementedError


ApplyToPart = Callable[[Image, slice, slice], Image]
"""A step on a part of an image that lies at these rows and columns."""


@runtime_checkable
class Survey(Protocol):
    """What a step must know of a whole image, gathered from its parts in any order."""

    def add(self, part: Image, rows: slice, columns: slice) -> None:
        """Takes in one part; parts neither overlap nor leave anything out."""

    def settled(self) -> ApplyToPart:
        """The step for any part, once all parts were added; it gives what the step gives on the whole image."""


@dataclass(frozen=True)
class ImageStep(Step):
    """A step that sees a whole image: decides which pixels are kept, or compares them with one another."""

    by_pixel: ClassVar[bool] = False

    def applied(self, image: Image) -> Image:
        """The image after the step."""
        raise NotImplementedError

    def survey(self, shape_px: tuple[int, int]) -> Survey | None:
        """Where what it must know of a whole image can be gathered from parts; None: it needs the image at once."""
        return None
