/* Small bars: an interval on a scale of accuracy, and one around zero. */

const BAR = { width: 104, height: 8 };

/** Hidden from screen readers: the numbers stand beside it. */
function bar(...children) {
  return svg("svg", { class: "bar", width: BAR.width, height: BAR.height, viewBox: `0 0 ${BAR.width} ${BAR.height}`,
    preserveAspectRatio: "none", "aria-hidden": "true" }, ...children);
}

function block(className, x0, x1, y, height) {
  const left = Math.min(x0, x1);
  return svg("rect", { class: className, x: left, y, width: Math.max(Math.abs(x1 - x0), 1), height, rx: 1 });
}

/** An accuracy from 0 to 100 %: a line to the value, its interval, the value itself. */
function accuracyBar(figure) {
  const [value, low, high] = figure.map((share) => share * BAR.width);
  return bar(
    block("track", 0, BAR.width, 3, 2), block("reach", 0, value, 3, 2), block("interval", low, high, 1, 6),
    block("mark", Math.min(value - 0.75, BAR.width - 1.5), value + 0.75, 0, 8));
}

/**
 * A difference between -span and +span, zero in the middle, coloured only where the interval leaves zero out. The scale is
 * that of square roots: a column holds differences of 90 points and of half a point.
 */
function deltaBar(figure, span) {
  const place = (share) => (BAR.width / 2) * (1 + Math.sign(share) * Math.min(1, Math.sqrt(Math.abs(share) / span)));
  const [value, low, high] = figure.map(place);
  return bar(
    block("track", 0, BAR.width, 3, 2), block(`interval ${direction(figure)}`, low, high, 1, 6),
    block(`mark ${direction(figure)}`, value - 0.75, value + 0.75, 0, 8), block("zero", BAR.width / 2 - 0.5, BAR.width / 2 + 0.5, 0, 8));
}

function direction(figure) {
  return figure[1] > 0 ? "gain" : figure[2] < 0 ? "loss" : "even";
}

function accuracyCell(figure, digits = 1) {
  if (!figure) return el("span", { class: "absent" }, ABSENT);
  return el("span", { class: "figure" },
    el("span", { class: "numbers" }, el("b", {}, percent(figure[0], digits)), " ", el("small", {}, limits(figure, percent, digits))),
    accuracyBar(figure));
}

function deltaCell(figure, span, digits = 1) {
  if (!figure) return el("span", { class: "absent" }, ABSENT);
  return el("span", { class: "figure" },
    el("span", { class: "numbers" }, el("b", {}, signed(figure[0], digits)), " ", el("small", {}, limits(figure, signed, digits))),
    deltaBar(figure, span));
}

/** The scale of a column of deltas: the farthest limit, one point at least. */
function spanOf(figures) {
  return figures.reduce((widest, figure) => (figure ? Math.max(widest, Math.abs(figure[1]), Math.abs(figure[2])) : widest), 0.01);
}
