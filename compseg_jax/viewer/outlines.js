// Zooming by buttons, saving the picture, and drawing outlines on it, in the page of the viewer.
// Outlines lie in an SVG over the frame of Bokeh's figure; their corners are in pixels of the image, as they are saved.
"use strict"

window.compsegOutlines = function ({figure, sample, threshold, address}) {
  const SVG = "http://www.w3.org/2000/svg"
  const NEAR = 10 // screen pixels within which the first corner closes an outline
  const FREEHAND = 7 // screen pixels between the corners of a line that is drawn in one go
  const MOST_HANDLES = 400
  const tools = document.getElementById("tools")
  const panel = document.getElementById("outlines")
  const status = document.getElementById("outline-status")
  const conflict = document.getElementById("outline-conflict")
  const cell = document.querySelector(".cell.picture")
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("class", "drawing")
  svg.setAttribute("tabindex", "-1")
  svg.setAttribute("role", "application")
  svg.setAttribute("aria-label", "outlines: arrows move, space sets a point, enter closes, escape cancels")
  cell.append(svg)

  const samples = new Map() // what was drawn of each sample that was looked at; nothing is lost by looking at another
  let now = null // of the sample that is shown
  let drawing = null // corners of the outline that is being drawn
  let cursor = null // where the keyboard draws
  let chosen = null // {outline, ring, point}; ring and point may be null
  let drawnClass = "diseased"
  let drag = null
  const fingers = new Map()

  // Places

  const frame = () => Bokeh.index.get(figure)?.frame?.bbox
  const unit = () => sample.data.unit[0]
  const size = () => [sample.data.width[0], sample.data.height[0]]
  function toScreen([x, y]) {
    const box = frame(), {x_range: h, y_range: v} = figure
    return [(x * unit() - h.start) / (h.end - h.start) * box.width, (v.end - y * unit()) / (v.end - v.start) * box.height]
  }
  function toImage([left, top]) {
    const box = frame(), {x_range: h, y_range: v} = figure
    return [(h.start + left / box.width * (h.end - h.start)) / unit(), (v.end - top / box.height * (v.end - v.start)) / unit()]
  }
  const inside = (point) => point.map((each, axis) => Math.round(1000 * Math.min(size()[axis], Math.max(0, each))) / 1000)
  function at(event) {
    const box = svg.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }
  function zoom(factor, [left, top]) {
    const box = frame()
    for (const [range, part] of [[figure.x_range, left / box.width], [figure.y_range, 1 - top / box.height]]) {
      const fixed = range.start + part * (range.end - range.start)
      range.setv({start: fixed + (range.start - fixed) / factor, end: fixed + (range.end - fixed) / factor})
    }
    moved()
  }
  function move(right, down) {
    const box = frame()
    for (const [range, part] of [[figure.x_range, -right / box.width], [figure.y_range, down / box.height]]) {
      const by = part * (range.end - range.start)
      range.setv({start: range.start + by, end: range.end + by})
    }
    moved()
  }
  // The server reads what has come into view, as it does after Bokeh's own gestures.
  function moved() {
    Bokeh.index.get(figure).trigger_ranges_update_event()
  }

  // Changes and the way back

  const copy = (outlines) => JSON.parse(JSON.stringify(outlines))
  const is_changed = (drawn) => JSON.stringify(drawn.outlines) !== drawn.saved
  function change(work) {
    now.past.push(copy(now.outlines))
    now.future = []
    work()
    draw()
  }
  function back(from, to) {
    if (!from.length) return
    to.push(copy(now.outlines))
    now.outlines = from.pop()
    chosen = null
    draw()
  }
  function undo() {
    if (drawing) {
      drawing.pop()
      draw()
    } else back(now.past, now.future)
  }
  function insert({outline, ring, point}) {
    const points = now.outlines[outline].rings[ring]
    const [a, b] = [points[point], points[(point + 1) % points.length]]
    points.splice(point + 1, 0, inside([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]))
    chosen = {outline, ring, point: point + 1}
  }
  function remove_point() {
    if (chosen?.point == null) return
    change(() => {
      const {outline, ring, point} = chosen, {rings} = now.outlines[outline]
      if (rings[ring].length > 3) {
        rings[ring].splice(point, 1)
        chosen.point = Math.min(point, rings[ring].length - 1)
      } else if (ring > 0) {
        rings.splice(ring, 1)
        chosen = {outline, ring: null, point: null}
      } else {
        now.outlines.splice(outline, 1)
        chosen = null
      }
    })
  }
  function remove_outline() {
    if (chosen) change(() => {
      now.outlines.splice(chosen.outline, 1)
      chosen = null
    })
  }
  function choose_class(name) {
    drawnClass = name
    if (chosen && !drawing && now.outlines[chosen.outline].class !== name) change(() => { now.outlines[chosen.outline].class = name })
    draw()
  }
  function begin() {
    drawing = drawing ? null : []
    chosen = cursor = null
    panel.open = true
    draw()
    if (drawing) svg.focus({preventScroll: true})
  }
  function close() {
    if (!drawing || drawing.length < 3) return
    const ring = drawing
    drawing = cursor = null
    change(() => now.outlines.push({class: drawnClass, rings: [ring]}))
    chosen = {outline: now.outlines.length - 1, ring: 0, point: 0}
    draw()
  }
  function cancel() {
    drawing = cursor = chosen = null
    draw()
  }

  // The server

  async function ask(query, body) {
    const options = body && {method: "PUT", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)}
    try {
      const answer = await fetch(`${address}/outlines?${new URLSearchParams(query)}`, options)
      return {code: answer.status, ...await answer.json()}
    } catch {
      return {code: 0, error: "The server does not answer. Is `compseg view` still running?"}
    }
  }
  const counted = (n) => `${n} outline${n === 1 ? "" : "s"}`
  async function show() {
    const id = sample.data.id[0]
    drawing = chosen = cursor = null
    conflict.hidden = true
    if (!samples.has(id)) {
      now = null
      draw()
      const found = await ask({sample: id})
      if (samples.has(id) || sample.data.id[0] !== id) return
      const drawn = {outlines: found.outlines ?? [], past: [], future: [], version: found.version ?? "", saved: "[]"}
      drawn.saved = JSON.stringify(drawn.outlines)
      drawn.failure = found.error
      drawn.said = found.error ?? (found.version ? `${counted(drawn.outlines.length)} of ${found.place}` : "Nothing drawn yet.")
      samples.set(id, drawn)
    }
    now = samples.get(id)
    draw()
  }
  async function start_from(what) {
    const drawn = now
    drawn.said = "Outlining …"
    draw()
    const found = await ask({sample: sample.data.id[0], of: what, threshold: threshold.value})
    if (found.error) drawn.said = found.error
    else {
      drawn.past.push(copy(drawn.outlines))
      drawn.future = []
      drawn.outlines = [...drawn.outlines.filter((outline) => outline.class === "healthy"), ...found.outlines]
      drawn.said = found.outlines.length ? `${counted(found.outlines.length)} to correct; those of the class diseased before them are replaced.`
        : `The ${what} marks nothing.`
      if (drawn === now) chosen = null
    }
    draw()
  }
  async function save() {
    const drawn = now, id = sample.data.id[0], sent = JSON.stringify(drawn.outlines)
    const before = drawn.version
    conflict.hidden = true
    const found = await ask({sample: id}, {outlines: drawn.outlines, version: before})
    if (found.error) {
      drawn.said = `Not saved: ${found.error}`
      if (drawn === now) conflict.hidden = found.code !== 409
    } else {
      drawn.version = found.version
      drawn.saved = sent
      drawn.said = `Saved ${counted(drawn.outlines.length)} to ${found.place}${before ? ", in place of those that were opened" : ""}.`
    }
    draw()
  }
  async function settle(is_mine) {
    const found = await ask({sample: sample.data.id[0]})
    conflict.hidden = true
    if (found.error) now.said = found.error
    else if (is_mine) {
      now.version = found.version
      return save()
    } else change(() => {
      now.outlines = found.outlines
      now.version = found.version
      now.saved = JSON.stringify(found.outlines)
      now.said = `${counted(found.outlines.length)} of ${found.place}`
      chosen = null
    })
    draw()
  }
  function picture() {
    const view = Bokeh.index.get(figure), {canvas} = view.export("png", true)
    const context = canvas.getContext("2d"), box = frame(), scale = canvas.width / view.el.getBoundingClientRect().width
    context.setTransform(scale, 0, 0, scale, 0, 0)
    context.beginPath()
    context.rect(box.left, box.top, box.width, box.height)
    context.clip()
    context.translate(box.left, box.top)
    for (const outline of now?.outlines ?? []) {
      const path = new Path2D(path_of(outline.rings))
      for (const [width, colour] of [[4, "#000"], [2, colour_of(outline.class)]]) {
        context.lineWidth = width
        context.strokeStyle = colour
        context.setLineDash(outline.class === "healthy" ? [7, 4] : [])
        context.stroke(path)
      }
    }
    canvas.toBlob((blob) => {
      const link = document.createElement("a")
      link.href = URL.createObjectURL(blob)
      link.download = `${sample.data.id[0]}.png`
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 10000)
    })
  }

  // What is seen

  const colour_of = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--drawn-${name}`).trim()
  const path_of = (rings) => rings.map((ring) => `M${ring.map((point) => toScreen(point).map((each) => each.toFixed(2))).join("L")}Z`).join("")
  function add(name, attributes) {
    const element = document.createElementNS(SVG, name)
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
    svg.append(element)
    return element
  }
  let is_waiting = false
  function draw() {
    if (is_waiting) return
    is_waiting = true
    requestAnimationFrame(() => {
      is_waiting = false
      paint()
    })
  }
  function paint() {
    const view = Bokeh.index.get(figure), box = frame()
    if (!view || !box) return
    const had_focus = svg.contains(document.activeElement)
    const own = view.el.getBoundingClientRect(), host = cell.getBoundingClientRect()
    Object.assign(svg.style, {
      left: `${own.left - host.left - cell.clientLeft + box.left}px`, top: `${own.top - host.top - cell.clientTop + box.top}px`,
      width: `${box.width}px`, height: `${box.height}px`,
    })
    svg.replaceChildren()
    svg.classList.toggle("drawn-on", Boolean(drawing))
    now?.outlines.forEach((outline, index) => {
      const d = path_of(outline.rings), is_chosen = chosen?.outline === index ? " chosen" : ""
      add("path", {d, class: "casing"})
      add("path", {d, class: `line ${outline.class}${is_chosen}`})
      if (!drawing) add("path", {d, class: "hit", "data-outline": index})
    })
    let focus = null
    if (chosen && now && !drawing) {
      const {rings} = now.outlines[chosen.outline], corners = [], {width, height} = box
      rings.forEach((points, ring) => points.forEach((point, index) => {
        const [x, y] = toScreen(point)
        if (x >= 0 && y >= 0 && x <= width && y <= height) corners.push([x, y, ring, index, points])
      }))
      if (corners.length <= MOST_HANDLES) for (const [x, y, ring, index, points] of corners) {
        const [nx, ny] = toScreen(points[(index + 1) % points.length])
        if (Math.hypot(nx - x, ny - y) > 24) add("circle", {cx: (x + nx) / 2, cy: (y + ny) / 2, r: 4, class: "between", "data-ring": ring, "data-point": index})
        const is_it = chosen.ring === ring && chosen.point === index
        const handle = add("circle", {cx: x, cy: y, r: 6, class: is_it ? "corner chosen" : "corner", "data-ring": ring, "data-point": index,
          tabindex: is_it ? 0 : -1, role: "button", "aria-label": `point ${index + 1} of ${points.length}`})
        if (is_it) focus = handle
      }
    }
    if (drawing) {
      const places = drawing.map(toScreen)
      if (places.length) {
        const d = `M${places.join("L")}`
        add("path", {d, class: "casing"})
        add("path", {d, class: `line ${drawnClass} chosen`})
        add("circle", {cx: places[0][0], cy: places[0][1], r: NEAR, class: "first"})
      }
      for (const [x, y] of places) add("circle", {cx: x, cy: y, r: 4, class: "corner"})
      if (cursor) {
        const [x, y] = toScreen(cursor)
        add("path", {d: `M${x - 12} ${y}h24M${x} ${y - 12}v24`, class: "cursor"})
      }
    }
    if (had_focus) (focus ?? svg).focus({preventScroll: true})
    say()
  }
  function say() {
    const is_ready = Boolean(now) && !now.failure
    const enabled = {
      draw: is_ready, close: drawing?.length > 2, diseased: is_ready, healthy: is_ready, undo: is_ready && (drawing ? drawing.length : now.past.length),
      redo: is_ready && !drawing && now.future.length, "remove-point": is_ready && chosen?.point != null, "remove-outline": is_ready && chosen,
      segmentation: is_ready && !drawing, reference: is_ready && !drawing && sample.data.reference[0], save: is_ready && !drawing && (is_changed(now) || !now.version),
    }
    for (const button of panel.querySelectorAll("[data-do]")) {
      const name = button.dataset.do
      if (name in enabled) button.disabled = !enabled[name]
      if (name === "diseased" || name === "healthy") button.setAttribute("aria-pressed", (chosen && !drawing ? now.outlines[chosen.outline].class : drawnClass) === name)
    }
    panel.querySelector("[data-do=draw]").textContent = drawing ? "Cancel" : "Draw"
    const others = [...samples.values()].filter((drawn) => drawn !== now && is_changed(drawn)).length
    let said = now?.said ?? "Reading …"
    if (drawing) said = "Tap corner after corner, or draw the line in one go; tap the first corner, Close or Enter ends it."
    else if (now && !now.failure && is_changed(now)) said = `${said.startsWith("Not saved:") ? said : `${counted(now.outlines.length)}, not saved yet.`}`
      + (chosen ? " Drag a corner; a small dot makes a new one." : " Tap a line to change it.")
    status.textContent = said + (others ? ` Not saved yet of ${others} other sample${others === 1 ? "" : "s"}.` : "")
  }

  // Hands

  svg.addEventListener("pointerdown", (event) => {
    if (!now || event.button > 0) return
    const place = at(event), {dataset} = event.target
    fingers.set(event.pointerId, place)
    svg.setPointerCapture(event.pointerId)
    event.preventDefault()
    event.stopPropagation()
    if (fingers.size > 1) {
      drag = null
      return
    }
    if (drawing) {
      svg.focus({preventScroll: true})
      drag = {from: place, last: place, is_line: false}
    } else if (dataset.outline !== undefined) {
      const outline = Number(dataset.outline)
      if (chosen?.outline !== outline) chosen = {outline, ring: null, point: null}
      svg.focus({preventScroll: true})
      draw()
    } else if (dataset.point !== undefined) {
      const [ring, point] = [Number(dataset.ring), Number(dataset.point)]
      drag = {from: place, before: copy(now.outlines), is_moved: false}
      chosen = {outline: chosen.outline, ring, point}
      if (event.target.classList.contains("between")) {
        insert(chosen)
        drag.is_moved = true
      }
      svg.focus({preventScroll: true})
      draw()
    }
  })
  svg.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return
    const place = at(event), before = fingers.get(event.pointerId)
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, each]) => each)
      const spread = (one) => Math.hypot(one[0] - other[0], one[1] - other[1])
      zoom(spread(place) / Math.max(1, spread(before)), other)
      fingers.set(event.pointerId, place)
      return
    }
    fingers.set(event.pointerId, place)
    if (!drag) return
    if (drawing) {
      if (Math.hypot(place[0] - drag.last[0], place[1] - drag.last[1]) < FREEHAND) return
      if (!drag.is_line) drawing.push(inside(toImage(drag.from)))
      drag.is_line = true
      drag.last = place
      drawing.push(inside(toImage(place)))
    } else if (drag.is_moved || Math.hypot(place[0] - drag.from[0], place[1] - drag.from[1]) > 3) {
      drag.is_moved = true
      now.outlines[chosen.outline].rings[chosen.ring][chosen.point] = inside(toImage(place))
    }
    draw()
  })
  function lifted(event) {
    if (!fingers.delete(event.pointerId) || !drag) return
    const place = at(event), was = drag
    drag = null
    if (drawing) {
      const [first] = drawing.map(toScreen)
      const is_closing = first && Math.hypot(place[0] - first[0], place[1] - first[1]) < NEAR
      if (drawing.length > 2 && is_closing) return close()
      if (!was.is_line) drawing.push(inside(toImage(place)))
    } else if (was.is_moved) {
      now.past.push(was.before)
      now.future = []
    }
    draw()
  }
  svg.addEventListener("pointerup", lifted)
  svg.addEventListener("pointercancel", lifted)
  svg.addEventListener("wheel", (event) => {
    event.preventDefault()
    event.stopPropagation()
    zoom(event.deltaY < 0 ? 1.25 : 0.8, at(event))
  }, {passive: false})

  // Keys, while the picture has the focus; undo anywhere

  svg.addEventListener("keydown", (event) => {
    const {key} = event
    if (!now || event.ctrlKey || event.metaKey) return
    const step = event.shiftKey ? 10 : event.altKey ? 0.1 : 1
    const by = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]}[key]
    const box = frame()
    if (drawing && by) {
      cursor ??= inside(toImage([box.width / 2, box.height / 2]).map(Math.round))
      cursor = inside([cursor[0] + by[0], cursor[1] + by[1]])
    } else if (drawing && key === " ") {
      cursor ??= inside(toImage([box.width / 2, box.height / 2]).map(Math.round))
      drawing.push([...cursor])
    } else if (drawing && key === "Enter") close()
    else if (drawing && key === "Backspace") drawing.pop()
    else if (key === "Escape") cancel()
    else if (!drawing && chosen?.point != null && by) change(() => {
      const ring = now.outlines[chosen.outline].rings[chosen.ring], [x, y] = ring[chosen.point]
      ring[chosen.point] = inside([x + by[0], y + by[1]])
    })
    else if (!drawing && (key === "Delete" || key === "Backspace")) chosen?.point == null ? remove_outline() : remove_point()
    else if (!drawing && (key === "Insert" || key === "i") && chosen?.point != null) change(() => insert(chosen))
    else if (!drawing && (key === "n" || key === "p") && chosen) {
      const ring = chosen.ring ?? 0, {length} = now.outlines[chosen.outline].rings[ring]
      chosen = {outline: chosen.outline, ring, point: chosen.point == null ? 0 : (chosen.point + (key === "n" ? 1 : length - 1)) % length}
    } else if (!drawing && key === "o" && now.outlines.length) chosen = {outline: ((chosen?.outline ?? -1) + 1) % now.outlines.length, ring: 0, point: 0}
    else return
    event.preventDefault()
    event.stopPropagation()
    draw()
  })
  window.addEventListener("keydown", (event) => {
    if (!now || !panel.open || !(event.ctrlKey || event.metaKey) || /^(INPUT|TEXTAREA)$/.test(event.composedPath()[0].tagName)) return
    const is_redo = event.key === "y" || (event.key.toLowerCase() === "z" && event.shiftKey)
    if (is_redo) back(now.future, now.past)
    else if (event.key === "z") undo()
    else return
    event.preventDefault()
  })
  window.addEventListener("beforeunload", (event) => {
    if ([...samples.values()].some(is_changed)) event.preventDefault()
  })

  const middle = () => [frame().width / 2, frame().height / 2]
  const deeds = {
    closer: () => zoom(1.5, middle()), farther: () => zoom(1 / 1.5, middle()), whole: () => { Bokeh.index.get(figure).reset(); moved() }, picture,
    draw: begin, close, undo, redo: () => back(now.future, now.past), "remove-point": remove_point, "remove-outline": remove_outline,
    diseased: () => choose_class("diseased"), healthy: () => choose_class("healthy"), save,
    segmentation: () => start_from("segmentation"), reference: () => start_from("reference"), mine: () => settle(true), theirs: () => settle(false),
  }
  for (const place of [tools, panel]) place.addEventListener("click", (event) => deeds[event.target.dataset.do]?.())
  panel.addEventListener("toggle", draw)

  for (const range of [figure.x_range, figure.y_range]) range.change.connect(draw)
  figure.properties.inner_width.change.connect(draw)
  figure.properties.inner_height.change.connect(draw)
  new ResizeObserver(draw).observe(cell)
  sample.properties.data.change.connect(show)
  if (sample.data.id.length) show()
}
