// What the page derives from the data once: each row's place in the ranking, its share of vanilla's MACs, and series.

/** A column of layers may hold runs, [value, times], for cells that repeat. */
function expand(column) {
  return column ? column.flatMap((cell) => (Array.isArray(cell) ? Array(cell[1]).fill(cell[0]) : [cell])) : null;
}

/** What rows are ranked by, higher is better: the mean difference to vanilla, which itself is at zero. */
function merit(group, row) {
  if (group.cost_only) return known(row.macs) ? -row.macs : null;
  if (group.vanilla === null) return row.accuracy ? row.accuracy.mean : null;
  if (row.at === group.vanilla) return 0;
  return row.delta ? row.delta.mean : null;
}

/** Compares so that unknown values come last in either direction. */
function compare(a, b, direction) {
  if (!known(a) || !known(b)) return Number(!known(a)) - Number(!known(b));
  if (typeof a === "string" || typeof b === "string") {
    return direction * String(a).localeCompare(String(b), undefined, { numeric: true, sensitivity: "base" });
  }
  return direction * (a - b);
}

/** A curve without epochs whose accuracy is not known. */
function wholeCurve(curve) {
  if (!curve) return null;
  const whole = (column) => (column ? column.filter((_, at) => known(curve.mean[at])) : null);
  const [epoch, mean] = [whole(curve.epoch), whole(curve.mean)];
  const band = (column) => whole(column)?.map((value, at) => (known(value) ? value : mean[at]));
  return epoch.length ? { ...curve, epoch, mean, low: band(curve.low), high: band(curve.high) } : null;
}

function prepare(group) {
  group.rows.forEach((row, at) => {
    row.at = at;
    row.accuracy = group.cost_only ? null : row[group.split];
  });
  const vanilla = group.vanilla === null ? null : group.rows[group.vanilla];
  for (const row of group.rows) {
    row.share = vanilla && vanilla.macs && known(row.macs) ? row.macs / vanilla.macs : null;
    row.merit = merit(group, row);
    row.text = [row.label, row.method, row.replaced, row.budget, settings(row.options)].join(" ").toLowerCase();
    row.name = nameOf(group, row);
    row.curve = wholeCurve(row.curve);
    row.parent = null;
    row.children = [];
  }
  const best = [...group.rows].sort(
    (a, b) => compare(a.merit, b.merit, -1) || compare(a.macs, b.macs, 1) || a.at - b.at,
  );
  for (const row of best) {
    if (row.rank !== "control") continue;
    // Labels may come again at another budget; the control of the same budget is meant.
    const named = best.filter((other) => other.rank !== "control" && (row.control_of || []).includes(other.label));
    row.parent = named.find((other) => other.budget === row.budget) || named[0] || null;
    if (row.parent) row.parent.children.push(row);
  }
  group.order = [];
  let place = 0;
  for (const row of best) {
    if (row.parent) continue;
    row.number = row.at === group.vanilla ? "ref" : String(++place);
    group.order.push(row);
    row.children.forEach((child, nth) => {
      child.number = row.number + (nth < 26 ? String.fromCharCode(97 + nth) : "." + (nth + 1));
      group.order.push(child);
    });
  }
  group.order.forEach((row, place) => (row.place = place));
  group.methods = [];
  for (const row of group.order) {
    if (!group.methods.some((other) => other.method === row.method)) group.methods.push(row);
  }
  const stand = (key, how) => group.rows.some((row) => standing(row, key) === how);
  group.fronts = FRONTS.filter((key) => stand(key, "front"));
  group.beaten = FRONTS.filter((key) => stand(key, "beaten"));
  const shares = group.rows.map((row) => row.share).filter(known);
  group.shares = shares.length ? [Math.floor(100 * Math.min(...shares)), Math.ceil(100 * Math.max(...shares))] : null;
}

/** What accuracy is set against. */
const FRONTS = ["macs", "params", "one", "many"];

/** How a row stands among those that cost no more: "front" of the means, "beaten" by a verdict, or "undecided". */
function standing(row, key) {
  return (row.front && row.front[key]) || null;
}

/** Options as text, as labels write them: "depth=2 c0=16". */
function settings(options) {
  return Object.entries(options || {})
    .map(([name, value]) => name + "=" + value)
    .join(" ");
}

/** A row's label, with its budget where only that tells it from another row. */
function nameOf(group, row) {
  const again = row.budget && group.rows.some((other) => other !== row && other.label === row.label);
  return again && !row.label.includes(row.budget) ? row.label + " (" + row.budget + ")" : row.label;
}

/** The words of a verdict with a sign that does not need colour. */
const VERDICTS = {
  better: ["▲", "better"],
  worse: ["▼", "worse"],
  same: ["≈", "not told apart"],
  untested: ["", "untested"],
};

function verdict(group, row) {
  if (row.at === group.vanilla) return "reference";
  if (!row.delta) return NONE;
  const [sign, word] = VERDICTS[row.delta.verdict] || ["", row.delta.verdict];
  return (sign ? sign + " " : "") + word;
}

/** How much over its budget a network may be before the page says so. */
const OVER = 0.05;

function over(row) {
  return known(row.budget_off) && row.budget_off > OVER;
}

function slower(time) {
  return Boolean(time) && known(time.speedup) && time.speedup < 1 && !(known(time.high) && time.high >= 1);
}

/** What an axis or a panel can show of a row's cost. */
function cost(row, key) {
  if (key === "one" || key === "many") return row[key] ? row[key].ms[0] : null;
  return known(row[key]) ? row[key] : null;
}

function costName(group, key) {
  const images = group.speed ? "a batch of " + group.speed.images : "a batch";
  return { macs: "MACs", params: "params", one: "time of one image", many: "time of " + images }[key];
}

/** Costs that some row of the group has. */
function costs(group) {
  return ["macs", "params", "one", "many"].filter((key) => group.rows.some((row) => known(cost(row, key))));
}

function splitName(group) {
  return group.split === "test" ? "Test" : "Validation";
}
