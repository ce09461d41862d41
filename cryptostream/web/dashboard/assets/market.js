/* The market's page: takes messages of what has changed, hands them to its parts, and says what is wished for. */
import { asking } from "cryptostream/answer.js";
import { Chart } from "cryptostream/chart.js";
import { decimals } from "cryptostream/scale.js";
import { Signals } from "cryptostream/signals.js";
import { Strategies } from "cryptostream/strategies.js";
import { Tape } from "cryptostream/tape.js";
import { told } from "cryptostream/told.js";
import { Watchlist } from "cryptostream/watchlist.js";

const TAPE = 50, SIGNALS = 100;
const ASKS = { add: "watchlist", remove: "watchlist", start: "strategies", stop: "strategies", parameters: "strategies" };

export default {
  components: { Chart, Signals, Strategies, Tape, Watchlist },
  mixins: [told, asking(ASKS)],
  props: { intervals: Array },
  template: `
    <div class="market-grid">
      <watchlist :quotes="quotes" :now="now" :answer="answers.watchlist" :busy="busy.watchlist" @wish="ask" @dismiss="answers.watchlist = null" />
      <chart ref="chart" :now="now" :quote="quotes[now.pair]" :intervals="intervals" :digits="digits(now.pair)" @wish="ask" />
      <tape :rows="tape" :digits="digits(now.pair)" :now="now" />
      <signals :rows="signals" :now="now" :digits="digits" :running="runs" @wish="ask" />
      <strategies :rows="strategies" :now="now" :answer="answers.strategies" :busy="busy.strategies" :intervals="intervals" @wish="ask" @dismiss="answers.strategies = null" />
    </div>`,
  data: () => ({
    quotes: {},
    strategies: {},
    now: { pair: "", asked: "auto", interval: "", said: "", ingesters: true, redis: true, may_write: true, arrived: false },
    tape: [],
    signals: [],
  }),
  computed: {
    runs() {
      return Object.values(this.strategies).some((row) => row.state === "running");
    },
  },
  methods: {
    take(message) {
      if (message.quotes) this.merge(this.quotes, message.quotes);
      if (message.strategies) this.merge(this.strategies, message.strategies);
      if (message.state) this.arrived(message.state.put.now);
      if (message.candles) this.$refs.chart.take(message.candles);
      if (message.marks) this.$refs.chart.mark(message.marks.rows);
      if (message.tape) this.tape = [...message.tape.rows.reverse().map(Object.freeze), ...this.tape].slice(0, TAPE);
      if (message.signals) this.signals = [...message.signals.rows.reverse().map(Object.freeze), ...this.signals].slice(0, SIGNALS);
    },
    begin(what) {
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
  },
};
