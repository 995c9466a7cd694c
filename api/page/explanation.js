// A line item in a dialog: what it is, how it comes about, and which usage is behind it.
import { ApiError, read } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { amount, chargePeriod, count, monthName } from "./words.js";

const VERDICT = { equal: "Recomputed: equal", differs: "Recomputed: differs", unknown: "Recomputed in part" };

export class Explanation {
  // onClose() is called once the dialog was closed.
  constructor(onClose) {
    this._dialog = byId("explanation");
    this._loading = null;
    byId("explanation-close").addEventListener("click", () => this._dialog.close());
    this._dialog.addEventListener("click", (event) => { if (event.target === this._dialog) this._dialog.close(); });
    this._dialog.addEventListener("close", () => { this._loading?.abort(); onClose(); });
  }

  get open() {
    return this._dialog.open;
  }

  close() {
    if (this._dialog.open) this._dialog.close();
  }

  // Raises nothing: what goes wrong is said in the dialog.
  async show(id) {
    this._loading?.abort();
    this._loading = new AbortController();
    const { signal } = this._loading;
    setText(byId("explanation-title"), "Line item");
    this._fill(h("p", { role: "status" }, "Looking it up…"));
    if (!this._dialog.open) this._dialog.showModal();
    byId("explanation-title").focus();
    try {
      const item = await read(`v1/line-items/${encodeURIComponent(id)}`, {}, signal);
      setText(byId("explanation-title"), item.ChargeDescription || `${item.SkuId}, ${monthName(item.BillingPeriodStart)}`);
      this._fill(headline(item), h("p", { role: "status", id: "explaining" }, "Recomputing it from the log…"), fields(item));
      await this._explain(id, item, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this._fill(h("p", { class: "error", role: "alert" }, error.message));
    }
  }

  async _explain(id, item, signal) {
    try {
      const explained = await read(`v1/line-items/${encodeURIComponent(id)}/explanation`, {}, signal);
      this._fill(headline(item), ...sections(explained), fields(item));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      const why = error.status === 404 ? "Its explanation is not to be had here" : `It cannot be explained now: ${error.message}`;
      setText(byId("explaining"), `${why}. In a terminal: ratemill explain ${id}`);
    }
  }

  _fill(...children) {
    byId("explanation-body").replaceChildren(...children);
  }
}

function headline(item) {
  const cost = h("p", { class: "big" }, amount(item.BilledCost, item.BillingCurrency), ` ${item.BillingCurrency}`);
  const sum = item.PricingQuantity && item.ListUnitPrice ? `${item.PricingQuantity} ${item.PricingUnit ?? ""} × ${item.ListUnitPrice} ${item.BillingCurrency}` : null;
  return h("div", {}, cost, h("p", { class: "fine" }, sum, sum ? h("br") : null, chargePeriod(item.ChargePeriodStart, item.ChargePeriodEnd), " UTC"));
}

function sections(explained) {
  const { line_item: subject, price } = explained;
  const found = [
    h("p", {}, h("span", { class: "badge", "data-state": explained.verdict }, VERDICT[explained.verdict] ?? explained.verdict), " ", subject.status_in_words),
  ];
  if (explained.unpriced) found.push(h("p", { class: "warn" }, explained.unpriced));
  if (price) found.push(section("Price", h("p", {}, h("strong", {}, price.id), ` ${price.model}, in force from ${price.effective_from}`), lines(price.in_words)));
  if (explained.terms) found.push(section("Terms of the account", lines(explained.terms.steps)));
  for (const part of explained.arithmetic) found.push(section(part.title, ...arithmetic(part)));
  found.push(section("Events", ...events(explained.events)));
  found.push(section("Checks", h("ul", { class: "checks" }, explained.audit.map((check) =>
    h("li", { "data-state": check.verdict }, h("strong", {}, check.name), `: ${check.verdict}. ${check.says}`,
      check.differences.length ? lines(check.differences.map((one) => `${one.field}: stored ${one.stored}, expected ${one.expected}`)) : null)))));
  if (explained.revisions.length) found.push(section("Revisions", table(["Revision", "Written", "Quantity", "Cost", "Why"],
    explained.revisions.map((one) => [one.revision, one.written_at, one.quantity, one.cost, one.cause_in_words]))));
  if (explained.corrections.length) found.push(section("Corrected by", table(["Month", "Quantity", "Cost"],
    explained.corrections.map((one) => [one.billing_period, one.quantity, one.cost]))));
  return found;
}

function arithmetic({ values, crossed, parts, steps }) {
  const found = [];
  if (values.length) found.push(h("dl", { class: "facts" }, values.flatMap((one) => [h("dt", {}, one.name), h("dd", {}, one.value, one.note ? h("span", { class: "fine" }, ` ${one.note}`) : null)])));
  if (crossed.length) found.push(h("p", {}, `Tier bounds within: ${crossed.join(", ")}`));
  const mark = (one, name) => (one.this ? `${name} ← this line item` : name);
  if (parts.length) found.push(table(["Part", "Quantity", "Unit price", "Amount"],
    parts.map((one) => [mark(one, [one.name, one.range, one.note].filter(Boolean).join(", ")), one.quantity, one.unit_price, one.amount])));
  if (steps.length) found.push(table(["Step", "Amount", "Due"], steps.map((one) => [mark(one, [one.name, one.note].filter(Boolean).join(", ")), one.amount, one.due])));
  return found;
}

function events(found) {
  const sum = found.looked_for ? `${count(found.counted)} counted, ${found.quantity} together; ${count(found.duplicates)} duplicates, ${count(found.rejected)} rejected.` : "";
  const rows = found.shown.map((one) => [one.time, `${one.source} ${one.id}`, `${one.quantity} ${one.unit}`, `${one.topic} [${one.partition}] @ ${one.offset}`]);
  return [h("p", {}, found.scope, sum ? ` ${sum}` : ""), found.note ? h("p", { class: "fine" }, found.note) : null,
    rows.length ? table(["Time", "Event", "Quantity", "Place in the log"], rows) : null].filter(Boolean);
}

const fields = (item) => h("details", {}, h("summary", {}, "All fields"),
  h("dl", { class: "facts fields" }, Object.entries(item).filter(([, value]) => value !== null).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])));

const section = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);

const lines = (texts) => h("ul", {}, texts.map((text) => h("li", {}, text)));

const table = (head, rows) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": head.join(", ") }, h("table", { class: "data small" },
  h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, String(value))))))));
