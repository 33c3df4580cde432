// ---- page: the controls, the panel, the keys, the address ---------------------------------------

/// What a click on the story or a key has chosen last; -1 for nothing.
function pick(event) {
  view.picked = event;
  if (event >= 0) {
    reveal(event);
    bringIntoView(event);
  }
  showPanel();
  writeAddress();
  redraw();
}

/// Takes from the filter what hides the event.
function reveal(event) {
  if (isShown[event]) return;
  filter.lanes.delete(laneOf[event]);
  filter.kinds.delete(kindOf[event]);
  if (!isFound[event]) filter.only = false;
  showFilter();
}

/// The events joined to this one by its message: from where it comes or mentions, to where it goes.
function endsOf(event) {
  const message = messages.get(numberOf(event));
  if (!message) return [];
  return [message.send, ...message.receives].filter((end) => end >= 0 && end !== event);
}

// ---- steps ----

/// The next shown event from the picked one (or from the top of the view), that is `wanted`.
function step(forward, isWanted = () => true) {
  const start = view.picked >= 0
    ? shownBefore[view.picked] + (forward ? isShown[view.picked] : -1)
    : firstAt(view.top) - (forward ? 0 : 1);
  for (let place = start; place >= 0 && place < shown.length; place += forward ? 1 : -1) {
    if (isWanted(shown[place])) return pick(shown[place]);
  }
}

/// The next event of a kind, shown or not; after the last the first again.
function stepTo(forward, events, what) {
  if (!events.length) { say(`There is no ${what}.`); return; }
  const from = view.picked;
  const next = forward ? events.find((event) => event > from)
    : events.findLast((event) => event < from);
  if (next === undefined) say(`No more ${what} that way: round to the other end.`);
  pick(next ?? (forward ? events[0] : events[events.length - 1]));
}

const eventsOf = (kind) => {
  const events = [];
  for (let event = 0; event < count; event++) if (kindOf[event] === KIND[kind]) events.push(event);
  return events;
};

function stepInLane(forward) {
  if (view.picked < 0) { step(forward); return; }
  step(forward, (event) => laneOf[event] === laneOf[view.picked]);
}

function otherEnd() {
  const ends = view.picked < 0 ? [] : endsOf(view.picked);
  if (ends.length) pick(ends.find((end) => end > view.picked) ?? ends[0]);
  else say("This event has no other end.");
}

const KEYS = [
  [["j", "ArrowDown"], "j / ↓", "next event", () => step(true)],
  [["k", "ArrowUp"], "k / ↑", "event before", () => step(false)],
  [["l", "ArrowRight"], "l / →", "next in its lane", () => stepInLane(true)],
  [["h", "ArrowLeft"], "h / ←", "before, in its lane", () => stepInLane(false)],
  [["o", "Enter"], "o", "other end of its message", otherEnd],
  [["v"], "v", "next violation", () => stepTo(true, eventsOf("violation"), "violation")],
  [["V"], "V", "violation before", () => stepTo(false, eventsOf("violation"), "violation")],
  [["n"], "n", "next of the nemesis", () => stepTo(true, eventsOf("nemesis"), "nemesis event")],
  [["N"], "N", "nemesis before", () => stepTo(false, eventsOf("nemesis"), "nemesis event")],
  [["f"], "f", "next fault", () => stepTo(true, eventsOf("fault"), "fault")],
  [["F"], "F", "fault before", () => stepTo(false, eventsOf("fault"), "fault")],
  [["/"], "/", "find", () => { $("find").focus(); $("find").select(); }],
  [["m"], "m", "next found", () => stepTo(true, found, "match")],
  [["M"], "M", "found before", () => stepTo(false, found, "match")],
  [["t"], "t", "by order, by time", () => setMode(byTime() ? "order" : "time")],
  [["+", "="], "+", "closer", () => zoom(1.6)],
  [["-"], "-", "wider", () => zoom(1 / 1.6)],
  [["Home", "g"], "g", "first event", () => shown.length && pick(shown[0])],
  [["End", "G"], "G", "last event", () => shown.length && pick(shown[shown.length - 1])],
  [["Escape"], "Esc", "nothing picked", () => pick(-1)],
];

/// Returns whether the key means something.
function press(key) {
  const action = KEYS.find(([keys]) => keys.includes(key))?.[3];
  action?.();
  return Boolean(action);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === $("find")) {
    if (event.key === "Enter") stepTo(!event.shiftKey, found, "match");
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" || event.key === "Escape") event.preventDefault();
    return;
  }
  const isButton = event.target.closest?.("button, input, summary");
  if (isButton && (event.key === "Enter" || event.key === " ")) return;
  if (press(event.key)) event.preventDefault();
});

// ---- the mouse ----

/// The event at a place of the drawing, or -1.
function eventAt(x, y) {
  if (!byTime()) {
    const event = shown[Math.floor((view.top + y) / ROW)];
    return event === undefined || y < 0 ? -1 : event;
  }
  let [best, least] = [-1, 14];
  if (x >= view.textX - 4) {
    for (const [labelY, event] of view.labels) {
      if (Math.abs(labelY - y) < Math.min(least, 9)) [best, least] = [event, Math.abs(labelY - y)];
    }
    return best;
  }
  for (let place = firstAt(view.top + y - least); place < shown.length; place++) {
    const event = shown[place];
    const down = yOf(event) - view.top - y;
    if (down > 14) break;
    const far = Math.hypot(down, xOf(event) - x);
    if (far < least) [best, least] = [event, far];
  }
  return best;
}

drawing.addEventListener("click", (event) => {
  pick(eventAt(event.offsetX, event.offsetY));
  scroll.focus({ preventScroll: true });
});
drawing.addEventListener("mousemove", (event) => {
  const hover = eventAt(event.offsetX, event.offsetY);
  if (hover === view.hover) return;
  view.hover = hover;
  drawing.style.cursor = hover >= 0 ? "pointer" : "default";
  redraw();
});
drawing.addEventListener("mouseleave", () => { view.hover = -1; redraw(); });
scroll.addEventListener("scroll", () => { readScroll(); redraw(); });
scroll.addEventListener("wheel", (event) => {
  if (!event.ctrlKey || !byTime()) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 300), event.offsetY);
}, { passive: false });

let dragging = false;
function dragTo(event) {
  const box = overview.getBoundingClientRect();
  const scale = box.height / Math.max(view.height, view.high);
  scrollTo((event.clientY - box.top) / scale - view.high / 2);
  redraw();
}
overview.addEventListener("pointerdown", (event) => {
  dragging = true;
  overview.setPointerCapture(event.pointerId);
  dragTo(event);
});
overview.addEventListener("pointermove", (event) => { if (dragging) dragTo(event); });
overview.addEventListener("pointerup", () => { dragging = false; });

// ---- what is shown ----

/// Lays out anew, and keeps what is in the middle of the view (or picked) where it is.
function keepPlace(change, where) {
  const place = view.picked >= 0 && isVisible(view.picked) ? view.picked
    : shown[Math.min(firstAt(view.top + (where ?? view.high / 2)), shown.length - 1)];
  const y = place === undefined ? 0 : yOf(place) - view.top;
  change();
  layOut();
  readScroll();
  if (place !== undefined && place < count) scrollTo(yOf(place) - y);
  draw();
}

function setMode(mode) {
  keepPlace(() => { view.mode = mode; });
  $("order").setAttribute("aria-pressed", String(mode === "order"));
  $("time").setAttribute("aria-pressed", String(mode === "time"));
  $("closer").disabled = $("wider").disabled = mode !== "time";
  writeAddress();
}

function zoom(factor, where) {
  if (!byTime()) return;
  keepPlace(() => { view.zoom = Math.min(4096, Math.max(1 / 4096, view.zoom * factor)); }, where);
}

/// Makes everything follow the filter.
function showFilter() {
  for (const box of document.querySelectorAll(".box input")) {
    const hidden = box.dataset.kind === undefined ? filter.lanes.has(lanes.indexOf(box.dataset.lane))
      : filter.kinds.has(KIND[box.dataset.kind]);
    box.checked = !hidden;
  }
  $("only").checked = filter.only;
  if ($("find").value !== filter.find) $("find").value = filter.find;
  keepPlace(applyFilter);
  $("found").textContent = filter.find.trim() ? found.length.toLocaleString("en") : "";
  $("nothing").hidden = shown.length > 0;
  writeAddress();
}

function makeBoxes() {
  const box = (name, number, kind, toggled, alone) => {
    const label = make("label", number ? "box" : "box none");
    const input = make("input");
    input.type = "checkbox";
    input.dataset[kind ? "kind" : "lane"] = name;
    input.addEventListener("change", () => { toggled(!input.checked); showFilter(); });
    label.append(input);
    if (kind) label.append(symbolOf(name));
    label.append(make("span", "name", name));
    const only = make("button", "alone", "only");
    only.type = "button";
    only.addEventListener("click", (event) => { event.preventDefault(); alone(); showFilter(); });
    label.append(only, make("span", "count", number.toLocaleString("en")));
    return label;
  };
  const toggle = (set, place) => (hides) => (hides ? set.add(place) : set.delete(place));
  $("kinds").append(...kinds.map((name, place) =>
    box(name, eventsOfKind[place], true, toggle(filter.kinds, place), () => {
      kinds.forEach((_, other) => toggle(filter.kinds, other)(other !== place));
    })));
  $("lane-boxes").append(...lanes.map((name, place) =>
    box(name, eventsOfLane[place], false, toggle(filter.lanes, place), () => {})));
}

/// A symbol in the text, drawn anew when the colours change.
function symbolOf(kind, state = kind === "life" ? "up" : "") {
  const canvas = make("canvas", "symbol");
  canvas.dataset.symbol = kind;
  canvas.dataset.state = state;
  paintSymbol(canvas);
  return canvas;
}

function paintSymbol(canvas) {
  const dots = window.devicePixelRatio || 1;
  canvas.width = canvas.height = SYMBOL_SIDE * dots;
  const c = canvas.getContext("2d");
  c.scale(dots, dots);
  putSymbol(c, canvas.dataset.symbol, canvas.dataset.state, SYMBOL_SIDE / 2, SYMBOL_SIDE / 2);
}

const LEGEND = [
  ["a message", (c) => { legendArrow(c, false); }],
  ["its second copy", (c) => { legendArrow(c, true); }],
  ["one that never arrives", (c) => {
    c.strokeStyle = colour.fault;
    c.setLineDash([4, 3]);
    line(c, [3, 6], [25, 12]);
    c.setLineDash([]);
    c.lineWidth = 2.2;
    cross(c, 29, 13, 4.5);
  }],
  ["node is up", (c) => {
    c.fillStyle = colour["lane-up"];
    c.fillRect(16, 0, 7, 20);
    line(c, [19.5, 0], [19.5, 20]);
  }],
  ["node is opening", (c) => {
    c.setLineDash([2, 2]);
    line(c, [16, 0], [16, 20]);
    line(c, [23, 0], [23, 20]);
  }],
  ["node is down", (c) => { c.fillStyle = stripes(c, "down", 0); c.fillRect(6, 1, 28, 18); }],
  ["node is paused", (c) => { c.fillStyle = stripes(c, "paused", 0); c.fillRect(6, 1, 28, 18); }],
  ["goes down", (c) => putSymbol(c, "life", "down", 20, 10)],
  ["starts, opens", (c) => putSymbol(c, "life", "opening", 20, 10)],
  ["is paused", (c) => putSymbol(c, "life", "paused", 20, 10)],
];

function legendArrow(c, copy) {
  c.strokeStyle = c.fillStyle = colour.message;
  c.setLineDash(copy ? [7, 4] : []);
  line(c, [2, 4], [36, 15]);
  c.beginPath();
  const angle = Math.atan2(11, 34);
  arrowHead(c, 38, 15.6, angle, 8);
  if (copy) arrowHead(c, 31.3, 13.4, angle, 8);
  c.fill();
}

function makeLegend() {
  const dots = window.devicePixelRatio || 1;
  $("legend").replaceChildren(...LEGEND.map(([text, paint]) => {
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [40 * dots, 20 * dots];
    const c = canvas.getContext("2d");
    c.scale(dots, dots);
    c.strokeStyle = colour.lane;
    c.lineWidth = 1.3;
    paint(c);
    const item = make("li");
    item.append(canvas, text);
    return item;
  }));
}

function makeKeys() {
  for (const [, key, text] of KEYS) {
    const term = make("dt");
    term.append(make("kbd", "", key));
    $("keys").append(term, make("dd", "", text));
  }
}

// ---- the title and the panel ----

function pairs(rows) {
  const list = make("dl");
  for (const [name, value] of rows) list.append(make("dt", "", name), make("dd", "", value));
  return list;
}

function button(text, action, note = "", classes = "") {
  const made = make("button", classes);
  made.type = "button";
  made.append(make("span", "", text));
  if (note) made.append(make("span", "", note));
  made.addEventListener("click", action);
  return made;
}

function makeTitle() {
  document.title = `kvnode: seed ${run.seed}`;
  for (const [name, value, tag] of [
    ["seed", run.seed, "code"], ["profile", run.profile], ["again", run.command, "code"],
    ["trace", run.hash, "code"],
  ]) {
    if (!value) continue;
    const row = make("div");
    row.append(make("dt", "", name), make("dd"));
    row.lastChild.append(make(tag ?? "span", "", value));
    $("title").append(row);
  }
  const bad = run.violations.length || eventsOfKind[KIND.violation];
  const verdict = bad
    ? button(`✗ ${many(bad, "violation")}`, () => press("v"), "", "verdict bad")
    : make("span", "verdict good", "✓ no violation");
  $("verdict").append(verdict);
}

function showPanel() {
  const panel = $("panel");
  panel.replaceChildren();
  panel.scrollTop = 0;
  if (view.picked >= 0) panel.append(...aboutEvent(view.picked));
  else panel.append(...aboutRun());
}

function aboutRun() {
  const parts = [make("h2", "", "The run")];
  const violations = eventsOf("violation");
  if (run.violations.length) {
    parts.push(make("h3", "", "What the checkers say"));
    run.violations.forEach((text, place) => {
      const event = violations[Math.min(place, violations.length - 1)];
      const finding = button(text, () => pick(event), "", "finding");
      finding.disabled = event === undefined;
      parts.push(finding);
    });
  } else {
    parts.push(make("p", "", "No checker has found anything wrong."));
  }
  parts.push(make("h3", "", "What happened"));
  parts.push(pairs([
    ["time", duration(spanNs())],
    ["events", count.toLocaleString("en")],
    ["messages", messages.size.toLocaleString("en")],
    ["never arrived", arrows.filter((arrow) => arrow.to < 0).length.toLocaleString("en")],
    ["arrived again", arrows.filter((arrow) => arrow.copy).length.toLocaleString("en")],
    ["faults", eventsOfKind[KIND.fault].toLocaleString("en")],
  ]));
  if (run.settings.length) parts.push(make("h3", "", "Settings of this seed"), pairs(run.settings));
  parts.push(make("p", "", "Click an event, or press j, to read what it means."));
  return parts;
}

function aboutEvent(event) {
  const [kind, lane] = [kindOf[event], laneOf[event]];
  const change = stateAfter.get(event);
  const head = make("h2");
  head.append(symbolOf(kinds[kind], change?.state), make("span", "kind", kinds[kind]));
  head.append(make("span", "lane", lanes[lane]));
  const meaning = make("p", "meaning", run.kinds[kind].meaning);
  const parts = [head, make("pre", "", textOf(event)), meaning];
  if (change) parts.push(make("p", "meaning", change.meaning));
  const rows = [["time", `${seconds(at[event])} s`]];
  if (event) rows.push(["after the one before", duration(at[event] - at[event - 1])]);
  rows.push(["event", `${(event + 1).toLocaleString("en")} of ${count.toLocaleString("en")}`]);
  const state = stateOf(lane, event);
  if (state) rows.push([`${lanes[lane]} is`, state]);
  parts.push(pairs(rows));
  if (numberOf(event) !== undefined) parts.push(...aboutMessage(event));
  const steps = make("div", "steps");
  steps.append(
    button(`← on ${lanes[lane]}`, () => press("h")),
    button(`on ${lanes[lane]} →`, () => press("l")),
  );
  parts.push(steps);
  return parts;
}

function aboutMessage(event) {
  const number = numberOf(event);
  const { send, receives } = messages.get(number) ?? { send: -1, receives: [] };
  const sender = send >= 0 ? laneOf[send] : receives.length ? otherOf(receives[0]) : laneOf[event];
  const receiver = send >= 0 ? otherOf(send) : receives.length ? laneOf[receives[0]] : otherOf(event);
  const parts = [make("h3", "", `Message ${number}: ${lanes[sender]} → ${lanes[receiver]}`)];
  const end = (text, to, note) => {
    const made = button(text, () => pick(to), note, "end");
    made.disabled = to === event;
    parts.push(made);
  };
  if (send >= 0) end("is sent", send, `${seconds(at[send])} s`);
  receives.forEach((receive, copy) => {
    const note = send >= 0 ? `after ${duration(at[receive] - at[send])}` : `${seconds(at[receive])} s`;
    end(copy ? "arrives again" : "arrives", receive, note);
  });
  if (send >= 0 && !receives.length) parts.push(make("p", "lost", "✗ never arrives"));
  if (send < 0) parts.push(make("p", "", "Where it was sent is not in this story."));
  return parts;
}

// ---- the last line ----

let saying = 0;
function say(text) {
  $("status").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { saying = 0; sayWhatIsDrawn(); }, 3000);
}

/// Says on the page, and for a test, what the last drawing holds.
function sayWhatIsDrawn() {
  Object.assign(document.body.dataset, {
    mode: view.mode, shown: shown.length, found: found.length, picked: view.picked,
    top: Math.round(view.top), ...view.drawn,
  });
  if (saying) return;
  const part = shown.length === count ? "" : ` of ${count.toLocaleString("en")}`;
  $("status").textContent = `${shown.length.toLocaleString("en")}${part} events shown · ` +
    `${many(view.drawn.marks, "mark")} and ${many(view.drawn.arrows + view.drawn.lost, "arrow")} ` +
    `in view${filter.find.trim() ? ` · ${many(found.length, "match", "matches")}` : ""}`;
}

// ---- the address ----

function writeAddress() {
  if (!started) return;
  const hidden = [...filter.kinds].map((kind) => kinds[kind])
    .concat([...filter.lanes].map((lane) => lanes[lane]));
  const parts = [];
  if (view.picked >= 0) parts.push(`event=${view.picked + 1}`);
  if (hidden.length) parts.push(`hide=${hidden.join(",")}`);
  if (byTime()) parts.push("mode=time");
  if (filter.find) parts.push(`find=${encodeURIComponent(filter.find)}`);
  if (filter.only) parts.push("only=1");
  history.replaceState(null, "", `#${parts.join("&")}`);
}

function readAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  for (const name of (address.get("hide") ?? "").split(",")) {
    if (KIND[name] !== undefined) filter.kinds.add(KIND[name]);
    if (lanes.includes(name)) filter.lanes.add(lanes.indexOf(name));
  }
  filter.find = address.get("find") ?? "";
  filter.only = address.get("only") === "1";
  showFilter();
  setMode(address.get("mode") === "time" ? "time" : "order");
  const event = Number(address.get("event")) - 1;
  if (event >= 0 && event < count) pick(event);
  for (const deed of (address.get("do") ?? "").split(",").filter(Boolean)) {
    const [what, on] = [deed.slice(0, deed.indexOf(":")), deed.slice(deed.indexOf(":") + 1)];
    if (what === "press") dispatchEvent(new KeyboardEvent("keydown", { key: on }));
    if (what === "click") clickEvent(Number(on) - 1);
    if (what === "box") document.querySelector(`[data-kind="${on}"], [data-lane="${on}"]`).click();
  }
  draw();
}

/// A click where the event is drawn, through the same way as that of a hand.
function clickEvent(event) {
  bringIntoView(event);
  draw();
  const box = drawing.getBoundingClientRect();
  drawing.dispatchEvent(new MouseEvent("click", {
    bubbles: true,
    clientX: box.left + xOf(event),
    clientY: box.top + yOf(event) - view.top,
  }));
}

// ---- start ----

function changeColours() {
  readColours();
  document.querySelectorAll("canvas.symbol").forEach(paintSymbol);
  makeLegend();
  drawOverview();
  draw();
}

let started = false;
readColours();
makeTitle();
makeBoxes();
makeLegend();
makeKeys();
applyFilter();
layOut();
showPanel();
$("find").addEventListener("input", () => { filter.find = $("find").value; showFilter(); });
$("only").addEventListener("change", () => { filter.only = $("only").checked; showFilter(); });
$("order").addEventListener("click", () => setMode("order"));
$("time").addEventListener("click", () => setMode("time"));
$("closer").addEventListener("click", () => zoom(1.6));
$("wider").addEventListener("click", () => zoom(1 / 1.6));
$("all").addEventListener("click", () => {
  filter.kinds.clear();
  filter.lanes.clear();
  showFilter();
});
$("story").addEventListener("click", () => {
  filter.kinds.clear();
  for (const kind of ["send", "receive", "link", "disk", "done", "tick"]) {
    filter.kinds.add(KIND[kind]);
  }
  showFilter();
});
readAddress();
started = true;
writeAddress();
new ResizeObserver(() => keepPlace(() => {})).observe(scroll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changeColours);
addEventListener("hashchange", () => {
  filter.kinds.clear();
  filter.lanes.clear();
  readAddress();
});
document.body.dataset.ready = "yes";
