// What is on top: the total, how fast it changes, how many line items there are, and whether it can still change.
import { byId, setText } from "./dom.js";
import * as exact from "./exact.js";
import { amount, amountText, clock, count, duration, monthName, plural } from "./words.js";

const WINDOW_MS = 300_000;
const LEAST_MS = 5_000;
const ANNOUNCE_EVERY_MS = 30_000;

export class Summary {
  constructor() {
    this._announcedAt = 0;
    this._announced = "";
    this.restart();
    byId("copy-total").addEventListener("click", () => this._copy());
  }

  // Something else is looked at: its rate is seen from now on.
  restart() {
    this._samples = [];
    this._total = null;
  }

  // total: of one currency; periods: those of the document in that currency; asOf: when that was so.
  show(total, periods, asOf, now = performance.now()) {
    if (this._total?.currency !== total.currency) this.restart();
    this._total = total;
    this._samples.push({ at: now, cost: total.billed_cost });
    setText(byId("count"), count(total.line_items));
    setText(byId("count-note"), total.unpriced ? `${count(total.unpriced)} without a price yet, at cost 0` : "all have a price");
    byId("count-note").dataset.state = total.unpriced ? "behind" : "ok";
    this._showTotal(total, asOf);
    this._showStatus(periods);
    this.tick(now);
    this._announce(now);
  }

  // As time goes on. The rate is what the total has changed by, within the last five minutes that this page saw.
  tick(now = performance.now()) {
    if (!this._total) return;
    while (this._samples.length > 1 && this._samples[1].at <= now - WINDOW_MS) this._samples.shift();
    const first = this._samples[0];
    const seen = Math.min(now - first.at, WINDOW_MS);
    if (seen < LEAST_MS) {
      setText(byId("rate"), "…");
      setText(byId("rate-note"), "measured for a few seconds first");
      return;
    }
    const change = exact.subtract(this._total.billed_cost, first.cost);
    const rate = exact.perHour(change, seen);
    const plus = exact.sign(change) > 0 ? "+" : "";
    setText(byId("rate"), `${plus}${amountText(rate, 2)} ${this._total.currency} per hour`);
    setText(byId("rate-note"), exact.sign(change) ? `${plus}${amountText(change)} in the last ${duration(seen / 1000)}` : `no change in the last ${duration(seen / 1000)}`);
  }

  _showTotal({ billed_cost: billed, effective_cost: effective, currency }, asOf) {
    const shown = byId("total").querySelector("data");
    if (!shown || shown.value !== billed || shown.textContent !== amountText(billed) || byId("total").dataset.currency !== currency) {
      byId("total").replaceChildren(amount(billed, currency), ` ${currency}`);
      byId("total").dataset.currency = currency;
    }
    const other = exact.compare(billed, effective) ? `; effective cost ${amountText(effective)}` : "";
    setText(byId("total-note"), `as of ${clock(asOf)} UTC${other} ·`);
  }

  _showStatus(periods) {
    const badge = byId("status");
    const open = periods.filter((period) => period.status !== "final");
    badge.hidden = periods.length === 0;
    badge.dataset.state = open.length ? "estimate" : "final";
    const some = open.length && open.length < periods.length ? `: ${open.length} of ${periods.length} months open` : "";
    setText(badge, open.length ? `Estimate${some}` : "Final");
    badge.title = open.length ? `${open.map((period) => monthName(period.period)).join(", ")}: not closed, the amounts can still change`
      : "closed: what comes later is a correction in an open month";
  }

  // Politely: not more often than anybody wants to hear.
  _announce(now) {
    const text = `Total now ${amountText(this._total.billed_cost)} ${this._total.currency}, ${plural(this._total.line_items, "line item")}`;
    if (text === this._announced || (this._announced && now - this._announcedAt < ANNOUNCE_EVERY_MS)) return;
    [this._announced, this._announcedAt] = [text, now];
    setText(byId("announce"), text);
  }

  async _copy() {
    if (!this._total) return;
    try {
      await navigator.clipboard.writeText(this._total.billed_cost);
      setText(byId("announce"), `Copied ${this._total.billed_cost}`);
      setText(byId("copy-total"), "Copied");
    } catch {
      setText(byId("copy-total"), "Cannot copy here");
    }
    setTimeout(() => setText(byId("copy-total"), "Copy all digits"), 2_000);
  }
}
