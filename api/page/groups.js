// Costs by group, as columns of the table.
import { h } from "./dom.js";
import * as exact from "./exact.js";
import { amount, count } from "./words.js";

const NONE = { provider: "no provider", service: "no service", sku: "no SKU", region: "no region", account: "no account" };

// How a group is called.
export const groupName = (by, value) => value || NONE[by];

// open(value): what a click on a group does.
export function groupColumns(by, label, currency, rows, open) {
  const largest = rows.reduce((most, row) => (exact.compare(row.billed_cost, most) > 0 ? row.billed_cost : most), "0");
  const total = exact.sum(rows.map((row) => row.billed_cost));
  const name = (row) => groupName(by, row.group[by]);
  return [
    { id: "name", label, text: name, compare: (a, b) => name(a).localeCompare(name(b), "en", { numeric: true }),
      cell: (row) => h("button", { type: "button", class: "link", onclick: () => open(row.group[by] ?? "") }, name(row)) },
    { id: "share", label: "Share", wide: true, style: "share", cell: (row) => shareBar(row.billed_cost, largest, total) },
    { id: "items", label: "Line items", number: true, wide: true, compare: (a, b) => a.line_items - b.line_items, cell: (row) => count(row.line_items) },
    { id: "unpriced", label: "Unpriced", number: true, wide: true, compare: (a, b) => a.unpriced - b.unpriced,
      cell: (row) => (row.unpriced ? h("span", { class: "warn" }, count(row.unpriced)) : "–") },
    { id: "cost", label: `Cost, ${currency}`, number: true, text: (row) => row.billed_cost, compare: (a, b) => exact.compare(a.billed_cost, b.billed_cost),
      cell: (row) => amount(row.billed_cost, currency) },
  ];
}

export function groupFoot(currency) {
  return (rows) => h("tr", {}, h("th", { scope: "row" }, "Total"), h("td", { class: "wide" }),
    h("td", { class: "number wide" }, count(rows.reduce((all, row) => all + row.line_items, 0))),
    h("td", { class: "number wide" }, count(rows.reduce((all, row) => all + row.unpriced, 0))),
    h("td", { class: "number" }, amount(exact.sum(rows.map((row) => row.billed_cost)), currency)));
}

function shareBar(part, largest, total) {
  const tenths = exact.permille(part, total);
  const percent = `${tenths < 0 ? "−" : ""}${Math.floor(Math.abs(tenths) / 10)}.${Math.abs(tenths) % 10} %`;
  const bar = h("span", { class: "share-bar", "aria-hidden": "true" }, h("span", { class: "share-fill" }));
  bar.firstChild.style.width = `${Math.max(0, exact.permille(part, largest)) / 10}%`;
  return [bar, h("span", { class: "share-text" }, percent)];
}
