"""The frame of every page: one file, every picture inside, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from compseg_jax.drawing.style import CSS, SCRIPT

GENERATOR = '<meta name="generator" content="compseg_jax report">'
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, subtitle: str, links: Sequence[tuple[str, str]], sections: Sequence[str]) -> str:
    """A whole page as text; ``links`` are (anchor, name) of the sections to jump to, ``subtitle`` is HTML."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8">{GENERATOR}',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{CSS}</style></head><body>",
            f'<header><div><h1>{escape(title)}</h1><p class="sub">{subtitle}</p><nav>',
            "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in links),
            "</nav></div></header><main>",
            *sections,
            "<footer>Research use. Segmentations learned from sample labels; not a diagnosis.</footer>",
            f"</main><script>{SCRIPT}</script></body></html>\n",
        ]
    )


def section(anchor: str, title: str, text: str, body: str) -> str:
    """A section with its heading, a sentence below it, and HTML."""
    paragraph = f"<p>{text}</p>" if text else ""
    return f'<section id="{anchor}"><h2>{title}</h2>{paragraph}{body}</section>'


def svg_image(svg: str, alt: str) -> str:
    """An SVG drawing as an image inside the page."""
    data = base64.b64encode(svg.encode()).decode("ascii")
    return f'<div class="picture"><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}"></div>'


def card(name: str, value: str, extra: str, why: str) -> str:
    """One number with its name, what belongs to it, and what it means."""
    return (
        f'<div class="card"><p class="name">{name}</p><p class="value">{value}</p>'
        f'<p class="extra">{extra}</p><p class="why">{why}</p></div>'
    )
