"""A preparation on parts of an image, each as in the whole: images larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from compseg_jax.spectra.preparation.pipeline import Preparation, apply_step, without_broken
from compseg_jax.spectra.preparation.step_kinds import ApplyToPart, Image, ImageStep, Step, Survey

Part = tuple[Image, slice, slice]


def steps_that_need_the_whole(preparation: Preparation) -> list[str]:
    """Names of steps that cannot be repeated part by part."""
    steps = [each.step for each in preparation.steps]
    return [step.name for step in steps if not step.by_pixel and _survey(step, (1, 1)) is None]


def _survey(step: Step, shape_px: tuple[int, int]) -> Survey | None:
    return step.survey(shape_px) if isinstance(step, ImageStep) else None


@dataclass(frozen=True, eq=False)
class PiecewisePreparation:
    """A preparation that was settled for one image: call it with any part of that image.

    Attributes:
      preparation: the fitted steps.
      settled: for each step, what replaces it on parts; None where the step itself does.
    """

    preparation: Preparation
    settled: tuple[ApplyToPart | None, ...]

    @classmethod
    def of(
        cls, preparation: Preparation, shape_px: tuple[int, int], parts: Callable[[], Iterable[Part]]
    ) -> PiecewisePreparation:
        """Lets every step that sees the whole image gather what it must know.

        Args:
          preparation: its steps must not need the whole image at once (``steps_that_need_the_whole``).
          shape_px: rows and columns of the image.
          parts: gives the raw parts of the image anew each time it is called: once for each such step.

        Raises:
          PreparationError: when the axis is not the one the steps were fitted on.
        """
        done = cls(preparation, ())
        for fitted in preparation.steps:
            step, found = fitted.step, None
            if not step.by_pixel:
                survey = _survey(step, shape_px)
                if survey is None:
                    raise TypeError(
                        f"step {step.name!r} needs the whole image at once; apply the preparation to it."
                    )
                for image, rows, columns in parts():
                    survey.add(done(image, rows, columns), rows, columns)
                found = survey.settled()
            done = cls(preparation, (*done.settled, found))
        return done

    def __call__(self, part: Image, rows: slice, columns: slice) -> Image:
        """The part that lies at ``rows`` and ``columns``, after the settled steps."""
        part = without_broken(part)
        for fitted, settled in zip(self.preparation.steps, self.settled, strict=False):
            part = apply_step(fitted, part) if settled is None else settled(part, rows, columns)
        return part
