// Exact decimals, as the API writes them ("-12.50"). Money is never a JavaScript number: sums and differences are made of BigInt.

const FORM = /^(-?)([0-9]+)(?:\.([0-9]+))?$/;

// {units, scale}: the value is units / 10^scale.
function parse(text) {
  const match = FORM.exec(text);
  if (!match) throw new TypeError(`not an exact amount: ${text}`);
  const fraction = match[3] ?? "";
  const units = BigInt(match[2] + fraction);
  return { units: match[1] ? -units : units, scale: fraction.length };
}

function digits(units, scale) {
  const sign = units < 0n ? "-" : "";
  const text = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  return sign + (scale ? `${text.slice(0, -scale)}.${text.slice(-scale)}` : text);
}

// Plain: no exponent, no zeros at the end, no negative zero.
function plain(units, scale) {
  let text = digits(units, scale);
  if (scale) text = text.replace(/\.?0+$/, "");
  return text === "-0" ? "0" : text;
}

const atScale = ({ units, scale }, wanted) => units * 10n ** BigInt(wanted - scale);

function aligned(a, b) {
  const [x, y] = [parse(a), parse(b)];
  const scale = Math.max(x.scale, y.scale);
  return [atScale(x, scale), atScale(y, scale), scale];
}

export function add(a, b) {
  const [x, y, scale] = aligned(a, b);
  return plain(x + y, scale);
}

export function subtract(a, b) {
  const [x, y, scale] = aligned(a, b);
  return plain(x - y, scale);
}

export const sum = (amounts) => amounts.reduce(add, "0");

export function compare(a, b) {
  const [x, y] = aligned(a, b);
  return x < y ? -1 : x > y ? 1 : 0;
}

export const sign = (text) => compare(text, "0");

function divided(units, by) {
  const half = by / 2n;
  return units < 0n ? -((-units + half) / by) : (units + half) / by;
}

// To so many digits after the point, half away from zero; all of them are written.
export function round(text, places) {
  const { units, scale } = parse(text);
  const kept = scale <= places ? units * 10n ** BigInt(places - scale) : divided(units, 10n ** BigInt(scale - places));
  return digits(kept, places);
}

// A change within some milliseconds as a change per hour, to eight digits after the point: a rate, and so an estimate.
export function perHour(change, milliseconds) {
  const { units, scale } = parse(change);
  const places = 8;
  return plain(divided(units * 3_600_000n * 10n ** BigInt(places), BigInt(Math.max(1, Math.round(milliseconds))) * 10n ** BigInt(scale)), places);
}

// How much of a whole a part is, in tenths of a percent: for widths and percentages, not for money.
export function permille(part, whole) {
  const [x, y] = aligned(part, whole);
  return y === 0n ? 0 : Number((x * 1000n) / y);
}

// The height of a bar. Heights are the only thing that an amount becomes a number for.
export const height = (text) => Number(text);
