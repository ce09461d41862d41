/* The page of the pipeline: what is wrong now, the way from sockets to readers, and every part of it in a table. */
import { Answer, asking } from "cryptostream/answer.js";
import { held } from "cryptostream/held.js";
import { ago, bytes, count, ms, rate } from "cryptostream/scale.js";
import { Line, Rows, take } from "cryptostream/tables.js";
import { told } from "cryptostream/told.js";

const PARTS = ["now", "ingesters", "consumers", "groups", "streams", "letters"];
const ASKS = { pause: "consumers", resume: "consumers", retry: "letters" };
const SEEN = 120;
const some = (value) => value > 0;
const FRAMES = "dlq:ingest";

const COLUMNS = {
  ingesters: [
    { key: "process", label: "process" },
    { key: "connections", label: "sockets", kind: "count", warns: (value) => value === 0 },
    { key: "messages", label: "received", kind: "count" },
    { key: "published", label: "published", kind: "count" },
    { key: "duplicates", label: "twice", kind: "count", title: "Came again and were refused" },
    { key: "reconnects", label: "reconnects", kind: "count" },
    { key: "gaps_opened", label: "gaps", kind: "count" },
    { key: "gaps_filled", label: "filled", kind: "count" },
    { key: "gaps_unfillable", label: "unfillable", kind: "count", warns: some },
    { key: "spool_bytes", label: "spool", kind: "bytes", warns: some },
    { key: "errors", label: "errors", kind: "count", warns: some },
    { key: "lag_ms", label: "behind", kind: "ms", title: "When the newest record came, less the exchange's time of it" },
    { key: "trouble", label: "trouble", wide: true, warns: Boolean },
  ],
  consumers: [
    { key: "name", label: "consumer" },
    { key: "state", label: "state", kind: "state", hint: (row) => row.why },
    { key: "strategies", label: "strategies", wide: true },
    { key: "read", label: "read", kind: "count" },
    { key: "pending", label: "pending", kind: "count" },
    { key: "lag", label: "lag", kind: "count" },
    { key: "dead_letters", label: "set aside", kind: "count", warns: some },
    { key: "lost", label: "lost", kind: "count", warns: some, title: "Trimmed before it was read" },
    { key: "process", label: "process" },
    { key: "why", label: "why", wide: true },
    { key: "do", label: "Pause or resume", actions: (row) => (row.process ? [row.state === "paused" ? "Resume" : "Pause"] : []) },
  ],
  groups: [
    { key: "group", label: "group" },
    { key: "streams", label: "streams", kind: "count" },
    { key: "members", label: "members", kind: "count" },
    { key: "lag", label: "lag", kind: "count", title: "Not yet delivered" },
    { key: "pending", label: "pending", kind: "count", title: "Delivered, not acknowledged" },
    { key: "worst", label: "furthest behind", wide: true },
  ],
  streams: [
    { key: "stream", label: "stream" },
    { key: "length", label: "length", kind: "count" },
    { key: "rate", label: "a second", kind: "rate" },
    { key: "last", label: "newest", kind: "ago" },
    { key: "first", label: "oldest", kind: "ago" },
    { key: "memory", label: "memory", kind: "bytes" },
    { key: "groups", label: "groups", kind: "count" },
  ],
  letters: [
    { key: "ts", label: "when", kind: "ago", left: true },
    { key: "group", label: "group" },
    { key: "stream", label: "stream" },
    { key: "error", label: "why", wide: true },
    { key: "do", label: "Retry", actions: (row) => (row.queue === FRAMES ? [] : ["Retry"]) },
  ],
};

export default {
  mixins: [told, asking(ASKS), held],
  components: { Answer, Rows, Line },
  props: { writes: Boolean },
  data() {
    return {
      rows: Object.fromEntries(PARTS.map((part) => [part, new Map()])),
      lines: { messages: [], published: [], p99: [] },
      clock: Date.now(),
      skew: 0,
      told: false,
      filter: "",
    };
  },
  computed: {
    columns() {
      const may = (column) => this.writes || !column.actions;
      return Object.fromEntries(Object.entries(COLUMNS).map(([name, columns]) => [name, columns.filter(may)]));
    },
    now() {
      return this.rows.now.get("now") ?? {};
    },
    time() {
      return this.clock + this.skew;
    },
    sums() {
      const total = {};
      for (const row of this.rows.ingesters.values()) {
        for (const [name, value] of Object.entries(row)) if (typeof value === "number") total[name] = (total[name] ?? 0) + value;
      }
      return total;
    },
    letters() {
      return Object.values(this.now.letters ?? {}).reduce((sum, one) => sum + one, 0);
    },
    queues() {
      const there = new Map();
      for (const row of this.rows.letters.values()) {
        if (row.queue !== FRAMES) there.set(row.queue, [...(there.get(row.queue) ?? []), row.id]);
      }
      return [...there].map(([queue, ids]) => ({ queue, ids }));
    },
    lag() {
      const known = [...this.rows.groups.values()].filter((row) => row.lag !== null);
      return known.length ? known.reduce((sum, row) => sum + row.lag, 0) : null;
    },
    pending() {
      return [...this.rows.groups.values()].reduce((sum, row) => sum + row.pending, 0);
    },
    steps() {
      const { now, sums } = this;
      const processes = this.rows.ingesters.size;
      const queues = Object.values(now.letters ?? {}).filter(some).length;
      return [
        { name: "Sockets", value: processes ? count(sums.connections) : "–", warns: processes && !sums.connections,
          said: processes ? `${many(processes, "process", "processes")}, ${many(sums.reconnects, "reconnect")}` : "nobody ingests" },
        { name: "Received", value: rate(now.messages), unit: "/s", line: "messages",
          said: processes ? `${count(sums.messages)} so far` : "" },
        { name: "Published", value: rate(now.published), unit: "/s", line: "published",
          said: processes ? `${count(sums.duplicates)} came twice` : "" },
        { name: "Exchange to bus", value: ms(now.p50), line: "p99", said: now.p99 === null ? "of the last minute" : `median; 99 % within ${ms(now.p99)}` },
        { name: "Gaps open", value: count(now.gaps_open ?? null), warns: some(now.gaps_open),
          said: `since the start ${count(sums.gaps_opened ?? 0)} opened, ${count(sums.gaps_filled ?? 0)} filled`
            + (some(sums.gaps_unfillable) ? `; ${many(sums.gaps_unfillable, "gap entry", "gap entries")} say what is lost` : "") },
        { name: "Spool", value: bytes(sums.spool_bytes ?? 0), warns: some(sums.spool_bytes),
          said: some(sums.spool_bytes) ? "waits on disk for Redis" : "nothing waits on disk" },
        { name: "Readers' lag", value: count(this.lag),
          said: this.rows.groups.size ? `${count(this.pending)} pending, ${many(this.rows.groups.size, "group")}` : "no groups" },
        { name: "Dead letters", value: count(this.letters), warns: some(this.letters),
          said: queues ? `in ${many(queues, "queue")}` : "nothing set aside" },
      ];
    },
  },
  watch: {
    filter() {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.$emit("wish", { wish: "find", text: this.filter }), 300);
    },
  },
  mounted() {
    this.timer = setInterval(this.tick, 1000);
  },
  beforeUnmount() {
    clearInterval(this.timer);
    clearTimeout(this.typing);
  },
  methods: {
    begin() {
      for (const part of PARTS) this.rows[part] = new Map();
      this.told = true;
    },
    take(message) {
      if (message.at) this.skew = message.at - Date.now();
      for (const part of PARTS) if (message[part]) take(this.rows[part], message[part]);
    },
    tick() {
      this.clock = Date.now();
      for (const [name, seen] of Object.entries(this.lines)) {
        seen.push(this.now[name] ?? null);
        if (seen.length > SEEN) seen.shift();
      }
    },
    consumer(row, action) {
      this.ask({ wish: action.toLowerCase(), name: row.name });
    },
    retry(queue, ids) {
      this.ask({ wish: "retry", queue, ids });
    },
    ago,
    count,
    group: (queue) => queue.replace(/^dlq:/, ""),
  },
  template: `
    <div class="work">
      <h1 class="hidden-text">Pipeline</h1>
      <section class="panel wrongs" :class="{ fine: told && !now.wrongs, grave: told && !now.redis }" aria-labelledby="wrongs">
        <h2 id="wrongs">What is wrong now</h2>
        <div role="status" aria-live="polite">
          <p v-if="!told" class="soft">Looking.</p>
          <p v-else-if="!now.wrongs" class="well">Nothing. <span class="soft">The bus: {{ now.bus }}, {{ count(now.streams) }} streams.</span></p>
          <ul v-else><li v-for="one in now.wrong" :key="one">{{ one }}</li></ul>
          <p v-if="now.wrongs > (now.wrong ?? []).length" class="soft">and {{ now.wrongs - now.wrong.length }} more</p>
        </div>
      </section>

      <ol class="way" aria-label="From the exchange to the readers">
        <li v-for="step in steps" :key="step.name" class="panel" :class="{ warns: step.warns }">
          <h2>{{ step.name }}</h2>
          <p class="value">{{ step.value }}<small v-if="step.unit && step.value !== '–'">{{ step.unit }}</small></p>
          <Line v-if="step.line" :points="lines[step.line]" />
          <p class="said">{{ step.said }}</p>
        </li>
      </ol>

      <section v-if="(now.gaps ?? []).length" class="panel" aria-labelledby="gaps">
        <header><h2 id="gaps">Gaps open</h2><small>fetched again over REST, in order, before anything newer</small></header>
        <ul class="body plain"><li v-for="gap in now.gaps" :key="gap">{{ gap }}</li></ul>
      </section>

      <section class="panel" aria-labelledby="consumers">
        <header><h2 id="consumers">Consumers</h2><small v-if="rows.consumers.size">{{ rows.consumers.size }}</small></header>
        <Answer :answer="answers.consumers" :busy="busy.consumers" waits="Asking the processes that consume&#8230;" @dismiss="answers.consumers = null" />
        <Rows v-if="rows.consumers.size" cards name="Consumers" :columns="columns.consumers" :rows="rows.consumers" :now="time" by="name" @act="consumer" />
        <p v-else class="empty">No consumer runs. <code>cryptostream consume</code> runs those of the configuration;
          <a href="/dashboard/">Market</a> starts a strategy.</p>
      </section>

      <div class="two">
        <section class="panel" aria-labelledby="groups">
          <header><h2 id="groups">Groups</h2><small>lag: not yet delivered; pending: not acknowledged</small></header>
          <Rows v-if="rows.groups.size" name="Groups" :columns="columns.groups" :rows="rows.groups" :now="time" by="lag" down />
          <p v-else class="empty">No consumer group reads anything yet. One begins with <code>cryptostream consume</code>.</p>
        </section>
        <section class="panel" aria-labelledby="letters">
          <header><h2 id="letters">Dead letters</h2>
            <small v-if="letters">{{ letters > rows.letters.size ? "the newest " + rows.letters.size + " of " + count(letters) : count(letters) }}</small>
            <span v-if="writes" class="acts"><button v-for="one in queues" :key="one.queue" type="button" class="act small" :aria-disabled="busy.letters"
              @click="busy.letters || retry(one.queue, one.ids)">Retry {{ one.ids.length }} of {{ group(one.queue) }}</button></span></header>
          <Answer :answer="answers.letters" :busy="busy.letters" waits="Asking the bus&#8230;" @dismiss="answers.letters = null" />
          <Rows v-if="rows.letters.size" cards name="Dead letters" :columns="columns.letters" :rows="rows.letters" :now="time" by="ts" down
            @act="(row) => retry(row.queue, [row.id])" />
          <p v-else class="empty">None. An entry that its group could not handle after several tries is set aside here, and can be retried.</p>
        </section>
      </div>

      <section class="panel" aria-labelledby="ingesters">
        <header><h2 id="ingesters">Ingesters</h2><small v-if="rows.ingesters.size">counted since each started</small></header>
        <Rows v-if="rows.ingesters.size" cards name="Ingesters" :columns="columns.ingesters" :rows="rows.ingesters" :now="time" by="process" />
        <p v-else class="empty">Nobody ingests. In another terminal: <code class="block">cryptostream ingest --symbols BTCUSDT,ETHUSDT</code></p>
      </section>

      <section class="panel" aria-labelledby="streams">
        <header><h2 id="streams">Streams</h2>
          <small v-if="rows.streams.size">{{ now.streams > rows.streams.size && rows.streams.size === 500 ? "500 of " + count(now.streams) : count(now.streams) }}</small>
          <input v-if="now.streams > 8" v-model="filter" class="field" type="search" placeholder="Find" aria-label="Find a stream by its name" maxlength="80" />
        </header>
        <Rows v-if="rows.streams.size" name="Streams" :columns="columns.streams" :rows="rows.streams" :now="time" :filter="filter" :most="25" by="rate" down />
        <p v-else-if="now.streams" class="empty">Nothing is called like that.</p>
        <p v-else class="empty">The bus holds no streams. They come with the first trades that are ingested.</p>
      </section>
    </div>`,
};

function many(number, one, several = `${one}s`) {
  return `${count(number ?? 0)} ${number === 1 ? one : several}`;
}
