/* Elements from data. Text becomes text nodes and attribute values alone: nothing here, and nothing on this page, parses markup. */

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function el(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function section(id, heading, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-heading` }, el("h2", { id: `${id}-heading` }, heading), ...children);
}

/** A table of texts: {heading, head, lines}. */
function textTable(table, caption) {
  return el("div", { class: "scroll" },
    el("table", { class: "plain" },
      caption && el("caption", {}, caption),
      el("thead", {}, el("tr", {}, table.head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, table.lines.map((line) => el("tr", {}, line.map((cell) => el("td", {}, cell)))))));
}

function option(value, text) {
  return el("option", { value }, text);
}

function select(label, values, onchange) {
  const control = el("select", { onchange, "aria-label": label }, option("", `any ${label}`), values.map((value) => option(value, value)));
  return el("label", { class: "control" }, el("span", {}, label), control);
}

/* Safari has no requestIdleCallback. */
function whenIdle(action) {
  if (window.requestIdleCallback) requestIdleCallback(action, { timeout: 500 });
  else setTimeout(action, 30);
}

function debounced(action, milliseconds) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}
