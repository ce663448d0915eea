/* Statistics from counts, the same as robustnoise.stats; a test holds the two together. */

const Z = 1.959963984540054;

/** Tango's score interval for (b - c) / n from paired images: b only the first has right, c only the second. */
function tango(b, c, n) {
  const middle = (b - c) / n;
  return [Math.min(-tangoHigh(c, b, n), middle), Math.max(tangoHigh(b, c, n), middle)];
}

function tangoHigh(b, c, n) {
  let [low, high] = [(b - c) / n, 1];
  for (let step = 0; step < 60; step++) {
    const delta = (low + high) / 2;
    const linear = (2 * n - b + c) * delta - b - c;
    const root = Math.sqrt(Math.max(linear ** 2 + 8 * n * c * delta * (1 - delta), 0));
    const variance = Math.max((root - linear) / (2 * n) + delta * (1 - delta), 0);
    if (b - c - n * delta + Z * Math.sqrt(n * variance) > 0) low = delta;
    else high = delta;
  }
  return (low + high) / 2;
}

/** Exact two-sided McNemar: twice the tail of Binomial(b + c, 1/2), at most 1. */
function mcnemar(b, c) {
  let logarithm = -(b + c) * Math.LN2;
  let tail = Math.exp(logarithm);
  for (let k = 0; k < Math.min(b, c); k++) {
    logarithm += Math.log((b + c - k) / (k + 1));
    tail += Math.exp(logarithm);
  }
  return Math.min(1, 2 * tail);
}

/** Accuracy of `a` minus that of `b` on the same images; each {right, draws}. */
function pairedDelta(a, b) {
  const n = a.right.length;
  const table = { both: 0, first: 0, second: 0, neither: 0 };
  let [sum, squares, least, most] = [0, 0, Infinity, -Infinity];
  for (let i = 0; i < n; i++) {
    const [p, q] = [a.right[i] / a.draws, b.right[i] / b.draws];
    const d = p - q;
    sum += d;
    squares += d * d;
    least = Math.min(least, d);
    most = Math.max(most, d);
    table.both += p * q;
    table.first += p * (1 - q);
    table.second += (1 - p) * q;
    table.neither += (1 - p) * (1 - q);
  }
  const value = sum / n;
  if (a.draws === 1 && b.draws === 1) {
    return { figure: [value, ...tango(table.first, table.second, n)], p: mcnemar(table.first, table.second), table, n,
      method: "Tango's score interval, exact McNemar test" };
  }
  if (most - least < 1e-9) {
    return { figure: [value, ...tango(n * Math.max(value, 0), n * Math.max(-value, 0), n)], p: null, table, n,
      method: "Tango's score interval: every image differs by the same" };
  }
  const half = Z * Math.sqrt((squares - n * value * value) / (n - 1) / n);
  return { figure: [value, Math.max(value - half, -1), Math.min(value + half, 1)], p: null, table, n,
    method: "normal approximation over images" };
}

/** Accuracy, with its normal interval over images, against an attacker who asks m times and wins once. */
function anyFail({ right, draws }, m) {
  const survives = Array.from({ length: draws + 1 }, (_, count) => {
    let share = 1;
    for (let asked = 0; asked < m; asked++) share *= Math.max(count - asked, 0) / (draws - asked);
    return share;
  });
  let [sum, squares] = [0, 0];
  for (const count of right) {
    sum += survives[count];
    squares += survives[count] ** 2;
  }
  const n = right.length;
  const value = sum / n;
  const half = Z * Math.sqrt(Math.max(squares / n - value * value, 0) / n);
  return [value, Math.max(value - half, 0), Math.min(value + half, 1)];
}
