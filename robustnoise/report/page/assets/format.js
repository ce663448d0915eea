/* Numbers as text. Figures are [value, low, high] or [value, low, high, p], shares of 1. */

const ABSENT = "–";

function percent(share, digits = 1) {
  return share === null || share === undefined ? ABSENT : (100 * share).toFixed(digits);
}

function signed(share, digits = 1) {
  if (share === null || share === undefined) return ABSENT;
  const text = (100 * share).toFixed(digits);
  if (Number(text) === 0) return (0).toFixed(digits);
  return share > 0 ? `+${text}` : text.replace("-", "−");
}

function limits(figure, format, digits) {
  return `[${format(figure[1], digits)}, ${format(figure[2], digits)}]`;
}

function probability(p) {
  return p < 0.0001 ? "p < 0.0001" : `p = ${p.toFixed(4)}`;
}

function whole(number) {
  return number.toLocaleString("en-US");
}

/** Six digits at most, without trailing zeros. */
function short(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}
