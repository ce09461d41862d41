/* The pairs that are followed: what they cost, how they have moved, how fast they trade; add one, remove one. */
import { Answer } from "cryptostream/answer.js";
import { money, percent } from "cryptostream/scale.js";

const ORDERS = {
  name: (one, other) => (one.key < other.key ? -1 : 1),
  change: (one, other) => (other.change ?? -9) - (one.change ?? -9) || ORDERS.name(one, other),
  rate: (one, other) => (other.rate ?? -1) - (one.rate ?? -1) || ORDERS.name(one, other),
};

export const Watchlist = {
  components: { Answer },
  props: { quotes: Object, now: Object, answer: Object, busy: Boolean },
  emits: ["wish", "dismiss"],
  template: `
    <section class="panel watchlist" aria-label="Watchlist">
      <header>
        <h2>Watchlist</h2><small>{{ count }}</small>
        <label class="order"><span class="hidden-text">Order</span>
          <select v-model="order" class="bare">
            <option value="name">by name</option><option value="change">by change</option><option value="rate">by trades/s</option>
          </select>
        </label>
      </header>
      <form class="find" @submit.prevent="add">
        <input ref="find" v-model="text" class="field" type="text" maxlength="400" spellcheck="false" autocapitalize="characters"
          autocomplete="off" aria-label="Find a pair, or symbols to add" placeholder="Find, or add BTCUSDT&#8230;" @keydown.down.prevent="step(-1, 1)">
        <button type="submit" class="act" :disabled="busy || !text.trim()">Add</button>
      </form>
      <answer :answer="answer" :busy="busy" waits="Asking the ingesters&#8230;" @dismiss="$emit('dismiss')" @undo="$emit('wish', { wish: 'add', text: $event })" />
      <ul v-if="shown.length" class="scroll pairs">
        <li v-for="(row, at) in shown" :key="row.key" v-memo="[row.turn, at, row.key === now.pair]" :class="{ chosen: row.key === now.pair }">
          <button type="button" class="pair" :aria-current="row.key === now.pair ? 'true' : null" :data-pair="row.key"
            @click="choose(row.key)" @keydown.down.prevent="step(at, 1)" @keydown.up.prevent="step(at, -1)">
            <span class="name">{{ row.key }}</span>
            <svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true" :class="way(row.change)">
              <polyline :points="points(row.spark)" />
            </svg>
            <span class="price n">{{ price(row) }}</span>
            <span class="pace" :class="{ warn: unwell(row) }" :title="row.note || null">{{ pace(row) }}</span>
            <span class="change n" :class="way(row.change)" :title="row.since ? 'since ' + row.since : null">{{ change(row) }}</span>
          </button>
          <button type="button" class="remove" :aria-label="'Remove ' + row.key" :title="'Remove ' + row.key" :disabled="busy"
            @click="$emit('wish', { wish: 'remove', text: row.key })">&#x2715;</button>
        </li>
      </ul>
      <p v-else-if="!now.arrived" class="empty">Loading&#8230;</p>
      <p v-else-if="text" class="empty">No pair here has &#8220;{{ text.trim() }}&#8221; in its name. Enter asks the ingesters to follow it.</p>
      <p v-else-if="now.ingesters" class="empty">No trades yet. An ingester runs: add a symbol above, such as <code>BTCUSDT</code>.</p>
      <p v-else class="empty">Nothing is followed yet. Start <code>cryptostream ingest --symbols BTCUSDT,ETHUSDT</code>, or see it all without an exchange: <code>cryptostream run --demo</code></p>
    </section>`,
  data: () => ({ text: "", order: "name" }),
  mounted() {
    this.onSlash = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      event.preventDefault();
      this.$refs.find.focus();
    };
    addEventListener("keydown", this.onSlash);
  },
  unmounted() {
    removeEventListener("keydown", this.onSlash);
  },
  computed: {
    shown() {
      const wanted = this.text.trim().toUpperCase();
      const rows = Object.values(this.quotes).filter((row) => row.key.toUpperCase().includes(wanted));
      return rows.sort(ORDERS[this.order]);
    },
    count() {
      const all = Object.keys(this.quotes).length;
      return this.text.trim() && this.shown.length !== all ? `${this.shown.length} of ${all}` : all || "";
    },
  },
  methods: {
    add() {
      const wanted = this.text.trim();
      if (this.quotes[wanted.toUpperCase()]) this.choose(wanted.toUpperCase());
      else if (wanted) this.$emit("wish", { wish: "add", text: wanted });
      this.text = "";
    },
    choose(pair) {
      if (pair !== this.now.pair) this.$emit("wish", { wish: "watch", pair });
      if (matchMedia("(max-width: 40rem)").matches) document.querySelector(".chart")?.scrollIntoView({ block: "start", behavior: "smooth" });
    },
    step(at, by) {
      const buttons = this.$el.querySelectorAll(".pair");
      if (at + by < 0) this.$refs.find.focus();
      else buttons[Math.min(at + by, buttons.length - 1)]?.focus();
    },
    price: (row) => (row.price === null ? "\u2013" : money(Number(row.price), row.digits)),
    change: (row) => (row.change === null ? "\u2013" : `${{ up: "\u25b2 ", down: "\u25bc " }[Watchlist.methods.way(row.change)] ?? ""}${percent(row.change)}`),
    way: (change) => (change > 0 ? "up" : change < 0 ? "down" : "soft"),
    unwell: (row) => row.state !== "live",
    pace(row) {
      if (this.unwell(row)) return row.price === null && row.state === "live" ? "waiting" : row.state;
      return row.rate === null ? "live" : `${row.rate}/s`;
    },
    points: (heights) => heights.map((height, at) => `${((at * 100) / Math.max(1, heights.length - 1)).toFixed(1)},${(28 - height * 0.26).toFixed(1)}`).join(" "),
  },
};
