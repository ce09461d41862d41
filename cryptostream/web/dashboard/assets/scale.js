/* Numbers and times: where the ticks of a chart are, and how they are written. Times are UTC. */

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const TIME_STEPS = [
  SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
  30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY,
];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (number) => String(number).padStart(2, "0");

/** From one tick to the next: 1, 2 or 5 times a power of ten, with about so many in the span. */
export function tickStep(span, count) {
  const rough = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((each) => each * power >= rough) ?? 10);
}

export function ticks(low, high, count) {
  if (!(high > low)) return [];
  const step = tickStep(high - low, count);
  const last = Math.floor(high / step + 1e-6);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-6); at <= last; at++) found.push(at * step + 0);
  return found;
}

/** How many decimals tell two ticks apart that are so far from each other. */
export const decimalsOf = (step) => Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));

/** Ticks as they are written, so that two next to each other differ: millions in short. */
export function tickTexts(marks) {
  const step = marks.length > 1 ? marks[1] - marks[0] : Math.abs(marks[0]) || 1;
  const large = Math.max(...marks.map(Math.abs)) >= 1e6;
  return marks.map((value) => (large ? shortened.format(value) : money(value, decimalsOf(step))));
}

export const timeStep = (least) => TIME_STEPS.find((step) => step >= least) ?? TIME_STEPS.at(-1);

/** A tick's time: the day where one begins, seconds where ticks are that close. */
export function tickTime(ms, step) {
  const date = new Date(ms);
  if (ms % DAY === 0 || step >= DAY) return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  const clock = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  return step < MINUTE ? `${clock}:${two(date.getUTCSeconds())}` : clock;
}

export function fullTime(ms) {
  const date = new Date(ms);
  const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  return `${day} ${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
}

/** Milliseconds of "2024-11-14T17:30:00.123000", which is UTC. */
export const moment = (text) => Date.parse(`${text.slice(0, 23).replace("Z", "")}Z`);

/** "17:30:00" of such a text. */
export const clock = (text) => text.slice(11, 19);

const formats = new Map();

/** 45123.5 with two digits: "45,123.50". */
export function money(value, digits) {
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits).format(value);
}

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const shortened = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 5 });
const small = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
export const brief = (value) => (Math.abs(value) >= 1 ? compact : small).format(value);

/** How many decimals a price's text has, without the zeros at its end; at least two from one on. */
export function decimals(text) {
  const [whole, fraction = ""] = text.split(".");
  return Math.min(10, Math.max(fraction.replace(/0+$/, "").length, Number(whole) ? 2 : 4));
}

/** How many decimals a number is written with where no text of it says more. */
export const digitsFor = (value) => (Math.abs(value) >= 1 ? 2 : Math.min(10, 3 - Math.floor(Math.log10(Math.abs(value) || 1))));

/** 0.0125 as "+1.25%", with a true minus; without a sign where that says nothing. */
export const percent = (share) => `${{ up: "+", down: "\u2212", soft: "" }[way(share)]}${Math.abs(share * 100).toFixed(2)}%`;

/** How a change is told apart by more than its colour. */
export const way = (share) => (share >= 0.00005 ? "up" : share <= -0.00005 ? "down" : "soft");

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

export const missing = (value) => value === null || value === undefined || value === "";
/** What is not known is a dash, and never a zero. */
const known = (write) => (value, now) => (missing(value) ? "\u2013" : write(value, now));

export const count = known((value) => whole.format(value));
export const rate = known((value) => (value >= 100 ? whole : tenth).format(value));
export const bytes = known((value) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; value >= 1024 && place < units.length - 1; place += 1) value /= 1024;
  return `${(place && value < 100 ? tenth : whole).format(value)} ${units[place]}`;
});
export const ms = known((value) => {
  if (Math.abs(value) >= 10_000) return `${tenth.format(value / 1000)} s`;
  return `${(value >= 100 ? whole : tenth).format(value)} ms`;
});
export const ago = known((value, now) => {
  const past = Math.max(0, Math.round((now - Date.parse(value)) / 1000));
  if (past < 2) return "now";
  if (past < 120) return `${past} s ago`;
  if (past < 7200) return `${Math.round(past / 60)} min ago`;
  return past < 172_800 ? `${Math.round(past / 3600)} h ago` : `${Math.round(past / 86_400)} d ago`;
});
/** "2024-11-14 17:30:00" of a time's text. */
export const stamp = known((value) => `${value.slice(0, 10)} ${value.slice(11, 19)}`);
