// The page: who looks, what is looked at, and what follows from each change of either.
import { ApiError, read } from "./api.js";
import { CostChart } from "./cost-chart.js";
import { copyExactly } from "./copying.js";
import { byId, h, renderOptions, renderSegments, setText } from "./dom.js";
import { Explanation } from "./explanation.js";
import { groupColumns, groupFoot, groupName } from "./groups.js";
import { followPipeline } from "./health.js";
import { LineItems, lineItemColumns } from "./line-items.js";
import { seriesOf } from "./series.js";
import * as session from "./session.js";
import { BY, EVERY, readState, writeState } from "./state.js";
import { follow } from "./stream.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";
import { setUpTheme } from "./theme-choice.js";
import { clock, monthName, showAllDigits } from "./words.js";

const AGAIN_MS = 2_000; // what follows a change is read again at most so often
const LISTS_MS = 15_000;
const HOURS_SHOWN_MS = 3 * 86_400_000;

const page = {
  me: null,
  state: readState(),
  months: [], // every month that has line items, the newest first: {period, status, …}
  costs: null, // the latest document of GET /v1/costs
  inGroup: null, // the same by SKU, within the group that was opened
  items: null, // LineItems of the SKU that was opened
  listsAccounts: false,
  signedIn: new AbortController(),
  following: new AbortController(),
  error: "",
  liveAt: null,
};

const summary = new Summary();
const chart = new CostChart();
const table = new Table({ onSort: (sort) => go({ sort }, { remember: false }), onMore: () => loadMore() });
const explanation = new Explanation(() => { if (page.state.item) go({ item: null }); });

// -- what is looked at ---------------------------------------------------------------------------------------------------

const period = () => (page.state.period === "all" ? null : page.state.period ?? page.months[0]?.period ?? null);

const chosen = () => ({ period: period(), account: page.state.account });

const everyOf = () => page.state.every ?? (period() ? "day" : "month");

function currency() {
  const found = (page.costs?.totals ?? []).map((total) => total.currency);
  return found.includes(page.state.currency) ? page.state.currency : found[0] ?? "";
}

const within = () => ({ [page.state.by]: page.state.of });

const opened = () => page.state.of !== null && page.state.by !== "sku";

// Change what is looked at; remember: as a step that Back undoes.
function go(change, { remember = true } = {}) {
  const before = page.state;
  page.state = { ...before, ...change };
  writeState(page.state, remember);
  apply(before);
}

function apply(before) {
  const changed = (...names) => names.some((name) => before[name] !== page.state[name]);
  if (changed("period", "account", "by")) return start();
  if (changed("of", "sku")) [page.inGroup, page.items] = [changed("of") ? null : page.inGroup, null];
  if (changed("of", "sku", "every", "currency", "digits")) refresh({ now: true });
  if (changed("of", "sku")) byId("table-title").focus({ preventScroll: false });
  render();
  if (changed("item")) page.state.item ? explanation.show(page.state.item) : explanation.close();
}

// -- following costs -----------------------------------------------------------------------------------------------------

function start() {
  page.following.abort();
  page.following = new AbortController();
  Object.assign(page, { costs: null, inGroup: null, items: null, error: "" });
  summary.restart();
  const { signal } = page.following;
  setConnection("idle", "Connecting");
  render();
  follow({ by: page.state.by, ...chosen() }, signal, { onCosts: (costs) => { if (!signal.aborted) showCosts(costs); }, onLive: live, onLost: lost })
    .catch((error) => failed(error, signal));
}

function showCosts(costs) {
  const first = page.costs === null;
  const same = !first && JSON.stringify(costs) === JSON.stringify(page.costs);
  Object.assign(page, { costs, liveAt: new Date() });
  if (!same) refresh({ now: first });
  render();
}

function live() {
  [page.liveAt, page.error] = [new Date(), ""];
  setConnection("live", "Live");
  showNotice();
}

function lost(error) {
  const since = page.liveAt ? ` since ${clock(page.liveAt)} UTC` : "";
  page.error = `Not up to date${since}: ${error.message}. It is tried again.`;
  setConnection("lost", `Not up to date${since}`);
  showNotice();
}

function failed(error, signal) {
  if (signal.aborted) return;
  if (!(error instanceof ApiError)) throw error;
  if ([401, 403].includes(error.status)) return signOut(error.message);
  page.error = error.message;
  setConnection("lost", "Cannot be shown");
  render();
}

function setConnection(state, text) {
  byId("connection").dataset.state = state;
  setText(byId("connection-text"), text);
}

// -- what is read beside the totals: the chart, an opened group, line items ---------------------------------------------

const reading = { busy: false, wanted: false, urgent: false, wake: () => {} };

// now: somebody waits for it. Else at most every two seconds: costs may change all the time.
async function refresh({ now = false } = {}) {
  reading.wanted = true;
  reading.urgent ||= now;
  if (now) reading.wake();
  if (reading.busy) return;
  reading.busy = true;
  try {
    while (reading.wanted) {
      [reading.wanted, reading.urgent] = [false, false];
      await readBeside(page.following.signal);
      if (!reading.urgent) await new Promise((resolve) => { reading.wake = resolve; setTimeout(resolve, AGAIN_MS); });
    }
  } finally {
    reading.busy = false;
  }
}

async function readBeside(signal) {
  const done = await Promise.allSettled([readChart(signal), readGroup(signal), readItems(signal)]);
  if (signal.aborted) return;
  const errors = done.filter((one) => one.status === "rejected").map((one) => one.reason);
  const defect = errors.find((error) => !(error instanceof ApiError));
  if (defect) throw defect;
  if (errors.length) chart.say(errors[0].message);
  render();
}

async function readChart(signal) {
  const every = everyOf();
  const { by } = page.state;
  const time = every === "month" ? "period" : every;
  const begin = every === "hour" ? await lastHours(signal) : null;
  const { rows } = await read("v1/costs", { by: `${time},${by}`, ...chosen(), start: begin }, signal);
  const recent = begin ? rows.filter((row) => row.group.hour >= begin) : rows;
  const series = seriesOf(recent, { currency: currency(), by, every });
  if (by !== page.state.by || every !== everyOf()) return;
  chart.show(series, { currency: currency(), by, every, nameOf: (name) => groupName(by, name) });
}

// Hours of a whole month are too many bars: the last three days that have usage.
async function lastHours(signal) {
  const { rows } = await read("v1/costs", { by: "day", ...chosen() }, signal);
  const last = rows.map((row) => row.group.day).filter(Boolean).sort().at(-1);
  return last ? `${new Date(Date.parse(`${last}T00:00:00Z`) - HOURS_SHOWN_MS + 86_400_000).toISOString().slice(0, 19)}Z` : null;
}

async function readGroup(signal) {
  const { state } = page;
  if (!opened() || state.sku !== null) return;
  const found = await read("v1/costs", { by: state.by === "sku" ? "sku" : `${state.by},sku`, ...chosen(), ...within() }, signal);
  const rows = found.rows.filter((row) => (row.group[state.by] ?? "") === state.of);
  if (state === page.state) page.inGroup = rows;
}

async function readItems(signal) {
  const { state } = page;
  const sku = state.by === "sku" ? state.of : state.sku;
  if (sku === null) return;
  const of = state.by === "sku" ? { sku } : { sku, ...within() };
  let items = page.items;
  if (items) items = await items.reloaded(signal);
  else await (items = new LineItems({ ...chosen(), ...of }, of)).load(signal);
  if (state.of === page.state.of && state.sku === page.state.sku) page.items = items;
}

async function loadMore() {
  if (page.items?.more) await page.items.load(page.following.signal);
  render();
}

// Months and accounts to choose from. Without a chosen month, costs are followed once the newest one is known, or that there is none.
async function readLists(signal) {
  const begin = () => { if (page.state.period === null) start(); };
  for (let pass = 0; !signal.aborted; pass += 1) {
    try {
      const { account } = page.state;
      const { periods } = await read("v1/costs", { by: "period", account }, signal);
      const first = pass === 0 || (page.months.length === 0 && periods.length > 0);
      page.months = [...new Map(periods.map((one) => [one.period, one])).values()].reverse();
      if (first) begin();
      renderChoices();
      if (page.listsAccounts) showAccounts((await read("v1/costs", { by: "account" }, signal)).rows);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      if (pass === 0 && page.months.length === 0) begin(); // which says what is wrong, and tries again
      if (error.status === 400) page.listsAccounts = false; // there are more than the API gives at once
    }
    await new Promise((resolve) => { setTimeout(resolve, page.months.length ? LISTS_MS : 1_000); });
  }
}

function showAccounts(rows) {
  const names = [...new Set(rows.map((row) => row.group.account))];
  byId("accounts").replaceChildren(...names.map((name) => h("option", { value: name })));
}

// -- rendering -----------------------------------------------------------------------------------------------------------

function render() {
  showAllDigits(page.state.digits !== null);
  renderChoices();
  showNotice();
  const total = page.costs?.totals.find((one) => one.currency === currency());
  if (total) summary.show(total, page.costs.periods.filter((one) => one.currency === total.currency), page.liveAt);
  else if (page.costs) showNothing();
  renderTable();
}

function showNothing() {
  setText(byId("total"), "0");
  setText(byId("total-note"), "nothing yet");
  for (const name of ["rate", "count"]) setText(byId(name), "–");
  for (const name of ["rate-note", "count-note"]) setText(byId(name), "");
  byId("status").hidden = true;
}

function showNotice() {
  const notice = byId("notice");
  notice.hidden = !page.error;
  setText(notice, page.error);
}

function renderChoices() {
  const own = page.me?.account ?? null;
  const months = page.months.map((one) => [one.period, `${monthName(one.period)}${one.status === "final" ? ", final" : ""}`]);
  const now = period();
  if (now && !months.some(([name]) => name === now)) months.unshift([now, monthName(now)]);
  renderOptions(byId("period"), [...months, ["all", "All months"]], now ?? "all");
  byId("account-choice").hidden = own !== null;
  byId("own-account").hidden = own === null;
  setText(byId("own-account"), own === null ? "" : `Account ${own}`);
  if (document.activeElement !== byId("account")) byId("account").value = page.state.account ?? "";
  const currencies = (page.costs?.totals ?? []).map((total) => total.currency);
  byId("currency-choice").hidden = currencies.length < 2;
  renderOptions(byId("currency"), currencies.map((name) => [name, name]), currency());
  const dimensions = own === null && page.state.account === null ? BY : BY.filter(([name]) => name !== "account");
  renderSegments(byId("by"), dimensions, page.state.by, (by) => go({ by, of: null, sku: null, q: "", sort: "-cost" }));
  renderSegments(byId("every"), EVERY, everyOf(), (every) => go({ every }, { remember: false }));
  byId("exact").checked = page.state.digits !== null;
  if (document.activeElement !== byId("search")) byId("search").value = page.state.q;
}

function renderTable() {
  const { state } = page;
  const { sort, q: query } = state;
  const unit = currency();
  renderCrumbs();
  if ((state.by === "sku" && state.of !== null) || state.sku !== null) {
    const items = page.items?.items.filter((item) => item.BillingCurrency === unit) ?? [];
    return table.show({ kind: `items ${state.of} ${state.sku}`, columns: lineItemColumns(unit, (item) => go({ item })), rows: items, key: (item) => item.x_LineItemId,
      sort, query, more: page.items?.more, noun: "line items", empty: page.items ? "No line items here any more." : "Loading line items…" });
  }
  const source = opened() ? page.inGroup : page.costs?.rows;
  const by = opened() ? "sku" : state.by;
  const rows = (source ?? []).filter((row) => row.currency === unit);
  const label = BY.find(([name]) => name === by)[1];
  const open = (value) => go(opened() ? { sku: value, q: "", sort: "time" } : { of: value, q: "", sort: by === "sku" ? "time" : "-cost" });
  table.show({ kind: `groups ${by} ${state.of} ${unit}`, columns: groupColumns(by, label, unit, rows, open), rows, key: (row) => row.group[by] ?? "", sort, query,
    foot: groupFoot(unit), more: false, noun: "groups", empty: emptyText(source) });
}

function emptyText(source) {
  if (!source) return page.error ? "Nothing to show." : "Loading…";
  if (opened()) return "Nothing here any more.";
  const where = [page.state.account && `account ${page.state.account}`, period() && monthName(period())].filter(Boolean).join(", ");
  const send = "Send usage with POST /v1/events or `ratemill publish`: its cost shows here seconds later.";
  return where ? `No costs for ${where}. Choose another month or account. ${send}` : `No costs yet. ${send}`;
}

function renderCrumbs() {
  const { by, of, sku } = page.state;
  const [, label] = BY.find(([name]) => name === by);
  const steps = [[`All by ${by === "sku" ? "SKU" : label.toLowerCase()}`, { of: null, sku: null, q: "", sort: "-cost" }]];
  if (of !== null) steps.push([groupName(by, of), { sku: null, q: "", sort: "-cost" }]);
  if (sku !== null) steps.push([sku, {}]);
  const title = steps.at(-1)[0];
  setText(byId("table-title"), of === null ? `Costs by ${by === "sku" ? "SKU" : label.toLowerCase()}` : title);
  const links = steps.slice(0, -1).map(([text, change]) => h("li", {}, h("button", { type: "button", class: "link", onclick: () => go(change) }, text)));
  const crumbs = byId("crumbs");
  if (crumbs.textContent !== links.map((link) => link.textContent).join("") || crumbs.children.length !== links.length) crumbs.replaceChildren(...links);
  crumbs.parentElement.hidden = links.length === 0;
}

// -- signing in ----------------------------------------------------------------------------------------------------------

async function signIn() {
  page.signedIn.abort();
  page.signedIn = new AbortController();
  const { signal } = page.signedIn;
  try {
    page.me = await read("v1/me", {}, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    return signOut(error.message);
  }
  // Whatever an address says: a key of an account is about that one.
  if (page.me.account !== null) page.state = { ...page.state, account: null, by: page.state.by === "account" ? "provider" : page.state.by };
  showSignedIn(true);
  const ends = page.me.expires_at.slice(0, 16).replace("T", " ");
  setText(byId("who"), `Signed in with the key “${page.me.name}”, which ends ${ends} UTC.`);
  page.listsAccounts = page.me.account === null;
  readLists(signal);
  byId("pipeline").hidden = true;
  if (["pipeline:read", "admin"].some((scope) => page.me.scopes.includes(scope))) followPipeline(signal);
  render();
  if (page.state.period !== null) start();
  if (page.state.item) explanation.show(page.state.item);
}

function signOut(why = "") {
  session.forget();
  page.signedIn.abort();
  page.following.abort();
  explanation.close();
  Object.assign(page, { me: null, months: [], costs: null, inGroup: null, items: null, error: "", liveAt: null });
  showSignedIn(false);
  setConnection("idle", "Signed out");
  setText(byId("sign-in-error"), why);
  byId("key").setAttribute("aria-invalid", why ? "true" : "false");
  byId("key").value = "";
  byId("key").focus();
}

function showSignedIn(yes) {
  byId("sign-in").hidden = yes;
  byId("costs").hidden = !yes;
  byId("sign-out").hidden = !yes;
}

function setUp() {
  byId("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    session.keep(byId("key").value);
    byId("key").value = "";
    signIn();
  });
  byId("sign-out").addEventListener("click", () => signOut());
  byId("choices").addEventListener("submit", (event) => event.preventDefault());
  byId("period").addEventListener("change", (event) => go({ period: event.target.value, of: null, sku: null }));
  byId("account").addEventListener("change", (event) => {
    const account = event.target.value.trim() || null;
    go({ account, of: null, sku: null, by: account && page.state.by === "account" ? "service" : page.state.by });
  });
  byId("currency").addEventListener("change", (event) => go({ currency: event.target.value }));
  byId("search").addEventListener("input", (event) => go({ q: event.target.value }, { remember: false }));
  byId("exact").addEventListener("change", (event) => go({ digits: event.target.checked ? "all" : null }, { remember: false }));
  addEventListener("popstate", () => {
    const before = page.state;
    page.state = readState();
    if (page.me) apply(before);
  });
  addEventListener("hashchange", () => { if (session.takeFromAddress()) signIn(); });
  setInterval(() => { if (byId("connection").dataset.state === "live") summary.tick(); }, 1_000);
  setUpTheme(() => chart.recolour());
  copyExactly();
}

setUp();
session.takeFromAddress();
if (session.key()) signIn();
else signOut();
