/* All rows: sorted by a column's button, filtered by the controls above. */

const COLUMNS = [
  { key: "victim", label: "victim", text: true },
  { key: "attack", label: "attack", text: true },
  { key: "scope", label: "scope", text: true },
  { key: "ranked", label: "ranked", text: true },
  { key: "flags", label: "flags" },
  { key: "clean", label: "clean", accuracy: true },
  { key: "robust", label: "robust", accuracy: true },
  { key: "success", label: "success", share: true },
  { key: "delta", label: "delta", difference: true },
  { key: "delta_undefended", label: "to undefended", difference: true },
  { key: "any_fail_5", label: "any_fail_5", share: true },
  { key: "queries", label: "queries", number: true },
  { key: "claimed_wrong", label: "claimed: wrong", share: true },
  { key: "passes", label: "passes", number: true },
  { key: "n", label: "n", number: true },
  { key: "seed", label: "seed", number: true },
];

function cellValue(row, column) {
  if (column.key === "any_fail_5") return get(row, "draws") > 1 ? get(row, `${scoredOf(row)}_any_fail_5`) : null;
  if (column.key === "flags") return row.flags.length ? row.flags.length : null;
  if (column.key === "ranked") return get(row, "ranked") ? "yes" : "no";
  if (column.key === "queries") return get(row, "queries") || null;
  return get(row, column.key);
}

/** Columns in which something stands and, for facts of a protocol, in which it differs. */
function shownColumns() {
  return COLUMNS.filter((column) => {
    const values = new Set(DATA.rows.map((row) => cellValue(row, column)));
    const differs = values.size > 1;
    const telling = { n: differs, seed: differs, ranked: differs, passes: differs || !values.has(1) };
    return telling[column.key] ?? [...values].some((value) => value !== null);
  });
}

function cell(row, column) {
  const value = cellValue(row, column);
  if (column.key === "victim") return el("button", { type: "button", class: "link", "aria-haspopup": "dialog" }, value);
  if (column.key === "flags") return row.flags.length ? badges(row.flags) : el("span", { class: "absent" }, ABSENT);
  if (column.accuracy) return accuracyCell(figureOf(row, column.key), digitsOf(row));
  if (column.difference) return deltaCell(figureOf(row, column.key), column.span, digitsOf(row));
  if (value === null) return el("span", { class: "absent" }, ABSENT);
  if (column.share) return percent(value);
  if (column.number) return column.key === "seed" ? String(value) : value >= 1000 ? whole(value) : short(value);
  return value;
}

const AT_ONCE = 60; // rows that are drawn before the first paint
const LATER = 220; // and in each idle moment after it

function rowsTable() {
  const columns = shownColumns().map((column) => ({ ...column,
    span: column.difference ? spanOf(DATA.rows.map((row) => figureOf(row, column.key))) : 0 }));
  const lines = new Map();
  const body = el("tbody");
  const state = { column: null, descending: false, visible: DATA.rows };
  const order = new Map(DATA.rows.map((row, i) => [row, i]));
  const count = el("output", { id: "count", "aria-live": "polite" });

  const heads = columns.map((column) => el("th", { scope: "col", "data-key": column.key, "aria-sort": "none" },
    el("button", { type: "button", title: DATA.help[column.key] ?? null, onclick: () => sortBy(column) }, column.label)));

  function sortBy(column) {
    // First what one looks for: large accuracies, few things else; then the other way round, then the board's order.
    const first = Boolean(column.accuracy || column.difference || column.share);
    if (state.column !== column) Object.assign(state, { column, descending: first });
    else if (state.descending === first) state.descending = !first;
    else state.column = null;
    heads.forEach((head, i) => head.setAttribute("aria-sort",
      columns[i] !== state.column ? "none" : state.descending ? "descending" : "ascending"));
    update();
  }

  function compare(a, b) {
    const [x, y] = [cellValue(a, state.column), cellValue(b, state.column)];
    if (x === null || y === null) return (x === null) - (y === null) || order.get(a) - order.get(b);
    const difference = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
    return (state.descending ? -difference : difference) || order.get(a) - order.get(b);
  }

  const filters = rowFilters(() => update());

  function update() {
    const kept = DATA.rows.filter(filters.keep);
    state.visible = state.column ? kept.sort(compare) : kept;
    body.replaceChildren();
    state.drawing = Symbol("the latest");
    draw(state.visible, 0, AT_ONCE, state.drawing);
    count.textContent = `${whole(kept.length)} of ${whole(DATA.rows.length)} rows`;
  }

  function draw(rows, start, size, drawing) {
    if (drawing !== state.drawing) return;
    body.append(...rows.slice(start, start + size).map(lineOf));
    if (start + size < rows.length) whenIdle(() => draw(rows, start + size, LATER, drawing));
  }

  function lineOf(row) {
    if (!lines.has(row)) lines.set(row, line(row));
    return lines.get(row);
  }

  body.addEventListener("click", (event) => {
    const target = event.target.closest("tr");
    if (target && !event.target.closest(".badge") && !getSelection().toString()) openDetail(DATA.rows[target.dataset.index]);
  });
  body.addEventListener("keydown", moveBetweenRows);
  update();
  return section("rows", "All rows", filters.controls,
    el("div", { class: "bar-line" }, count, exportButtons(() => state.visible)),
    el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Table of all rows" },
      el("table", { class: "rows" }, el("thead", {}, el("tr", {}, heads)), body)));

  function line(row) {
    const cells = columns.map((column) => {
      const kind = column.text ? "text" : column.key === "flags" ? "flags" : "number";
      const empty = cellValue(row, column) === null ? " empty" : "";
      return el("td", { class: kind + empty, "data-label": column.label, "data-key": column.key }, cell(row, column));
    });
    return el("tr", { "data-index": order.get(row), class: get(row, "ranked") ? null : "unranked" }, cells);
  }
}

/** Up and down arrows go from row to row. */
function moveBetweenRows(event) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("tr")?.[step];
  if (!next || !event.target.classList.contains("link")) return;
  event.preventDefault();
  next.querySelector(".link").focus();
}

/** The controls, and whether a row passes them. */
function rowFilters(changed) {
  const flags = [...new Set(DATA.rows.flatMap((row) => row.flags.map(([name]) => name)))];
  const search = el("input", { type: "search", id: "search", placeholder: "victim, attack, stack, digest, flag",
    oninput: debounced(changed, 60) });
  const choices = [
    ["victim", distinct("victim"), (row, value) => get(row, "victim") === value],
    ["scope", distinct("scope"), (row, value) => get(row, "scope") === value],
    ["ranked", ["yes", "no"], (row, value) => get(row, "ranked") === (value === "yes")],
    ["flag", [...flags, "none"], (row, value) => (value === "none" ? !row.flags.length : row.flags.some(([name]) => name === value))],
  ].map(([name, values, matches]) => ({ name, matches, control: select(name, values, changed) }));
  const texts = new Map(DATA.rows.map((row) => [row, ["victim", "attack", "scope", "defense", "attack_text", "digest"]
    .map((column) => get(row, column)).concat(row.flags.map(([name]) => name)).join("\n").toLowerCase()]));

  function keep(row) {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => texts.get(row).includes(word)) && choices.every(({ control, matches }) => {
      const { value } = control.lastChild;
      return !value || matches(row, value);
    });
  }

  function clear() {
    search.value = "";
    for (const { control } of choices) control.lastChild.value = "";
    changed();
  }

  return { keep, controls: el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
    el("label", { class: "control wide" }, el("span", {}, "filter"), search), choices.map(({ control }) => control),
    el("button", { type: "button", class: "quiet", onclick: clear }, "Clear")) };
}
