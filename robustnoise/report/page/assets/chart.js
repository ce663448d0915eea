/* A line chart in SVG: bands, a logarithmic axis, a legend that hides lines, values by pointer and by arrow keys. */

const MARGIN = { left: 44, right: 14, top: 10, bottom: 40 };
const HUES = 7;
const MARKS = [
  (x, y) => `M${x - 3.5},${y}a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0z`,
  (x, y) => `M${x - 3.2},${y - 3.2}h6.4v6.4h-6.4z`,
  (x, y) => `M${x},${y - 4}l4,7h-8z`,
  (x, y) => `M${x},${y - 4.4}l4.4,4.4l-4.4,4.4l-4.4,-4.4z`,
];

/**
 * spec: title, x (label), log, categorical (names in order, or null), note, lines: [{label, stack, points}], each point
 * {x, figure: [value, low, high], note}.
 */
function chart(spec) {
  const lines = spec.lines.map((line, i) => ({ ...line, i, shown: true,
    points: line.points.map((point) => ({ ...point, at: spec.categorical ? spec.categorical.indexOf(point.x) : point.x })).sort((a, b) => a.at - b.at) }));
  const state = { log: spec.log, whole: false, at: null };
  const plot = el("div", { class: "plot", tabindex: 0, role: "group", "aria-label": `${spec.title}. Arrow keys read the values.` });
  const readout = el("output", { class: "readout", "aria-live": "polite" });
  const places = () => [...new Set(lines.filter((line) => line.shown).flatMap((line) => line.points.map((point) => point.at)))].sort((a, b) => a - b);
  const draw = () => plot.replaceChildren(...drawing(spec, lines, state, plot.clientWidth || 640));

  function read(at) {
    state.at = at;
    draw();
    const found = lines.filter((line) => line.shown).flatMap((line) => line.points.filter((point) => point.at === at).map((point) => [line, point]));
    readout.replaceChildren(...(at === null ? [] : [el("b", {}, `${spec.categorical ? spec.categorical[at] : short(at)}: `),
      ...found.map(([line, point]) => el("span", { class: `reading hue${line.i % HUES}` }, swatch(line.i), `${line.label} `,
        el("b", {}, percent(point.figure[0])), ` ${limits(point.figure, percent)} `))]));
  }

  plot.addEventListener("pointermove", (event) => {
    const x = event.clientX - plot.getBoundingClientRect().left;
    const scale = scales(spec, lines, state, plot.clientWidth).x;
    const near = places().reduce((best, at) => (best === null || Math.abs(scale(at) - x) < Math.abs(scale(best) - x) ? at : best), null);
    if (near !== state.at) read(near);
  });
  plot.addEventListener("pointerleave", () => document.activeElement !== plot && read(null));
  plot.addEventListener("blur", () => read(null));
  plot.addEventListener("keydown", (event) => {
    const all = places();
    const now = all.indexOf(state.at);
    const next = { ArrowRight: Math.min(now + 1, all.length - 1), ArrowLeft: now < 0 ? all.length - 1 : Math.max(now - 1, 0), Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || !all.length) return;
    event.preventDefault();
    read(all[next]);
  });

  const numeric = !spec.categorical && lines.every((line) => line.points.every((point) => point.at > 0));
  const toggle = (label, key) => el("label", { class: "toggle" },
    el("input", { type: "checkbox", checked: state[key], onchange: (event) => { state[key] = event.target.checked; draw(); } }), label);
  new ResizeObserver(draw).observe(plot);
  return el("figure", { class: "chart" },
    el("figcaption", {}, spec.title),
    el("div", { class: "bar-line" }, legend(lines, () => read(null)),
      el("span", { class: "toggles" }, numeric && toggle("log axis", "log"), toggle("0 to 100 %", "whole"))),
    plot, readout, spec.note && el("p", { class: "note" }, spec.note), numbers(spec, lines));
}

function legend(lines, changed) {
  return el("span", { class: "legend" }, lines.map((line) => el("button", { type: "button", "aria-pressed": "true",
    class: `hue${line.i % HUES}`, title: line.stack ?? null,
    onclick: (event) => {
      line.shown = !line.shown;
      event.currentTarget.setAttribute("aria-pressed", String(line.shown));
      changed();
    } }, swatch(line.i), line.label)));
}

function swatch(i) {
  return svg("svg", { width: 22, height: 10, "aria-hidden": "true" },
    svg("path", { class: `line dash${Math.floor(i / HUES) % 3}`, d: "M0,5H22" }), svg("path", { class: "point", d: MARKS[i % MARKS.length](11, 5) }));
}

function scales(spec, lines, state, width) {
  const points = lines.filter((line) => line.shown).flatMap((line) => line.points);
  const height = Math.max(220, Math.min(340, width * 0.5));
  const xs = points.map((point) => point.at);
  let [x0, x1] = spec.categorical ? [-0.3, spec.categorical.length - 0.7] : [Math.min(...xs), Math.max(...xs)];
  if (!points.length) [x0, x1] = [1, 2];
  if (x0 === x1) [x0, x1] = x0 > 0 ? [x0 / 2, x1 * 2] : [x0 - 1, x1 + 1];
  let [y0, y1] = state.whole || !points.length ? [0, 1] : [Math.min(...points.map((p) => p.figure[1])), Math.max(...points.map((p) => p.figure[2]))];
  const room = state.whole ? 0 : Math.max(0.05 * (y1 - y0), 0.002);
  [y0, y1] = [Math.max(0, y0 - room), Math.min(1, y1 + room)];
  const along = state.log ? Math.log : (value) => value;
  const pad = 8;
  return { width, height, x0, x1, y0, y1,
    x: (value) => MARGIN.left + pad + ((along(value) - along(x0)) / (along(x1) - along(x0))) * (width - MARGIN.left - MARGIN.right - 2 * pad),
    y: (value) => height - MARGIN.bottom - ((value - y0) / (y1 - y0)) * (height - MARGIN.top - MARGIN.bottom) };
}

function drawing(spec, lines, state, width) {
  const scale = scales(spec, lines, state, width);
  const shown = lines.filter((line) => line.shown && line.points.length);
  const bottom = scale.height - MARGIN.bottom;
  const at = state.at;
  return [svg("svg", { width, height: scale.height, "aria-hidden": "true" },
    steps(scale.y0, scale.y1, 5).map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: scale.y(value), y2: scale.y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 6, y: scale.y(value) + 4, "text-anchor": "end" }, short(Number((100 * value).toFixed(3))))]),
    xTicks(spec, shown, state, scale).map(([place, text]) => [
      svg("line", { class: "grid", x1: place, x2: place, y1: MARGIN.top, y2: bottom }),
      svg("text", { class: "tick", x: place, y: bottom + 16, "text-anchor": "middle" }, text)]),
    svg("text", { class: "tick", x: (MARGIN.left + width - MARGIN.right) / 2, y: scale.height - 6, "text-anchor": "middle" }, spec.x),
    svg("text", { class: "tick", x: 4, y: MARGIN.top + 2, "text-anchor": "start" }, "%"),
    shown.map((line) => svg("path", { class: `band hue${line.i % HUES}`, d: band(line.points, scale) })),
    at !== null && svg("line", { class: "guide", x1: scale.x(at), x2: scale.x(at), y1: MARGIN.top, y2: bottom }),
    shown.map((line) => svg("g", { class: `hue${line.i % HUES}` },
      svg("path", { class: `line dash${Math.floor(line.i / HUES) % 3}`, d: path(line.points.map((p) => [scale.x(p.at), scale.y(p.figure[0])])) }),
      line.points.map((p) => svg("path", { class: p.at === at ? "point now" : "point", d: MARKS[line.i % MARKS.length](scale.x(p.at), scale.y(p.figure[0])) })))))];
}

function path(corners) {
  return corners.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}

function band(points, scale) {
  if (points.length === 1) {
    const [x, [, low, high]] = [scale.x(points[0].at), points[0].figure];
    return `M${x - 2},${scale.y(low)}H${x + 2}V${scale.y(high)}H${x - 2}z`;
  }
  const side = (index) => points.map((point) => [scale.x(point.at), scale.y(point.figure[index])]);
  return `${path([...side(1), ...side(2).reverse()])}z`;
}

/** Round numbers from low to high, about `count` of them. */
function steps(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

/** 1, 2, 5, 10, 20, ... from low to high. */
function decades(low, high) {
  const powers = Array.from({ length: Math.ceil(Math.log10(high / low)) + 2 }, (_, i) => 10 ** (Math.floor(Math.log10(low)) + i));
  return powers.flatMap((power) => [power, 2 * power, 5 * power]).filter((value) => value >= low * 0.999 && value <= high * 1.001);
}

/** [place, text] where texts don't overlap: names, the measured values where they are few, else round numbers. */
function xTicks(spec, lines, state, scale) {
  const measured = [...new Set(lines.flatMap((line) => line.points.map((point) => point.at)))].sort((a, b) => a - b);
  const round = state.log ? decades(scale.x0, scale.x1) : steps(scale.x0, scale.x1, 7);
  const values = spec.categorical || measured.length <= 12 || round.length < 2 ? measured : round;
  let free = -Infinity;
  return values.map((value) => [scale.x(value), spec.categorical ? spec.categorical[value] : short(Number(value.toPrecision(4)))])
    .filter(([place, text]) => {
      const half = 3.4 * text.length + 4;
      if (place - half < free) return false;
      free = place + half;
      return true;
    });
}

/** The numbers of the chart, for who can't see it and for who wants them. */
function numbers(spec, lines) {
  const head = ["line", spec.x, "per cent", "95 % interval", ...(lines.some((line) => line.points.some((p) => p.note)) ? [""] : [])];
  const cells = lines.flatMap((line) => line.points.map((p) => [line.label, spec.categorical ? p.x : short(p.x),
    percent(p.figure[0], 2), limits(p.figure, percent, 2), ...(head.length > 4 ? [p.note ?? ""] : [])]));
  return el("details", {}, el("summary", {}, "Numbers"), textTable({ head, lines: cells }));
}
