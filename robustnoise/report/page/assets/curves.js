/* The board's curves, and the accuracy that is left to an attacker who asks several times. */

function curves() {
  const measured = DATA.curves.filter((curve) => curve.lines.length);
  const absent = DATA.curves.filter((curve) => !curve.lines.length);
  if (!DATA.curves.length && !hasPersistence()) return null;
  return section("curves", "Curves",
    el("div", { class: "charts" },
      measured.map((curve) => el("div", {}, chart({ ...curve, lines: curve.lines.map((line) => ({ ...line,
        points: line.points.map(([x, ...figure]) => ({ x, figure: figure.slice(0, 3), note: figure[3] })) })) }),
        curve.midpoints && textTable(curve.midpoints))),
      hasPersistence() && persistenceChart()),
    absent.map((curve) => el("p", { class: "note" }, `${curve.title}: ${curve.note}`)));
}

function hasPersistence() {
  return DATA.rows.some((row) => get(row, "draws") > 1 && comparable(row));
}

/** How often an attacker may ask: 1, 2, 5, 10, ... and the number of draws. */
function asking(draws) {
  const round = [1, 2, 5].flatMap((digit) => [1, 10, 100, 1000].map((power) => digit * power));
  return [...new Set([...round.filter((m) => m < draws), draws])].sort((a, b) => a - b);
}

async function persistence(index, label) {
  const counts = await countsOf(index);
  return { label, points: asking(counts.draws).map((m) => ({ x: m, figure: anyFail(counts, m) })) };
}

function later(promise) {
  const place = el("div", { class: "later" });
  promise.then((node) => place.replaceWith(node));
  return place;
}

const ASKING = { x: "m: how often the attacker may ask, and wins once", log: true, categorical: null };

/** Each random victim on the images of the attack that costs it most. */
function persistenceChart() {
  const worst = new Map();
  for (const row of DATA.rows) {
    if (!comparable(row) || get(row, "draws") < 2 || !get(row, "ranked")) continue;
    const name = `${get(row, "victim")}${SEVERAL_SEEDS ? ` (seed ${get(row, "seed")})` : ""}`;
    if (!worst.has(name) || get(row, scoredOf(row)) < get(worst.get(name), scoredOf(worst.get(name)))) worst.set(name, row);
  }
  const lines = [...worst].slice(0, 12).map(([name, row]) => persistence(tallyOf(row), get(row, "attack") === null ? name : `${name} under ${get(row, "attack")}`));
  return later(Promise.all(lines).then((found) => chart({ ...ASKING, title: "any_fail_m: accuracy against an attacker who asks m times", lines: found,
    note: "Random victims, each under the attack that costs it most; exact from the draws' counts, bands by normal approximation over images." })));
}

function anyFailChart(row) {
  if (get(row, "draws") < 2 || row.counts.clean === null) return null;
  const lines = [["clean", row.counts.clean], ["adversarial", row.counts.robust]].filter(([, index]) => index !== null && index !== undefined);
  return later(Promise.all(lines.map(([label, index]) => persistence(index, label))).then((found) =>
    chart({ ...ASKING, title: "Accuracy against an attacker who asks m times", lines: found })));
}
