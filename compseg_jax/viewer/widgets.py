"""Table, sliders, buttons and texts of the page, without their behaviour; names are those of the template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bokeh.models import (
    Button,
    Checkbox,
    ColumnDataSource,
    CustomJS,
    DataTable,
    Div,
    HTMLTemplateFormatter,
    InlineStyleSheet,
    RadioButtonGroup,
    Select,
    Slider,
    TableColumn,
)

from compseg_jax.drawing.numbers import UNKNOWN
from compseg_jax.drawing.style import STYLE_SHEET
from compseg_jax.model.seen import Sighting
from compseg_jax.viewer.image_figure import OVERLAYS
from compseg_jax.viewer.source import ListedSample
from compseg_jax.viewer.threshold_counts import SLIDER_STEP

ORDERS = [
    ("score", "Highest score first"),
    ("area_fraction", "Largest area first"),
    ("dice", "Highest Dice first"),
    ("id", "By name"),
]
COLUMNS = (
    ("id", "sample", 168),
    ("score", "score", 44),
    ("area", "area %", 54),
    ("dice", "Dice", 42),
)
NUMBERS = ("score", "area", "dice")
ROW_PX = 52
"""Room for a name on two lines and what is said of the sample below it; a thumb hits it."""
SAMPLE = """<div class="who" title="<%- value %>"><div class="id" dir="auto"><%- value %></div><div class="marks"
><%- label %><% if (outside) { %> <span class="mark outside"><%- outside %></span><% } if (seen) { %>
<span class="mark seen"><%- seen %></span><% } %></div></div>"""
SEEN: dict[Sighting | None, str] = {
    "training": "trained on",
    "choice": "chose threshold",
    "training group": "group trained on",
    "choice group": "group chose threshold",
}
"""Marks of samples that are no test; nothing is said of the others."""
LABELS = {1: "diseased", 0: "healthy", None: UNKNOWN}


class Widgets:
    """What is on the page besides the two figures."""

    def __init__(self) -> None:
        sheets = [InlineStyleSheet(css=STYLE_SHEET)]  # one for all: a page receives it once
        self.rows = ColumnDataSource({name: [] for name in ("id", "label", "outside", "seen", *NUMBERS)})
        name = HTMLTemplateFormatter(template=SAMPLE)
        number = HTMLTemplateFormatter(template='<div class="number"><%- value %></div>')
        self.samples = DataTable(
            name="samples",
            source=self.rows,
            columns=[
                TableColumn(field=field, title=title, width=width, sortable=False, formatter=formatter)
                for (field, title, width), formatter in zip(COLUMNS, [name, *[number] * 3], strict=True)
            ],
            index_position=None,
            autosize_mode="none",
            selectable=True,
            scroll_to_selection=True,
            reorderable=False,
            row_height=ROW_PX,
            sizing_mode="stretch_both",
            stylesheets=sheets,
        )
        self.order = Select(name="order", value="score", options=ORDERS, **_plain(sheets, stretch=True))
        self.previous = Button(name="previous", label="‹ previous", width=88, **_plain(sheets))
        self.next = Button(name="next", label="next ›", width=68, **_plain(sheets))
        self.score_all = Button(name="score_all", label="", visible=False, **_plain(sheets, stretch=True))
        self.position = _text("position", sheets)
        self.seen = _text("seen", sheets)
        self.heading = _text("heading", sheets)
        self.band_label = _text("band_label", sheets)
        self.band = _slider("band", sheets, start=0, end=1, value=0, step=1)
        self.threshold_label = _text("threshold_label", sheets)
        self.threshold = _slider("threshold", sheets, start=0, end=1, value=0.5, step=SLIDER_STEP)
        self.threshold_story = _text("threshold_story", sheets)
        self.reset = Button(name="reset", label="reset", width=58, **_plain(sheets))
        self.area = _text("area", sheets)
        self.dice = _text("dice", sheets)
        self.overlay = RadioButtonGroup(
            name="overlay", labels=list(OVERLAYS), active=0, **_plain(sheets, stretch=True)
        )
        self.show_reference = Checkbox(
            name="show_reference", label="reference outline", active=True, **_plain(sheets)
        )
        self.opacity_label = _text("opacity_label", sheets)
        self.opacity = _slider("opacity", sheets, start=0, end=1, value=0.85, step=0.05)
        self.spectra_label = _text("spectra_label", sheets)

    def all(self) -> list[Any]:
        """Everything that the template places."""
        return [model for model in vars(self).values() if not isinstance(model, ColumnDataSource)]

    def list_samples(self, samples: Sequence[ListedSample]) -> None:
        """Fills the table."""
        self.rows.data = {
            "id": [sample.id for sample in samples],
            "label": ["failed" if sample.failure else LABELS[sample.label] for sample in samples],
            "outside": ["outside" if sample.outside else "" for sample in samples],
            "seen": [SEEN.get(sample.seen, "") for sample in samples],
            "score": [decimal(sample.score) for sample in samples],
            "area": [UNKNOWN if s.area_fraction is None else f"{100 * s.area_fraction:.1f}" for s in samples],
            "dice": [decimal(sample.dice) for sample in samples],
        }


def decimal(value: float | None, digits: int = 2) -> str:
    """A number in few digits; a dash where there is none."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def when(model: Any, name: str, then: Callable[[], None]) -> None:
    """Calls a function whenever a property of a widget or figure changes."""

    def changed(attr: str, old: Any, new: Any) -> None:
        then()

    model.on_change(name, changed)


def keyboard(source: ColumnDataSource, code: str) -> CustomJS:
    """The script that lets keys walk through the table."""
    return CustomJS(args={"source": source}, code=code)


def _plain(sheets: list[Any], *, stretch: bool = False) -> dict[str, Any]:
    size = {"sizing_mode": "stretch_width"} if stretch else {}
    return {"margin": 0, "stylesheets": sheets, **size}


def _text(name: str, sheets: list[Any]) -> Div:
    return Div(name=name, text="", **_plain(sheets, stretch=True))


def _slider(name: str, sheets: list[Any], **options: Any) -> Slider:
    place = {**_plain(sheets, stretch=True), "margin": (2, 8, 4, 8)}
    return Slider(name=name, show_value=False, title=None, **place, **options)
