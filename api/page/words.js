// Amounts, times and durations, as people read them.
import { h } from "./dom.js";
import * as exact from "./exact.js";

const PLACES = 4;
const display = { all: false };

// Whether amounts show all of their digits.
export const showAllDigits = (all) => { display.all = all; };

const grouped = (text) => text.replace(/^(-?)([0-9]+)/, (_, sign, whole) => (sign ? "−" : "") + whole.replace(/\B(?=([0-9]{3})+$)/g, ","));

// "1,234.5679"; nothing is "0", and an amount that would round to nothing is not.
export function amountText(amount, places = PLACES) {
  if (exact.sign(amount) === 0) return "0";
  if (display.all) return grouped(amount);
  const rounded = exact.round(amount, places);
  if (exact.sign(rounded) === 0) return `${exact.sign(amount) < 0 ? "> −" : "< "}${exact.round("0", places - 1)}1`;
  return grouped(rounded);
}

// The same for quantities and prices, which need no column of digits: "1,234.5".
export const shortText = (value, places) => amountText(value, places).replace(/(\.[0-9]*?)0+$/, "$1").replace(/\.$/, "");

// Its text is rounded, its value is exact; copying takes the value (copying.js).
export function amount(value, currency, places = PLACES) {
  return h("data", { class: "amount", value, title: `exactly ${grouped(value)} ${currency}`.trim() }, amountText(value, places));
}

export const count = (number) => String(number).replace(/\B(?=([0-9]{3})+$)/g, ",");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  const whole = Math.round(seconds);
  if (whole < 100) return plural(whole, "second");
  if (whole < 100 * 60) return plural(Math.round(whole / 60), "minute");
  if (whole < 48 * 3600) return plural(Math.round(whole / 3600), "hour");
  return plural(Math.round(whole / 86400), "day");
}

// The same where there is little room: "12 s".
export function age(seconds) {
  const [divisor, unit] = [[86_400, "d"], [3_600, "h"], [60, "min"]].find(([one]) => seconds >= 2 * one) ?? [1, "s"];
  return seconds < 1 ? "< 1 s" : `${count(Math.round(seconds / divisor))} ${unit}`;
}

export const clock = (date) => date.toISOString().slice(11, 19);

const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

export const monthName = (period) => `${MONTHS[Number(period.slice(5, 7)) - 1]} ${period.slice(0, 4)}`;

// The beginning of a bar: "2026-11-27T10:00:00Z", "2026-11-27" or "2026-11".
export function bucketName(text) {
  if (text.length === 7) return `${MONTHS[Number(text.slice(5, 7)) - 1].slice(0, 3)} ${text.slice(0, 4)}`;
  const day = `${Number(text.slice(8, 10))} ${MONTHS[Number(text.slice(5, 7)) - 1].slice(0, 3)} ${text.slice(0, 4)}`;
  return text.length > 10 ? `${day}, ${text.slice(11, 16)}` : day;
}

// "27 Nov 2026, 10:00 – 11:00"
export function chargePeriod(start, end) {
  const same = start.slice(0, 10) === end.slice(0, 10);
  return `${bucketName(start)} – ${same ? end.slice(11, 16) : bucketName(end)}`;
}
