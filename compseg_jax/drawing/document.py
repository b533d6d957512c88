"""Pages from templates: one file, every picture inside, nothing fetched from anywhere, text from outside escaped."""

from __future__ import annotations

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from compseg_jax.drawing.numbers import interval, number, percent
from compseg_jax.drawing.pictures import data_uri
from compseg_jax.drawing.style import STYLE_SHEET
from compseg_jax.runtime.visible import visible

GENERATOR = '<meta name="generator" content="compseg_jax report">'


def _shown(value: object) -> object:
    """Text as it can be seen; marked-up text is ours."""
    return visible(value) if type(value) is str else value


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(generator=GENERATOR, style_sheet=STYLE_SHEET)
    environment.filters.update(
        number=number,
        percent=percent,
        interval=interval,
        png_uri=data_uri,
        jpeg_uri=lambda picture: data_uri(picture, "jpeg"),
        svg_uri=lambda svg: data_uri(svg.encode(), "svg+xml"),
    )
    return environment


def template(name: str) -> Template:
    """A template of ``drawing/templates``, by its file name without ``.html.j2``."""
    return _environment().get_template(f"{name}.html.j2")


def page(name: str, **values: object) -> str:
    """A whole page as text.

    Raises:
      jinja2.UndefinedError: where the template asks for a value that was not given.
    """
    return template(name).render(values)


def part(name: str, macro: str, *values: object) -> str:
    """What a macro of a template makes of its arguments, as text."""
    return str(getattr(template(name).module, macro)(*values))
