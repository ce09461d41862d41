/* The market's page: takes messages of what has changed, hands them to its parts, and says what is wished for. */
import { Chart } from "cryptostream/chart.js";
import { decimals } from "cryptostream/scale.js";
import { Signals } from "cryptostream/signals.js";
import { Strategies } from "cryptostream/strategies.js";
import { Tape } from "cryptostream/tape.js";
import { told } from "cryptostream/told.js";
import { Watchlist } from "cryptostream/watchlist.js";

const TAPE = 50, SIGNALS = 100, ANSWER_MS = 15000;

export default {
  components: { Chart, Signals, Strategies, Tape, Watchlist },
  mixins: [told],
  props: { intervals: Array },
  emits: ["wish"],
  template: `
    <div class="market-grid">
      <watchlist :quotes="quotes" :now="now" :answer="answers.watchlist" :busy="busy.watchlist" @wish="wish" @dismiss="answers.watchlist = null" />
      <chart ref="chart" :now="now" :quote="quotes[now.pair]" :intervals="intervals" :digits="digits(now.pair)" @wish="wish" />
      <tape :rows="tape" :digits="digits(now.pair)" :now="now" />
      <signals :rows="signals" :now="now" :digits="digits" @wish="wish" />
      <strategies :rows="strategies" :now="now" :answer="answers.strategies" :busy="busy.strategies" :intervals="intervals" @wish="wish" @dismiss="answers.strategies = null" />
    </div>`,
  data: () => ({
    quotes: {},
    strategies: {},
    now: { pair: "", asked: "auto", interval: "", said: "", ingesters: true, redis: true, may_write: true, arrived: false },
    tape: [],
    signals: [],
    answers: { watchlist: null, strategies: null },
    busy: { watchlist: false, strategies: false },
  }),
  created() {
    this.last = 0;
  },
  methods: {
    /** The next message. Where one is missing, everything is asked for again, and taken from there. */
    take(message) {
      const next = message.n === this.last + 1 || message.anew === "all";
      this.last = message.n;
      if (message.answer) this.answered(message.answer);
      if (this.missed && message.anew !== "all") return;
      this.missed = !next;
      if (this.missed) return this.$emit("wish", { wish: "whole" });
      if (message.anew) this.forget(message.anew);
      if (message.quotes) this.merge(this.quotes, message.quotes);
      if (message.strategies) this.merge(this.strategies, message.strategies);
      if (message.state) this.arrived(message.state.put.now);
      if (message.candles) this.$refs.chart.take(message.candles);
      if (message.marks) this.$refs.chart.mark(message.marks.rows);
      if (message.tape) this.tape = [...message.tape.rows.reverse().map(Object.freeze), ...this.tape].slice(0, TAPE);
      if (message.signals) this.signals = [...message.signals.rows.reverse().map(Object.freeze), ...this.signals].slice(0, SIGNALS);
    },
    forget(what) {
      this.tape = [];
      this.$refs.chart.forget();
      if (what !== "all") return;
      this.quotes = {};
      this.strategies = {};
      this.signals = [];
    },
    merge(into, { put, gone }) {
      for (const key of gone) delete into[key];
      for (const [key, fields] of Object.entries(put)) {
        const row = { ...into[key], ...fields, key };
        if (fields.price) row.digits = Math.max(row.digits ?? 0, decimals(fields.price));
        into[key] = Object.freeze(row);
      }
    },
    arrived(state) {
      const first = !this.now.arrived;
      Object.assign(this.now, state, { arrived: true });
      if (this.now.pair) history.replaceState(history.state, "", `?pair=${encodeURIComponent(this.now.pair)}`);
      if (first) this.$refs.chart.remembered();
    },
    digits(pair) {
      return this.quotes[pair]?.digits;
    },
    wish(wish) {
      const part = this.partOf(wish.wish);
      if (part) {
        this.busy[part] = true;
        this.answers[part] = null;
      }
      this.$emit("wish", wish);
    },
    partOf: (kind) => ({ add: "watchlist", remove: "watchlist", start: "strategies", stop: "strategies", parameters: "strategies" })[kind],
    /** Refusals stay until they are dismissed; what was granted goes by itself. */
    answered(answer) {
      const part = this.partOf(answer.to);
      this.busy[part] = false;
      this.answers[part] = answer;
      if (answer.failed || answer.verdicts.some((verdict) => !verdict.accepted)) return;
      setTimeout(() => {
        if (this.answers[part] === answer) this.answers[part] = null;
      }, ANSWER_MS);
    },
  },
};
