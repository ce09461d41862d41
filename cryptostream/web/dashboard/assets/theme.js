"use strict";
/* The colours: as the system has them, light, or dark; remembered in this browser. Loaded first, so that nothing flashes. */
(() => {
  const choices = ["auto", "light", "dark"];
  const NAMES = { auto: "as the system has them", light: "light", dark: "dark" };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;

  const chosen = () => {
    try {
      return localStorage.getItem("cryptostream.theme") ?? "auto";
    } catch {
      return root.dataset.choice ?? "auto";
    }
  };

  function apply(choice) {
    root.dataset.choice = choice;
    root.dataset.theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    window.Quasar?.Dark.set(root.dataset.theme === "dark");
    name();
    dispatchEvent(new CustomEvent("colours"));
  }

  /** The button says which colours there are, and which come next. */
  function name() {
    const [now, next] = [0, 1].map((by) => choices[(choices.indexOf(root.dataset.choice) + by) % choices.length]);
    const told = `Colours: ${NAMES[now]}. Change to ${NAMES[next]}`;
    const button = document.querySelector(".theme");
    button?.setAttribute("aria-label", told);
    button?.setAttribute("title", told);
  }

  apply(chosen());
  system.addEventListener("change", () => apply(chosen()));
  addEventListener("DOMContentLoaded", () => apply(chosen()));
  addEventListener("click", (event) => {
    if (!event.target.closest(".theme")) return;
    const next = choices[(choices.indexOf(root.dataset.choice) + 1) % choices.length];
    try {
      localStorage.setItem("cryptostream.theme", next);
    } catch {
      // A browser that keeps nothing: until the next page, then.
    }
    apply(next);
  });
})();
