// How numbers are printed. Every number comes from the server; here they only get their digits.
export const UNKNOWN = "–";

export function percent(probability) {
  if (probability === null || probability === undefined) return UNKNOWN;
  const share = 100 * probability;
  if (share === 0) return "0%";
  if (share >= 99.995) return "100%";
  for (const [edge, digits] of [[99.5, 2], [9.95, 0], [0.995, 1], [0.01, 2]]) {
    if (share >= edge) return `${share.toFixed(digits)}%`;
  }
  return "<0.01%";
}

export function decimal(value, digits = 2) {
  return value === null || value === undefined ? UNKNOWN : value.toFixed(digits).replace("-", "−");
}

export function signed(value, digits = 2) {
  return value === null || value === undefined ? UNKNOWN : `${value > 0 ? "+" : ""}${decimal(value, digits)}`;
}

export function whole(value) {
  return value === null || value === undefined ? UNKNOWN : value.toLocaleString("en");
}

export function pValue(p) {
  if (p === null || p === undefined) return UNKNOWN;
  return p < 0.0001 ? "p < 0.0001" : `p = ${p < 0.01 ? p.toFixed(4) : p.toFixed(2)}`;
}

export function plural(n, word) {
  return `${whole(n)} ${word}${n === 1 ? "" : "s"}`;
}

export function oneLine(piece) {
  return piece.replace(/\n/g, "↵").replace(/\t/g, "⇥");
}
