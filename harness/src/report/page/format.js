// How numbers are written: the same everywhere on the page, and as in the tables of README.md.

const NONE = "–";
const MINUS = "\u2212";
// Keeps a number and its unit on one line.
const THIN = "\u00a0";

function known(value) {
  return value !== null && value !== undefined && !Number.isNaN(value);
}

/** Fixed decimals with a true minus sign, and never a minus before zero. */
function fixed(value, decimals) {
  if (!known(value)) return NONE;
  const text = Math.abs(value).toFixed(decimals);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

function accuracy(value) {
  return fixed(value, 2);
}

/** A difference in points, always with its sign unless it rounds to zero. */
function signed(value, decimals = 2) {
  if (!known(value)) return NONE;
  const text = fixed(value, decimals);
  return value > 0 && Number(text) !== 0 ? "+" + text : text;
}

/** Half of a symmetric interval, as ± points. */
function half(stat) {
  return stat && known(stat.low) && known(stat.high) ? "±" + ((stat.high - stat.low) / 2).toFixed(2) : "";
}

/** A count with four significant digits and a unit: 640, 272.5k, 40.55M, 4.089G. */
function count(value) {
  if (!known(value)) return NONE;
  let rest = value;
  for (const unit of ["", "k", "M", "G"]) {
    const text = unit === "" ? String(Math.round(rest)) : rest.toPrecision(4);
    if (Number(text) < 1000) return text + unit;
    rest /= 1000;
  }
  return rest.toPrecision(4) + "T";
}

/** A count as short as an axis needs it: 20M rather than 20.00M. */
function shortCount(value) {
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ]) {
    if (value >= size) return String(Number((value / size).toPrecision(4))) + unit;
  }
  return String(Number(value.toPrecision(4)));
}

/** Three significant digits, without an exponent: times, memory, energy. */
function three(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  if (Math.abs(value) >= 99.95) return String(Math.round(value));
  return Math.abs(value) < 0.001 ? String(Number(value.toPrecision(3))) : value.toPrecision(3);
}

function milliseconds(value) {
  return known(value) ? three(value) + THIN + "ms" : NONE;
}

function times(value) {
  return known(value) ? value.toFixed(2) + "×" : NONE;
}

/** A share in percent, of a number in [0, 1]. */
function percent(value, decimals = 1) {
  return known(value) ? fixed(100 * value, decimals) + THIN + "%" : NONE;
}

function signedPercent(value) {
  return known(value) ? signed(100 * value, 1) + THIN + "%" : NONE;
}

function probability(value) {
  if (!known(value)) return NONE;
  return value < 0.001 ? "<0.001" : value.toFixed(3);
}

/** "1 row", "3 rows". */
function plural(number, noun) {
  return number + " " + noun + (number === 1 ? "" : "s");
}

/** Cuts a label that is too long for a plot in its middle: both ends tell rows apart. */
function shorten(text, most) {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const front = Math.ceil(0.6 * (most - 1));
  return letters.slice(0, front).join("") + "…" + letters.slice(letters.length - (most - 1 - front)).join("");
}
