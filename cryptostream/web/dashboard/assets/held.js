/* Keeps the keyboard where it is: what is pressed may move or go, and then what stands in its place has the focus. */
const FOCUSABLE = "button:not([tabindex='-1']), input, select, textarea";

/** For a part whose updates may do that. A row of a list is found again by its `data-what`, else by its place. */
export const held = {
  beforeUpdate() {
    const at = document.activeElement;
    this.holds = at !== document.body && this.$el.contains?.(at) ? remembered(at, this.$el) : null;
  },
  updated() {
    if (this.holds && document.activeElement === document.body) instead(this.holds);
  },
};

function remembered(at, root) {
  const item = at.closest("li, tr");
  const around = [];
  for (let each = at.parentElement; each && each !== root.parentElement; each = each.parentElement) around.push(each);
  const list = item?.parentElement;
  return { at, item, list, around, what: item?.dataset.what, place: list ? [...list.children].indexOf(item) : -1 };
}

function instead({ at, item, list, around, what, place }) {
  if (at.isConnected && !at.disabled) return at.focus({ preventScroll: true });
  if (list?.isConnected && !item.isConnected) {
    const same = what && [...list.children].find((each) => each.dataset.what === what);
    const found = same ?? list.children[Math.min(place, list.children.length - 1)];
    found?.querySelector(FOCUSABLE)?.focus({ preventScroll: true });
  }
  for (const each of around) {
    if (document.activeElement !== document.body) return;
    if (each.isConnected && !each.hasAttribute("tabindex")) each.tabIndex = -1;
    each.focus({ preventScroll: true });
  }
}
