// Light or dark before the first paint: the viewer's choice, else the system's.
(() => {
  "use strict";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try { return localStorage.getItem("omninode-theme"); } catch { return null; }
  };
  const apply = () => {
    document.documentElement.dataset.theme = stored() || (system.matches ? "dark" : "light");
    document.dispatchEvent(new CustomEvent("omninode:theme"));
  };
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-action=theme]")) return;
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("omninode-theme", next); } catch { /* private mode: for this page only */ }
    document.documentElement.dataset.theme = next;
    document.dispatchEvent(new CustomEvent("omninode:theme"));
  });
})();
