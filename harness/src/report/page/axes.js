// Scales and axes of the plots.

/** About `wanted` round numbers between two others. */
function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= 0.7 * rough);
  const found = [];
  // Counted in whole steps, so that errors do not add up.
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n += 1)
    found.push(Number((n * step).toPrecision(12)));
  return found;
}

/** Ticks of a logarithmic axis: 1, 2, 5 of each decade, or round numbers where the axis spans too little for that. */
function logTicks(low, high, wanted) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const lead of [1, 2, 5]) {
      const value = lead * 10 ** power;
      if (value >= low && value <= high) found.push(Number(value.toPrecision(12)));
    }
  }
  if (found.length < 3) return ticks(low, high, wanted).filter((value) => value > 0);
  if (found.length > 1.5 * wanted) return found.filter((value) => /^1/.test(value.toExponential()));
  return found;
}

/** The range of an axis around values: with some air, from zero where that costs little, never beyond a bound. */
function span(values, { zero = false, most = Infinity, least = -Infinity, log = false } = {}) {
  const all = values.filter(known);
  if (!all.length) return [0, 1];
  // A loop: curves have more values than a call may have arguments.
  let [low, high] = [Infinity, -Infinity];
  for (const value of all) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (log) return [low / 1.15, high * 1.15];
  const air = high > low ? 0.07 * (high - low) : Math.max(0.05 * Math.abs(high), 0.5);
  if (zero && low > 0 && low < 0.6 * high) low = 0;
  else low -= air;
  high += air;
  return [Math.max(low, least), Math.min(high, most)];
}

function scale([low, high], [from, to], log = false) {
  const by = log ? Math.log : (value) => value;
  return (value) => from + ((by(value) - by(low)) / (by(high) - by(low))) * (to - from);
}

/** A drawing that is as wide as its place; on paper, as wide as a page is drawn. */
function drawing(width, height, name) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "group", "aria-label": name });
}

/**
 * Axes with a light grid. `x` and `y` are {range, title, format, log, ticks}; gives scales, and the box of the plotting
 * area.
 */
function axes(target, width, height, x, y, margin = {}) {
  const box = {
    left: margin.left || 46,
    right: width - (margin.right || 14),
    top: margin.top || 26,
    bottom: height - 40,
  };
  const toX = scale(x.range, [box.left, box.right], x.log);
  const toY = scale(y.range, [box.bottom, box.top], y.log);
  const layer = svg("g", { class: "axes", "aria-hidden": "true" });
  const auto = (axis, wanted) =>
    axis.ticks || (axis.log ? logTicks(...axis.range, wanted) : ticks(...axis.range, wanted));
  // All labels of an axis have as many decimals as the one that needs the most.
  const decimals = (values) => Math.max(0, ...values.map((value) => (String(value).split(".")[1] || "").length));
  let free = -Infinity;
  const across = auto(x, (box.right - box.left) / 100);
  for (const value of across) {
    const [at, text] = [toX(value), x.format(value, decimals(across))];
    layer.append(svg("line", { class: "grid", x1: at, x2: at, y1: box.top, y2: box.bottom }));
    const [side, middle] = [textWidth(text) / 2, Math.min(at, width - textWidth(text) / 2)];
    // Labels of an axis that would touch are left out; their grid lines stay.
    if (middle - side < free) continue;
    free = middle + side + 6;
    layer.append(svg("text", { class: "tick", x: middle, y: box.bottom + 16, "text-anchor": "middle" }, text));
  }
  const up = auto(y, (box.bottom - box.top) / 55);
  for (const value of up) {
    const at = toY(value);
    layer.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }),
      svg("text", { class: "tick", x: box.left - 7, y: at + 4, "text-anchor": "end" }, y.format(value, decimals(up))),
    );
  }
  layer.append(
    svg("line", { class: "base", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg("text", { class: "axis-title", x: 2, y: 12 }, "↑ " + y.title),
    svg("text", { class: "axis-title", x: box.right, y: box.bottom + 34, "text-anchor": "end" }, x.title + " →"),
  );
  target.append(layer);
  return { x: toX, y: toY, box };
}

/** A vertical error bar, as one path: the many of a plot are drawn again at every letter typed into the search. */
function errorPath(x, low, high, cap = 3) {
  return `M${r(x)} ${r(low)}V${r(high)}M${r(x - cap)} ${r(low)}h${2 * cap}M${r(x - cap)} ${r(high)}h${2 * cap}`;
}

/** Pixels with a decimal: more only makes the page heavy. */
function r(value) {
  return Math.round(10 * value) / 10;
}
