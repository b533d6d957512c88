"""The sample that a page shows: its picture, its numbers, its spectra, and what moves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.events import RangesUpdate, Tap

from compseg_jax.drawing.pictures import brightest
from compseg_jax.readers.amide_i import AMIDE_I_CM1
from compseg_jax.viewer import texts
from compseg_jax.viewer.image_figure import ImageFigure
from compseg_jax.viewer.image_layers import Layer, Window
from compseg_jax.viewer.library import Latest, Library
from compseg_jax.viewer.source import SampleView
from compseg_jax.viewer.spectra_figure import SpectraFigure
from compseg_jax.viewer.threshold_counts import SpectraByThreshold, ThresholdCounts
from compseg_jax.viewer.widgets import Widgets, when

"""The band shown first: the strongest of proteins (Baker et al. 2014), which shows tissue best."""
MARGIN = 0.25
"""Part of the seen window that is read around it, for small moves."""
DETAIL_PX = 1536


@dataclass(frozen=True)
class First:
    """What is drawn as soon as a sample is open."""

    view: SampleView
    activation: Layer
    reference: Layer | None
    counts: ThresholdCounts

    @classmethod
    def of(cls, view: SampleView) -> First:
        """Reads what a screen shows of a sample, and no more."""
        return cls(view, view.activation_layer(), view.reference_layer(), view.overview_counts())


class Shown:
    """The figures and the numbers beside them."""

    def __init__(self, widgets: Widgets, library: Library, latest: Latest) -> None:
        self.widgets, self.library, self.latest = widgets, library, latest
        self.own = library.source.threshold
        self.image, self.spectra = ImageFigure(), SpectraFigure()
        self.view: SampleView | None = None
        self.counts: ThresholdCounts | None = None
        self.means: SpectraByThreshold | None = None
        self.drawn: Layer | None = None
        self.pixel: texts.Pixel | None = None
        self.channels = np.arange(1)
        self._limits: dict[int, tuple[float, float]] = {}
        widgets.threshold.value = self.own
        self._connect()

    def _connect(self) -> None:
        widgets = self.widgets
        self.image.follow(widgets.threshold, widgets.opacity)
        when(widgets.threshold, "value", self._threshold_moved)
        when(widgets.band, "value", self._band_moved)
        when(widgets.opacity, "value", self._say_opacity)
        when(widgets.overlay, "active", lambda: self.image.choose_overlay(widgets.overlay.active))
        when(widgets.show_reference, "active", self._toggle_reference)
        widgets.reset.on_click(lambda: setattr(widgets.threshold, "value", self.own))
        self.image.figure.on_event(Tap, self._tapped_image)
        self.image.figure.on_event(RangesUpdate, lambda _: self._moved())
        self.spectra.figure.on_event(Tap, self._tapped_spectra)
        self._say_opacity()

    def forget(self, text: str) -> None:
        """Another sample is on its way: what is still being read of this one counts no more."""
        self.latest.drop("detail", "counts", "means", "pixel", "band")
        self.widgets.heading.text = text

    def nothing(self, text: str) -> None:
        """There is no sample to show, and why."""
        self.view = self.counts = self.means = self.drawn = self.pixel = None
        self.image.clear()
        self.spectra.frame(None, 0)
        widgets = self.widgets
        for each in (widgets.area, widgets.dice, widgets.band_label, widgets.spectra_label):
            each.text = ""
        widgets.heading.text = text

    def show(self, first: First) -> None:
        """Draws a sample; bands, spectra and exact counts follow when they are read."""
        view = self.view = first.view
        self.counts, self.means, self.pixel = first.counts, None, None
        self.drawn = first.activation
        self._limits.clear()
        widgets = self.widgets
        self.image.clear()
        self.image.frame(view.shape_px, view.pixel_size_um)
        self.image.name(view.row.id, has_reference=view.reference is not None)
        self.image.show_activation(first.activation)
        self.image.show_reference(first.reference)
        self.spectra.frame(view.wavenumbers_cm1, view.channels)
        widgets.heading.text = texts.heading_text(view)
        widgets.show_reference.disabled = view.reference is None
        widgets.band.disabled = view.channels < 2
        # Colours are no spectrum: there is no band to choose, and no curve to draw.
        widgets.band.visible = self.spectra.figure.visible = not view.in_colours
        # Channels in the order of the slider: wavenumbers fall to the right, as in the figure.
        axis = view.wavenumbers_cm1
        self.channels = np.arange(max(1, view.channels)) if axis is None else np.argsort(-axis)
        wanted = 0 if axis is None else int(np.argmin(np.abs(axis[self.channels] - AMIDE_I_CM1)))
        last = max(1, view.channels - 1)
        if widgets.band.end != last:
            widgets.band.update(end=last, value=wanted)
        self._band_moved()
        self._threshold_moved()
        patient = self.library.patient
        if not view.in_colours:
            self.latest.run(patient, "means", view.mean_spectra, self._got_means, self._no_spectra)
        if first.counts.factor > 1:
            self.latest.run(patient, "counts", view.exact_counts, self._got_counts, self._no_spectra)

    def _got_means(self, means: SpectraByThreshold | None) -> None:
        self.means = means
        self._threshold_moved()

    def _got_counts(self, counts: ThresholdCounts) -> None:
        self.counts = counts
        self._threshold_moved()

    def _no_spectra(self, error: Exception) -> None:
        self.widgets.spectra_label.text = texts.failure_text("", str(error))

    def _threshold_moved(self) -> None:
        threshold, widgets = float(self.widgets.threshold.value), self.widgets
        widgets.threshold_label.text = texts.threshold_text(threshold, self.own)
        widgets.reset.disabled = texts.is_own(threshold, self.own)
        if self.view is None or self.counts is None:
            return
        widgets.area.text = texts.area_text(self.view, self.counts, threshold, self.own)
        widgets.dice.text = texts.dice_text(self.view, self.counts, threshold)
        if self.means is not None:
            self.spectra.show("inside", self.means.inside(threshold))
            self.spectra.show("outside", self.means.outside(threshold))
        self._say_spectra()

    # Bands and windows

    @property
    def channel(self) -> int:
        """The channel that the picture shows."""
        return int(self.channels[min(int(self.widgets.band.value), len(self.channels) - 1)])

    def _band_moved(self) -> None:
        view = self.view
        if view is None:
            return
        channel = self.channel
        self.widgets.band_label.text = texts.band_text(view, channel)
        if not view.channels:
            return
        self.spectra.point(channel)
        window = self._detail_window()
        self.latest.run(
            self.library.prompt,
            "band",
            lambda: (self._band(view, channel, None), self._band(view, channel, window)),
            lambda bands: self._show_bands(channel, *bands),
            self._no_spectra,
        )

    @staticmethod
    def _band(view: SampleView, channel: int, window: Window | None) -> Layer | None:
        """A channel of the whole image, or its colours; of a window where that shows more."""

        def read(seen: Window) -> Layer | None:
            return view.cube_layer(seen) if view.in_colours else view.band_layer(channel, seen)

        whole = read(view.activation.whole)
        if window is None:
            return whole
        part = read(window)
        return None if part is None or (whole is not None and part.factor >= whole.factor) else part

    def _show_bands(self, channel: int, whole: Layer | None, part: Layer | None) -> None:
        shown = whole or part
        if self.view is not None and self.view.in_colours:
            full = 1.0 if shown is None else brightest(shown.values)
            self.image.show_colours(whole, full)
            self.image.show_colours(part, full, detail=True)
            return
        if channel not in self._limits and shown is not None:
            values = shown.values
            self._limits[channel] = texts.band_limits(values, values != 0)
        limits = self._limits.get(channel, (0.0, 1.0))
        self.image.show_band(whole, limits)
        self.image.show_band(part, limits, detail=True)

    def _detail_window(self) -> Window | None:
        """What is seen and some around it; None where the whole image is."""
        assert self.view is not None
        seen = self.image.window
        whole = self.view.activation.whole
        return None if seen.contains(whole) else seen.widened(MARGIN, self.view.shape_px)

    def _moved(self) -> None:
        """Reads what has come into view, where the layer that is drawn is too coarse or too small."""
        view, drawn = self.view, self.drawn
        if view is None or drawn is None:
            return
        window = self._detail_window() or view.activation.whole
        most_px = DETAIL_PX
        factor = view.activation.factor(view.activation.level_for(window, most_px))
        sharp_enough = drawn.factor <= factor * 1.01
        coarse_enough = drawn.factor >= factor * 0.24
        if not (sharp_enough and coarse_enough and drawn.window.contains(self.image.window)):
            self.latest.run(
                self.library.prompt,
                "detail",
                lambda: (view.activation_layer(window, most_px), view.reference_layer(window, most_px)),
                self._show_detail,
                self._no_spectra,
            )
            self._band_moved()

    def _show_detail(self, layers: tuple[Layer, Layer | None]) -> None:
        self.drawn = layers[0]
        self.image.show_activation(layers[0])
        self.image.show_reference(layers[1])

    # Spectra

    def _tapped_image(self, event: Any) -> None:
        view = self.view
        pixel = None if view is None or event.x is None else self.image.pixel(event.x, event.y)
        if view is None or pixel is None:
            return
        self.image.mark(pixel)
        self.latest.run(
            self.library.prompt,
            "pixel",
            lambda: (pixel, view.activation_at(*pixel), view.spectrum(*pixel)),
            lambda got: self._got_pixel(*got),
            self._no_spectra,
        )

    def _got_pixel(
        self, place: tuple[int, int], activation: float | None, found: tuple[np.ndarray, float] | None
    ) -> None:
        spectrum, factor = (None, 1.0) if found is None else found
        values = () if spectrum is None else tuple(map(float, spectrum[:3]))
        self.pixel = texts.Pixel(place, activation, factor, values)
        self.spectra.show("pixel", spectrum)
        self._say_spectra()

    def _tapped_spectra(self, event: Any) -> None:
        channel = None if event.x is None else self.spectra.nearest_channel(event.x)
        if channel is not None and self.view is not None:
            self.widgets.band.value = int(np.flatnonzero(self.channels == channel)[0])

    def _say_opacity(self) -> None:
        self.widgets.opacity_label.text = texts.opacity_text(self.widgets.opacity.value)

    def _say_spectra(self) -> None:
        if self.view is not None:
            text = texts.spectra_text(self.view, self.means, float(self.widgets.threshold.value), self.pixel)
            self.widgets.spectra_label.text = text

    def _toggle_reference(self) -> None:
        self.image.outline.visible = self.widgets.show_reference.active
