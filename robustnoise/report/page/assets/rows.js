/* The page's data, and how a row is read from it. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const PLACE = new Map(DATA.columns.map((name, i) => [name, i]));

function get(row, column) {
  return row.values[PLACE.get(column)] ?? null;
}

/** [value, low, high], [.., p] for a difference, or null where nothing was measured. */
function figureOf(row, column) {
  const value = get(row, column);
  if (value === null) return null;
  const p = get(row, `${column}_p`);
  return [value, get(row, `${column}_low`), get(row, `${column}_high`), ...(p === null ? [] : [p])];
}

/** The images that the row is about: "robust", or "clean" where nothing attacks. */
function scoredOf(row) {
  return get(row, "attack") === null ? "clean" : "robust";
}

function digitsOf(row) {
  return get(row, "n") >= 10000 ? 2 : 1;
}

function nameOf(row) {
  const attack = get(row, "attack");
  const seed = SEVERAL_SEEDS ? `, seed ${get(row, "seed")}` : "";
  return (attack === null ? `${get(row, "victim")}, clean images` : `${get(row, "victim")} under ${attack}`) + seed;
}

function distinct(column) {
  return [...new Set(DATA.rows.map((row) => get(row, column)).filter((value) => value !== null))];
}

const SEVERAL_SEEDS = distinct("seed").length > 1;
