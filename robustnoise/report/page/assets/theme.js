/* Light or dark: the system's choice until the reader makes another. */

const THEMES = { "": "system", light: "light", dark: "dark" };

function themeButton() {
  const button = el("button", { type: "button", class: "quiet", id: "theme" });
  const show = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.textContent = `Theme: ${THEMES[theme]}`;
  };
  const order = Object.keys(THEMES);
  let theme = "";
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    show(theme);
    remember(theme);
  });
  theme = remembered();
  show(theme);
  return button;
}

/* A page from disk may have no storage; it then forgets the choice. */
function remember(theme) {
  try {
    localStorage.setItem("robustnoise-theme", theme);
  } catch { /* forgotten */ }
}

function remembered() {
  try {
    const theme = localStorage.getItem("robustnoise-theme") ?? "";
    return theme in THEMES ? theme : "";
  } catch {
    return "";
  }
}
