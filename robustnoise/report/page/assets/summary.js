/* What the board asks, and the answer. */

function headline() {
  return el("header", { class: "top" },
    el("div", { class: "bar-line" },
      el("p", { class: "brand" }, DATA.back ? el("a", { href: DATA.back }, "← the whole board") : "robustnoise board"), themeButton()),
    el("h1", {}, DATA.title),
    DATA.about.map((paragraph) => el("p", { class: "about" }, paragraph)),
    el("dl", { class: "facts" }, DATA.facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
}

const SCALES = { shared: "worst case, shared attacks", per_victim: "worst case, per-victim attacks", null: "null control" };

function answer() {
  if (!DATA.summary.length && !DATA.sentences.length) return null;
  const measured = Object.keys(SCALES).filter((key) => DATA.summary.some((victim) => victim[key]));
  const span = spanOf(DATA.summary.map((victim) => victim.null));
  const digits = DATA.summary.some((victim) => victim.n >= 10000) ? 2 : 1;
  const several = new Set(DATA.summary.map((victim) => victim.seed)).size > 1;
  const ranked = (key) => DATA.summary.some((victim) => victim.ranks[key] || victim.why[key]);
  const figure = (victim, key) => (key === "null" ? deltaCell(victim.null, span, digits) : accuracyCell(victim[key], digits));
  const lines = DATA.summary.map((victim, i) => el("tr", {},
    el("th", { scope: "row" }, victim.victim, several && el("small", {}, ` seed ${victim.seed}`)),
    el("td", { "data-label": "clean" }, accuracyCell(victim.clean, digits)),
    measured.map((key) => [ranked(key) && rankCell(victim, DATA.summary[i - 1], key), el("td", { "data-label": SCALES[key] }, figure(victim, key))])));
  return section("answer", "The answer",
    el("div", { class: "scroll" },
      el("table", { class: "answer" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "victim"), el("th", { scope: "col" }, "clean"),
          measured.map((key) => [ranked(key) && el("th", { scope: "col", title: DATA.help.rank }, "rank"),
            el("th", { scope: "col", title: DATA.help[key] ?? null }, SCALES[key])]))),
        el("tbody", {}, lines))),
    Object.keys(SCALES).some(ranked) && el("p", { class: "note" }, DATA.help.rank),
    DATA.contrasts.length > 0 && contrasts(),
    DATA.sentences.length > 0 && el("ul", { class: "sentences" }, DATA.sentences.map((sentence) => el("li", {}, sentence))));
}

/** A victim that shares the rank of the one above it is tied to it by the line at the left. */
function rankCell(victim, above, key) {
  const rank = victim.ranks[key];
  const tied = rank && rank.endsWith("=") && above?.ranks[key] === rank;
  return el("td", { class: `rank${rank ? "" : " none"}${tied ? " tied" : ""}` }, rank ?? (victim.why[key] ? `no: ${victim.why[key]}` : ABSENT));
}

function contrasts() {
  const span = spanOf(DATA.contrasts.map((contrast) => contrast.delta));
  return [el("h3", {}, "Declared contrasts"), el("div", { class: "scroll" }, el("table", { class: "plain", id: "contrasts" },
    el("thead", {}, el("tr", {}, ["victim", "against", "on", "asked", "difference", "lies between", "p (Holm)", "resolves", "finding"]
      .map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, DATA.contrasts.map((contrast) => el("tr", {},
      el("td", {}, contrast.victim), el("td", {}, contrast.against), el("td", {}, contrast.on), el("td", {}, contrast.asked),
      el("td", {}, deltaCell(contrast.delta, span, contrast.n >= 10000 ? 2 : 1)),
      el("td", {}, contrast.bounds?.map((bound) => signed(bound, contrast.n >= 10000 ? 2 : 1)).join(" and ") ?? ABSENT),
      el("td", {}, contrast.p_holm === null ? ABSENT : short(Number(contrast.p_holm.toPrecision(2)))),
      el("td", {}, percent(contrast.smallest)), el("td", {}, el("b", {}, contrast.finding))))))),
    el("p", { class: "note" }, DATA.help.holm)];
}

function reading() {
  return section("reading", "Protocol and how to read this",
    DATA.legend.map((paragraph) => el("p", {}, paragraph)),
    el("details", {}, el("summary", {}, "Defenses and attacks"),
      el("dl", { class: "stacks" }, DATA.stacks.map(([name, text]) => [el("dt", {}, name), el("dd", {}, el("code", {}, text))]))),
    Object.keys(DATA.flags).length > 0 && el("details", {}, el("summary", {}, "Flags"),
      Object.keys(DATA.flags).map((name) => el("div", { class: "flag" }, flagFacts(name, "")))),
    el("p", { class: "note" }, DATA.made));
}
