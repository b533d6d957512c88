"""Colours of the viewer's layers, and what its page does in the browser; how the page looks lies in drawing/."""

from __future__ import annotations

from pathlib import Path

from compseg_jax.drawing.pictures import OUTLINE, OUTLINE_EDGE, activation_colour

TRANSPARENT = "#00000000"
LEVELS = 256


def activation_palette(*, solid: bool) -> list[str]:
    """Amber to dark red, which falls in lightness for every kind of colour vision; as ``#rrggbbaa``.

    Args:
      solid: the same opacity for every activation (a segmentation); else none at 0, rising to the full one at 1.
    """
    full = activation_colour(1.0)[3]
    colours = [activation_colour(level / (LEVELS - 1)) for level in range(LEVELS)]
    return [_hex(*colour[:3], full if solid else colour[3]) for colour in colours]


def outline_palette() -> list[str]:
    """Of `outline_levels`: nothing, a dark edge, cyan."""
    return [TRANSPARENT, _hex(*OUTLINE_EDGE, 150), _hex(*OUTLINE, 255)]


def _hex(*parts: int) -> str:
    return "#" + "".join(f"{part:02x}" for part in parts)


OUTLINES = (Path(__file__).parent / "outlines.js").read_text(encoding="utf-8")
"""Defines ``compsegOutlines``, which `START_OUTLINES` calls with what it works on."""
START_OUTLINES = (
    "compsegOutlines({figure, sample, threshold, address: location.pathname.replace(/[/]$/, '')})"
)

# Captured before the table and the sliders see the key; arrows stay with a slider that has the focus.
KEYBOARD = """
const steps = {j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1}
window.addEventListener("keydown", (event) => {
  const step = steps[event.key]
  if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return
  if (event.composedPath().some((each) => each.classList?.contains("drawing"))) return
  const target = event.composedPath()[0]
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "")) return
  if (target.classList?.contains("noUi-handle") && event.key.startsWith("Arrow")) return
  event.preventDefault()
  event.stopPropagation()
  const length = source.get_length() ?? 0
  const now = source.selected.indices[0] ?? -1
  const next = Math.max(0, Math.min(length - 1, now + step))
  if (length > 0 && next !== now) source.selected.indices = [next]
}, true)
"""

# The colours of activations stay as they are: the palette is cut where the threshold lies.
THRESHOLD = """
const first = Math.min(palette.length - 1, Math.round(cb_obj.value * (palette.length - 1)))
const above = cb_obj.value * (1 + 2 ** -23) + 1e-30
mapper.setv({palette: palette.slice(first), low: above})
"""
