/* What the board asks, and the answer. */

function headline() {
  return el("header", { class: "top" },
    el("div", { class: "bar-line" },
      el("p", { class: "brand" }, DATA.back ? el("a", { href: DATA.back }, "← the whole board") : "robustnoise board"), themeButton()),
    el("h1", {}, DATA.title),
    DATA.about.map((paragraph) => el("p", { class: "about" }, paragraph)),
    el("dl", { class: "facts" }, DATA.facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
}

function answer() {
  if (!DATA.summary.length && !DATA.sentences.length) return null;
  const measured = ["shared", "per_victim", "null"].filter((key) => DATA.summary.some((victim) => victim[key]));
  const labels = { shared: "worst case, shared attacks", per_victim: "worst case, per-victim attacks", null: "null control" };
  const span = spanOf(DATA.summary.map((victim) => victim.null));
  const wide = DATA.summary.some((victim) => victim.n >= 10000) ? 2 : 1;
  const several = new Set(DATA.summary.map((victim) => victim.seed)).size > 1;
  const ranks = DATA.summary.some((victim) => victim.rank !== null);
  const lines = DATA.summary.map((victim, i) => el("tr", { class: tied(i) ? "tied" : null },
    ranks && el("td", { class: "rank" }, victim.rank ?? ABSENT),
    el("th", { scope: "row" }, victim.victim, several ? el("small", {}, ` seed ${victim.seed}`) : null),
    el("td", { "data-label": "clean" }, accuracyCell(victim.clean, wide)),
    measured.map((key) => el("td", { "data-label": labels[key] },
      key === "null" ? deltaCell(victim[key], span, wide) : accuracyCell(victim[key], wide)))));
  return section("answer", "The answer",
    DATA.summary.length > 0 && el("div", { class: "scroll" },
      el("table", { class: "answer" },
        el("thead", {}, el("tr", {}, ranks && el("th", { scope: "col", title: "Victims of one rank are not told apart." }, "rank"),
          el("th", { scope: "col" }, "victim"), el("th", { scope: "col" }, "clean"),
          measured.map((key) => el("th", { scope: "col", title: DATA.help[key] ?? null }, labels[key])))),
        el("tbody", {}, lines))),
    ranks && el("p", { class: "note" }, DATA.help.rank),
    DATA.contrasts && textTable(DATA.contrasts, "Declared contrasts"),
    DATA.sentences.length > 0 && el("ul", { class: "sentences" }, DATA.sentences.map((sentence) => el("li", {}, sentence))));
}

/** Whether a victim shares its rank with the one above it. */
function tied(i) {
  return i > 0 && DATA.summary[i].rank !== null && DATA.summary[i].rank === DATA.summary[i - 1].rank;
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
