"use strict";
// Sort a table by the column whose heading is pressed; what has no figure stays last.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.v;
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = column ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
}

// Show another metric in the table of cases and organs.
const chosen = document.getElementById("metric");
if (chosen) {
  const all = JSON.parse(document.getElementById("heat").textContent);
  const table = document.querySelector("table.heat");
  const strength = (metric, value, largest) => {
    if (metric.better === "higher") return Math.round(140 * Math.min(0.5, Math.max(0, 1 - value)));
    return metric.better === "lower" && largest > 0 ? Math.round(70 * value / largest) : 0;
  };
  const write = (cell, metric, value, largest) => {
    cell.dataset.v = value ?? "";
    if (!cell.classList.contains("v")) return;
    cell.textContent = value === null ? "–" : value.toFixed(metric.digits).replace("-", "−");
    cell.style.setProperty("--bad", value === null ? 0 : strength(metric, value, largest));
  };
  chosen.addEventListener("change", () => {
    const metric = all[chosen.value];
    const largest = Math.max(0, ...metric.values.flat().filter((value) => value !== null));
    for (const row of table.tBodies[0].rows) {
      const number = row.dataset.n;
      write(row.cells[1], metric, metric.means[number], largest);
      metric.values[number].forEach((value, organ) => write(row.cells[organ + 2], metric, value, largest));
    }
    for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
  });
}
