/* The visible rows, in their present order, as CSV and JSON; shares of 1, every column of the data. */

function exportButtons(visible) {
  const button = (name, kind, make) => el("button", { type: "button", class: "quiet",
    onclick: () => save(`${DATA.name}.${name.toLowerCase()}`, kind, make(visible())) }, name);
  return el("span", { class: "exports" }, "Export: ", button("CSV", "text/csv", asCsv), button("JSON", "application/json", asJson));
}

/* A spreadsheet takes a text that starts like a formula for one; the apostrophe keeps it a text. */
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function asCsv(rows) {
  return [DATA.columns, ...rows.map((row) => row.values)].map((cells) => cells.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function asJson(rows) {
  const plain = rows.map((row) => Object.fromEntries(DATA.columns.map((name, i) => [name, row.values[i] ?? null])));
  return JSON.stringify(plain, null, 1) + "\n";
}

function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
