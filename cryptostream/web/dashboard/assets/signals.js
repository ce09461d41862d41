/* The newest signals of all strategies: opinions, not orders. */
import { held } from "cryptostream/held.js";
import { clock, digitsFor, money } from "cryptostream/scale.js";

const SIGNS = { buy: "\u25b2", sell: "\u25bc", exit: "\u25a0" };

export const Signals = {
  mixins: [held],
  props: { rows: Array, now: Object, digits: Function, running: Boolean },
  emits: ["wish"],
  template: `
    <section class="panel signals" aria-label="Signals">
      <header>
        <h2>Signals</h2><small>opinions, not orders</small>
        <button type="button" class="chip" :aria-pressed="String(only)" :disabled="!now.pair" @click="only = !only">{{ now.pair || "This pair" }} only</button>
      </header>
      <div v-if="shown.length" class="scroll" tabindex="0" role="region" aria-label="Newest signals">
        <table class="list">
          <thead><tr><th scope="col">UTC</th><th scope="col">Pair</th><th scope="col">Opinion</th><th scope="col" class="n">Price</th><th scope="col" class="n">Strength</th><th scope="col">Strategy</th><th scope="col">Reason</th></tr></thead>
          <tbody @focusin="at = $event.target.dataset.signal ?? at">
            <tr v-for="row in shown" :key="row.key">
              <td class="soft" :title="row.ts">{{ clock(row.ts) }}</td>
              <td><button type="button" class="link" :data-signal="row.key" :tabindex="row.key === stop ? 0 : -1" @click="$emit('wish', { wish: 'watch', pair: pairOf(row) })"
                @keydown.down.prevent="step($event.target, 1)" @keydown.up.prevent="step($event.target, -1)">{{ row.pair }}</button></td>
              <td :class="{ buy: 'up', sell: 'down' }[row.side]">{{ signs[row.side] }} {{ row.side }}</td>
              <td class="n">{{ price(row) }}</td>
              <td class="n">{{ row.strength.toFixed(2) }}</td>
              <td>{{ row.strategy }}</td>
              <td class="soft reason" :title="values(row)">{{ row.reason }}</td>
            </tr>
          </tbody>
        </table>
      </div>
      <p v-else class="empty">{{ empty }}</p>
    </section>`,
  data: () => ({ only: false, at: "" }),
  created() {
    this.signs = SIGNS;
  },
  computed: {
    shown() {
      return this.only ? this.rows.filter((row) => this.pairOf(row) === this.now.pair) : this.rows;
    },
    /** The one pair among them that Tab comes to; arrows go to the others. */
    stop() {
      return (this.shown.find((row) => row.key === this.at) ?? this.shown[0])?.key;
    },
    empty() {
      if (!this.now.arrived) return "Loading\u2026";
      if (this.rows.length) return `No signals of ${this.now.pair} among the newest.`;
      if (this.running) return "No signals yet. A strategy runs; it speaks when its indicators are warm and its bars close.";
      return "No signals yet. Start a strategy beside this; it speaks when its indicators are warm and its bars close.";
    },
  },
  methods: {
    clock,
    /** The pair as the watchlist calls it. */
    pairOf(row) {
      const withExchange = `${row.exchange}:${row.pair}`;
      return this.digits(withExchange) === undefined ? row.pair : withExchange;
    },
    price(row) {
      if (row.price === null) return "\u2013";
      return money(row.price, this.digits(this.pairOf(row)) ?? digitsFor(row.price));
    },
    step(from, by) {
      const links = [...this.$el.querySelectorAll("tbody .link")];
      links[Math.max(0, links.indexOf(from) + by)]?.focus();
    },
    values: (row) => Object.entries(row.values).map(([name, value]) => `${name} ${value}`).join("\n"),
  },
};
