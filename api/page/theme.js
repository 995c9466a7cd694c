// Runs before the first paint, so that a chosen theme does not flash in. Everything else of the theme is CSS.
{
  const kept = localStorage.getItem("ratemill-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
}
