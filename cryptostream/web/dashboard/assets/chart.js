/* One pair's candles: what it is and costs, which interval, what is drawn with them, and what the pointed one says. */
import { C, EMA, H, hasGap, isOpen, L, LOWER, N, O, SMA, T, UPPER, V } from "cryptostream/paint.js";
import { Plot } from "cryptostream/plot.js";
import { brief, digitsFor, fullTime, moment, money, percent, way } from "cryptostream/scale.js";

const DRAWN = [
  ["volume", "Volume"], ["sma", "SMA 20"], ["ema", "EMA 50"], ["bands", "Bollinger"], ["rsi", "RSI"], ["macd", "MACD"], ["signals", "Signals"],
];
const AT_FIRST = ["volume", "sma", "signals"];
const KEPT = "cryptostream.chart";

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

export const Chart = {
  props: { now: Object, quote: Object, intervals: Array, digits: Number },
  emits: ["wish"],
  template: `
    <section class="panel chart" aria-label="Chart">
      <header>
        <h1>{{ now.pair || "No pair" }}</h1>
        <template v-if="quote">
          <span class="big" :class="quote.side === 'sell' ? 'down' : 'up'"><span aria-hidden="true">{{ quote.side === "sell" ? "\u25bc" : "\u25b2" }}</span> {{ price }}</span>
          <span v-if="quote.change !== null" :class="way(quote.change)">{{ change }} <small v-if="quote.since">since {{ quote.since.slice(5, 16).replace("T", " ") }}</small></span>
          <small v-if="quote.state !== 'live'" class="warn">{{ quote.state }}{{ quote.note ? ": " + quote.note : "" }}</small>
        </template>
        <div class="chips" role="radiogroup" aria-label="Interval">
          <button v-for="each in ['auto', ...intervals]" :key="each" type="button" class="chip" role="radio" :aria-checked="String(now.asked === each)"
            :tabindex="now.asked === each ? 0 : -1" @click="choose(each)" @keydown.right.prevent="beside($event, 1)" @keydown.left.prevent="beside($event, -1)">{{ each === "auto" && now.asked === "auto" && now.interval ? "auto " + now.interval : each }}</button>
        </div>
      </header>
      <div class="tools">
        <div class="chips" role="group" aria-label="Drawn with the candles">
          <button v-for="[name, title] in drawn" :key="name" type="button" class="chip" :class="name" :aria-pressed="String(shown.includes(name))" @click="toggle(name)">{{ title }}</button>
        </div>
      </div>
      <div class="canvas">
        <p class="legend" aria-hidden="true"><template v-if="read">
          <span>{{ read.time }}</span><span class="prices"><span v-for="[name, value] in read.prices" :key="name"><i>{{ name }}</i> {{ value }}</span></span>
          <span :class="read.way">{{ read.change }}</span><span><i>Vol</i> {{ read.volume }}</span>
          <span v-if="read.gap" class="warn">&#x25a8; trades missing</span>
          <span v-for="[name, value, colour] in read.lines" :key="name" class="value" :style="{ color: 'var(--' + colour + ')' }">{{ name }} {{ value }}</span>
          <span v-if="read.marks.length" class="marks"><span v-for="mark in read.marks" :key="mark.key">{{ mark.said }}</span></span>
        </template></p>
        <div class="drawing"><canvas ref="canvas" tabindex="0" role="application" aria-roledescription="chart" :aria-label="summary"></canvas></div>
        <p class="hidden-text" aria-live="polite">{{ spoken }}</p>
        <p v-if="empty" class="empty over">{{ empty }}</p>
        <button v-show="away" type="button" class="act latest" @click="plot.reset()">Latest &#x25b8;</button>
      </div>
    </section>`,
  data: () => ({ shown: kept().shown ?? AT_FIRST, read: null, away: false, candles: 0 }),
  created() {
    this.drawn = DRAWN;
  },
  mounted() {
    this.plot = new Plot(this.$refs.canvas, (row, pointed) => this.tell(row, pointed));
    this.plot.show(new Set(this.shown), this.digits);
  },
  unmounted() {
    this.plot.close();
  },
  watch: {
    digits() {
      this.plot.show(new Set(this.shown), this.digits);
    },
  },
  computed: {
    price() {
      return this.quote.price === null ? "\u2013" : money(Number(this.quote.price), this.quote.digits);
    },
    change() {
      return percent(this.quote.change);
    },
    empty() {
      if (!this.now.arrived || this.candles) return "";
      if (this.now.said) return this.now.said;
      return this.now.pair ? "No trades yet: candles come with the first ones." : "Candles appear here once a pair is followed.";
    },
    summary() {
      const last = this.read ? `; ${this.read.time}, close ${this.read.prices[3][1]}` : "";
      return `${this.now.pair} candles of ${this.now.interval}${last}. Arrows move, plus and minus zoom, shift and arrows point, 0 is now.`;
    },
    /** The candle that is pointed at, for those who hear it. */
    spoken() {
      if (!this.read?.pointed) return "";
      const { time, prices, volume, marks } = this.read;
      return [time, ...prices.map((pair) => pair.join(" ")), `volume ${volume}`, ...marks.map((mark) => mark.said)].join(", ");
    },
  },
  methods: {
    way,
    take(candles) {
      this.plot.take(candles);
      this.candles = this.plot.rows.length;
    },
    mark(signals) {
      this.plot.mark(signals.map((signal) => ({ ...signal, ms: moment(signal.ts) })));
    },
    forget() {
      this.plot.forget();
      this.candles = 0;
      this.read = null;
    },
    /** The interval that was chosen here the last time. */
    remembered() {
      const { asked } = kept();
      if (asked && asked !== this.now.asked) this.choose(asked);
    },
    choose(interval) {
      this.keep({ asked: interval });
      this.$emit("wish", { wish: "watch", pair: this.now.pair, interval });
    },
    toggle(name) {
      this.shown = this.shown.includes(name) ? this.shown.filter((each) => each !== name) : [...this.shown, name];
      this.keep({ shown: this.shown });
      this.plot.show(new Set(this.shown), this.digits);
    },
    keep(choice) {
      try {
        localStorage.setItem(KEPT, JSON.stringify({ ...kept(), ...choice }));
      } catch {
        // A browser that keeps nothing.
      }
    },
    beside(event, by) {
      const chips = [...event.target.parentElement.children];
      const chip = chips[(chips.indexOf(event.target) + by + chips.length) % chips.length];
      chip.focus();
      chip.click();
    },
    tell(row, pointed) {
      this.away = !this.plot.follows;
      if (this.plot.touched && !this.holds) this.$emit("wish", { wish: "hold" });
      this.holds = this.plot.touched;
      if (!row) return;
      const digits = this.digits ?? digitsFor(row[C]);
      const said = (place) => (row[place] === null ? "\u2013" : money(row[place], digits));
      this.read = {
        time: `${fullTime(row[T])}${isOpen(row) ? " \u2026" : ""}`,
        prices: [["O", said(O)], ["H", said(H)], ["L", said(L)], ["C", said(C)]],
        change: percent(row[C] / row[O] - 1),
        pointed,
        way: way(row[C] / row[O] - 1),
        volume: `${brief(row[V])} in ${row[N]}`,
        gap: hasGap(row),
        lines: this.lines(said),
        marks: pointed && this.shown.includes("signals") ? this.marksAt(row) : [],
      };
    },
    lines(said) {
      const all = {
        sma: [["SMA", said(SMA), "one"]],
        ema: [["EMA", said(EMA), "two"]],
        bands: [["BB", `${said(LOWER)} \u2013 ${said(UPPER)}`, "three"]],
      };
      return Object.keys(all).filter((name) => this.shown.includes(name)).flatMap((name) => all[name]);
    },
    marksAt(row) {
      const here = this.plot.rows.indexOf(row);
      const marks = this.plot.marks.filter((mark) => this.plot.candleAt(mark.ms) === here).slice(-3);
      const sign = { buy: "\u25b2", sell: "\u25bc", exit: "\u25a0" };
      return marks.map((mark) => ({ key: mark.key, said: `${sign[mark.side]} ${mark.strategy}: ${mark.side}, ${mark.reason}` }));
    },
  },
};
