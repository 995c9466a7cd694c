// The rows of costs by time and group as bars: which bars there are, and what each is made of. All amounts stay exact.
import * as exact from "./exact.js";

const SHOWN_GROUPS = 7; // the others are one more, together
const MOST_FILLED = 120; // times without usage are bars of nothing, up to so many bars
const MOST_EMPTY = 3; // and up to so many times as many bars as there are with usage
const TIME = { hour: "hour", day: "day", month: "period" };

export const OTHERS = "\u0000others";

// {buckets: [start], groups: [{name, total, at: Map(start -> amount)}], others: how many groups are in the last one, gaps: whether
// there are times without a bar}. name: value of the dimension, null for none, or OTHERS. Groups come with the largest first; those that cost nothing have no bars.
export function seriesOf(rows, { currency, by, every }) {
  const groups = new Map();
  const starts = new Set();
  for (const row of rows) {
    const start = row.group[TIME[every]];
    if (row.currency !== currency || !start) continue;
    starts.add(start);
    const name = row.group[by];
    if (!groups.has(name)) groups.set(name, { name, total: "0", at: new Map() });
    put(groups.get(name), start, row.billed_cost);
  }
  const ranked = [...groups.values()].filter((group) => [...group.at.values()].some(exact.sign)).sort((a, b) => exact.compare(b.total, a.total));
  const kept = ranked.slice(0, SHOWN_GROUPS);
  const rest = ranked.slice(SHOWN_GROUPS);
  if (rest.length) kept.push(together(rest));
  const used = [...starts].sort();
  const filled = fill(used, every);
  return { buckets: filled ?? used, groups: kept, others: rest.length, gaps: filled === null };
}

export const amountAt = (group, start) => group.at.get(start) ?? "0";

export const totalAt = (series, start) => exact.sum(series.groups.map((group) => amountAt(group, start)));

function put(group, start, amount) {
  group.total = exact.add(group.total, amount);
  group.at.set(start, exact.add(amountAt(group, start), amount));
}

function together(groups) {
  const all = { name: OTHERS, total: "0", at: new Map() };
  for (const group of groups) for (const [start, amount] of group.at) put(all, start, amount);
  return all;
}

// Every start from the first to the last; null when those would be too many.
function fill(used, every) {
  if (used.length < 2) return used;
  const all = [];
  for (let at = used[0]; at <= used.at(-1); at = after(at, every)) {
    all.push(at);
    if (all.length > Math.min(MOST_FILLED, MOST_EMPTY * used.length)) return null;
  }
  return all;
}

function after(start, every) {
  const date = new Date(every === "month" ? `${start}-01T00:00:00Z` : every === "day" ? `${start}T00:00:00Z` : start);
  if (every === "month") date.setUTCMonth(date.getUTCMonth() + 1);
  else date.setTime(date.getTime() + (every === "day" ? 86_400_000 : 3_600_000));
  return date.toISOString().replace(".000Z", "Z").slice(0, start.length === 20 ? 20 : start.length);
}
