/* What is wished for, and what became of it: accepted or refused, and why, for each part of it. */
import { held } from "cryptostream/held.js";

const ANSWER_MS = 15000;
const DONE = {
  add: "is followed", remove: "is followed no more", start: "runs", stop: "is stopped", parameters: "has new parameters",
  pause: "reads no more", resume: "reads again",
};

/** A page that asks, and shows in each of its parts what came of it; `parts` says by the kind of a wish in which. */
export const asking = (parts) => ({
  emits: ["wish"],
  data() {
    const each = (value) => Object.fromEntries(Object.values(parts).map((part) => [part, value]));
    return { answers: each(null), busy: each(false) };
  },
  mounted() {
    addEventListener("keydown", this.onEscape);
  },
  unmounted() {
    removeEventListener("keydown", this.onEscape);
  },
  methods: {
    /** What nothing else on the page had a use for. */
    onEscape(event) {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      for (const part of Object.keys(this.answers)) this.answers[part] = null;
    },
    ask(wish) {
      const part = parts[wish.wish];
      if (part) {
        this.busy[part] = true;
        this.answers[part] = null;
      }
      this.$emit("wish", wish);
    },
    /** Refusals stay until they are dismissed; what was granted goes by itself. */
    answered(answer) {
      const part = parts[answer.to];
      if (!part) return;
      this.busy[part] = false;
      this.answers[part] = answer;
      if (answer.failed || answer.left || answer.verdicts?.some((verdict) => !verdict.accepted)) return;
      setTimeout(() => {
        if (this.answers[part] === answer) this.answers[part] = null;
      }, ANSWER_MS);
    },
  },
});

export const Answer = {
  mixins: [held],
  props: { answer: Object, busy: Boolean, waits: String },
  emits: ["dismiss", "undo"],
  template: `
    <div class="answer" role="status" aria-live="polite">
      <p v-if="busy" class="soft">{{ waits }}</p>
      <template v-if="answer">
        <p v-if="answer.failed" class="verdict refused">{{ answer.failed }}</p>
        <p v-if="answer.said" class="verdict">{{ answer.said }}</p>
        <p v-if="answer.left" class="verdict refused">{{ answer.left }}</p>
        <p v-for="verdict in answer.verdicts" :key="verdict.what" class="verdict" :class="{ refused: !verdict.accepted }">
          <span><strong>{{ verdict.what }}</strong> {{ said(verdict) }}</span>
          <button v-if="verdict.accepted && answer.to === 'remove'" type="button" class="link" @click="$emit('undo', verdict.what)">Undo</button>
        </p>
        <p v-if="nobody" class="verdict refused">Nobody answered: is the process that should obey running?</p>
        <p v-if="answer.unanswered?.length" class="soft">No answer from {{ answer.unanswered.join(", ") }}.</p>
        <button type="button" class="dismiss" aria-label="Dismiss" @click="$emit('dismiss')">&#x2715;</button>
      </template>
    </div>`,
  computed: {
    nobody() {
      return this.answer.verdicts?.length === 0 && !this.answer.unanswered.length;
    },
  },
  methods: {
    said(verdict) {
      if (!verdict.accepted) return `refused${verdict.why ? `: ${verdict.why}` : ""}`;
      return [DONE[this.answer.to], verdict.why].filter(Boolean).join(": ");
    },
  },
};
