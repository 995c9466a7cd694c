// What is looked at. It stands in the address, so that a view can be kept, sent and gone back to. The key never does.

// name in the address -> default. period: null is the newest month, "all" all of them. of: the group that was opened, "" for that of
// line items which have no value. item: the line item that is explained.
const DEFAULTS = { period: null, account: null, currency: null, by: "provider", every: null, of: null, sku: null, item: null, sort: "-cost", q: "", digits: null };

export const BY = [["provider", "Provider"], ["service", "Service"], ["sku", "SKU"], ["region", "Region"], ["account", "Account"]];
export const EVERY = [["hour", "Hours"], ["day", "Days"], ["month", "Months"]];

export function readState() {
  const given = new URLSearchParams(location.search);
  const state = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  if (!BY.some(([name]) => name === state.by)) state.by = DEFAULTS.by;
  if (!EVERY.some(([name]) => name === state.every)) state.every = null;
  if (state.period !== "all" && !/^[0-9]{4}-(0[1-9]|1[0-2])$/.test(state.period ?? "")) state.period = null;
  return state;
}

// remember: as a step that the Back button undoes.
export function writeState(state, remember) {
  const said = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name] && value !== null);
  const query = new URLSearchParams(said).toString();
  const address = location.pathname + (query ? `?${query}` : "");
  if (address === location.pathname + location.search) return;
  history[remember ? "pushState" : "replaceState"](null, "", address);
}
