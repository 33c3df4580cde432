// ---- model: what happened, and what of it is shown ---------------------------------------------

const run = JSON.parse(document.getElementById("run").textContent);
const count = run.events.length;
const lanes = run.lanes.map((lane) => lane.name);
const kinds = run.kinds.map((kind) => kind.name);
const KIND = Object.fromEntries(kinds.map((name, place) => [name, place]));

const at = new Float64Array(count);
const laneOf = new Uint16Array(count);
const kindOf = new Uint8Array(count);
const textOf = (event) => run.events[event][3];
const numberOf = (event) => run.events[event][4];
const otherOf = (event) => run.events[event][5];
run.events.forEach(([ns, lane, kind], event) => {
  // Time never goes back in a trace; where one did, the page still has to find its way in it.
  at[event] = event ? Math.max(at[event - 1], ns) : ns;
  laneOf[event] = lane;
  kindOf[event] = kind;
});

const eventsOfLane = lanes.map(() => 0);
const eventsOfKind = kinds.map(() => 0);
for (let event = 0; event < count; event++) {
  eventsOfLane[laneOf[event]]++;
  eventsOfKind[kindOf[event]]++;
}

/// Number of a message -> where it is sent (-1 if the story does not tell), where it arrives.
const messages = new Map();
for (let event = 0; event < count; event++) {
  const [kind, number] = [kindOf[event], numberOf(event)];
  if (number === undefined || (kind !== KIND.send && kind !== KIND.receive)) continue;
  if (!messages.has(number)) messages.set(number, { send: -1, receives: [] });
  const message = messages.get(number);
  if (kind === KIND.receive) message.receives.push(event);
  else if (message.send < 0) message.send = event;
}

/// One for each arrow: from an event (or -1) on a lane to an event (or -1, lost) on a lane; `copy`
/// counts from 0 how often the message had arrived before.
const arrows = [];
for (const { send, receives } of messages.values()) {
  if (send >= 0 && !receives.length) {
    arrows.push({ from: send, to: -1, fromLane: laneOf[send], toLane: otherOf(send), copy: 0 });
  }
  receives.forEach((receive, copy) => {
    arrows.push({
      from: send, to: receive, fromLane: otherOf(receive), toLane: laneOf[receive], copy,
    });
  });
}

/// For each lane: from which event on it is in which state. A node that the story sees start was
/// down before it.
const spans = lanes.map(() => []);
const stateAfter = new Map();
for (const [event, state, meaning] of run.states) {
  const span = spans[laneOf[event]];
  if (!span.length && state === "opening") span.push({ from: 0, event: -1, state: "down" });
  span.push({ from: event, event, state });
  stateAfter.set(event, { state, meaning });
}

/// The state of a lane just after an event; undefined where the story says nothing about it.
function stateOf(lane, event) {
  let found;
  for (const span of spans[lane]) {
    if (span.from > event) break;
    found = span.state;
  }
  return found ?? (run.lanes[lane].sort === "node" ? "up" : undefined);
}

// ---- the filter ----

const filter = { lanes: new Set(), kinds: new Set(), find: "", only: false };

/// The events that are shown, in order; how many of them come before each event; whether each is.
let shown = new Int32Array(0);
const shownBefore = new Int32Array(count + 1);
const isShown = new Uint8Array(count);
/// The events that the text is found in, whether shown or not.
let found = [];
const isFound = new Uint8Array(count);

let lines;
function applyFilter() {
  const words = filter.find.toLowerCase().trim();
  found = [];
  isFound.fill(0);
  if (words) {
    lines ??= run.events.map((row, event) =>
      `${lanes[laneOf[event]]} ${kinds[kindOf[event]]} ${row[3]}`.toLowerCase());
    for (let event = 0; event < count; event++) {
      if (lines[event].includes(words)) { isFound[event] = 1; found.push(event); }
    }
  }
  const kept = new Int32Array(count);
  let length = 0;
  for (let event = 0; event < count; event++) {
    shownBefore[event] = length;
    const shows = !filter.lanes.has(laneOf[event]) && !filter.kinds.has(kindOf[event]) &&
      !(filter.only && words && !isFound[event]);
    isShown[event] = shows ? 1 : 0;
    if (shows) kept[length++] = event;
  }
  shownBefore[count] = length;
  shown = kept.subarray(0, length);
}

/// An arrow is shown if the events at its ends are; an end that is no event, if its lane is.
function isArrowShown(arrow) {
  return (arrow.from < 0 ? !filter.lanes.has(arrow.fromLane) : isShown[arrow.from]) &&
    (arrow.to < 0 ? !filter.lanes.has(arrow.toLane) : isShown[arrow.to]);
}

// ---- words ----

function seconds(ns) {
  const micros = Math.floor(ns / 1000);
  return `${Math.floor(micros / 1e6)}.${String(micros % 1e6).padStart(6, "0")}`;
}

function duration(ns) {
  const [value, unit] = ns >= 1e9 ? [ns / 1e9, "s"] : ns >= 1e6 ? [ns / 1e6, "ms"]
    : ns >= 1e3 ? [ns / 1e3, "µs"] : [ns, "ns"];
  return `${Number(value.toPrecision(4))} ${unit}`;
}

function many(number, one, more = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : more}`;
}
