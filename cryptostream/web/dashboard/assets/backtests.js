/* The page of backtests: a form that runs one, the reports there are, and one of them with its curves. */
import { Curves } from "cryptostream/curves.js";
import { Rows, take } from "cryptostream/tables.js";
import { told } from "cryptostream/told.js";

const PARTS = ["jobs", "reports", "form"];
const COLUMNS = [
  { key: "name", label: "report", picks: true, wide: true },
  { key: "made", label: "made (UTC)", kind: "stamp", left: true },
  { key: "strategies", label: "strategies" },
  { key: "with", label: "with", wide: true },
  { key: "source", label: "of", wide: true },
  { key: "total_return", label: "return", kind: "count", signed: (row) => signed(row.total_return, row.total_return_text) },
  { key: "sharpe", label: "Sharpe", kind: "count", told: (row) => row.sharpe_text },
  { key: "max_drawdown", label: "max drawdown", kind: "count", told: (row) => row.max_drawdown_text },
  { key: "trips", label: "trades", kind: "count" },
];
const signed = (value, text) => (value > 0 ? `▲ ${text}` : value < 0 ? `▼ ${text}` : text);

export default {
  mixins: [told],
  components: { Rows, Curves },
  props: { writes: Boolean },
  data() {
    return {
      rows: Object.fromEntries(PARTS.map((part) => [part, new Map()])),
      columns: COLUMNS,
      told: false,
      open: null,
      picked: "",
      job: "",
      failed: "",
      waiting: false,
      form: { sources: "", strategy: "", parameters: "", bars: "", fee: 10 },
      proposed: { parameters: "", bars: "" },
    };
  },
  computed: {
    can() {
      return this.rows.form.get("form") ?? { sources: [], strategies: {} };
    },
    strategies() {
      return Object.keys(this.can.strategies).sort();
    },
    takes() {
      return this.can.strategies[this.form.strategy];
    },
    running() {
      return [...this.rows.jobs.values()].find((job) => job.state === "running");
    },
    shownJob() {
      return this.running ?? this.rows.jobs.get(this.job);
    },
    halves() {
      const rows = this.open.table.slice(1);
      const half = Math.ceil(rows.length / 2);
      return [rows.slice(0, half), rows.slice(half)];
    },
    percent() {
      return Math.round(100 * (this.shownJob?.done ?? 0));
    },
  },
  watch: {
    "form.strategy"() {
      this.proposeLike();
    },
  },
  methods: {
    begin() {
      for (const part of PARTS) this.rows[part] = new Map();
      this.told = true;
    },
    take(message) {
      for (const part of PARTS) if (message[part]) take(this.rows[part], message[part]);
      if (message.jobs) this.finish();
      if (message.form) this.propose();
      if (message.reports) this.keepOne();
    },
    answered(answer) {
      if (answer.open) {
        if (answer.open.name === this.picked) this.open = answer.open;
        return;
      }
      this.waiting = false;
      this.failed = answer.failed ?? "";
      if (answer.job) this.job = answer.job;
    },
    /* A backtest of ours that is done is opened. */
    finish() {
      const job = this.rows.jobs.get(this.job);
      if (job?.state === "done" && job.report && this.opened !== job.report) {
        this.opened = job.report;
        this.pick({ name: job.report });
      }
    },
    /** What finds something the first time: the pair that is traded most, a strategy as it runs now. */
    propose() {
      const runs = this.strategies.filter((name) => this.can.strategies[name].runs);
      const first = ["macd_rsi", ...this.strategies].find((name) => (runs.length ? runs : this.strategies).includes(name));
      const { sources, liveliest } = this.can;
      this.form.strategy ||= first ?? "";
      this.form.sources ||= sources.includes(liveliest) ? liveliest : sources.find((name) => name.startsWith("trades:")) ?? sources[0] ?? "";
      this.proposeLike();
    },
    /** Bars and parameters as they run live, unless somebody has typed others. */
    proposeLike() {
      const { runs, parameters, bars } = this.takes ?? {};
      const like = { parameters: runs ? parameters : "", bars: (runs && bars) || "1m" };
      for (const [name, value] of Object.entries(like)) {
        if (this.form[name] === this.proposed[name]) this.form[name] = this.proposed[name] = value;
      }
    },
    keepOne() {
      if (this.rows.reports.has(this.picked)) {
        if (!this.open || this.open.failed) this.pick({ name: this.picked });
        return;
      }
      const newest = [...this.rows.reports.values()].sort((a, b) => (a.made < b.made ? 1 : -1))[0];
      if (newest && !this.running && this.picked !== this.opened) this.pick(newest);
      if (!newest) [this.picked, this.open] = ["", null];
    },
    pick(row) {
      this.picked = row.name;
      this.$emit("wish", { wish: "open", name: row.name });
    },
    run() {
      if (this.waiting || this.running) return;
      [this.waiting, this.failed] = [true, ""];
      const { sources, strategy, parameters, bars, fee } = this.form;
      this.$emit("wish", { wish: "run", sources, strategies: [strategy], parameters, bars, fee });
    },
  },
  template: `
    <div class="work">
      <h1 class="hidden-text">Backtests</h1>
      <div class="tests">
        <section class="panel runs" aria-labelledby="run">
          <header><h2 id="run">Run a backtest</h2></header>
          <p v-if="!writes" class="empty">This page was opened with a token that may only read.</p>
          <form v-else class="body" @submit.prevent="run">
            <label>Of <input v-model.trim="form.sources" class="field" list="sources" required maxlength="2000" spellcheck="false"
              autocomplete="off" placeholder="trades:BTCUSDT" aria-describedby="of" /></label>
            <datalist id="sources"><option v-for="name in can.sources" :key="name" :value="name"></option></datalist>
            <p id="of" class="hint">Streams of the bus, or files in <span class="code">recordings/</span> of the data folder.</p>
            <label>Strategy <select v-if="strategies.length" v-model="form.strategy" class="field">
                <option v-for="name in strategies" :key="name">{{ name }}</option></select>
              <input v-else v-model.trim="form.strategy" class="field" required maxlength="64" placeholder="macd_rsi" /></label>
            <label>Parameters <input v-model.trim="form.parameters" class="field" maxlength="2000" spellcheck="false" autocomplete="off"
              placeholder="rsi_period=7..21:7" aria-describedby="takes" /></label>
            <p id="takes" class="hint"><template v-if="takes && takes.parameters">{{ takes.runs ? "Live it runs with" : "Without any it has" }} {{ takes.parameters }}{{ takes.runs && takes.bars ? " and bars of " + takes.bars : "" }}. </template>Several values are all tried: 8,12 or 7..21:7.</p>
            <div class="pair">
              <label>Bars <input v-model.trim="form.bars" class="field" list="bars" required maxlength="32" /></label>
              <datalist id="bars"><option v-for="name in ['10s', '1m', '5m', '15m', '1h', 'tick:100', 'dollar:1e6']" :key="name" :value="name"></option></datalist>
              <label>Fee, bps <input v-model="form.fee" class="field" type="number" min="0" max="1000" step="any" required /></label>
            </div>
            <div class="go"><button type="submit" class="act main" :aria-disabled="waiting || Boolean(running)">Run</button>
              <small v-if="running" class="soft">one at a time</small></div>
          </form>
          <div class="body job" role="status" aria-live="polite">
            <p v-if="failed" class="verdict refused">{{ failed }}</p>
            <template v-else-if="shownJob">
              <p v-if="shownJob.state === 'failed'" class="verdict refused">{{ shownJob.said }}</p>
              <p v-else-if="shownJob.state === 'done'" class="verdict">{{ shownJob.report }} is done.</p>
              <template v-else>
                <div class="bar" role="progressbar" aria-label="How far the backtest is" aria-valuemin="0" aria-valuemax="100" :aria-valuenow="percent">
                  <div :style="{ width: Math.max(2, percent) + '%' }"></div></div>
                <p class="soft">{{ percent }} %, {{ shownJob.said }}</p>
              </template>
            </template>
          </div>
        </section>

        <section class="panel report" aria-labelledby="report">
          <template v-if="open && !open.failed">
            <header><h2 id="report">{{ open.name }}</h2><small>{{ open.source }}</small>
              <a v-if="open.page" class="act whole" :href="open.page" target="_blank" rel="noopener">The whole report</a></header>
            <div v-if="open.ran.length || open.notes.length" class="beside">
              <p v-for="[name, told] in open.ran" :key="name"><strong>{{ name }}</strong> {{ told }}<span v-if="open.bars" class="soft">, bars {{ open.bars }}</span><span v-if="open.tried > 1" class="soft">: the best of {{ open.tried }} that were tried</span></p>
              <p v-for="note in open.notes" :key="note" class="note">{{ note }}</p>
            </div>
            <Curves :key="open.name" :times="open.times_ms" :equity="open.equity" :drawdown="open.drawdown" :own="open.strategies" />
            <div class="scroll figures" tabindex="0" role="region" aria-label="Figures">
              <table v-for="(rows, half) in halves" :key="half" class="list">
                <thead><tr><th v-for="(head, at) in open.table[0]" :key="at" scope="col" :class="{ n: at }">{{ head }}</th></tr></thead>
                <tbody><tr v-for="row in rows" :key="row[0]"><th scope="row">{{ row[0] }}</th>
                  <td v-for="(cell, at) in row.slice(1)" :key="at" class="n">{{ cell }}</td></tr></tbody></table>
            </div>
          </template>
          <template v-else>
            <header><h2 id="report">Report</h2></header>
            <p v-if="open && open.failed" class="empty">{{ open.failed }}</p>
            <p v-else-if="!told" class="empty">Looking.</p>
            <p v-else-if="rows.reports.size" class="empty">Choose one of the list.</p>
            <p v-else class="empty">No backtest was kept yet. {{ writes ? "Fill in the form, or run" : "Run" }}
              <code class="block">cryptostream backtest-stream trades:BTCUSDT --strategy macd_rsi --keep first</code></p>
          </template>
        </section>
      </div>

      <section class="panel" aria-labelledby="reports">
        <header><h2 id="reports">Reports</h2><small v-if="rows.reports.size">{{ rows.reports.size }}, of several strategies the best</small></header>
        <Rows v-if="rows.reports.size" cards name="Reports" :columns="columns" :rows="rows.reports" :picked="picked" by="made" down :most="50" @pick="pick" />
        <p v-else class="empty">They lie in <code>reports/</code> of the data folder.</p>
      </section>
    </div>`,
};
