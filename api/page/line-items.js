// Line items of a group, page by page, as columns of the table.
import { read } from "./api.js";
import { h } from "./dom.js";
import * as exact from "./exact.js";
import { amount, chargePeriod, shortText } from "./words.js";

const PAGE = 200;
const MOST_PAGES_AT_ONCE = 5;
const FIELD = { provider: "x_UsageProvider", service: "ServiceName", region: "RegionId", account: "BillingAccountId", sku: "SkuId" };

export class LineItems {
  // query: parameters of GET /v1/line-items. of: {dimension: value, "" for none} that every line item must have, also where the API
  // does not choose by that dimension.
  constructor(query, of) {
    Object.assign(this, { _query: query, _of: of, items: [], next: "" });
  }

  get more() {
    return this.next !== null;
  }

  // The next page that has something. Raises ApiError.
  async load(signal) {
    const before = this.items.length;
    for (let pages = 0; this.more && this.items.length === before && pages < MOST_PAGES_AT_ONCE; pages += 1) {
      const page = await read("v1/line-items", { ...this._query, limit: PAGE, cursor: this.next || null }, signal);
      this.items.push(...page.line_items.filter((item) => this._belongs(item)));
      this.next = page.next;
    }
  }

  // As it is now, with at least as many line items as there were.
  async reloaded(signal) {
    const fresh = new LineItems(this._query, this._of);
    do await fresh.load(signal);
    while (fresh.more && fresh.items.length < this.items.length);
    return fresh;
  }

  _belongs(item) {
    return Object.entries(this._of).every(([dimension, value]) => (item[FIELD[dimension]] ?? "") === value);
  }
}

const text = (a, b) => (a ?? "").localeCompare(b ?? "", "en", { numeric: true });
const decimal = (a, b) => exact.compare(a ?? "0", b ?? "0");

export function lineItemColumns(currency, open) {
  return [
    { id: "time", label: "Charge period", text: (item) => chargePeriod(item.ChargePeriodStart, item.ChargePeriodEnd),
      compare: (a, b) => text(a.ChargePeriodStart, b.ChargePeriodStart) || text(a.x_LineItemId, b.x_LineItemId),
      cell: (item) => h("button", { type: "button", class: "link", onclick: () => open(item.x_LineItemId) }, chargePeriod(item.ChargePeriodStart, item.ChargePeriodEnd)) },
    { id: "resource", label: "Resource", wide: true, style: "name", text: (item) => `${item.ResourceId ?? ""} ${item.x_LineItemId}`,
      compare: (a, b) => text(a.ResourceId, b.ResourceId), cell: (item) => item.ResourceId ?? "–" },
    { id: "region", label: "Region", wide: true, text: (item) => item.RegionId ?? "", compare: (a, b) => text(a.RegionId, b.RegionId), cell: (item) => item.RegionId ?? "–" },
    { id: "quantity", label: "Quantity", number: true, wide: true, text: (item) => item.PricingUnit ?? "", compare: (a, b) => decimal(a.PricingQuantity, b.PricingQuantity),
      cell: (item) => (item.PricingQuantity ? `${shortText(item.PricingQuantity, 6)} ${item.PricingUnit ?? ""}` : "–") },
    { id: "price", label: "Unit price", number: true, wide: true, compare: (a, b) => decimal(a.ListUnitPrice, b.ListUnitPrice),
      cell: (item) => (item.x_Unpriced ? h("span", { class: "warn" }, "no price yet") : item.ListUnitPrice ? shortText(item.ListUnitPrice, 10) : "–") },
    { id: "cost", label: `Cost, ${currency}`, number: true, text: (item) => item.BilledCost, compare: (a, b) => decimal(a.BilledCost, b.BilledCost),
      cell: (item) => amount(item.BilledCost, currency) },
  ];
}
