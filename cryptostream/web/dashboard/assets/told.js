/* How a page's body hears from its server: messages with differences, once each, in their order, as plain data.
   `begin` has it forget what it was told, `take` gives it what has changed, `answered` what became of a wish. Where a message
   is missing the whole is asked for, and what comes before it is let go; answers depend on nothing, and are all given.
   They come as a property: NiceGUI calls methods by evaluating code, and a browser keeps the text of all code it was given. */
import { toRaw } from "vue";

export const told = {
  props: { messages: { type: Array, default: () => [] } },
  emits: ["wish"],
  created() {
    this.heard = 0;
    this.missed = false;
  },
  mounted() {
    this.hear();
  },
  watch: {
    messages() {
      this.hear();
    },
  },
  methods: {
    hear() {
      for (const message of toRaw(this.messages)) {
        if (message.n <= this.heard) continue;
        if (message.n !== this.heard + 1) this.miss();
        this.heard = message.n;
        if (message.answer) this.answered(message.answer);
        if (message.anew === "all") this.missed = false;
        if (this.missed) continue;
        if (message.anew) this.begin(message.anew);
        this.take(message);
      }
    },
    miss() {
      if (!this.missed) this.$emit("wish", { wish: "whole" });
      this.missed = true;
    },
  },
};
