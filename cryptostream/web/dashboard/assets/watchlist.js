/* The pairs that are followed: what they cost, how they have moved, how fast they trade; add one, remove one. */
import { Answer } from "cryptostream/answer.js";
import { held } from "cryptostream/held.js";
import { money, percent, way } from "cryptostream/scale.js";

const ORDERS = {
  name: (one, other) => (one.key < other.key ? -1 : 1),
  change: (one, other) => (other.change ?? -9) - (one.change ?? -9) || ORDERS.name(one, other),
  rate: (one, other) => (other.rate ?? -1) - (one.rate ?? -1) || ORDERS.name(one, other),
};

/** One pair; drawn again only when its row is another one. */
const Pair = {
  props: { row: Object, chosen: Boolean, stop: Boolean, busy: Boolean, writes: Boolean },
  emits: ["choose", "follow", "remove", "step"],
  template: `
    <li :class="{ chosen, quiet: row.state === 'quiet' }" :data-what="row.key">
      <button type="button" class="pair" :aria-current="chosen ? 'true' : null" :data-pair="row.key" :tabindex="stop ? 0 : -1"
        :aria-keyshortcuts="writes ? { Follow: 'Insert', Remove: 'Delete' }[wish] : null" @click="$emit('choose', row.key, $event.detail === 0)" @keydown="pressed">
        <span class="name">{{ row.key }}</span>
        <svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true" :class="way(row.change)"><polyline :points="points" /></svg>
        <span class="price n">{{ price }}</span>
        <span class="pace" :class="{ warn: row.state !== 'live' }" :title="row.note || null">{{ pace }}</span>
        <span class="change n" :class="way(row.change)" :title="row.since ? 'since ' + row.since : null">{{ change }}</span>
      </button>
      <button v-if="writes" type="button" class="remove" :aria-label="wish + ' ' + row.key" :title="wish + ' ' + row.key" :aria-disabled="busy"
        :tabindex="stop ? 0 : -1" @click="ask">{{ wish === "Follow" ? "+" : "\u2715" }}</button>
    </li>`,
  computed: {
    /** A quiet pair is one that nobody follows: there are trades of it, and no more come. */
    wish() {
      return this.row.state === "quiet" ? "Follow" : "Remove";
    },
    price() {
      return this.row.price === null ? "\u2013" : money(Number(this.row.price), this.row.digits);
    },
    change() {
      const { change } = this.row;
      return change === null ? "\u2013" : `${{ up: "\u25b2 ", down: "\u25bc " }[way(change)] ?? ""}${percent(change)}`;
    },
    pace() {
      if (this.row.state !== "live") return this.row.state;
      return this.row.rate === null ? "live" : `${this.row.rate}/s`;
    },
    points() {
      const across = 100 / Math.max(1, this.row.spark.length - 1);
      return this.row.spark.map((height, at) => `${(at * across).toFixed(1)},${(28 - height * 0.26).toFixed(1)}`).join(" ");
    },
  },
  methods: {
    way,
    ask() {
      if (this.writes && !this.busy) this.$emit(this.wish.toLowerCase(), this.row.key);
    },
    pressed(event) {
      const asks = event.key === { Follow: "Insert", Remove: "Delete" }[this.wish];
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!asks && !by) return;
      event.preventDefault();
      if (asks) this.ask();
      else this.$emit("step", event.currentTarget, by);
    },
  },
};

export const Watchlist = {
  mixins: [held],
  components: { Answer, Pair },
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
          autocomplete="off" aria-label="Find a pair, or symbols to add" placeholder="Find, or add BTCUSDT&#8230;" @keydown.down.prevent="step(null, 1)" @keydown.esc="clear">
        <button v-if="now.may_write" type="submit" class="act" :aria-disabled="busy || !text.trim()">Add</button>
      </form>
      <answer :answer="answer" :busy="busy" waits="Asking the ingesters&#8230;" @dismiss="$emit('dismiss')" @undo="$emit('wish', { wish: 'add', text: $event })" />
      <ul v-if="shown.length" class="scroll pairs" @focusin="at = $event.target.dataset.pair ?? at">
        <pair v-for="row in shown" :key="row.key" :row="row" :chosen="row.key === now.pair" :stop="row.key === stop" :busy="busy" :writes="now.may_write"
          @choose="choose" @remove="$emit('wish', { wish: 'remove', text: $event })" @follow="$emit('wish', { wish: 'add', text: $event })" @step="step" />
      </ul>
      <p v-else-if="!now.arrived" class="empty">Loading&#8230;</p>
      <p v-else-if="text" class="empty">No pair here has &#8220;{{ text.trim() }}&#8221; in its name.<template v-if="now.may_write"> Enter asks the ingesters to follow it.</template></p>
      <p v-else-if="now.ingesters" class="empty">No trades yet. An ingester runs: add a symbol above, such as <code>BTCUSDT</code>.</p>
      <p v-else class="empty">Nothing is followed yet. Start <code>cryptostream ingest <span>--symbols</span> BTCUSDT,ETHUSDT</code>, or see it all without an exchange: <code>cryptostream run <span>--demo</span></code></p>
    </section>`,
  data: () => ({ text: "", order: "name", at: "" }),
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
    /** The one pair among them that Tab comes to; arrows go to the others. */
    stop() {
      return [this.at, this.now.pair].find((key) => this.shown.some((row) => row.key === key)) ?? this.shown[0]?.key;
    },
    count() {
      const all = Object.keys(this.quotes).length;
      return this.text.trim() && this.shown.length !== all ? `${this.shown.length} of ${all}` : all || "";
    },
  },
  methods: {
    add() {
      const wanted = this.text.trim();
      if (this.busy && !this.quotes[wanted.toUpperCase()]) return;
      this.$refs.find.focus();
      if (this.quotes[wanted.toUpperCase()]) this.choose(wanted.toUpperCase());
      else if (wanted && this.now.may_write) this.$emit("wish", { wish: "add", text: wanted });
      this.text = "";
    },
    clear(event) {
      if (this.text) event.preventDefault();
      this.text = "";
    },
    choose(pair, typed) {
      if (typed) this.text = "";
      this.at = pair;
      if (pair !== this.now.pair) this.$emit("wish", { wish: "watch", pair });
      if (matchMedia("(max-width: 40rem)").matches) document.querySelector(".chart")?.scrollIntoView({ block: "start", behavior: "smooth" });
    },
    /** From one pair to the one above or below it; above the first is where pairs are searched. */
    step(from, by) {
      const pairs = [...this.$el.querySelectorAll(".pair")];
      const to = pairs.indexOf(from) + by;
      if (to < 0) this.$refs.find.focus();
      else pairs[Math.min(to, pairs.length - 1)]?.focus();
    },
  },
};
