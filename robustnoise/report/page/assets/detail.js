/* One row, down to the single image. */

const dialog = el("dialog", { id: "detail", "aria-labelledby": "detail-heading" });
let shown = "";

function openDetail(row) {
  dialog.replaceChildren(
    el("div", { class: "bar-line sticky" },
      el("button", { type: "button", class: "quiet", id: "compare-this", onclick: () => compareWith(row), hidden: !comparable(row) }, "Compare with another row"),
      el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close")),
    ...detail(row));
  dialog.scrollTop = 0;
  if (!dialog.open) dialog.showModal();
  shown = `#row-${get(row, "digest").slice(0, 16)}`;
  history.replaceState(null, "", shown);
}

function listenForDetails() {
  document.body.append(dialog);
  // The event comes late: by then the reader may be on the way to another row.
  dialog.addEventListener("close", () => !dialog.open && location.hash === shown && history.replaceState(null, "", "#rows"));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const follow = () => {
    const digest = location.hash.match(/^#row-([0-9a-f]{8,64})$/)?.[1];
    const row = digest && DATA.rows.find((candidate) => get(candidate, "digest").startsWith(digest));
    if (row) openDetail(row);
  };
  addEventListener("hashchange", follow);
  follow();
}

function detail(row) {
  const attacked = get(row, "attack") !== null;
  return [
    el("h2", { id: "detail-heading" }, nameOf(row)),
    el("p", {}, get(row, "ranked") ? "Ranked. " : "Not ranked. ", ...row.flags.length ? [badges(row.flags)] : ["No flag was raised."]),
    row.flags.map(([name, text]) => el("details", { class: "flag" }, el("summary", {}, `${name}: ${text}`), flagFacts(name, text))),
    deltas(row),
    verdicts(row),
    pictures(row),
    anyFailChart(row),
    facts("What was measured", [
      ["defense", code(get(row, "defense"))], ["attack", attacked ? code(get(row, "attack_text")) : "none: clean images"],
      ["scope", get(row, "scope")], ["compared with", get(row, "against")], ["seed", String(get(row, "seed"))],
      ["images", whole(get(row, "n"))], ["scoring draws", String(get(row, "draws"))],
      ...more(row),
      ["forward passes an answer", short(get(row, "passes"))], ["queries", whole(get(row, "queries"))],
      ["agreement of the substitute", get(row, "agreement") === null ? null : `${percent(get(row, "agreement"))} %`],
      ["claimed by the attack", get(row, "claimed") === null ? null : `${whole(get(row, "claimed"))} images, ${percent(get(row, "claimed_wrong"))} % of answers to them wrong`],
    ]),
    facts("Identity", [["digest", code(get(row, "digest"))], ["weights", code(DATA.pool[row.victim].digest)]]),
    tree("Protocol", DATA.pool[row.setting]),
    tree("Victim", DATA.pool[row.victim]),
    attacked ? tree("Attack", DATA.pool[row.attack]) : null,
    row.reference === null ? null : tree("Compared with", DATA.pool[row.reference]),
    tree("Provenance (outside the digest)", DATA.pool[row.provenance]),
  ].flat().filter(Boolean);
}

function code(text) {
  return el("code", {}, text);
}

function facts(heading, pairs) {
  return [el("h3", {}, heading), el("dl", { class: "pairs" },
    pairs.filter(([, value]) => value !== null).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))];
}

function tree(heading, value) {
  return el("details", {}, el("summary", {}, heading), el("pre", {}, JSON.stringify(value, null, 1)));
}

/** Success over initially right images, and what these images resolve. */
function more(row) {
  const [success, discordant, smallest] = ["success", "discordant", "smallest"].map((column) => get(row, column));
  return [
    ["attack success", success === null ? null : `${percent(success)} % ${limits(figureOf(row, "success"), percent)} of ${short(Number(get(row, "initially").toFixed(1)))} images that are right at first`],
    ["discordant pairs with the reference", discordant === null ? null : short(Number(discordant.toFixed(1)))],
    ["smallest delta that these images resolve", smallest === null ? null : `${percent(smallest, 2)} points`],
  ];
}

const DELTAS = {
  delta: "to its reference, on the row's images",
  delta_undefended: "to the undefended net",
  delta_clean: "to its reference, on clean images",
  drop: "adversarial to clean, of this victim",
};

function deltas(row) {
  const found = Object.keys(DELTAS).map((key) => [key, figureOf(row, key)]).filter(([, figure]) => figure);
  if (!found.length) return null;
  const span = spanOf(found.map(([, figure]) => figure));
  return [el("h3", {}, "Paired differences, percentage points"), el("table", { class: "plain" },
    el("tbody", {}, found.map(([key, figure]) => el("tr", {}, el("th", { scope: "row" }, DELTAS[key]),
      el("td", {}, deltaCell(figure, span, digitsOf(row))), el("td", {}, figure[3] === undefined ? "" : probability(figure[3]))))))];
}

/** Every verdict on clean and on adversarial images, per cent of all n. */
function verdicts(row) {
  const kinds = [["clean", "clean"], ["robust", "adversarial"]].filter(([key]) => get(row, key) !== null);
  const asked = DATA.columns.map((name) => name.match(/^clean_any_fail_(\d+)$/)?.[1]).filter(Boolean);
  const lines = [["single", (key) => accuracyCell(figureOf(row, key), digitsOf(row))],
    ...asked.filter((m) => m > 1).map((m) => [`any_fail_${m}`, (key) => percent(get(row, `${key}_any_fail_${m}`))]),
    ["always wrong", (key) => percent(get(row, `${key}_always_wrong`))],
    ["abstained, of all answers", (key) => (get(row, `${key}_abstained`) ? percent(get(row, `${key}_abstained`)) : ABSENT)]];
  return [el("h3", {}, "Verdicts, per cent of all images"), el("table", { class: "plain" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "verdict"), kinds.map(([, name]) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, lines.filter(([, show]) => kinds.some(([key]) => show(key) !== ABSENT))
      .map(([name, show]) => el("tr", {}, el("th", { scope: "row" }, name), kinds.map(([key]) => el("td", {}, show(key)))))))];
}

function pictures(row) {
  if (row.page) return el("p", {}, el("a", { href: row.page }, "Images that the attack won"), " (a page of their own)");
  if (!row.images) return null;
  const picture = (source, label) => el("figure", {}, el("img", { src: source, alt: label }), el("figcaption", {}, label));
  return [el("h3", {}, "Images that the attack won"), el("p", { class: "note" }, DATA.help.images),
    el("div", { class: "pictures" }, row.images.map((image) => el("div", { class: "lost" },
      picture(image.original, `image ${image.index}: ${image.label}`),
      picture(image.change, `change × ${short(Number(image.scale.toPrecision(2)))}, largest ${image.largest}/255`),
      picture(image.adversarial, `answered ${image.answer < 0 ? "nothing" : image.answer}`))))];
}
