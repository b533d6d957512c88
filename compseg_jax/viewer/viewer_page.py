"""The page of one browser window: the list of samples, and the sample that is chosen in it."""

from __future__ import annotations

from dataclasses import replace

from bokeh.document import Document

from compseg_jax.drawing.document import template
from compseg_jax.viewer import texts
from compseg_jax.viewer.appearance import KEYBOARD, OUTLINES
from compseg_jax.viewer.library import Latest, Library
from compseg_jax.viewer.shown import First, Shown
from compseg_jax.viewer.source import ListedSample, score_order
from compseg_jax.viewer.widgets import Widgets, keyboard, when


class Page:
    """The list and what is chosen in it."""

    def __init__(self, document: Document, library: Library) -> None:
        self.library = library
        self.own = library.source.threshold
        self.widgets = Widgets()
        self.latest = Latest(document.add_next_tick_callback)
        self.shown = Shown(self.widgets, library, self.latest)
        self.listed: list[ListedSample] = []
        self._failures: dict[str, str] = {}
        self._listing = False
        self._place(document)
        self._list()
        document.js_on_event("document_ready", keyboard(self.widgets.rows, KEYBOARD))
        document.js_on_event("document_ready", self.shown.image.drawn_on(self.widgets.threshold))
        when(self.widgets.rows.selected, "indices", self._selected)
        when(self.widgets.order, "value", self._list)
        self.widgets.previous.on_click(lambda: self._step(-1))
        self.widgets.next.on_click(lambda: self._step(1))
        self.widgets.score_all.on_click(self._score_all)
        document.add_next_tick_callback(lambda: self._step(0))

    def _place(self, document: Document) -> None:
        source, widgets = self.library.source, self.widgets
        document.title = f"{source.title} – compseg view"
        document.template = template("viewer")
        document.template_variables["heading"] = source.title
        document.template_variables["scripts"] = OUTLINES
        for root in (*widgets.all(), self.shown.image.figure, self.shown.spectra.figure):
            root.css_classes = [root.name]  # for style sheets, and for whoever drives the page
            document.add_root(root)
        widgets.threshold_story.text = texts.story_text(source.threshold_story, self.own)

    def _list(self) -> None:
        """Fills the table and keeps the selection on the same sample."""
        chosen = self._chosen()
        known = [
            replace(sample, failure=self._failures[sample.id]) if sample.id in self._failures else sample
            for sample in self.library.source.samples()
        ]
        self.listed = score_order(known, self.widgets.order.value)
        self._listing = True
        self.widgets.list_samples(self.listed)
        if chosen is not None:
            index = [sample.id for sample in self.listed].index(chosen.id)
            self.widgets.rows.selected.indices = [index]
            self._say_position(index)
        self._listing = False
        self.widgets.seen.text = texts.seen_text(self.listed)
        unscored = sum(sample.score is None and not sample.failure for sample in self.listed)
        self.widgets.score_all.visible = unscored > 0
        self.widgets.score_all.label = f"Predict the {unscored} samples without a score"

    def _chosen(self) -> ListedSample | None:
        indices = self.widgets.rows.selected.indices
        return self.listed[indices[0]] if indices and indices[0] < len(self.listed) else None

    def _step(self, step: int) -> None:
        indices = self.widgets.rows.selected.indices or [-step]
        if self.listed:
            self.widgets.rows.selected.indices = [min(len(self.listed) - 1, max(0, indices[0] + step))]

    def _selected(self) -> None:
        chosen = self._chosen()
        if self._listing or chosen is None:
            return
        self._say_position(self.listed.index(chosen))
        self.shown.forget(texts.waiting_text(chosen.id))
        self.latest.run(
            self.library.prompt,
            "sample",
            lambda: First.of(self.library.open(chosen.id)),
            lambda first: self._show(chosen, first),
            lambda error: self._failed(chosen, error),
        )

    def _show(self, chosen: ListedSample, first: First) -> None:
        self.shown.show(first)
        if chosen.score is None:
            self._list()

    def _failed(self, chosen: ListedSample, error: Exception) -> None:
        self.shown.nothing(texts.failure_text(chosen.id, _words(error)))

    def _score_all(self) -> None:
        waiting = [sample for sample in self.listed if sample.score is None and not sample.failure]
        self.widgets.score_all.disabled = True

        def score_next() -> None:
            self._list()
            if not waiting:
                self.widgets.score_all.disabled = False
                return
            sample = waiting.pop(0)
            self.latest.run(
                self.library.patient,
                "score",
                lambda: self.library.score(sample),
                lambda _: score_next(),
                lambda error: goes_on(sample, error),
            )

        def goes_on(sample: ListedSample, error: Exception) -> None:
            self._failures[sample.id] = _words(error)
            score_next()

        score_next()

    def _say_position(self, index: int) -> None:
        self.widgets.position.text = texts.position_text(index, len(self.listed), self.own)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
