// The chart, its legend, and the table that says the same.
import { byId, h, setText } from "./dom.js";
import * as exact from "./exact.js";
import { OTHERS, amountAt, totalAt } from "./series.js";
import { amount, amountText, bucketName, plural } from "./words.js";

const COLOURS = 8;
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export class CostChart {
  constructor() {
    this._chart = null;
    this._given = null;
    this._colours = new Map(); // a group keeps its colour while the order changes
    byId("chart-details").addEventListener("toggle", () => this._showTable());
  }

  // series: of series.js. nameOf: a group's name for people. by: the dimension; every: hour, day or month.
  show(series, { currency, by, every, nameOf }) {
    this._given = { series, currency, by, every, label: (group) => (group.name === OTHERS ? plural(series.others, "other") : nameOf(group.name)) };
    this._assignColours(series.groups);
    this._draw();
    this._showLegend();
    this._showTable();
    const [first, last] = [series.buckets[0], series.buckets.at(-1)];
    const span = series.buckets.length > 1 ? `${bucketName(first)} to ${bucketName(last)}` : first ? bucketName(first) : "nothing yet";
    byId("chart").setAttribute("aria-label", `Stacked bars: cost in ${currency} for each ${every}, ${span}. The table below the chart says the same.`);
    const which = series.gaps ? " that has usage; others are left out" : "";
    this.say(`One bar for each ${every} (UTC)${every === "hour" ? " of the last three days with usage" : ""}${which}.`);
  }

  say(text) {
    setText(byId("chart-note"), text);
  }

  // After the theme has changed.
  recolour() {
    if (this._given) this._draw();
  }

  _assignColours(groups) {
    const names = groups.map((group) => group.name);
    for (const name of [...this._colours.keys()]) if (!names.includes(name)) this._colours.delete(name);
    for (const name of names) {
      const taken = new Set(this._colours.values());
      const free = [...Array(COLOURS - 1).keys()].find((number) => !taken.has(number)) ?? 0;
      if (!this._colours.has(name)) this._colours.set(name, name === OTHERS ? COLOURS - 1 : free);
    }
  }

  _draw() {
    const { series, by, every, label } = this._given;
    const style = getComputedStyle(document.documentElement);
    const css = (name) => style.getPropertyValue(name).trim();
    const data = {
      labels: series.buckets.map((start) => shortName(start, every)),
      datasets: series.groups.map((group) => ({
        label: label(group),
        data: series.buckets.map((start) => exact.height(amountAt(group, start))),
        backgroundColor: css(`--series-${this._colours.get(group.name)}`),
        borderColor: css("--panel"), borderWidth: { top: 1 }, maxBarThickness: 48, minBarLength: 0, categoryPercentage: 0.86, barPercentage: 0.94,
      })),
    };
    const colours = { ticks: { color: css("--muted"), font: { size: 11 } }, border: { display: false } };
    const options = {
      responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
      animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? false : { duration: 250 },
      scales: {
        x: { ...colours, stacked: true, grid: { display: false }, ticks: { ...colours.ticks, maxRotation: 0, autoSkipPadding: 16 } },
        y: { ...colours, stacked: true, grid: { color: css("--line") }, ticks: { ...colours.ticks, maxTicksLimit: 5, callback: (value) => compact.format(value) } },
      },
      plugins: { legend: { display: false }, tooltip: tooltip(() => this._given, css) },
    };
    if (!this._chart) {
      this._chart = new globalThis.Chart(byId("chart"), { type: "bar", data, options });
    } else {
      Object.assign(this._chart, { data, options });
      this._chart.update(document.hidden ? "none" : undefined);
    }
    byId("chart-box").dataset.by = by;
  }

  _showLegend() {
    const { series, currency, label } = this._given;
    const entries = series.groups.map((group) => {
      const swatch = h("span", { class: `swatch series-${this._colours.get(group.name)}`, "aria-hidden": "true" });
      return h("li", {}, swatch, h("span", { class: "legend-name" }, label(group)), " ", amount(group.total, currency));
    });
    byId("legend").replaceChildren(...entries);
  }

  _showTable() {
    if (!this._given || !byId("chart-details").open) return;
    const { series, currency, every, label } = this._given;
    const head = h("tr", {}, h("th", { scope: "col" }, every[0].toUpperCase() + every.slice(1)),
      series.groups.map((group) => h("th", { scope: "col", class: "number" }, label(group))), h("th", { scope: "col", class: "number" }, "Total"));
    const rows = [...series.buckets].reverse().map((start) => h("tr", {}, h("th", { scope: "row" }, bucketName(start)),
      series.groups.map((group) => h("td", { class: "number" }, amount(amountAt(group, start), currency))),
      h("td", { class: "number" }, amount(totalAt(series, start), currency))));
    const caption = h("caption", { class: "hidden" }, `Cost in ${currency} for each ${every}`);
    byId("chart-table").replaceChildren(caption, h("thead", {}, head), h("tbody", {}, rows));
  }
}

function shortName(start, every) {
  const name = bucketName(start);
  if (every === "hour") return [name.slice(-5), name.split(" ").slice(0, 2).join(" ").replace(",", "")];
  return every === "day" ? name.split(" ").slice(0, 2).join(" ") : name;
}

function tooltip(given, css) {
  const of = (item) => ({ group: given().series.groups[item.datasetIndex], start: given().series.buckets[item.dataIndex] });
  return {
    backgroundColor: css("--panel"), titleColor: css("--text"), bodyColor: css("--text"), footerColor: css("--text"), borderColor: css("--line-strong"),
    borderWidth: 1, padding: 10, boxPadding: 4, cornerRadius: 6, itemSort: (a, b) => b.raw - a.raw, filter: (item) => item.raw !== 0,
    callbacks: {
      title: (items) => (items.length ? bucketName(of(items[0]).start) : ""),
      label: (item) => ` ${given().label(of(item).group)}  ${amountText(amountAt(of(item).group, of(item).start))}`,
      footer: (items) => (items.length ? `Total  ${amountText(totalAt(given().series, of(items[0]).start))} ${given().currency}` : ""),
    },
  };
}
