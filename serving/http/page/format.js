/** Numbers as a person reads them. */

export const ABSENT = "–";

/** Seconds with the digits that can be told apart on the page. */
export function seconds(value) {
  if (!isNumber(value)) return ABSENT;
  if (value > 0 && value < 0.0005) return "< 0.001 s";
  const digits = value >= 100 ? 1 : value >= 0.1 || value === 0 ? 2 : 3;
  return `${value.toFixed(digits)} s`;
}

/** Seconds to the millisecond, without the unit: for tables. */
export function milliseconds(value) {
  return isNumber(value) ? value.toFixed(3) : ABSENT;
}

/** A whole number with thousands set apart. */
export function whole(value) {
  return isNumber(value) ? Math.round(value).toLocaleString("en") : ABSENT;
}

/** `1 operator`, `3 operators`. */
export function counted(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(words) {
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words.join("");
}

/** The least of 1, 2 and 5 times a power of ten that spans `length` in at most `count` steps. */
export function tickStep(length, count) {
  const power = 10 ** Math.floor(Math.log10(length / count));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step * count >= length * (1 - 1e-9));
}

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
