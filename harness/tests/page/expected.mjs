// What a page has to show, worked out from its data apart from the page's own script.

const known = (value) => value !== null && value !== undefined;
const split = (group, row) => (group.cost_only ? null : row[group.split]);
const vanillaOf = (group) => (known(group.vanilla) ? group.rows[group.vanilla] : null);
const shareOf = (group, row) => {
  const vanilla = vanillaOf(group);
  return vanilla && known(row.macs) ? (100 * row.macs) / vanilla.macs : null;
};

/** Whole percents between which the shares of vanilla's MACs lie. */
export function shares(group) {
  const all = group.rows.map((row) => shareOf(group, row)).filter(known);
  return all.length ? [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all))] : null;
}

/** The ranking: by the mean difference, controls under what they control. */
function ranking(group) {
  const vanilla = vanillaOf(group);
  const merit = (row) => {
    if (group.cost_only) return known(row.macs) ? -row.macs : -Infinity;
    if (!vanilla) return split(group, row)?.mean ?? -Infinity;
    if (row === vanilla) return 0;
    return row.delta?.mean ?? -Infinity;
  };
  const rows = group.rows.map((row, at) => ({ row, at }));
  const last = (value) => (known(value) ? value : Infinity);
  const by = (a, b) => (a === b ? 0 : a < b ? -1 : 1);
  rows.sort((a, b) => by(merit(b.row), merit(a.row)) || by(last(a.row.macs), last(b.row.macs)) || a.at - b.at);
  const parents = new Map();
  for (const one of rows) {
    if (one.row.rank !== "control") continue;
    const named = rows.filter((other) => other.row.rank !== "control" && one.row.control_of.includes(other.row.label));
    const parent = named.find((other) => other.row.budget === one.row.budget) ?? named[0];
    if (parent) parents.set(one, parent);
  }
  return rows
    .filter((one) => !parents.has(one))
    .flatMap((one) => [one, ...rows.filter((other) => parents.get(other) === one)])
    .map((one) => one.at);
}

const VERDICTS = ["better", "same", "worse", "untested"];
const ms = (key, nth) => (_, row) => row[key]?.ms[nth];
const speed = (key) => (group, row) =>
  group.rows.some((other) => known(other[key]?.speedup)) ? row[key]?.speedup : row[key]?.ms[0];

/** What each column is sorted by, in the order of the columns; those that are shown at first are true. */
const COLUMNS = {
  accuracy: [(group, row) => split(group, row)?.mean, true],
  delta: [(_, row) => row.delta?.mean, true],
  macs: [(_, row) => row.macs, true],
  one: [speed("one"), true],
  many: [speed("many"), true],
  budget: [(_, row) => row.budget, true],
  off: [(_, row) => row.budget_off],
  params: [(_, row) => row.params],
  params_nonzero: [(_, row) => row.params_nonzero],
  macs_nonzero: [(_, row) => row.macs_nonzero],
  activations: [(_, row) => row.activations],
  depth: [(_, row) => row.depth],
  epochs: [(_, row) => row.epochs],
  validation: [(_, row) => row.validation?.mean],
  test: [(_, row) => row.test?.mean],
  seeds: [(group, row) => split(group, row)?.n],
  p: [(_, row) => row.delta?.p],
  p_holm: [(_, row) => row.delta?.p_holm],
  one_p50: [ms("one", 0)],
  one_p90: [ms("one", 1)],
  one_p99: [ms("one", 2)],
  many_p50: [ms("many", 0)],
  many_p90: [ms("many", 1)],
  many_p99: [ms("many", 2)],
  memory: [(_, row) => row.memory?.infer],
  memory_train: [(_, row) => row.memory?.train],
  energy: [(_, row) => row.energy],
  verdict: [(_, row) => (row.delta ? VERDICTS.indexOf(row.delta.verdict) : null), true],
};

/** Columns that the ranking has at first, or, with `all`, those that can be switched on. */
export function columns(group, all) {
  const used = Object.entries(COLUMNS).filter(([, [value]]) => group.rows.some((row) => known(value(group, row))));
  const keys = used.filter(([, [, usual]]) => all || usual).map(([key]) => key);
  return all ? keys : ["rank", "label", ...keys];
}

function label(group, row) {
  const again = group.rows.some((other) => other !== row && other.label === row.label);
  return row.budget && again && !row.label.includes(row.budget) ? `${row.label} (${row.budget})` : row.label;
}

/** Rows in the order of a column; those without a value are last either way, and equal ones as ranked. */
export function sorted(group, column, down) {
  const order = ranking(group);
  const value = (at) => {
    if (column === "rank") return order.indexOf(at);
    if (column === "label") return label(group, group.rows[at]);
    return COLUMNS[column][0](group, group.rows[at]);
  };
  const sign = down ? -1 : 1;
  return [...order].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!known(x) || !known(y)) return Number(!known(x)) - Number(!known(y));
    if (typeof x === "string") return sign * x.localeCompare(y, undefined, { numeric: true, sensitivity: "base" });
    return sign * (x - y);
  });
}

const settings = (options) =>
  Object.entries(options ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** Rows that pass filters, in the order of the ranking. */
export function passing(group, { q = "", off = [], controls = true, share = null, front = null }) {
  return ranking(group).filter((at) => {
    const row = group.rows[at];
    const text = [row.label, row.method, row.replaced, row.budget, settings(row.options)].join(" ").toLowerCase();
    return (
      q
        .toLowerCase()
        .split(/\s+/)
        .every((word) => text.includes(word)) &&
      !off.includes(row.method) &&
      (controls || row.rank !== "control") &&
      (share === null || (known(shareOf(group, row)) && shareOf(group, row) <= share)) &&
      (front === null ||
        (front.startsWith("unbeaten-")
          ? row.front?.[front.slice(9)] !== "beaten"
          : row.front?.[front] === "front"))
    );
  });
}

/** For each part with plots, the rows that its first drawing, and each further one, has a mark for. */
export function plots(group, rows) {
  const parts = {};
  const those = (holds) => rows.filter((at) => holds(group.rows[at])).sort((a, b) => a - b);
  const all = (holds) => group.rows.some(holds);
  const time = (key) => (row) => known(row[key]?.ms[0]);
  const costs = {
    macs: (row) => known(row.macs),
    params: (row) => known(row.params),
    one: time("one"),
    many: time("many"),
  };
  const first = Object.keys(costs).find((key) => all(costs[key]));
  const accurate = (row) => known(split(group, row));
  if (first && all(accurate)) parts.cost = [those((row) => accurate(row) && costs[first](row))];
  const option = group.options.find((name) => all((row) => known(row.options[name])));
  if (option) {
    const has = [accurate, costs.macs, costs.one, costs.many, costs.params];
    let panels = has.filter((holds) => all(holds));
    if (panels.includes(costs.one)) panels = panels.filter((holds) => holds !== costs.many);
    if (panels.length > 3) panels = panels.filter((holds) => holds !== costs.params);
    parts.option = panels.map((holds) => those((row) => known(row.options[option]) && holds(row)));
  }
  if (all((row) => row.curve)) parts.curves = [those((row) => row.curve)];
  const speeds = ["one", "many"].map((key) => (row) => known(row[key]?.speedup) && known(row[key]?.theory));
  const timed = speeds.find((holds) => all(holds));
  if (timed) parts.speed = [those(timed)];
  return parts;
}

const fixed = (value) => {
  const text = Math.abs(value).toFixed(2);
  return value < 0 && Number(text) !== 0 ? "−" + text : text;
};
const signed = (value) => (value > 0 && Number(value.toFixed(2)) !== 0 ? "+" : "") + fixed(value);

function count(value) {
  const at = ["", "k", "M", "G"].findIndex((_, nth) => Number((value / 1000 ** nth).toPrecision(4)) < 1000);
  return at === 0 ? String(value) : (value / 1000 ** at).toPrecision(4) + ["", "k", "M", "G"][at];
}

/** What the tooltip of a row has to say. */
export function tooltip(group, row) {
  const pieces = [label(group, row), count(row.macs), count(row.params)];
  const stat = split(group, row);
  if (stat) pieces.push(fixed(stat.mean) + " %");
  if (stat && known(stat.low)) pieces.push("±" + ((stat.high - stat.low) / 2).toFixed(2));
  if (row.delta) pieces.push(signed(row.delta.mean));
  for (const time of [row.one, row.many]) if (time && known(time.speedup)) pieces.push(time.speedup.toFixed(2) + "×");
  if (row.delta)
    pieces.push({ better: "better", worse: "worse", same: "not told apart", untested: "untested" }[row.delta.verdict]);
  return pieces;
}
