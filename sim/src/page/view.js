// ---- view: where an event is, and the drawing of what is visible -------------------------------
//
// The story is `height` high, in pixels from its first event; the drawing shows `[top, top + high)`
// of it. By order, an event is in the row of its place among the shown ones; by time, its distance
// from the start is proportional.

const ROW = 22;
const MARGIN = 16;
/// Above this height browsers no longer scroll exactly; the scroll bar then moves in larger steps.
const EXTENT_MAX = 8e6;
/// Width of the column of times.
const TIMES = 88;
/// By time, how far apart marks stand that would lie on each other.
const BESIDE = 12;
/// By time, from how many events in view on the quiet ones are mere dashes.
const CROWD = 2500;
const NAME_LETTERS = Math.max(2, ...lanes.map((name) => name.length));
/// Kinds that stand out by the ground of their row, and get their text first where room is short.
const LOUD = ["violation", "nemesis", "fault", "life", "role"].map((name) => KIND[name]);
const LOUD_FIRST = new Map(LOUD.map((kind, place) => [kind, place]));

const $ = (id) => document.getElementById(id);
const drawing = $("drawing");
const overview = $("overview");
const scroll = $("scroll");
const extent = $("extent");

const view = {
  mode: "order", pixelsPerNs: 0, zoom: 1, height: 0, top: 0, wide: 0, high: 0,
  laneX: [], laneWide: 0, textX: 0, picked: -1, hover: -1, crowded: false, drawn: {}, labels: [],
};

const byTime = () => view.mode === "time";
const startNs = () => (count ? at[0] : 0);
const spanNs = () => (count ? at[count - 1] - at[0] : 0);

/// Where an event is. A hidden one is where it would be: between two rows.
function yOf(event) {
  if (byTime()) return MARGIN + (at[event] - startNs()) * view.pixelsPerNs;
  return shownBefore[event] * ROW + (isShown[event] ? ROW / 2 : 0);
}

/// By time, events of a lane that would lie on each other stand side by side: which place each has.
const sideways = new Int8Array(count);

function xOf(event) {
  return view.laneX[laneOf[event]] + (byTime() && !view.crowded ? sideways[event] * BESIDE : 0);
}

function layOutSideways() {
  const most = Math.max(0, Math.min(2, Math.floor(view.laneWide / 2 / BESIDE)));
  const places = [0, 1, 2, -1, -2].filter((place) => Math.abs(place) <= most);
  const lastY = lanes.map(() => -Infinity);
  const lastPlace = lanes.map(() => 0);
  for (const event of shown) {
    const [lane, y] = [laneOf[event], yOf(event)];
    const crowded = y - lastY[lane] < 9;
    const place = crowded ? (lastPlace[lane] + 1) % places.length : 0;
    // A row reaches down from its first event, not from its last.
    if (place === 0) lastY[lane] = y;
    lastPlace[lane] = place;
    sideways[event] = places[place];
  }
}

/// The place in `shown` of the first event at or below `y`.
function firstAt(y) {
  let [low, high] = [0, shown.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (yOf(shown[middle]) < y) low = middle + 1; else high = middle;
  }
  return low;
}

// ---- layout ----

/// The arrows that are shown, with their upper and lower end.
let arrowsShown = [];
let arrowTop = new Float64Array(0);
let arrowEnd = new Float64Array(0);

function layOut() {
  view.wide = scroll.clientWidth;
  view.high = scroll.clientHeight;
  if (byTime()) {
    // At first an event has 10 pixels on average, and the whole is at least a screen.
    const screen = Math.max(view.high - 2 * MARGIN, 1);
    const whole = Math.max(screen, Math.min(shown.length * 10, EXTENT_MAX / 4));
    view.zoom = Math.max(view.zoom, screen / whole);
    view.pixelsPerNs = (whole * view.zoom) / Math.max(spanNs(), 1);
    view.height = 2 * MARGIN + spanNs() * view.pixelsPerNs;
  } else {
    view.height = shown.length * ROW + 2;
  }
  layOutLanes();
  if (byTime()) layOutSideways();
  arrowsShown = arrows.filter(isArrowShown);
  arrowTop = Float64Array.from(arrowsShown, ({ from, to }) => yOf(from < 0 ? to : from) - ROW);
  arrowEnd = Float64Array.from(arrowsShown, ({ from, to }) => yOf(to < 0 ? from : to) + ROW);
  extent.style.height = `${Math.max(0, Math.min(view.height, EXTENT_MAX) - view.high)}px`;
  for (const canvas of [drawing, overview]) {
    const dots = window.devicePixelRatio || 1;
    const box = canvas === drawing ? { width: view.wide, height: view.high }
      : canvas.getBoundingClientRect();
    canvas.width = Math.round(box.width * dots);
    canvas.height = Math.round(box.height * dots);
    if (canvas === drawing) {
      canvas.style.width = `${box.width}px`;
      canvas.style.height = `${box.height}px`;
    }
  }
  drawOverview();
}

function layOutLanes() {
  const visible = lanes.map((_, lane) => lane).filter((lane) => !filter.lanes.has(lane));
  const weight = (lane) => (run.lanes[lane].sort === "world" ? 0.7 : 1);
  const weights = visible.reduce((sum, lane) => sum + weight(lane), 0) || 1;
  // Lanes share what a text of readable length leaves.
  const room = view.wide - TIMES - Math.max(260, view.wide * 0.47);
  view.laneWide = Math.max(30, Math.min(104, room / weights));
  view.laneX = lanes.map(() => NaN);
  let x = TIMES;
  for (const lane of visible) {
    const wide = view.laneWide * weight(lane);
    view.laneX[lane] = x + wide / 2;
    x += wide;
  }
  view.textX = x + 10;
  const heads = $("heads");
  heads.replaceChildren();
  heads.classList.toggle("tight", view.laneWide < 50);
  const label = (text, left) => {
    const made = make("span", "label", text);
    made.style.left = `${left}px`;
    heads.append(made);
  };
  label("time (s)", 12);
  label("what happened", view.textX);
  for (const lane of visible) {
    const head = make("div", "head", lanes[lane]);
    head.dataset.lane = lanes[lane];
    head.style.left = `${view.laneX[lane]}px`;
    head.append(make("small"));
    heads.append(head);
  }
}

function make(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  return made;
}

// ---- scrolling ----

function readScroll() {
  const steps = Math.min(view.height, EXTENT_MAX) - view.high;
  const ratio = steps > 0 ? (view.height - view.high) / steps : 0;
  view.top = Math.max(0, scroll.scrollTop * ratio);
}

function scrollTo(y) {
  const steps = Math.min(view.height, EXTENT_MAX) - view.high;
  const hidden = view.height - view.high;
  scroll.scrollTop = hidden > 0 ? (y * steps) / hidden : 0;
  readScroll();
}

/// Scrolls as little as brings the event into view; into the middle if it is far away.
function bringIntoView(event) {
  const y = yOf(event);
  const [least, most] = [view.top + 2 * ROW, view.top + view.high - 2 * ROW];
  if (y >= least && y <= most) return;
  const near = y > least - 3 * ROW && y < most + 3 * ROW;
  scrollTo(!near ? y - view.high / 2 : y < least ? y - 2 * ROW : y - view.high + 2 * ROW);
}

// ---- drawing ----

let wanted = 0;
function redraw() {
  wanted ||= requestAnimationFrame(draw);
}

function draw() {
  cancelAnimationFrame(wanted);
  wanted = 0;
  const dots = window.devicePixelRatio || 1;
  const c = drawing.getContext("2d");
  c.setTransform(dots, 0, 0, dots, 0, 0);
  c.fillStyle = colour.ground;
  c.fillRect(0, 0, view.wide, view.high);
  view.drawn = { marks: 0, arrows: 0, lost: 0, copies: 0 };
  view.labels = [];
  const [first, end] = [firstAt(view.top - ROW), firstAt(view.top + view.high + ROW)];
  drawRows(c, first, end);
  drawLanes(c);
  // Far out, by time, thousands lie on each other: only the loud ones keep their symbols then.
  view.crowded = byTime() && end - first > CROWD;
  drawArrows(c);
  drawMarks(c, first, end);
  if (byTime()) drawScale(c); else drawTimes(c, first, end);
  drawTexts(c, first, end);
  drawHeads(first);
  drawWindow();
  sayWhatIsDrawn();
}

/// The ground of the rows: what is loud, found, picked, or the other end of what is picked.
function drawRows(c, first, end) {
  const joined = new Set(view.picked < 0 ? [] : endsOf(view.picked));
  const last = new Float64Array(kinds.length).fill(-1e9);
  for (let place = first; place < end; place++) {
    const event = shown[place];
    const y = yOf(event) - view.top;
    const picked = event === view.picked;
    const loud = LOUD_FIRST.has(kindOf[event]);
    if (byTime()) {
      const quiet = view.crowded ? kindOf[event] !== KIND.violation : !loud;
      if (!picked && (quiet || y - last[kindOf[event]] < 1.5)) continue;
      last[kindOf[event]] = y;
      c.strokeStyle = picked ? colour.accent : colour[kinds[kindOf[event]]];
      c.globalAlpha = picked ? 1 : 0.3;
      c.lineWidth = 1.5;
      line(c, [TIMES, y], [view.textX - 4, y]);
      c.globalAlpha = 1;
      continue;
    }
    const ground = isFound[event] ? colour.match
      : loud ? colour[`${kinds[kindOf[event]]}-ground`]
      : picked ? colour.picked : joined.has(event) ? colour.joined
      : event === view.hover ? colour.hover : undefined;
    if (ground) {
      c.fillStyle = ground;
      c.fillRect(0, y - ROW / 2, view.wide, ROW);
    }
    if (picked || joined.has(event)) {
      c.fillStyle = c.strokeStyle = colour.accent;
      c.fillRect(0, y - ROW / 2, picked ? 4 : 2, ROW);
      c.lineWidth = 1;
      if (picked) c.strokeRect(0.5, y - ROW / 2 + 0.5, view.wide - 1, ROW - 1);
    }
  }
}

/// Where the states of a lane begin and end, in pixels of the drawing.
function* statesVisible(lane) {
  const all = spans[lane];
  if (!all.length && run.lanes[lane].sort === "node") {
    yield { state: "up", from: 0, to: view.high };
    return;
  }
  const place = (span) => (span.event < 0 ? 0 : yOf(span.event)) - view.top;
  if (all.length && all[0].event >= 0) {
    yield { state: "up", from: -ROW, to: Math.min(place(all[0]), view.high + ROW) };
  }
  for (let index = 0; index < all.length; index++) {
    const from = Math.max(-ROW, place(all[index]));
    const to = Math.min(view.high + ROW, index + 1 < all.length ? place(all[index + 1])
      : view.height - view.top);
    if (from > view.high) break;
    if (to > from) yield { state: all[index].state, from, to };
  }
}

function drawLanes(c) {
  const bottom = Math.min(view.high, view.height - view.top);
  const slim = 7;
  const broad = Math.min(view.laneWide * 0.62, 46);
  lanes.forEach((_, lane) => {
    const x = view.laneX[lane];
    if (Number.isNaN(x)) return;
    c.strokeStyle = colour.lane;
    c.lineWidth = 1.2;
    if (run.lanes[lane].sort !== "node") {
      c.setLineDash(run.lanes[lane].sort === "world" ? [1, 4] : [5, 4]);
      c.lineDashOffset = view.top;
      line(c, [x, 0], [x, bottom]);
      c.setLineDash([]);
      return;
    }
    for (const { state, from, to } of statesVisible(lane)) {
      if (state === "up") {
        c.fillStyle = colour["lane-up"];
        c.fillRect(x - slim / 2, from, slim, to - from);
        line(c, [x, from], [x, to]);
      } else if (state === "opening") {
        c.setLineDash([2, 2]);
        c.lineDashOffset = view.top;
        line(c, [x - slim / 2, from], [x - slim / 2, to]);
        line(c, [x + slim / 2, from], [x + slim / 2, to]);
        c.setLineDash([]);
      } else {
        c.fillStyle = stripes(c, state, view.top);
        c.fillRect(x - broad / 2, from, broad, to - from);
        c.strokeRect(x - broad / 2, from, broad, to - from);
      }
    }
  });
}

/// The ends of an arrow, in pixels of the drawing.
function arrowPath({ from, to, fromLane, toLane }) {
  let x0 = from < 0 ? view.laneX[fromLane] : xOf(from);
  let x1 = to < 0 ? view.laneX[toLane] : xOf(to);
  let y0 = from < 0 ? NaN : yOf(from) - view.top;
  let y1 = to < 0 ? NaN : yOf(to) - view.top;
  if (to < 0) {
    x1 = halfWay(view.laneX[fromLane], x1);
    y1 = y0 + ROW * 0.72;
  } else if (from < 0) {
    x0 = halfWay(view.laneX[toLane], x0);
    y0 = y1 - ROW * 0.72;
  }
  const angle = Math.atan2(y1 - y0, x1 - x0);
  const gap = 6;
  if (from >= 0) { x0 += gap * Math.cos(angle); y0 += gap * Math.sin(angle); }
  if (to >= 0) { x1 -= gap * Math.cos(angle); y1 -= gap * Math.sin(angle); }
  return { x0, y0, x1, y1, angle };
}

/// The middle of a way, or the next place before it that is on no lane: nobody there took it away.
function halfWay(from, to) {
  const middle = from === to ? from + view.laneWide : (from + to) / 2;
  const isOnLane = view.laneX.some((x) => Math.abs(x - middle) < 12);
  return isOnLane ? middle - (Math.sign(middle - from) * view.laneWide) / 2 : middle;
}

function drawArrows(c) {
  const bottom = view.top + view.high;
  const plain = new Path2D();
  const heads = new Path2D();
  const special = [];
  const near = view.crowded ? 4 : 1.5;
  const last = new Float64Array(lanes.length * lanes.length * 3).fill(NaN);
  for (let index = 0; index < arrowsShown.length; index++) {
    if (arrowTop[index] > bottom || arrowEnd[index] < view.top) continue;
    const arrow = arrowsShown[index];
    const picked = view.picked >= 0 && (arrow.from === view.picked || arrow.to === view.picked);
    if (arrow.to < 0) view.drawn.lost++; else view.drawn.arrows++;
    if (arrow.copy) view.drawn.copies++;
    if (byTime() && !picked) {
      const key = (arrow.fromLane * lanes.length + arrow.toLane) * 3 + Math.sign(arrow.to + 1) +
        Math.sign(arrow.copy);
      const where = Math.round(arrowTop[index] / near) * 1e6 +
        Math.round(arrowEnd[index] / near);
      if (last[key] === where) continue;
      last[key] = where;
    }
    const isPlain = arrow.to >= 0 && arrow.from >= 0 && !arrow.copy &&
      arrow.fromLane !== arrow.toLane;
    if (picked || (!isPlain && !view.crowded)) {
      special.push([arrow, picked]);
      continue;
    }
    const { x0, y0, x1, y1, angle } = arrowPath(arrow);
    plain.moveTo(x0, y0);
    plain.lineTo(x1, y1);
    if (!view.crowded) arrowHead(heads, x1, y1, angle, 8);
  }
  c.lineWidth = view.crowded ? 0.6 : 1.2;
  c.globalAlpha = view.crowded ? 0.35 : 1;
  c.strokeStyle = c.fillStyle = colour.message;
  c.stroke(plain);
  c.fill(heads);
  c.globalAlpha = 1;
  for (const [arrow, picked] of special) drawArrow(c, arrow, arrowPath(arrow), picked);
}

/// One that is lost, a copy, picked, or from before the story.
function drawArrow(c, arrow, { x0, y0, x1, y1, angle }, picked) {
  c.strokeStyle = c.fillStyle = picked ? colour.accent
    : arrow.to < 0 ? colour.fault : colour.message;
  c.lineWidth = picked ? 2.4 : 1.3;
  c.setLineDash(arrow.to < 0 ? [4, 3] : arrow.copy ? [7, 4] : []);
  c.beginPath();
  c.moveTo(x0, y0);
  if (arrow.fromLane === arrow.toLane && arrow.to >= 0) {
    const out = x0 + view.laneWide * 0.4;
    c.bezierCurveTo(out, y0, out, y1, x1 + 5, y1);
    angle = Math.PI;
    [x1, y1] = [x1 + 5, y1];
  } else {
    c.lineTo(x1, y1);
  }
  c.stroke();
  c.setLineDash([]);
  if (arrow.to < 0) {
    c.lineWidth = 2.2;
    c.strokeStyle = colour.fault;
    cross(c, x1, y1, 4.5);
    return;
  }
  c.beginPath();
  arrowHead(c, x1, y1, angle, picked ? 10 : 8);
  // A copy ends in two heads.
  if (arrow.copy) {
    arrowHead(c, x1 - 7 * Math.cos(angle), y1 - 7 * Math.sin(angle), angle, 8);
  }
  c.fill();
}

function drawMarks(c, first, end) {
  const last = new Float64Array(lanes.length * kinds.length).fill(-1e9);
  for (let place = first; place < end; place++) {
    const event = shown[place];
    const [lane, kind] = [laneOf[event], kindOf[event]];
    const y = yOf(event) - view.top;
    view.drawn.marks++;
    if (byTime()) {
      const key = lane * kinds.length + kind;
      if (event !== view.picked && y - last[key] < 1.5) continue;
      last[key] = y;
      if (isFound[event]) {
        c.fillStyle = colour.match;
        c.beginPath();
        c.arc(xOf(event), y, 10, 0, 7);
        c.fill();
      }
    }
    if (view.crowded && event !== view.picked && !LOUD_FIRST.has(kind)) {
      c.fillStyle = colour[kinds[kind]];
      c.globalAlpha = 0.4;
      c.fillRect(view.laneX[lane] - 6, y - 0.75, 12, 1.5);
      c.globalAlpha = 1;
      continue;
    }
    const state = stateAfter.get(event)?.state;
    putSymbol(c, kinds[kind], state, xOf(event), y);
    if (event === view.picked) {
      c.strokeStyle = colour.accent;
      c.lineWidth = 2;
      c.beginPath();
      c.arc(xOf(event), y, 11.5, 0, 7);
      c.stroke();
    }
  }
}

/// By order: the time of each row where it is another than that of the row above, and a line
/// where much time passes between two rows.
function drawTimes(c, first, end) {
  const much = Math.max((spanNs() / Math.max(shown.length, 1)) * 20, 1e6);
  c.font = `11.5px ${colour.mono}`;
  c.textBaseline = "middle";
  c.textAlign = "right";
  for (let place = first; place < end; place++) {
    const event = shown[place];
    const y = yOf(event) - view.top;
    const since = place ? at[event] - at[shown[place - 1]] : 0;
    if (place && since < 1000 && Math.floor(at[event] / 1000) ===
      Math.floor(at[shown[place - 1]] / 1000) && place !== first) continue;
    c.fillStyle = event === view.picked ? colour.ink : colour.soft;
    c.fillText(seconds(at[event]), TIMES - 10, y);
    if (since >= much) {
      c.strokeStyle = colour.faint;
      c.lineWidth = 1;
      c.setLineDash([2, 3]);
      line(c, [0, Math.round(y - ROW / 2) + 0.5], [view.wide, Math.round(y - ROW / 2) + 0.5]);
      c.setLineDash([]);
      c.font = `10px ${colour.sans}`;
      c.textAlign = "right";
      const note = `${duration(since)} later`;
      const wide = c.measureText(note).width + 8;
      c.fillStyle = colour.ground;
      c.fillRect(view.wide - wide - 4, y - ROW / 2 - 6, wide, 12);
      c.fillStyle = colour.faint;
      c.fillText(note, view.wide - 8, y - ROW / 2);
      c.font = `11.5px ${colour.mono}`;
    }
  }
}

/// By time: a scale with round steps.
function drawScale(c) {
  const least = 70 / view.pixelsPerNs;
  let step = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  step *= [1, 2, 5, 10].find((factor) => step * factor >= least) ?? 10;
  const fromNs = startNs() + (view.top - MARGIN) / view.pixelsPerNs;
  const toNs = fromNs + view.high / view.pixelsPerNs;
  c.font = `11.5px ${colour.mono}`;
  c.textBaseline = "middle";
  c.textAlign = "right";
  c.lineWidth = 1;
  for (let ns = Math.max(0, Math.ceil(fromNs / step) * step); ns <= toNs; ns += step) {
    const y = MARGIN + (ns - startNs()) * view.pixelsPerNs - view.top;
    c.strokeStyle = colour.edge;
    line(c, [TIMES - 8, Math.round(y) + 0.5], [TIMES, Math.round(y) + 0.5]);
    c.fillStyle = colour.soft;
    c.fillText(seconds(ns), TIMES - 12, y);
  }
}

/// Texts stand right of the lanes. By time there may be no room for all: the loud ones come first.
function drawTexts(c, first, end) {
  c.textAlign = "left";
  c.textBaseline = "middle";
  if (!byTime()) {
    for (let place = first; place < end; place++) {
      drawText(c, shown[place], yOf(shown[place]) - view.top);
    }
    return;
  }
  const near = 17;
  const taken = new Map();
  const isFree = (y) => {
    const slot = Math.floor(y / near);
    return !taken.has(slot) && y - (taken.get(slot - 1) ?? -1e9) >= near &&
      (taken.get(slot + 1) ?? 1e9) - y >= near;
  };
  const put = (event) => {
    const y = yOf(event) - view.top;
    if (!isFree(y)) return;
    taken.set(Math.floor(y / near), y);
    view.labels.push([y, event]);
    drawText(c, event, y);
  };
  for (const event of [view.picked, view.hover]) {
    if (event >= 0 && isShown[event]) put(event);
  }
  const passes = [...LOUD, -1].map(() => []);
  for (let place = first; place < end; place++) {
    passes[LOUD_FIRST.get(kindOf[shown[place]]) ?? LOUD.length].push(shown[place]);
  }
  for (const pass of passes) {
    if (taken.size > view.high / near) break;
    pass.forEach(put);
  }
}

function drawText(c, event, y) {
  const kind = kinds[kindOf[event]];
  let x = view.textX;
  if (byTime()) {
    c.strokeStyle = event === view.picked ? colour.accent : colour.edge;
    c.lineWidth = 1;
    line(c, [x - 14, y], [x - 2, y]);
  }
  putSymbol(c, kind, stateAfter.get(event)?.state, x + 9, y);
  c.font = `600 12px ${colour.mono}`;
  c.fillStyle = colour.soft;
  c.fillText(lanes[laneOf[event]], x + 25, y);
  x += 25 + 10 + NAME_LETTERS * letterWide(c);
  const loud = kind === "violation" || kind === "nemesis" || kind === "role";
  c.font = `${loud ? "600 " : ""}12px ${colour.mono}`;
  c.fillStyle = kind === "violation" ? colour.violation
    : kind === "tick" || kind === "done" ? colour.soft : colour.ink;
  const room = Math.floor((view.wide - x - 8) / letterWide(c));
  const text = textOf(event);
  c.fillText(text.length > room ? `${text.slice(0, Math.max(0, room - 1))}…` : text, x, y);
}

/// Of the fixed-width font, measured once for each of its forms.
const letters = new Map();
function letterWide(c) {
  if (!letters.has(c.font)) letters.set(c.font, c.measureText("0".repeat(50)).width / 50);
  return letters.get(c.font);
}

/// The heads of the lanes say what a node is at the top of the drawing.
function drawHeads(first) {
  const event = shown[Math.min(first, shown.length - 1)] ?? 0;
  const topEvent = view.picked >= 0 && isVisible(view.picked) ? view.picked : event;
  for (const head of $("heads").querySelectorAll(".head")) {
    const state = stateOf(lanes.indexOf(head.dataset.lane), topEvent);
    const text = state === undefined || state === "up" ? "" : state;
    if (head.lastChild.textContent !== text) head.lastChild.textContent = text;
    head.classList.toggle("off", state === "down");
  }
}

function isVisible(event) {
  const y = yOf(event) - view.top;
  return y >= 0 && y <= view.high;
}

// ---- the overview of the whole run ----

const overviewDrawn = document.createElement("canvas");

function drawOverview() {
  const dots = window.devicePixelRatio || 1;
  overviewDrawn.width = overview.width;
  overviewDrawn.height = overview.height;
  const [wide, high] = [overview.width / dots, overview.height / dots];
  const c = overviewDrawn.getContext("2d");
  c.setTransform(dots, 0, 0, dots, 0, 0);
  c.fillStyle = colour.surface;
  c.fillRect(0, 0, wide, high);
  // A short story is not stretched.
  const scale = high / Math.max(view.height, view.high);
  const [faults, left] = [4, 38];

  // How much happens on each lane, in steps of two pixels; and when it is down.
  const visible = lanes.map((_, lane) => lane).filter((lane) => !filter.lanes.has(lane));
  const each = Math.min(9, (wide - left - 4) / Math.max(visible.length, 1));
  const steps = Math.ceil(high / 2) + 1;
  const crowd = new Float64Array(lanes.length * steps);
  for (const event of shown) crowd[laneOf[event] * steps + Math.floor((yOf(event) * scale) / 2)]++;
  const most = Math.log1p(crowd.reduce((a, b) => Math.max(a, b), 1));
  visible.forEach((lane, place) => {
    const x = left + place * each;
    const slim = Math.max(each - 2, 1);
    c.fillStyle = colour["hatch-ground"];
    c.fillRect(x, 0, slim, view.height * scale);
    spans[lane].forEach((span, index) => {
      if (span.state === "up") return;
      const from = span.event < 0 ? 0 : yOf(span.event);
      const next = spans[lane][index + 1];
      const to = next ? yOf(next.event) : view.height;
      c.fillStyle = span.state === "down" ? colour.ink : colour.hatch;
      c.fillRect(x, from * scale, slim, Math.max(1, (to - from) * scale));
    });
    c.fillStyle = run.lanes[lane].sort === "node" ? colour.send : colour.call;
    for (let step = 0; step < steps; step++) {
      const events = crowd[lane * steps + step];
      if (!events) continue;
      c.globalAlpha = 0.2 + (0.8 * Math.log1p(events)) / most;
      c.fillRect(x, step * 2, slim, 2);
    }
    c.globalAlpha = 1;
  });

  c.fillStyle = colour.fault;
  c.globalAlpha = 0.6;
  let lastY = -Infinity;
  for (const event of shown) {
    const y = yOf(event) * scale;
    if (kindOf[event] !== KIND.fault || y - lastY < 2) continue;
    lastY = y;
    c.fillRect(faults + 16, y - 0.75, 10, 1.5);
  }
  c.globalAlpha = 1;
  c.fillStyle = colour.nemesis;
  for (const event of shown) {
    if (kindOf[event] !== KIND.nemesis) continue;
    const [x, y] = [faults + 8, yOf(event) * scale];
    polygon(c, [[x, y - 3.5], [x + 3.5, y], [x, y + 3.5], [x - 3.5, y]]);
    c.fill();
  }
  c.fillStyle = colour.violation;
  for (const event of shown) {
    if (kindOf[event] !== KIND.violation) continue;
    const y = yOf(event) * scale;
    c.fillRect(0, y - 1, wide, 2);
    polygon(c, [[0, y - 6], [9, y], [0, y + 6]]);
    c.fill();
  }
}

/// The overview, with a frame around what the drawing shows.
function drawWindow() {
  const dots = window.devicePixelRatio || 1;
  const c = overview.getContext("2d");
  c.setTransform(1, 0, 0, 1, 0, 0);
  if (!overview.width || !overview.height) return;
  c.drawImage(overviewDrawn, 0, 0);
  c.setTransform(dots, 0, 0, dots, 0, 0);
  const [wide, high] = [overview.width / dots, overview.height / dots];
  const scale = high / Math.max(view.height, view.high);
  const y = Math.min(view.top * scale, high - 8);
  const tall = Math.max(8, view.high * scale);
  c.fillStyle = colour.accent;
  c.globalAlpha = 0.12;
  c.fillRect(0, y, wide, tall);
  c.globalAlpha = 1;
  c.strokeStyle = colour.accent;
  c.lineWidth = 1.5;
  c.strokeRect(0.75, y + 0.75, wide - 1.5, Math.max(4, tall - 1.5));
  if (view.picked >= 0) {
    c.fillStyle = colour.accent;
    const there = yOf(view.picked) * scale;
    c.fillRect(0, there - 0.5, wide, 1);
    polygon(c, [[wide, there - 5], [wide - 8, there], [wide, there + 5]]);
    c.fill();
  }
}
