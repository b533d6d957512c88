"""How the page looks: its frame, its style, its colours. Nothing in it comes from elsewhere."""

from __future__ import annotations

from compseg_jax.drawing.pictures import OUTLINE, OUTLINE_EDGE, activation_colour

INSIDE = "#b5460f"
OUTSIDE = "#1f6fb2"
INK = "#1d2733"
SOFT = "#52606d"
LINE = "#dce2e8"
DARK = "#20262c"
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


FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif'

TEXT_CSS = f"""
:host {{ font:13px/1.45 {FONT}; color:{INK}; min-width:0; }}
.bk-clearfix {{ display:block; width:100%; height:100%; }}
.card {{ border:1px solid {LINE}; border-radius:8px; padding:8px 12px 9px; background:#fff; height:100%;
  box-sizing:border-box; }}
.name {{ color:{SOFT}; font-size:12px; }}
.value {{ font-size:25px; line-height:1.25; font-weight:600; font-variant-numeric:tabular-nums; white-space:nowrap; }}
.value small {{ font-size:14px; font-weight:500; color:{SOFT}; }}
.why {{ color:{SOFT}; font-size:12px; line-height:1.4; }}
.label {{ display:flex; justify-content:space-between; align-items:baseline; gap:12px; white-space:nowrap; }}
.label b {{ font-variant-numeric:tabular-nums; }}
.label .why {{ overflow:hidden; text-overflow:ellipsis; }}
.label > span:first-child {{ flex:none; }}
.failure {{ color:#9c2a10; }}
.line {{ display:inline-block; width:18px; height:0; border-top:3px solid; vertical-align:middle; margin-right:5px; }}
.key {{ white-space:nowrap; margin-right:12px; }}
"""

WIDGET_CSS = f"""
:host {{ font-family:{FONT}; font-size:13px; color:{INK}; }}
.bk-btn, .bk-input {{ font-family:{FONT}; font-size:12.5px; }}
.bk-btn {{ padding:4px 8px; }}
.bk-btn-default.bk-active {{ background:{INK}; color:#fff; border-color:{INK}; }}
.noUi-connect {{ background:#5b7083; }}
"""

TABLE_CSS = f"""
:host {{ font-family:{FONT}; font-size:12.5px; }}
.slick-header-column {{ background:#eef2f5; color:{INK}; font-weight:600; }}
.slick-cell {{ font-variant-numeric:tabular-nums; padding-left:4px; padding-right:2px; }}
.slick-header-column {{ padding-left:4px; padding-right:2px; }}
.slick-cell.selected {{ background:#d9e8f3; color:{INK}; }}
"""

# 'unsafe-eval' and 'unsafe-inline' are BokehJS's; everything else may come from this server only.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'"
)

TEMPLATE = (
    """{% extends base %}
{% block preamble %}
<meta http-equiv="Content-Security-Policy" content=\""""
    + POLICY
    + """\">
<meta name="viewport" content="width=device-width, initial-scale=1">
{% endblock %}
{% block postamble %}
<style>
"""
    + f"""
* {{ box-sizing:border-box; }}
html, body {{ height:100%; margin:0; }}
body {{ background:#f5f7f9; color:{INK}; font:13px/1.45 {FONT}; display:grid; min-width:1100px; min-height:620px;
  grid-template-rows:auto minmax(0,1fr); }}
header {{ background:#fff; border-bottom:1px solid {LINE}; padding:9px 16px; display:flex; gap:20px;
  align-items:baseline; justify-content:space-between; }}
h1 {{ font-size:16px; margin:0; overflow:hidden; text-overflow:ellipsis; white-space:nowrap; }}
header p {{ margin:0; color:{SOFT}; white-space:nowrap; }}
kbd {{ font:inherit; font-size:12px; border:1px solid #c3ccd5; border-radius:4px; padding:0 5px; background:#f5f7f9; }}
main {{ display:grid; grid-template-columns:312px minmax(0,1fr) minmax(390px,28vw); gap:12px; padding:12px 16px;
  min-height:0; }}
section {{ display:flex; flex-direction:column; gap:8px; min-width:0; min-height:0; }}
.cell {{ display:flex; min-width:0; flex:none; }}
.cell.fill {{ flex:1 1 0; min-height:0; }}
.cell.panel {{ background:#fff; border:1px solid {LINE}; border-radius:8px; padding:8px; }}
.cell.panel.table {{ padding:3px; }}
.pair {{ display:grid; grid-template-columns:1.45fr 1fr; gap:8px; }}
.cell.opacity {{ width:84px; }}
.row {{ display:flex; gap:10px; align-items:center; }}
.row > .grow {{ flex:1; }}
.panel.stack {{ display:flex; flex-direction:column; gap:4px; padding:9px 12px; }}
"""
    + """
</style>
{% endblock %}
{% block contents %}
<header><h1>{{ heading_text }}</h1>
<p><kbd>↑</kbd> <kbd>↓</kbd> or <kbd>k</kbd> <kbd>j</kbd> samples &nbsp; <kbd>click</kbd> spectrum &nbsp;
<kbd>wheel</kbd> zoom &nbsp; <kbd>drag</kbd> move &nbsp;
<kbd>double click</kbd> whole</p></header>
<main>
<section>
  <div class="row"><div class="cell grow">{{ embed(roots.order) }}</div></div>
  <div class="cell fill panel table">{{ embed(roots.samples) }}</div>
  <div class="row"><div class="cell">{{ embed(roots.previous) }}</div><div class="cell">{{ embed(roots.next) }}</div>
    <div class="cell grow">{{ embed(roots.position) }}</div></div>
  <div class="cell">{{ embed(roots.score_all) }}</div>
</section>
<section>
  <div class="cell">{{ embed(roots.heading) }}</div>
  <div class="cell fill panel">{{ embed(roots.image) }}</div>
  <div class="cell panel stack">{{ embed(roots.band_label) }}{{ embed(roots.band) }}</div>
</section>
<section>
  <div class="cell panel stack">{{ embed(roots.threshold_label) }}
    <div class="row"><div class="cell grow">{{ embed(roots.threshold) }}</div>
    <div class="cell">{{ embed(roots.reset) }}</div></div>
    {{ embed(roots.threshold_story) }}</div>
  <div class="pair"><div class="cell">{{ embed(roots.area) }}</div><div class="cell">{{ embed(roots.dice) }}</div></div>
  <div class="cell panel stack">
    <div class="row"><div class="cell grow">{{ embed(roots.overlay) }}</div></div>
    <div class="row"><div class="cell opacity">{{ embed(roots.opacity_label) }}</div>
    <div class="cell grow">{{ embed(roots.opacity) }}</div>
    <div class="cell">{{ embed(roots.show_reference) }}</div></div></div>
  <div class="cell fill panel">{{ embed(roots.spectra) }}</div>
  <div class="cell">{{ embed(roots.spectra_label) }}</div>
</section>
</main>
{% endblock %}
"""
)

# Captured before the table and the sliders see the key; arrows stay with a slider that has the focus.
KEYBOARD = """
const steps = {j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1}
window.addEventListener("keydown", (event) => {
  const step = steps[event.key]
  if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return
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
