/* Tables of rows by key that take differences. */
import { held } from "cryptostream/held.js";
import { ago, bytes, count, missing, ms, rate, stamp } from "cryptostream/scale.js";

const text = (value) => (missing(value) ? "" : String(value));

const WRITERS = { count, rate, bytes, ms, ago, stamp, text, state: text };
const MARKS = { running: "●", paused: "❚❚", failed: "✕", waiting: "○" };

/** Rows by key, as `differences.Rows` tells them. */
export function take(rows, change) {
  for (const key of change.gone) rows.delete(key);
  for (const [key, fields] of Object.entries(change.put)) rows.set(key, { ...rows.get(key), ...fields, key });
}

const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
/** A table that is sorted by a click on a column's name. Cells are text, never HTML. */
export const Rows = {
  name: "Rows",
  mixins: [held],
  props: {
    name: String,
    columns: Array,
    rows: Object,
    now: Number,
    by: String,
    down: Boolean,
    most: { type: Number, default: 100 },
    filter: { type: String, default: "" },
    picked: String,
    cards: Boolean,
  },
  emits: ["act", "pick"],
  data() {
    return { column: this.by, falling: this.down, all: false };
  },
  computed: {
    found() {
      const words = this.filter.toLowerCase().split(/\s+/).filter(Boolean);
      const list = [...this.rows.values()];
      return words.length ? list.filter((row) => words.every((word) => String(row.key).toLowerCase().includes(word))) : list;
    },
    sorted() {
      const { column, falling } = this;
      return [...this.found].sort((a, b) => {
        const [left, right] = [a[column], b[column]];
        if (missing(left) || missing(right)) return missing(left) - missing(right) || compare(a.key, b.key);
        return (falling ? compare(right, left) : compare(left, right)) || compare(a.key, b.key);
      });
    },
    shown() {
      return this.all ? this.sorted : this.sorted.slice(0, this.most);
    },
  },
  methods: {
    sort(column) {
      this.falling = this.column === column.key ? !this.falling : column.kind !== undefined && column.kind !== "text";
      this.column = column.key;
    },
    order(column) {
      return this.column === column.key ? (this.falling ? "descending" : "ascending") : "none";
    },
    write(row, column) {
      return (WRITERS[column.kind] ?? text)(row[column.key], this.now);
    },
    classes(row, column) {
      const value = row[column.key];
      return [
        column.kind && !column.left && !["text", "state"].includes(column.kind) ? "n" : "",
        column.actions ? "acts-cell" : "",
        column.wide ? "wide" : "",
        column.kind === "state" ? `is-${value}` : "",
        column.warns && column.warns(value, row) ? "warns" : "",
      ];
    },
    /** What may have no room is told in full. */
    hint(row, column) {
      if (column.hint) return column.hint(row);
      const value = row[column.key];
      return !column.kind && !column.actions && String(value ?? "").length > 20 ? value : null;
    },
    mark: (value) => MARKS[value] ?? "",
  },
  template: `
    <div class="scroll" tabindex="0" role="region" :aria-label="name + ', table'">
      <table class="list" :class="{ cards }">
        <thead><tr>
          <th v-for="column in columns" :key="column.key" scope="col" :class="classes({}, column)"
              :aria-sort="column.actions ? null : order(column)">
            <span v-if="column.actions" class="hidden-text">{{ column.label }}</span>
            <button v-else type="button" class="sorts" :title="column.title" @click="sort(column)">{{ column.label }}</button>
          </th>
        </tr></thead>
        <tbody>
          <tr v-for="row in shown" :key="row.key" :data-what="row.key" :aria-selected="picked === undefined ? null : picked === row.key"
              :class="{ picked: picked === row.key }">
            <td v-for="column in columns" :key="column.key" :class="classes(row, column)" :title="hint(row, column)" :data-label="column.label">
              <template v-if="column.actions">
                <button v-for="action in column.actions(row)" :key="action" type="button" class="act small"
                        :aria-label="action + ' ' + row.key" @click="$emit('act', row, action)">{{ action }}</button>
              </template>
              <button v-else-if="column.picks" type="button" class="picks" @click="$emit('pick', row)">{{ write(row, column) }}</button>
              <template v-else-if="column.signed">
                <span :class="row[column.key] > 0 ? 'up' : row[column.key] < 0 ? 'down' : ''">{{ column.signed(row) }}</span>
              </template>
              <span v-else-if="column.kind === 'state'"><span class="mark" aria-hidden="true">{{ mark(row[column.key]) }}</span>{{ write(row, column) }}</span>
              <span v-else :class="{ clamped: column.wide }">{{ column.told ? column.told(row) : write(row, column) }}</span>
            </td>
          </tr>
        </tbody>
      </table>
      <p v-if="filter && !found.length" class="empty">Nothing is called like that.</p>
      <p v-if="sorted.length > most" class="more">
        <button type="button" class="act small" @click="all = !all">{{ all ? "Show " + most : "Show all " + sorted.length }}</button>
      </p>
    </div>`,
};

/** The last minutes of a number, as a line. */
export const Line = {
  name: "Line",
  props: { points: Array, width: { type: Number, default: 120 } },
  computed: {
    path() {
      const known = this.points.filter((value) => value !== null);
      if (known.length < 2) return "";
      const low = Math.min(0, ...known);
      const high = Math.max(...known) || 1;
      const step = 100 / (this.width - 1);
      const first = this.width - this.points.length;
      let up = true;
      return this.points
        .map((value, at) => {
          if (value === null) {
            up = true;
            return "";
          }
          const told = `${up ? "M" : "L"}${((first + at) * step).toFixed(1)} ${(22 - (20 * (value - low)) / (high - low || 1)).toFixed(1)}`;
          up = false;
          return told;
        })
        .join("");
    },
  },
  template: `<svg class="line" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true"><path :d="path" /></svg>`,
};
