/* Equity above, drawdown below, at the same times; the values under a pointer, or under the arrow keys. */
import { digitsFor, money, percent, ticks, tickTexts } from "cryptostream/scale.js";

const WIDTH = 1000;
const TOP = { from: 0, height: 240 };
const LOW = { from: 262, height: 90 };
const HEIGHT = LOW.from + LOW.height;

export const Curves = {
  name: "Curves",
  props: { times: Array, equity: Object, drawdown: Object, own: Array },
  data() {
    return { at: null };
  },
  computed: {
    names() {
      return Object.keys(this.equity);
    },
    first() {
      return this.times[0] ?? 0;
    },
    length() {
      return Math.max(1, (this.times.at(-1) ?? 0) - this.first);
    },
    range() {
      const all = Object.values(this.equity).flat();
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const room = (high - low) * 0.04 || Math.abs(high) * 0.01 || 1;
      return [low - room, high + room];
    },
    deepest() {
      return Math.min(-0.001, ...Object.values(this.drawdown).flat()) * 1.05;
    },
    levels() {
      const marks = ticks(...this.range, 4);
      const texts = tickTexts(marks);
      return marks.map((value, at) => ({ y: this.up(value), text: texts[at] }));
    },
    depths() {
      const marks = ticks(this.deepest, 0, 2);
      const texts = tickTexts(marks.map((value) => value * 100));
      return marks.map((value, at) => ({ y: this.below(value), text: `${texts[at]} %` }));
    },
    marks() {
      return [0, 0.25, 0.5, 0.75, 1].map((share) => ({
        x: share * 100,
        text: this.stamp(this.first + share * this.length),
        middle: share !== 0 && share !== 1,
      }));
    },
    lines() {
      return this.names.map((name, place) => ({
        name,
        look: this.own.includes(name) ? `line-${place % 5}` : "line-rest",
        equity: this.path(this.equity[name], this.up),
        drawdown: this.path(this.drawdown[name], this.below),
      }));
    },
    read() {
      const at = this.at ?? this.times.length - 1;
      if (at < 0) return { when: "", values: [] };
      return {
        when: `${this.stamp(this.times[at], true)} UTC`,
        x: (100 * (this.times[at] - this.first)) / this.length,
        values: this.lines.map((line) => ({
          ...line,
          equity: money(this.equity[line.name][at], digitsFor(this.equity[line.name][at])),
          drawdown: percent(this.drawdown[line.name][at]),
        })),
      };
    },
  },
  methods: {
    x(at) {
      return (WIDTH * (this.times[at] - this.first)) / this.length;
    },
    up(value) {
      const [low, high] = this.range;
      return TOP.from + TOP.height * (1 - (value - low) / (high - low));
    },
    below(value) {
      return LOW.from + (LOW.height * value) / this.deepest;
    },
    path(values, place) {
      return values.map((value, at) => `${at ? "L" : "M"}${this.x(at).toFixed(1)} ${place(value).toFixed(1)}`).join("");
    },
    stamp(time, whole) {
      const told = new Date(time).toISOString();
      if (whole) return told.slice(0, this.length < 900_000 ? 19 : 16).replace("T", " ");
      if (this.length > 4 * 86_400_000) return told.slice(0, 10);
      return this.length < 900_000 ? told.slice(11, 19) : told.slice(5, 16).replace("T", " ");
    },
    point(event) {
      const box = event.currentTarget.getBoundingClientRect();
      this.near(this.first + ((event.clientX - box.left) / box.width) * this.length);
    },
    near(time) {
      let [low, high] = [0, this.times.length - 1];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (this.times[middle] <= time) low = middle;
        else high = middle;
      }
      this.at = time - this.times[low] < this.times[high] - time ? low : high;
    },
    step(by) {
      const last = this.times.length - 1;
      this.at = Math.min(last, Math.max(0, (this.at ?? last) + by));
    },
  },
  template: `
    <figure class="curves">
      <figcaption>
        <span class="when">{{ read.when }}</span>
        <span v-for="one in read.values" :key="one.name" class="key" :class="one.look">
          <svg viewBox="0 0 24 8" aria-hidden="true"><path d="M0 4H24" /></svg>{{ one.name }}
          <strong>{{ one.equity }}</strong><small>{{ one.drawdown }}</small></span>
      </figcaption>
      <div class="drawn">
        <div class="axis" aria-hidden="true">
          <span v-for="(level, at) in levels" :key="at" :style="{ top: (100 * level.y) / ${HEIGHT} + '%' }">{{ level.text }}</span>
          <span v-for="(depth, at) in depths" :key="at" :style="{ top: (100 * depth.y) / ${HEIGHT} + '%' }">{{ depth.text }}</span>
        </div>
        <div class="plot" tabindex="0" role="slider" aria-label="Equity and drawdown: the arrow keys go through the times"
             aria-valuemin="0" :aria-valuemax="times.length - 1" :aria-valuenow="at ?? times.length - 1"
             :aria-valuetext="read.when + ': ' + read.values.map((one) => one.name + ' ' + one.equity + ', drawdown ' + one.drawdown).join('; ')"
             @pointermove="point" @pointerleave="at = null" @keydown.left.prevent="step(-1)" @keydown.right.prevent="step(1)"
             @keydown.page-up.prevent="step(-20)" @keydown.page-down.prevent="step(20)"
             @keydown.home.prevent="step(-Infinity)" @keydown.end.prevent="step(Infinity)" @blur="at = null">
          <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
            <path v-for="(level, at) in levels" :key="at" class="grid" :d="'M0 ' + level.y + 'H${WIDTH}'" />
            <path v-for="(depth, at) in depths" :key="at" class="grid" :d="'M0 ' + depth.y + 'H${WIDTH}'" />
            <g v-for="line in lines.toReversed()" :key="line.name" :class="line.look">
              <path v-if="line.look !== 'line-rest'" class="area" :d="line.drawdown + 'L${WIDTH} ${LOW.from}L0 ${LOW.from}Z'" />
              <path :d="line.equity" /><path :d="line.drawdown" />
            </g>
          </svg>
          <div v-if="at !== null" class="cross" :style="{ left: read.x + '%' }"></div>
        </div>
        <div class="times" aria-hidden="true"><span v-for="mark in marks" :key="mark.x" :class="{ middle: mark.middle }" :style="{ left: mark.x + '%' }">{{ mark.text }}</span></div>
      </div>
    </figure>`,
};
