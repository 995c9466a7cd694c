// The switch of light and dark: the system's choice unless somebody made one here.
import { byId } from "./dom.js";

const NAME = "ratemill-theme";

// changed() is called when colours have become others.
export function setUpTheme(changed) {
  const select = byId("theme");
  select.value = document.documentElement.dataset.theme ?? "system";
  select.addEventListener("change", () => {
    if (select.value === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem(NAME);
    } else {
      document.documentElement.dataset.theme = select.value;
      localStorage.setItem(NAME, select.value);
    }
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
