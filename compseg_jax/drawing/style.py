"""Looks and behaviour of the report page: one style sheet, one small script, nothing from elsewhere."""

CSS = """
:root { --ink:#1d2733; --soft:#52606d; --line:#dce2e8; --paper:#ffffff; --wash:#f5f7f9;
  --diseased:#b5460f; --healthy:#1f6fb2; --accent:#0b5d7a; }
* { box-sizing:border-box; }
html { scroll-behavior:smooth; -webkit-text-size-adjust:100%; }
body { margin:0; background:var(--wash); color:var(--ink); line-height:1.5;
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
a { color:var(--accent); }
header { background:var(--paper); border-bottom:1px solid var(--line); }
header > div, main { max-width:1240px; margin:0 auto; padding:0 24px; }
header > div { padding-top:28px; padding-bottom:20px; }
h1 { font-size:1.7rem; line-height:1.2; margin:0 0 6px; overflow-wrap:anywhere; }
h2 { font-size:1.2rem; margin:0 0 4px; }
h3 { font-size:1rem; margin:0 0 2px; }
.sub { color:var(--soft); margin:0; }
nav { margin-top:12px; display:flex; flex-wrap:wrap; gap:4px 18px; font-size:.9rem; }
section { margin:30px 0; }
section > p { color:var(--soft); margin:0 0 12px; max-width:80ch; }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(215px,1fr)); gap:14px; margin-top:24px; }
.card, .panel, .notes { background:var(--paper); border:1px solid var(--line); border-radius:8px;
  padding:16px 18px; }
.card .name { color:var(--soft); font-size:.85rem; margin:0; }
.card .value { font-size:1.75rem; font-weight:600; line-height:1.25; margin:2px 0 0;
  font-variant-numeric:tabular-nums; }
.card .value small { font-size:1rem; font-weight:500; color:var(--soft); white-space:nowrap; }
.card .extra { font-size:.88rem; margin:0 0 8px; font-variant-numeric:tabular-nums; }
.card .why { font-size:.85rem; color:var(--soft); margin:0; }
.notes { border-left:4px solid #b98900; margin-top:14px; }
.notes.plain { border-left-color:var(--accent); }
.notes p { margin:2px 0 0; }
.notes ul { margin:4px 0 0; padding-left:20px; }
.panels { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,360px),1fr)); gap:14px; }
.panel { margin:0; }
.panel.wide { grid-column:1/-1; }
.panel p, .panel figcaption { color:var(--soft); font-size:.88rem; margin:0 0 8px; }
.panel .picture { overflow-x:auto; }
.panel img { display:block; width:100%; height:auto; }
.panel.wide img { min-width:640px; }
.scroll { overflow-x:auto; background:var(--paper); border:1px solid var(--line); border-radius:8px; }
.scroll.tall { max-height:560px; overflow-y:auto; }
table { border-collapse:collapse; width:100%; font-size:.88rem; font-variant-numeric:tabular-nums; }
th, td { text-align:left; padding:6px 12px; border-bottom:1px solid var(--line); vertical-align:top; }
tbody tr:last-child > * { border-bottom:0; }
tbody th { font-weight:600; white-space:nowrap; }
thead th { background:#eef2f5; white-space:nowrap; position:sticky; top:0; z-index:1; }
td.n, th.n { text-align:right; white-space:nowrap; }
th.measure { white-space:normal; min-width:13em; }
th.measure span { display:block; color:var(--soft); font-weight:400; font-size:.82rem; }
.settings th { width:1%; }
.settings td { overflow-wrap:anywhere; }
th button { font:inherit; font-weight:600; background:none; border:0; padding:0; color:inherit;
  cursor:pointer; }
th button::after { content:" ↕"; color:#6b7885; }
th[aria-sort=ascending] button::after { content:" ↑"; }
th[aria-sort=descending] button::after { content:" ↓"; }
.chip { display:inline-block; border-radius:4px; padding:0 7px; color:#fff;
  font-size:.78rem; font-weight:600; }
.chip.diseased { background:var(--diseased); } .chip.healthy { background:var(--healthy); }
.controls { display:flex; flex-wrap:wrap; gap:8px 22px; align-items:center; background:var(--paper);
  border:1px solid var(--line); border-radius:8px; padding:10px 16px; margin-bottom:14px; font-size:.9rem; }
.controls fieldset { border:0; margin:0; padding:0; display:flex; flex-wrap:wrap; gap:4px 14px; }
.controls legend { float:left; padding:0; margin-right:12px; color:var(--soft); }
.controls label { cursor:pointer; }
.controls label, .key { display:inline-flex; align-items:center; gap:6px; white-space:nowrap; }
.controls input { margin:0; }
.ramp { width:110px; height:12px; border-radius:2px; }
.swatch { width:16px; height:12px; border-radius:2px; }
.line { width:18px; height:12px; border:3px solid #00d5ff; background:#555; outline:1px solid #0a1e28;
  border-radius:2px; }
.sheet { display:grid; grid-template-columns:repeat(auto-fill,minmax(170px,1fr)); gap:14px; }
.tile { margin:0; background:var(--paper); border:1px solid var(--line); border-radius:8px; overflow:hidden;
  border-top:4px solid var(--healthy); break-inside:avoid; }
.tile.diseased { border-top-color:var(--diseased); }
.tile:target { outline:3px solid var(--accent); }
.layers { position:relative; background:#20262c; }
.layers img { position:absolute; inset:0; width:100%; height:100%; image-rendering:pixelated; }
.layers img.ref { image-rendering:auto; }
.tile figcaption { padding:8px 10px 10px; font-size:.84rem; line-height:1.4; }
.tile .id { font-weight:600; overflow-wrap:anywhere; display:block; }
.tile dl { margin:4px 0 0; display:grid; grid-template-columns:auto minmax(0,1fr); gap:0 8px;
  font-variant-numeric:tabular-nums; }
.tile dt { color:var(--soft); } .tile dd { margin:0; text-align:right; white-space:nowrap; }
.tile .group { display:block; color:var(--soft); overflow-wrap:anywhere; }
.seg, .spr { display:none; }
body:has(#view-segmentation:checked) .act, body:has(#view-input:checked) .act,
  body:has(#view-spread:checked) .act { display:none; }
body:has(#view-spread:checked) .spr { display:block; }
body:has(#view-segmentation:checked) .seg { display:block; }
body:has(#show-reference:not(:checked)) .ref { display:none; }
footer { color:var(--soft); font-size:.85rem; padding:10px 0 40px; }
@media (max-width:560px) {
  header > div, main { padding-left:14px; padding-right:14px; }
  h1 { font-size:1.35rem; }
  .cards { grid-template-columns:1fr 1fr; gap:10px; }
  .card:last-child { grid-column:1/-1; }
  .card { padding:12px; }
  th.measure { min-width:11em; }
  .card .value { font-size:1.35rem; }
  .sheet { grid-template-columns:repeat(auto-fill,minmax(136px,1fr)); gap:10px; }
  th, td { padding:5px 8px; }
}
@media print {
  body { background:#fff; font-size:10pt; }
  * { -webkit-print-color-adjust:exact; print-color-adjust:exact; }
  nav, .controls input, .controls fieldset { display:none; }
  .scroll, .scroll.tall { max-height:none; overflow:visible; }
  thead th { position:static; }
  .card, .panel, .tile, tr { break-inside:avoid; }
  h2 { break-after:avoid; }
  .sheet { grid-template-columns:repeat(5,1fr); gap:8px; }
}
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
  function key(row, i) {
    var cell = row.cells[i], raw = cell.dataset.v;
    if (raw === undefined) return cell.textContent.trim();
    return raw === "" ? null : Number(raw);
  }
  heads.forEach(function (head, i) {
    head.querySelector("button").addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") === "descending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      Array.from(body.rows).sort(function (a, b) {
        var x = key(a, i), y = key(b, i);
        if (x === null || y === null) return (x === null) - (y === null);
        var order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
        return up ? order : -order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""
