/* Any two ranked rows of one protocol: the paired difference, image by image, each victim on its own attack's images. */

const choice = { first: null, second: null, result: null };

function comparable(row) {
  return row.protocol !== null && tallyOf(row) !== null;
}

function tallyOf(row) {
  return row.counts[scoredOf(row)] ?? null;
}

function comparison() {
  const rows = DATA.rows.filter(comparable);
  if (rows.length < 2) return null;
  choice.first = el("select", { id: "compare-first", onchange: () => { fillSecond(); compareNow(); } }, grouped(rows));
  choice.second = el("select", { id: "compare-second", onchange: compareNow });
  choice.result = el("div", { id: "compare-result", "aria-live": "polite" });
  choice.first.value = String(DATA.rows.indexOf(hardest(rows)));
  fillSecond();
  return section("compare", "Compare two rows",
    el("div", { class: "filters" },
      el("label", { class: "control wide" }, el("span", {}, "first"), choice.first),
      el("label", { class: "control wide" }, el("span", {}, "minus"), choice.second)),
    choice.result,
    DATA.left_out > 0 && el("p", { class: "note" }, `${whole(DATA.left_out)} rows can't be compared here: their counts were left out to keep the page small.`));
}

/** The first victim of the answer under the attack that costs it most: what one asks about first. */
function hardest(rows) {
  const first = DATA.summary[0]?.victim ?? get(rows[0], "victim");
  const its = rows.filter((row) => get(row, "victim") === first);
  return (its.length ? its : rows).reduce((worst, row) => (get(row, scoredOf(row)) < get(worst, scoredOf(worst)) ? row : worst));
}

function grouped(rows) {
  return [...Map.groupBy(rows, (row) => get(row, "victim"))].map(([victim, its]) =>
    el("optgroup", { label: victim }, its.map((row) => option(String(DATA.rows.indexOf(row)), nameOf(row)))));
}

function fillSecond() {
  const first = DATA.rows[choice.first.value];
  const before = choice.second.value;
  const others = DATA.rows.filter((row) => row !== first && comparable(row) && row.protocol === first.protocol);
  choice.second.replaceChildren(...grouped(others));
  // The nearest question: another victim under the same attack.
  const same = others.find((row) => get(row, "attack") === get(first, "attack") && get(row, "victim") !== get(first, "victim"));
  choice.second.value = others.some((row) => String(DATA.rows.indexOf(row)) === before) ? before : String(DATA.rows.indexOf(same ?? others[0]));
}

function compareWith(row) {
  dialog.close();
  choice.first.value = String(DATA.rows.indexOf(row));
  choice.second.value = "";
  fillSecond();
  compareNow();
  document.getElementById("compare").scrollIntoView();
  choice.second.focus();
}

async function compareNow() {
  const [a, b] = [DATA.rows[choice.first.value], DATA.rows[choice.second.value]];
  if (!a || !b) return choice.result.replaceChildren("No other row follows the same protocol.");
  const found = pairedDelta(...await Promise.all([countsOf(tallyOf(a)), countsOf(tallyOf(b))]));
  if (a !== DATA.rows[choice.first.value] || b !== DATA.rows[choice.second.value]) return; // chosen anew meanwhile
  choice.result.dataset.pair = `${choice.first.value} ${choice.second.value}`;
  choice.result.dataset.figure = JSON.stringify(found.figure);
  choice.result.replaceChildren(...compared(a, b, found));
}

function compared(a, b, found) {
  const { figure, p, table, n, method } = found;
  const verdict = { gain: "the first is more accurate", loss: "the second is more accurate", even: "no evidence of a difference" }[direction(figure)];
  const cells = [["both right", table.both], ["only the first", table.first], ["only the second", table.second], ["both wrong", table.neither]];
  return [
    el("p", { class: "big" }, deltaCell(figure, Math.max(spanOf([figure]), 0.05), digitsOf(a)), ` points: ${verdict}.`),
    el("p", { class: "note" }, `n = ${whole(n)} images; ${method}${p === null ? "" : `, ${probability(p)}`}; unadjusted, exploratory.`),
    el("dl", { class: "facts" }, cells.map(([name, count]) => el("div", {}, el("dt", {}, name), el("dd", {}, short(Number(count.toFixed(1))))))),
    get(a, "draws") * get(b, "draws") > 1
      && el("p", { class: "note" }, "Random answers count by their share of the draws, as those of independent draws."),
  ].filter(Boolean);
}
