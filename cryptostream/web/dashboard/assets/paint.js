/* How a chart is drawn, on a canvas: panes one below the other, all with the same candles from left to right. */
import { brief, decimalsOf, fullTime, money, tickStep, ticks, tickTime, timeStep } from "cryptostream/scale.js";

/** The places in a candle's row. */
export const T = 0, O = 1, H = 2, L = 3, C = 4, V = 5, N = 6, FLAGS = 7;
export const SMA = 8, EMA = 9, LOWER = 10, UPPER = 11, RSI = 12, MACD = 13, SIGNAL = 14, HISTOGRAM = 15;
const OPEN = 1, GAP = 2;
const FONT = "11px Roboto, system-ui, sans-serif";
const BOTTOM = 24;

export const COLOURS = [
  "panel", "raised", "rule", "grid", "ink", "soft", "link", "up", "down", "warn", "warn-wash", "one", "two", "three",
];

/** Panes and the plot's width, of a canvas of this size. */
export function arranged(width, height, shown, axis) {
  const below = ["rsi", "macd"].filter((name) => shown.has(name));
  const part = Math.round(Math.min(110, (height - BOTTOM) * (below.length > 1 ? 0.19 : 0.24)));
  const price = height - BOTTOM - part * below.length;
  const panes = [{ name: "price", top: 0, height: price }];
  below.forEach((name, at) => panes.push({ name, top: price + at * part, height: part }));
  return { width: width - axis, height: height - BOTTOM, axis, panes };
}

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

function* prices(rows, shown) {
  for (const row of rows) {
    yield row[H];
    yield row[L];
    if (shown.has("sma")) yield row[SMA];
    if (shown.has("ema")) yield row[EMA];
    if (shown.has("bands")) yield* [row[LOWER], row[UPPER]];
  }
}

/** What a pane's values are between, with room for what is drawn beside candles, and for what is told above them. */
export function scaled(pane, rows, shown) {
  if (pane.name === "rsi") return { ...pane, low: 0, high: 100 };
  if (pane.name === "macd") {
    const [low, high] = range(rows.flatMap((row) => [row[MACD], row[SIGNAL], row[HISTOGRAM]]));
    const reach = Math.max(Math.abs(low), Math.abs(high)) * 1.15 || 1;
    return { ...pane, low: -reach, high: reach };
  }
  const [low, high] = range(prices(rows, shown));
  const room = (high - low || Math.abs(high) * 0.001 || 1) * 0.1;
  return { ...pane, low: low - room * (shown.has("volume") ? 2.6 : 1.2), high: high + room * (shown.has("signals") ? 2.2 : 1.4) };
}

export const heightOf = (pane, value) => pane.top + pane.height * (1 - (value - pane.low) / (pane.high - pane.low));
export const valueAt = (pane, y) => pane.low + (pane.high - pane.low) * (1 - (y - pane.top) / pane.height);

const crisp = (place) => Math.round(place) + 0.5;

function line(ctx, x1, y1, x2, y2) {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

/** A path through the values that are there. */
function trace(ctx, plot, pane, place) {
  let drawing = false;
  ctx.beginPath();
  for (let at = plot.from; at <= plot.to; at++) {
    const value = plot.rows[at][place];
    if (value === null) drawing = false;
    else if (drawing) ctx.lineTo(plot.x(at), heightOf(pane, value));
    else {
      ctx.moveTo(plot.x(at), heightOf(pane, value));
      drawing = true;
    }
  }
  ctx.stroke();
}

export function draw(ctx, plot) {
  ctx.clearRect(0, 0, plot.box.width + plot.box.axis, plot.box.height + BOTTOM);
  ctx.font = FONT;
  ctx.textBaseline = "middle";
  ctx.lineWidth = 1;
  if (plot.rows.length) {
    grid(ctx, plot);
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, 0, plot.box.width, plot.box.height);
    ctx.clip();
    gaps(ctx, plot);
    for (const pane of plot.panes) ({ price: pricePane, rsi: rsiPane, macd: macdPane })[pane.name](ctx, plot, pane);
    ctx.restore();
    newest(ctx, plot);
    if (plot.cursor) crosshair(ctx, plot);
  }
}

function grid(ctx, plot) {
  const { box, colours } = plot;
  ctx.textAlign = "left";
  for (const pane of plot.panes) {
    const marks = pane.name === "rsi" ? [30, 50, 70] : ticks(pane.low, pane.high, pane.height / (pane.name === "price" ? 56 : 36));
    for (const mark of marks) {
      const y = heightOf(pane, mark);
      if (y < pane.top + 8 || y > pane.top + pane.height - 6) continue;
      ctx.strokeStyle = colours.grid;
      line(ctx, 0, crisp(y), box.width, crisp(y));
      if (pane.name === "price" && Math.abs(y - tagAt(plot)) < 16) continue;
      ctx.fillStyle = colours.soft;
      ctx.fillText(written(plot, pane, mark), box.width + 8, y);
    }
    ctx.strokeStyle = colours.rule;
    if (pane.top) line(ctx, 0, crisp(pane.top), box.width + box.axis, crisp(pane.top));
  }
  times(ctx, plot);
  ctx.strokeStyle = colours.rule;
  line(ctx, box.width + 0.5, 0, box.width + 0.5, box.height);
  line(ctx, 0, box.height + 0.5, box.width + box.axis, box.height + 0.5);
  ctx.fillStyle = colours.soft;
  ctx.textAlign = "left";
  ctx.fillText("UTC", box.width + 8, box.height + BOTTOM / 2 + 1);
}

function times(ctx, plot) {
  const { box, colours, rows } = plot;
  const span = rows.length > 1 ? (rows.at(-1)[T] - rows[0][T]) / (rows.length - 1) : 60000;
  const step = timeStep((span * 84) / plot.step);
  ctx.textAlign = "center";
  let last = -Infinity;
  for (let at = Math.max(1, plot.from); at <= plot.to; at++) {
    const mark = Math.floor(rows[at][T] / step) * step;
    const x = plot.x(at);
    if (mark <= rows[at - 1][T] && mark !== rows[at][T]) continue;
    if (x - last < 60 || x < 24 || x > box.width - 20) continue;
    last = x;
    ctx.strokeStyle = colours.grid;
    line(ctx, crisp(x), 0, crisp(x), box.height);
    ctx.fillStyle = colours.soft;
    ctx.fillText(tickTime(mark, step), x, box.height + BOTTOM / 2 + 1);
  }
}

/** Stretches with missing trades: shaded, and hatched. */
function gaps(ctx, plot) {
  const width = Math.max(plot.step, 4);
  for (let at = plot.from; at <= plot.to; at++) {
    if (!(plot.rows[at][FLAGS] & GAP)) continue;
    ctx.fillStyle = plot.colours["warn-wash"];
    ctx.fillRect(plot.x(at) - width / 2, 0, width, plot.box.height);
    ctx.fillStyle = plot.hatch;
    ctx.fillRect(plot.x(at) - width / 2, 0, width, plot.box.height);
  }
}

function pricePane(ctx, plot, pane) {
  if (plot.shown.has("volume")) volumes(ctx, plot, pane);
  if (plot.shown.has("bands")) bands(ctx, plot, pane);
  candles(ctx, plot, pane);
  ctx.lineWidth = 1.5;
  if (plot.shown.has("sma")) coloured(ctx, plot, pane, SMA, "one", []);
  if (plot.shown.has("ema")) coloured(ctx, plot, pane, EMA, "two", [6, 3]);
  ctx.lineWidth = 1;
  if (plot.shown.has("signals")) marks(ctx, plot, pane);
}

function coloured(ctx, plot, pane, place, colour, dash) {
  ctx.strokeStyle = plot.colours[colour];
  ctx.setLineDash(dash);
  trace(ctx, plot, pane, place);
  ctx.setLineDash([]);
}

function volumes(ctx, plot, pane) {
  let most = 0;
  for (let at = plot.from; at <= plot.to; at++) most = Math.max(most, plot.rows[at][V]);
  const width = bodyWidth(plot), tall = pane.height * 0.16;
  ctx.globalAlpha = 0.28;
  for (let at = plot.from; at <= plot.to; at++) {
    const row = plot.rows[at];
    const height = most ? Math.max(1, (row[V] / most) * tall) : 0;
    ctx.fillStyle = row[C] >= row[O] ? plot.colours.up : plot.colours.down;
    ctx.fillRect(Math.round(plot.x(at) - width / 2), pane.top + pane.height - height, width, height);
  }
  ctx.globalAlpha = 1;
}

function bands(ctx, plot, pane) {
  ctx.fillStyle = plot.colours.three;
  ctx.globalAlpha = 0.07;
  ctx.beginPath();
  const there = [];
  for (let at = plot.from; at <= plot.to; at++) if (plot.rows[at][UPPER] !== null) there.push(at);
  for (const at of there) ctx.lineTo(plot.x(at), heightOf(pane, plot.rows[at][UPPER]));
  for (const at of there.reverse()) ctx.lineTo(plot.x(at), heightOf(pane, plot.rows[at][LOWER]));
  ctx.fill();
  ctx.globalAlpha = 0.8;
  coloured(ctx, plot, pane, UPPER, "three", [2, 3]);
  coloured(ctx, plot, pane, LOWER, "three", [2, 3]);
  ctx.globalAlpha = 1;
}

const bodyWidth = (plot) => Math.max(1, Math.round(plot.step * 0.68));

/** Up is hollow and down is filled, so that they differ without colours too. */
function candles(ctx, plot, pane) {
  const width = bodyWidth(plot);
  for (let at = plot.from; at <= plot.to; at++) {
    const row = plot.rows[at], up = row[C] >= row[O];
    const x = Math.round(plot.x(at)), left = Math.round(plot.x(at) - width / 2);
    const high = heightOf(pane, row[H]), low = heightOf(pane, row[L]);
    const top = Math.round(heightOf(pane, Math.max(row[O], row[C])));
    const tall = Math.max(1, Math.round(heightOf(pane, Math.min(row[O], row[C]))) - top);
    ctx.fillStyle = ctx.strokeStyle = up ? plot.colours.up : plot.colours.down;
    const middle = width > 2 ? left + width / 2 : x;
    ctx.fillRect(middle - 0.5, high, 1, Math.max(1, low - high));
    ctx.fillRect(left, top, width, tall);
    if (up && width > 3 && tall > 2) {
      ctx.fillStyle = plot.colours.panel;
      ctx.fillRect(left + 1, top + 1, width - 2, tall - 2);
    }
  }
}

/** Buys point up from below a candle, sells down from above, an exit is a square above. */
function marks(ctx, plot, pane) {
  const stacked = new Map();
  const size = Math.min(6.5, Math.max(4, plot.step * 0.4));
  for (const mark of plot.marks) {
    const at = plot.candleAt(mark.ms);
    if (at < plot.from || at > plot.to) continue;
    const below = mark.side === "buy", key = `${at}${below}`;
    const place = stacked.get(key) ?? 0;
    if (place > 3) continue;
    stacked.set(key, place + 1);
    const away = 9 + place * (size * 2 + 3);
    const y = below ? heightOf(pane, plot.rows[at][L]) + away : heightOf(pane, plot.rows[at][H]) - away;
    shape(ctx, plot, mark.side, plot.x(at), y, size);
  }
}

function shape(ctx, plot, side, x, y, size) {
  ctx.fillStyle = { buy: plot.colours.up, sell: plot.colours.down, exit: plot.colours.ink }[side];
  ctx.strokeStyle = plot.colours.panel;
  ctx.lineWidth = 2;
  ctx.beginPath();
  if (side === "exit") ctx.rect(x - size * 0.75, y - size * 0.75, size * 1.5, size * 1.5);
  else {
    const way = side === "buy" ? 1 : -1;
    ctx.moveTo(x, y - size * way);
    ctx.lineTo(x + size, y + size * way);
    ctx.lineTo(x - size, y + size * way);
    ctx.closePath();
  }
  ctx.stroke();
  ctx.fill();
  ctx.lineWidth = 1;
}

function title(ctx, plot, pane, text) {
  ctx.textAlign = "left";
  ctx.fillStyle = plot.colours.soft;
  ctx.fillText(text, 8, pane.top + 12);
}

function rsiPane(ctx, plot, pane) {
  ctx.strokeStyle = plot.colours.soft;
  ctx.globalAlpha = 0.7;
  ctx.setLineDash([3, 4]);
  for (const bound of [30, 70]) line(ctx, 0, crisp(heightOf(pane, bound)), plot.box.width, crisp(heightOf(pane, bound)));
  ctx.globalAlpha = 1;
  ctx.lineWidth = 1.5;
  coloured(ctx, plot, pane, RSI, "three", []);
  ctx.lineWidth = 1;
  title(ctx, plot, pane, `RSI 14  ${told(plot.read, RSI, 1)}`);
}

function macdPane(ctx, plot, pane) {
  const zero = heightOf(pane, 0), width = bodyWidth(plot);
  for (let at = plot.from; at <= plot.to; at++) {
    const value = plot.rows[at][HISTOGRAM];
    if (value === null) continue;
    const y = heightOf(pane, value), left = Math.round(plot.x(at) - width / 2);
    ctx.fillStyle = value >= 0 ? plot.colours.up : plot.colours.down;
    ctx.globalAlpha = 0.45;
    ctx.fillRect(left, Math.min(y, zero), width, Math.max(1, Math.abs(y - zero)));
  }
  ctx.globalAlpha = 1;
  ctx.lineWidth = 1.5;
  coloured(ctx, plot, pane, MACD, "one", []);
  coloured(ctx, plot, pane, SIGNAL, "two", [6, 3]);
  ctx.lineWidth = 1;
  const values = [MACD, SIGNAL, HISTOGRAM].map((place) => (plot.read?.[place] ?? null) === null ? "\u2013" : brief(plot.read[place] + 0)).join("  ");
  title(ctx, plot, pane, `MACD 12 26 9  ${values}`);
}

const told = (row, place, digits) => (row && row[place] !== null ? money(row[place], digits) : "\u2013");

function written(plot, pane, value) {
  if (pane.name === "rsi") return value.toFixed(0);
  if (pane.name === "macd") return brief(value + 0);
  return money(value, Math.max(plot.digits, decimalsOf(tickStep(pane.high - pane.low, pane.height / 56))));
}

function tagged(ctx, plot, y, text, back, ink) {
  ctx.fillStyle = back;
  ctx.beginPath();
  ctx.roundRect(plot.box.width + 1, y - 9, plot.box.axis - 2, 18, 3);
  ctx.fill();
  ctx.fillStyle = ink;
  ctx.textAlign = "left";
  ctx.fillText(text, plot.box.width + 8, y + 0.5);
}

/** The height of the tag with the price that is now. */
function tagAt({ rows, panes: [pane] }) {
  return Math.min(pane.height - 10, Math.max(10, heightOf(pane, rows.at(-1)[C])));
}

/** Where the price is now. */
function newest(ctx, plot) {
  const last = plot.rows.at(-1), y = tagAt(plot);
  const colour = last[C] >= last[O] ? plot.colours.up : plot.colours.down;
  ctx.strokeStyle = colour;
  ctx.setLineDash([2, 3]);
  line(ctx, 0, crisp(y), plot.box.width, crisp(y));
  ctx.setLineDash([]);
  tagged(ctx, plot, y, money(last[C], plot.digits), colour, plot.colours.panel);
}

function crosshair(ctx, plot) {
  const { box, colours, cursor } = plot;
  const x = plot.x(cursor.at);
  ctx.strokeStyle = colours.soft;
  ctx.setLineDash([4, 4]);
  line(ctx, crisp(x), 0, crisp(x), box.height);
  const pane = plot.panes.find((each) => cursor.y >= each.top && cursor.y < each.top + each.height);
  if (pane) line(ctx, 0, crisp(cursor.y), box.width, crisp(cursor.y));
  ctx.setLineDash([]);
  if (pane) tagged(ctx, plot, cursor.y, written(plot, pane, valueAt(pane, cursor.y)), colours.ink, colours.panel);
  const text = fullTime(plot.rows[cursor.at][T]);
  const half = ctx.measureText(text).width / 2 + 8;
  const middle = Math.min(box.width - half, Math.max(half, x));
  ctx.fillStyle = colours.ink;
  ctx.beginPath();
  ctx.roundRect(middle - half, box.height + 3, half * 2, BOTTOM - 5, 3);
  ctx.fill();
  ctx.fillStyle = colours.panel;
  ctx.textAlign = "center";
  ctx.fillText(text, middle, box.height + BOTTOM / 2 + 1);
}

export const isOpen = (row) => Boolean(row[FLAGS] & OPEN);
export const hasGap = (row) => Boolean(row[FLAGS] & GAP);
