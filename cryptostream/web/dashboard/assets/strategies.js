/* Strategies that run, and those that could: start, stop, new parameters, another of the same kind. */
import { Answer } from "cryptostream/answer.js";
import { held } from "cryptostream/held.js";
import { clock } from "cryptostream/scale.js";

const SIGNS = { running: "\u25cf", waiting: "\u25d0", paused: "\u2016", failed: "\u2715", installed: "\u25cb" };
const ORDER = ["failed", "running", "waiting", "paused", "installed"];

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** What was typed, as the kind of value that it replaces. */
function typed(text, before) {
  if (typeof before === "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export const Strategies = {
  mixins: [held],
  components: { Answer },
  props: { rows: Object, now: Object, answer: Object, busy: Boolean, intervals: Array },
  emits: ["wish", "dismiss"],
  template: `
    <section class="panel strategies" aria-label="Strategies">
      <header><h2>Strategies</h2><small>{{ running }}</small></header>
      <answer :answer="answer" :busy="busy" waits="Asking the processes that run strategies&#8230;" @dismiss="$emit('dismiss')" />
      <ul v-if="all.length" class="scroll">
        <li v-for="row in all" :key="row.key" :data-what="row.name">
          <div class="what">
            <span class="sign" :class="row.state" aria-hidden="true">{{ signs[row.state] }}</span>
            <span class="name"><strong>{{ row.name }}</strong><small v-if="row.kind !== row.name"> {{ row.kind }}</small>
              <small class="more">{{ about(row) }}</small>
              <small v-if="row.why" class="more" :class="row.state === 'failed' ? 'down' : 'warn'">{{ row.why }}</small>
            </span>
            <template v-if="now.may_write"><button v-if="row.installed" type="button" class="act" data-opens :aria-expanded="String(isOpen(row, true))" :aria-label="row.consumer ? 'Start another ' + row.kind : 'Start ' + row.name" :title="row.consumer ? 'Start another ' + row.kind : null" @click="toggle(row, true)">{{ row.consumer ? "+" : "Start\u2026" }}</button>
            <button v-if="row.consumer && Object.keys(row.parameters).length" type="button" class="act" data-opens :aria-expanded="String(isOpen(row, false))" :aria-label="'Set ' + row.name" @click="toggle(row, false)">Set&#8230;</button>
            <button v-if="row.state !== 'installed'" type="button" class="act" :aria-disabled="busy" :aria-label="verb(row) + ' ' + row.name" @click="turn(row)">{{ verb(row) }}</button></template>
          </div>
          <form v-if="opened === row.key" class="form" @submit.prevent="submit(row)" @keydown.esc.prevent="close">
            <template v-if="starts">
              <label>Pairs <input v-model="form.symbols" class="field" maxlength="400" placeholder="all pairs" spellcheck="false"></label>
              <label>Bars <select v-model="form.bars" class="field"><option v-for="each in intervals" :key="each">{{ each }}</option></select></label>
              <label>Name <input v-model="form.name" class="field" maxlength="64" :placeholder="row.consumer ? 'another name' : row.name" :required="Boolean(row.consumer)" spellcheck="false"></label>
            </template>
            <label v-for="(value, name) in row.parameters" :key="name">{{ name }} <input v-model="form.parameters[name]" class="field" maxlength="1000" spellcheck="false"></label>
            <p v-if="!starts" class="soft">New parameters begin with empty memory: the strategy warms up again.</p>
            <p class="buttons"><button type="submit" class="act main" :aria-disabled="busy">{{ starts ? "Start" : "Set" }}</button> <button type="button" class="act" @click="close">Cancel</button></p>
          </form>
        </li>
      </ul>
      <p v-else class="empty">{{ now.arrived ? "No strategy is known here yet." : "Loading\u2026" }}</p>
    </section>`,
  data: () => ({ opened: "", starts: false, form: { symbols: "", bars: "1m", name: "", parameters: {} } }),
  created() {
    this.signs = SIGNS;
  },
  computed: {
    all() {
      const place = (row) => ORDER.indexOf(row.state);
      return Object.values(this.rows).sort((one, other) => place(one) - place(other) || (one.key < other.key ? -1 : 1));
    },
    running() {
      return `${this.all.filter((row) => row.state === "running").length} running`;
    },
  },
  methods: {
    about(row) {
      const parameters = Object.entries(row.parameters).map(([name, value]) => `${name} ${value instanceof Object ? "\u2026" : value}`).join(", ");
      const parts = row.state === "installed" ? [parameters] : [row.state, row.bars, parameters, row.last_signal && `last signal ${clock(row.last_signal)}`];
      return parts.filter(Boolean).join(" \u00b7 ");
    },
    isOpen(row, starts) {
      return this.opened === row.key && this.starts === starts;
    },
    /** The form goes, and what opened it has the focus again. */
    close() {
      const opener = this.$el.querySelector("[data-opens][aria-expanded=true]");
      this.opened = "";
      this.$nextTick(() => opener?.focus());
    },
    verb(row) {
      return row.state === "paused" || row.state === "failed" ? "Start" : "Stop";
    },
    toggle(row, starts) {
      this.opened = this.isOpen(row, starts) ? "" : row.key;
      this.starts = starts;
      const parameters = Object.fromEntries(Object.entries(row.parameters).map(([name, value]) => [name, written(value)]));
      const bars = [row.bars, this.now.interval, "1m"].find((each) => this.intervals.includes(each));
      this.form = { symbols: this.now.pair, bars, name: row.consumer ? this.free(row.kind) : "", parameters };
      this.$nextTick(() => this.$el.querySelector(".form")?.closest("li").scrollIntoView({ block: "nearest" }));
    },
    /** A name that no other has: `macd_rsi_2`. */
    free(kind) {
      const taken = new Set(this.all.flatMap((row) => [row.name, row.consumer]));
      let number = 2;
      while (taken.has(`${kind}_${number}`)) number += 1;
      return `${kind}_${number}`;
    },
    submit(row) {
      const parameters = Object.fromEntries(Object.entries(this.form.parameters).map(([name, text]) => [name, typed(text, row.parameters[name])]));
      if (this.busy) return;
      this.close();
      this.$el.querySelector("ul").scrollTop = 0;
      if (!this.starts) return this.$emit("wish", { wish: "parameters", name: row.name, parameters });
      const symbols = this.form.symbols.toUpperCase().split(/[\s,;]+/).filter(Boolean);
      const name = this.form.name.trim() || null;
      this.$emit("wish", { wish: "start", start: { strategy: row.kind, name, symbols, bars: this.form.bars, parameters } });
    },
    turn(row) {
      if (this.busy) return;
      if (this.verb(row) === "Stop") this.$emit("wish", { wish: "stop", name: row.name });
      else this.$emit("wish", { wish: "start", start: { strategy: row.kind, name: row.name } });
    },
  },
};
