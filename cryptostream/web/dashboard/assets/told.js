/* How a page's body hears from its server: `take` gets each message once, in its order, as plain data.
   They come as a property: NiceGUI calls methods by evaluating code, and a browser keeps the text of all code it was given. */
import { toRaw } from "vue";

export const told = {
  props: { messages: { type: Array, default: () => [] } },
  created() {
    this.heard = 0;
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
        this.heard = message.n;
        this.take(message);
      }
    },
  },
};
