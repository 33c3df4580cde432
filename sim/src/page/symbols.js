// ---- symbols: how each kind of event looks ----------------------------------------------------
//
// No two kinds share a shape. A filled shape is something that goes out, the hollow one of the same
// shape what comes back: send and receive, disk and done.

/// Side of the square that a symbol is drawn in.
const SYMBOL_SIDE = 24;

/// Each draws around the origin in the current colours: `fill()` in the colour of its kind,
/// `hollow()` with the ground inside.
const SHAPES = {
  send: (c) => { circle(c, 4.2); c.fill(); },
  receive: (c) => { circle(c, 4.2); hollow(c); },
  link: (c) => {
    line(c, [-5, 0], [5, 0]);
    c.beginPath(); c.arc(-5, 0, 2.6, 0, 7); c.fill();
    c.beginPath(); c.arc(5, 0, 2.6, 0, 7); c.fill();
  },
  disk: (c) => { polygon(c, [[-4, -4], [4, -4], [4, 4], [-4, 4]]); c.fill(); },
  done: (c) => { polygon(c, [[-4, -4], [4, -4], [4, 4], [-4, 4]]); hollow(c); },
  tick: (c) => { line(c, [-4, 0], [4, 0]); line(c, [0, -4], [0, 4]); },
  life: (c, state) => {
    if (state === "down") { polygon(c, [[-6, -4.5], [6, -4.5], [0, 6]]); c.fill(); return; }
    if (state === "paused") { c.fillRect(-5, -5.5, 3.6, 11); c.fillRect(1.4, -5.5, 3.6, 11); return; }
    polygon(c, [[-6, 4.5], [6, 4.5], [0, -6]]);
    if (state === "opening") hollow(c); else c.fill();
  },
  role: (c) => { star(c, 7, 3.1); c.fill(); },
  notice: (c) => {
    polygon(c, [[-5.5, -5], [5.5, -5], [5.5, 2.5], [0, 2.5], [-3, 6], [-3, 2.5], [-5.5, 2.5]]);
    hollow(c);
  },
  nemesis: (c) => { polygon(c, [[0, -7], [7, 0], [0, 7], [-7, 0]]); c.fill(); },
  fault: (c) => {
    polygon(c, [[1.5, -8], [-5.5, 1.5], [-1, 1.5], [-2, 8], [5.5, -2], [0.8, -2]]);
    c.fill();
  },
  call: (c) => { polygon(c, [[-4, -5.5], [6, 0], [-4, 5.5]]); hollow(c); },
  violation: (c) => {
    const [a, b] = [9, 3.8];
    polygon(c, [[-b, -a], [b, -a], [a, -b], [a, b], [b, a], [-b, a], [-a, b], [-a, -b]]);
    c.fill();
    c.fillStyle = c.inside;
    c.fillRect(-1.4, -5.6, 2.8, 6.8);
    c.fillRect(-1.4, 2.8, 2.8, 2.8);
  },
};

function circle(c, radius) { c.beginPath(); c.arc(0, 0, radius, 0, 7); c.closePath(); }

function polygon(c, points) {
  c.beginPath();
  points.forEach(([x, y], place) => (place ? c.lineTo(x, y) : c.moveTo(x, y)));
  c.closePath();
}

function star(c, outer, inner) {
  const points = [];
  for (let corner = 0; corner < 10; corner++) {
    const [radius, angle] = [corner % 2 ? inner : outer, (corner * Math.PI) / 5 - Math.PI / 2];
    points.push([radius * Math.cos(angle), radius * Math.sin(angle)]);
  }
  polygon(c, points);
}

function line(c, from, to) { c.beginPath(); c.moveTo(...from); c.lineTo(...to); c.stroke(); }

function hollow(c) {
  const colour = c.fillStyle;
  c.fillStyle = c.inside;
  c.fill();
  c.fillStyle = colour;
  c.stroke();
}

/// The colours of the page as it is now, from the style.
const colour = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of [
    "ground", "surface", "edge", "grid", "ink", "soft", "faint", "accent", "picked", "joined",
    "hover", "match", "lane", "lane-up", "hatch", "hatch-ground", "message", "bad", "sans", "mono",
    ...Object.keys(SHAPES), "nemesis-ground", "fault-ground", "life-ground", "role-ground",
    "violation-ground",
  ]) colour[name] = style.getPropertyValue(`--${name}`).trim();
  sprites.clear();
}

/// Symbols already drawn, since one is copied faster than it is drawn.
const sprites = new Map();

function sprite(kind, state = "") {
  const dots = window.devicePixelRatio || 1;
  const key = `${kind} ${state} ${dots}`;
  let found = sprites.get(key);
  if (!found) {
    found = document.createElement("canvas");
    found.width = found.height = Math.ceil(SYMBOL_SIDE * dots);
    const c = found.getContext("2d");
    c.scale(dots, dots);
    c.translate(SYMBOL_SIDE / 2, SYMBOL_SIDE / 2);
    c.fillStyle = c.strokeStyle = colour[kind];
    c.inside = colour.ground;
    c.lineWidth = 1.8;
    c.lineJoin = "round";
    SHAPES[kind](c, state);
    sprites.set(key, found);
  }
  return found;
}

/// Puts a symbol at a place.
function putSymbol(c, kind, state, x, y) {
  const half = SYMBOL_SIDE / 2;
  c.drawImage(sprite(kind, state), x - half, y - half, SYMBOL_SIDE, SYMBOL_SIDE);
}

function arrowHead(c, x, y, angle, size) {
  const at = (turn) => [x - size * Math.cos(angle + turn), y - size * Math.sin(angle + turn)];
  c.moveTo(x, y);
  c.lineTo(...at(0.42));
  c.lineTo(...at(-0.42));
  c.closePath();
}

function cross(c, x, y, arm) {
  line(c, [x - arm, y - arm], [x + arm, y + arm]);
  line(c, [x - arm, y + arm], [x + arm, y - arm]);
}

/// Stripes that scroll with the story: slanted for what is down, level for what is paused.
function stripes(c, state, scrolled) {
  const dots = window.devicePixelRatio || 1;
  const key = `stripes ${state} ${dots}`;
  const side = 8;
  let tile = sprites.get(key);
  if (!tile) {
    tile = document.createElement("canvas");
    tile.width = tile.height = side * dots;
    const t = tile.getContext("2d");
    t.scale(dots, dots);
    t.fillStyle = colour["hatch-ground"];
    t.fillRect(0, 0, side, side);
    t.strokeStyle = colour.hatch;
    t.lineWidth = 1.3;
    if (state === "paused") line(t, [0, side / 2], [side, side / 2]);
    else for (const x of [-side, 0, side]) line(t, [x - 1, side + 1], [x + side + 1, -1]);
    sprites.set(key, tile);
  }
  const pattern = c.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix([1 / dots, 0, 0, 1 / dots, 0, -(scrolled % side)]));
  return pattern;
}
