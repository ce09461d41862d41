/* What became of a wish: accepted or refused, and why, for each part of it. */
export const Answer = {
  props: { answer: Object, busy: Boolean, waits: String },
  emits: ["dismiss", "undo"],
  template: `
    <div class="answer" role="status" aria-live="polite">
      <p v-if="busy" class="soft">{{ waits }}</p>
      <template v-if="answer">
        <p v-if="answer.failed" class="verdict refused">{{ answer.failed }}</p>
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
      return !this.answer.failed && !this.answer.verdicts.length && !this.answer.unanswered.length;
    },
  },
  methods: {
    said(verdict) {
      if (!verdict.accepted) return `refused${verdict.why ? `: ${verdict.why}` : ""}`;
      const done = { add: "is followed", remove: "is followed no more", start: "runs", stop: "is stopped", parameters: "has new parameters" };
      return [done[this.answer.to], verdict.why].filter(Boolean).join(": ");
    },
  },
};
