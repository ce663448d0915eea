/* Flags as badges; what each means stands in one tooltip, on hover, on focus, on touch. */

const tooltip = el("div", { id: "tooltip", role: "tooltip", hidden: true });
let tooltipOwner = null;

function badge([name, text]) {
  const kind = DATA.flags[name];
  return el("button", { type: "button", class: `badge${kind?.blocks ? " blocks" : ""}`, "data-flag": name,
    "data-text": text, "aria-describedby": "tooltip" }, name.replaceAll("_", " ").toLowerCase());
}

function badges(flags) {
  return el("span", { class: "badges" }, flags.map(badge));
}

function flagFacts(name, text) {
  const kind = DATA.flags[name];
  return [
    el("p", {}, el("b", {}, name), kind?.blocks ? " – blocks: the row isn't ranked" : ""),
    text && el("p", {}, text),
    kind && el("dl", {},
      el("dt", {}, "Raised if"), el("dd", {}, kind.raised_if), el("dt", {}, "Means"), el("dd", {}, kind.means),
      el("dt", {}, "What to do"), el("dd", {}, kind.do)),
  ].filter(Boolean);
}

function showTooltip(owner) {
  tooltipOwner = owner;
  tooltip.replaceChildren(...flagFacts(owner.dataset.flag, owner.dataset.text));
  // A modal dialog covers everything outside of it.
  (owner.closest("dialog") ?? document.body).append(tooltip);
  tooltip.hidden = false;
  placeTooltip();
}

function placeTooltip() {
  if (!tooltipOwner) return;
  const [at, size] = [tooltipOwner.getBoundingClientRect(), tooltip.getBoundingClientRect()];
  const left = Math.max(8, Math.min(at.left, innerWidth - size.width - 8));
  const below = at.bottom + 6 + size.height <= innerHeight;
  tooltip.style.left = `${left}px`;
  tooltip.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - size.height - 6)}px`;
}

function hideTooltip() {
  tooltip.hidden = true;
  tooltipOwner = null;
}

function listenForBadges() {
  const within = (event) => event.target instanceof Element && event.target.closest(".badge");
  document.addEventListener("pointerover", (event) => {
    const owner = within(event);
    if (owner) showTooltip(owner);
    else if (tooltipOwner && tooltipOwner !== document.activeElement && !tooltip.contains(event.target)) hideTooltip();
  });
  document.addEventListener("focusin", (event) => (within(event) ? showTooltip(within(event)) : hideTooltip()));
  document.addEventListener("click", (event) => within(event) && showTooltip(within(event)));
  document.addEventListener("scroll", placeTooltip, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || tooltip.hidden) return;
    hideTooltip();
    event.preventDefault(); // the dialog stays open
  });
}
