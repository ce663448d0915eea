/* Puts the page together. */

function page() {
  const only = DATA.only && DATA.rows.find((row) => get(row, "digest") === DATA.only);
  const parts = only
    ? [headline(), el("article", { class: "alone" }, detail(only))]
    : [headline(), navigation(), answer(), rowsTable(), curves(), comparison(), tables(), reading()].flat();
  document.getElementById("page").replaceChildren(...parts.filter(Boolean));
  document.body.append(tooltip);
  listenForBadges();
  if (!only) {
    if (choice.result) compareNow();
    listenForDetails();
    addEventListener("keydown", focusSearch);
  }
}

function navigation() {
  const places = { answer: DATA.summary.length, rows: true, curves: DATA.curves.length || hasPersistence(), compare: DATA.rows.filter(comparable).length > 1, reading: true };
  const names = { answer: "Answer", rows: "Rows", curves: "Curves", compare: "Compare", reading: "How to read" };
  return el("nav", { "aria-label": "Sections" },
    Object.keys(places).filter((id) => places[id]).map((id) => el("a", { href: `#${id}` }, names[id])));
}

/** What the report shows as tables of texts alone. */
function tables() {
  return DATA.tables.map((table) => section(table.heading.toLowerCase().replaceAll(" ", "-"), table.heading, textTable(table)));
}

/** A slash goes to the filter. */
function focusSearch(event) {
  if (event.key !== "/" || event.target.closest("input, select, textarea, dialog")) return;
  event.preventDefault();
  document.getElementById("search").focus();
}

page();
