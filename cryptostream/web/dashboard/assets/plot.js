/* A chart of candles: what it has, which part of it is seen, and how that is moved. Drawn only when something changed. */
import { arranged, C, COLOURS, draw, scaled, T } from "cryptostream/paint.js";
import { digitsFor, money } from "cryptostream/scale.js";

const MOST = 500;
const LEAST_STEP = 2, MOST_STEP = 48;
const FIRST_STEP = 7.5, FEW = 36, MANY = 110;
const ROOM = 3;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Plot {
  /** `read` is called with the candle that is pointed at, or the last one, whenever that may be another. */
  constructor(canvas, read) {
    this.canvas = canvas;
    this.onRead = read;
    this.rows = [];
    this.marks = [];
    this.shown = new Set();
    this.digits = 2;
    this.cursor = null;
    this.pointers = new Map();
    this.forget();
    this.recolour();
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(canvas.parentElement);
    this.onColours = () => this.recolour();
    addEventListener("colours", this.onColours);
    this.listen();
  }

  close() {
    this.resized.disconnect();
    removeEventListener("colours", this.onColours);
    cancelAnimationFrame(this.frame);
  }

  forget() {
    this.rows = [];
    this.marks = [];
    this.cursor = null;
    this.step = 0;
    this.end = 0;
    this.follows = true;
    this.touched = false;
    this.later();
  }

  /** Newer candles. The one that is pointed at stays so wherever it moves, as long as it is there. */
  take({ rows, whole }) {
    const pointed = this.cursor && this.rows[this.cursor.at][T];
    if (whole) this.rows = [];
    if (whole && !this.touched) this.step = 0;
    for (const row of rows) {
      if (this.rows.at(-1)?.[T] === row[T]) this.rows.pop();
      this.rows.push(row);
    }
    const over = this.rows.length - MOST;
    if (over > 0) {
      this.rows.splice(0, over);
      this.end -= over;
    }
    const at = this.cursor ? this.candleAt(pointed) : -1;
    this.cursor = this.rows[at]?.[T] === pointed ? { ...this.cursor, at } : null;
    this.later();
  }

  mark(marks) {
    this.marks = [...this.marks, ...marks].slice(-200);
    this.later();
  }

  show(shown, digits) {
    this.shown = shown;
    this.digits = digits;
    this.later();
  }

  recolour() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.hatch = hatched(this.colours.warn);
    this.later();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.size = { width: clientWidth, height: clientHeight, ratio };
    this.later();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  paint() {
    if (!this.size?.width) return;
    const ctx = this.canvas.getContext("2d");
    const { width, height, ratio } = this.size;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.font = "11px Roboto, system-ui, sans-serif";
    const digits = this.digits ?? digitsFor(this.rows.at(-1)?.[C] ?? 1);
    const axis = Math.ceil(ctx.measureText(money(this.rows.at(-1)?.[C] ?? 0, digits)).width) + 18;
    this.box = arranged(width, height, this.shown, Math.max(56, axis));
    this.place();
    const from = clamp(Math.floor(this.end - this.box.width / this.step), 0, Math.max(0, this.rows.length - 1));
    const to = clamp(Math.ceil(this.end), 0, this.rows.length - 1);
    const seen = this.rows.slice(from, to + 1);
    const panes = this.box.panes.map((pane) => scaled(pane, seen, this.shown));
    const read = this.cursor ? this.rows[this.cursor.at] : this.rows.at(-1);
    const { rows, marks, shown, colours, hatch, cursor, step, box } = this;
    const candleAt = (ms) => this.candleAt(ms);
    draw(ctx, { rows, marks, shown, colours, hatch, cursor, step, box, panes, from, to, digits, read, candleAt, x: (at) => this.x(at) });
    this.from = from;
    this.to = to;
    this.onRead(read, this.cursor !== null);
  }

  /** Keep the newest candle in sight, or what was looked at where that is. */
  place() {
    const { width } = this.box;
    if (!this.step && this.rows.length) {
      const most = clamp(width / FIRST_STEP, FEW, MANY);
      this.step = clamp(width / (clamp(this.rows.length, FEW, most) + ROOM), LEAST_STEP, 16);
    }
    this.step ||= 8;
    const last = this.rows.length - 1;
    if (this.follows) this.end = last + ROOM;
    this.end = clamp(this.end, Math.min(last, 5), last + Math.max(ROOM, (width / this.step) * 0.6));
  }

  x(at) {
    return this.box.width - (this.end - at) * this.step;
  }

  indexAt(x) {
    return clamp(Math.round(this.end - (this.box.width - x) / this.step), 0, this.rows.length - 1);
  }

  /** The candle that a time lies in; -1 before the first. */
  candleAt(ms) {
    let low = 0, high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle][T] <= ms) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  pan(candles) {
    this.touched = true;
    this.end += candles;
    this.follows = this.end >= this.rows.length - 1 + ROOM - 0.5;
    this.later();
  }

  zoom(factor, x = this.box.width) {
    this.touched = true;
    const step = clamp(this.step * factor, LEAST_STEP, MOST_STEP);
    const held = this.end - (this.box.width - x) / this.step;
    if (!this.follows || x < this.box.width) this.end = held + (this.box.width - x) / step;
    this.step = step;
    if (this.follows) this.end = this.rows.length - 1 + ROOM;
    this.later();
  }

  reset() {
    this.step = 0;
    this.follows = true;
    this.cursor = null;
    this.later();
  }

  point(at, y) {
    this.cursor = this.rows.length ? { at: clamp(at, 0, this.rows.length - 1), y } : null;
    this.later();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.released(event));
    canvas.addEventListener("pointerleave", () => this.left());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.typed(event));
  }

  pressed(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.travelled = 0;
  }

  moved(event) {
    const held = this.pointers.get(event.pointerId);
    const now = { x: event.offsetX, y: event.offsetY };
    if (!held) {
      if (this.box && now.x < this.box.width) this.point(this.indexAt(now.x), now.y);
      else this.left();
      return;
    }
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers.values()].filter((each) => each !== held);
      const before = Math.abs(held.x - other.x), after = Math.abs(now.x - other.x);
      if (before > 8 && after > 8) this.zoom(after / before, (now.x + other.x) / 2);
    } else {
      this.travelled += Math.abs(now.x - held.x);
      this.cursor = null;
      this.pan((held.x - now.x) / this.step);
    }
    this.pointers.set(event.pointerId, now);
  }

  released(event) {
    this.pointers.delete(event.pointerId);
    if (event.type === "pointerup" && this.travelled < 4) this.point(this.indexAt(event.offsetX), event.offsetY);
  }

  left() {
    if (!this.cursor) return;
    this.cursor = null;
    this.later();
  }

  wheeled(event) {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(event.deltaX / this.step);
    else this.zoom(Math.exp(-event.deltaY / 500), Math.min(event.offsetX, this.box.width));
  }

  typed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.box) return;
    const by = this.box.width / this.step / 8;
    const at = this.cursor?.at ?? this.rows.length;
    const y = this.cursor?.y ?? -1;
    const moves = {
      ArrowLeft: () => (event.shiftKey ? this.point(at - 1, y) : this.pan(-by)),
      ArrowRight: () => (event.shiftKey ? this.point(at + 1, y) : this.pan(by)),
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(0.8),
      Home: () => this.pan(-MOST),
      End: () => this.pan(MOST),
      0: () => this.reset(),
      Escape: () => this.left(),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }
}

function hatched(colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const ctx = tile.getContext("2d");
  ctx.strokeStyle = colour;
  ctx.globalAlpha = 0.55;
  ctx.lineWidth = 1;
  for (const from of [-8, 0, 8]) {
    ctx.beginPath();
    ctx.moveTo(from, 8);
    ctx.lineTo(from + 8, 0);
    ctx.stroke();
  }
  return ctx.createPattern(tile, "repeat");
}
