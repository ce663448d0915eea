/* The page over all boards. */

const BOARDS = JSON.parse(document.getElementById("data").textContent);

function card(board) {
  const measured = ["clean", "shared", "per_victim"].filter((key) => board.victims.some((victim) => victim[key]));
  const labels = { clean: "clean", shared: "worst shared", per_victim: "worst per-victim" };
  const kept = board.facts.filter(([name]) => ["data", "images", "ball", "attacks", "rows"].includes(name));
  return el("article", { class: "board" },
    el("h2", {}, el("a", { href: board.address }, board.title)),
    board.about.map((paragraph) => el("p", { class: "note clamped" }, paragraph)),
    el("dl", { class: "facts" }, kept.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    board.victims.length > 0 && el("div", { class: "scroll" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "victim"), measured.map((key) => el("th", { scope: "col" }, labels[key])))),
      el("tbody", {}, board.victims.map((victim) => el("tr", {}, el("th", { scope: "row" }, victim.victim),
        measured.map((key) => el("td", {}, accuracyCell(victim[key])))))))),
    board.more > 0 && el("p", { class: "note" }, `and ${board.more} more`));
}

document.getElementById("page").replaceChildren(
  el("header", { class: "top" }, el("div", { class: "bar-line" }, el("p", { class: "brand" }, "robustnoise boards"), themeButton()), el("h1", {}, BOARDS.title)),
  el("div", { class: "boards" }, BOARDS.boards.map(card)));
