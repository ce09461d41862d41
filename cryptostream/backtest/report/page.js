"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)");
  const narrow = matchMedia("(max-width: 40rem)");
  const drawn = new Set();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /** What a chart takes from the page: its colours, light or dark. */
  function template() {
    const axis = { gridcolor: colour("grid"), linecolor: colour("rule"), zerolinecolor: colour("rule"), tickcolor: colour("rule") };
    const way = (name) => ({ line: { color: colour(name), width: 1 }, fillcolor: colour(name) });
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: colour("ink"), size: 12, family: "system-ui, sans-serif" },
        xaxis: axis, yaxis: axis, annotationdefaults: { font: { color: colour("soft"), size: 11 } },
        hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("rule"), font: { color: colour("ink") }, namelength: -1 },
        legend: { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom", font: { color: colour("ink") } },
        modebar: { bgcolor: colour("raised"), color: colour("soft"), activecolor: colour("ink") },
      },
      data: { candlestick: [{ increasing: way("up"), decreasing: way("down") }] },
    };
  }

  function coloured(trace) {
    if (trace.type !== "bar" || trace.marker) return trace;
    const gap = trace.meta === "gap";
    const line = gap ? { color: colour("gap"), width: 1 } : { width: 0 };
    return { ...trace, opacity: gap ? 0.3 : 1, marker: { color: colour(gap ? "gap" : "volume"), line } };
  }

  function draw(box) {
    drawn.add(box);
    const { data, layout } = charts[box.id];
    const own = { ...structuredClone(layout), template: template(), dragmode: touch.matches ? false : layout.dragmode };
    if (narrow.matches) own.hovermode = "closest";
    const modeBarButtons = [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]];
    const config = { responsive: true, displaylogo: false, displayModeBar: touch.matches ? false : "hover", modeBarButtons };
    box.querySelector("noscript")?.remove();
    return Plotly.react(box, data.map(coloured), own, config);
  }

  const repaint = () => drawn.forEach(draw);
  const boxes = [...document.querySelectorAll(".chart")];
  const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "600px" });
  boxes.forEach((box) => near.observe(box));
  dark.addEventListener("change", repaint);
  narrow.addEventListener("change", repaint);
  addEventListener("beforeprint", () => boxes.filter((box) => !drawn.has(box)).forEach(draw));

  /** "2024-11-14 17:30:00.5", as plotly.js writes a time, in milliseconds. */
  function moment(text) {
    if (typeof text === "number") return text;
    const [year, month, day, hour = 0, minute = 0, second = 0] = text.split(/[^\d.]+/).map(Number);
    return Date.UTC(year, month - 1, day || 1, hour, minute) + second * 1000;
  }

  /** The part of the time that is shown after a key: moved by shares of its length, or with more or less of it. */
  const moves = {
    ArrowLeft: (from, to) => [from - (to - from) / 4, to - (to - from) / 4],
    ArrowRight: (from, to) => [from + (to - from) / 4, to + (to - from) / 4],
    "+": (from, to) => [from + (to - from) / 4, to - (to - from) / 4],
    "-": (from, to) => [from - (to - from) / 2, to + (to - from) / 2],
  };
  moves["="] = moves["+"];

  addEventListener("keydown", (event) => {
    const box = event.target;
    if (!drawn.has(box) || event.ctrlKey || event.metaKey || event.altKey || box.layout.xaxis.type !== "date") return;
    if (event.key === "0") {
      draw(box);
    } else if (moves[event.key]) {
      Plotly.relayout(box, { "xaxis.range": moves[event.key](...box.layout.xaxis.range.map(moment)) });
    } else {
      return;
    }
    event.preventDefault();
  });

  /** A click on a heading sorts by it, the next one the other way round. */
  addEventListener("click", (event) => {
    const heading = event.target.closest(".sortable th button")?.parentElement;
    if (!heading) return;
    const downwards = heading.getAttribute("aria-sort") !== "descending";
    const body = heading.closest("table").tBodies[0];
    const value = (row) => row.cells[heading.cellIndex].dataset.v ?? row.cells[heading.cellIndex].textContent;
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
      return numbers ? a - b : a.localeCompare(b, "en");
    };
    const rows = [...body.rows].sort((one, other) => (downwards ? compare(other, one) : compare(one, other)));
    [...heading.parentElement.cells].forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", downwards ? "descending" : "ascending");
    body.append(...rows);
  });
})();
