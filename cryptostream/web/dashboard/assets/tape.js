/* The newest trades of a pair, the newest on top; whose side was the aggressor's is told by a sign beside the colour. */
import { clock, decimals, digitsFor, money } from "cryptostream/scale.js";

export const Tape = {
  props: { rows: Array, digits: Number, now: Object },
  template: `
    <section class="panel tape" aria-label="Trades">
      <header><h2>Trades</h2><small>UTC</small></header>
      <div v-if="rows.length" class="scroll" tabindex="0" role="region" aria-label="Newest trades">
        <table class="list">
          <thead><tr><th scope="col">Time</th><th scope="col" class="n">Price</th><th scope="col" class="n">Quantity</th></tr></thead>
          <tbody>
            <tr v-for="row in rows" :key="row.id" :class="row.side">
              <template v-if="row.gap"><td>{{ clock(row.ts) }}</td><td colspan="2" class="warn" :title="row.cause">&#x25a8; {{ missing(row) }}</td></template>
              <template v-else>
                <td class="soft">{{ clock(row.ts) }}</td>
                <td class="n" :class="row.side === 'buy' ? 'up' : 'down'"><span :title="row.side">{{ row.side === "buy" ? "\u25b2" : "\u25bc" }}</span> {{ price(row) }}<span class="hidden-text"> {{ row.side }}</span></td>
                <td class="n size" :style="{ '--share': share(row) }">{{ quantity(row) }}</td>
              </template>
            </tr>
          </tbody>
        </table>
      </div>
      <p v-else class="empty">{{ now.arrived ? "Trades appear here as they come." : "Loading\u2026" }}</p>
    </section>`,
  computed: {
    /** The largest quantity in sight, to a power of two, so that bars seldom change. */
    most() {
      const largest = Math.max(...this.rows.map((row) => Number(row.qty ?? 0)), 1e-12);
      return 2 ** Math.ceil(Math.log2(largest));
    },
    precise() {
      const written = Math.max(0, ...this.rows.filter((row) => row.qty).map((row) => decimals(row.qty)));
      return Math.max(0, Math.min(written, 6 - Math.floor(Math.log10(this.most))));
    },
  },
  methods: {
    clock,
    price(row) {
      return money(Number(row.price), this.digits ?? digitsFor(Number(row.price)));
    },
    quantity(row) {
      return money(Number(row.qty), this.precise);
    },
    share(row) {
      return `${Math.min(100, Math.sqrt(Number(row.qty) / this.most) * 100).toFixed(0)}%`;
    },
    missing(row) {
      const [from, to] = row.gap;
      return from === null || to === null ? "trades missing" : `${money(to - from + 1, 0)} trades missing`;
    },
  },
};
