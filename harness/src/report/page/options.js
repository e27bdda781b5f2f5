// Accuracy and cost over an option: a line for each series of rows that agree in every other option.

const OPTION_PANELS = {
  accuracy: (group) => ({
    title: splitName(group) + " top-1, %",
    of: (row) => row.accuracy && row.accuracy.mean,
    low: (row) => row.accuracy.low,
    high: (row) => row.accuracy.high,
    format: fixed,
    most: 100,
  }),
  macs: () => ({ title: "MACs", of: (row) => row.macs, format: shortCount, zero: true }),
  params: () => ({ title: "Params", of: (row) => row.params, format: shortCount, zero: true }),
  one: () => ({ title: "one image, ms", of: (row) => cost(row, "one"), format: fixed, zero: true }),
  many: (group) => ({
    title: costName(group, "many").replace("time of ", "") + ", ms",
    of: (row) => cost(row, "many"),
    format: fixed,
    zero: true,
  }),
};

function optionValue(value) {
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

/** Series over an option, in the order of the ranking; their rows from the smallest value to the largest. */
function seriesOver(option, rows) {
  const found = new Map();
  for (const row of rows) {
    if (!row.options || !known(row.options[option])) continue;
    const others = Object.fromEntries(
      Object.entries(row.options)
        .filter(([name]) => name !== option)
        .sort(),
    );
    const key = JSON.stringify([row.method, others, row.epochs]);
    const name = [row.method, settings(others)].filter(Boolean).join(" ");
    if (!found.has(key)) found.set(key, { name, rows: [] });
    found.get(key).rows.push(row);
  }
  return [...found.values()].flatMap((series) => apart(option, series));
}

/** A line has one row a value. Where several rows differ in their budget alone, each budget has a line. */
function apart(option, series) {
  const values = new Set(series.rows.map((row) => row.options[option]));
  if (values.size === series.rows.length) return [series];
  const budgets = [...new Set(series.rows.map((row) => row.budget))];
  return budgets.map((budget) => ({
    name: series.name + (budget ? " at " + budget : ""),
    rows: series.rows.filter((row) => row.budget === budget),
  }));
}

function optionSection(view) {
  const group = view.group;
  const options = (group.options || []).filter((name) =>
    group.rows.some((row) => row.options && known(row.options[name])),
  );
  if (!options.length) return null;
  const panels = ["accuracy", "macs", "one", "many", "params"]
    .filter((key) => group.rows.some((row) => known(OPTION_PANELS[key](group).of(row))))
    .filter((key, at, all) => key !== "params" || all.length < 3)
    .filter((key, at, all) => key !== "many" || !all.includes("one"));
  const choice = { option: options[0] };
  const place = el("div", { class: "panels" });
  const stages = panels.map((key) => [key, new Stage(place.appendChild(el("div")))]);
  const below = el("div", { class: "legend" });
  const part = view.part("option", (rows, width) => {
    const series = seriesOver(choice.option, rows);
    const values = [...new Set(series.flatMap((one) => one.rows.map((row) => row.options[choice.option])))].sort(
      (a, b) => compare(a, b, 1),
    );
    const across = width < 700 ? width : Math.floor((width - 24 * (panels.length - 1)) / panels.length);
    for (const [key, stage] of stages) {
      optionPanel(view, stage, OPTION_PANELS[key](group), choice.option, series, values, across);
    }
    below.replaceChildren(...optionLegend(group, series));
  });
  const control = labelled(
    "Option",
    select(
      "Option",
      options.map((name) => [name, name]),
      choice.option,
      (option) => {
        choice.option = option;
        part.again();
      },
    ),
  );
  part.element.append(heading("Accuracy and cost over an option", control), place, below);
  return part;
}

/** Lines by name; networks that have no other to be joined with, by method alone: their marks say who they are. */
function optionLegend(group, series) {
  const lines = series.filter((one) => one.rows.length > 1);
  const lone = new Set(series.filter((one) => one.rows.length === 1).map((one) => one.rows[0].method));
  for (const one of lines) lone.delete(one.rows[0].method);
  const entries = lines.map((one) =>
    el("span", { class: "entry" }, lineKey(one.rows[0], series.indexOf(one)), one.name),
  );
  const methods = group.methods.filter((row) => lone.has(row.method));
  const marks = methods.map((row) => el("span", { class: "entry" }, inlineMark(row), row.method));
  const names = (found) => el("p", { class: "methods" }, found);
  if (entries.length <= 24) return [names(entries.concat(marks))];
  const fold = el("details", null, el("summary", null, plural(entries.length, "line")), names(entries));
  return [names(marks), fold];
}

const DASHES = [null, "6 3", "2 3", "8 3 2 3", "12 4"];

/** A piece of line with its mark, as a key of a legend. */
function lineKey(row, nth) {
  const line = svg("line", {
    class: "series",
    x1: -13,
    x2: 13,
    y1: 0,
    y2: 0,
    "stroke-dasharray": DASHES[nth % DASHES.length],
  });
  return svg(
    "svg",
    { class: "line-key", viewBox: "-13 -7 26 14", width: 26, height: 14, ink: row.color, "aria-hidden": "true" },
    line,
    shape(row.mark),
  );
}

function optionPanel(view, stage, panel, option, series, values, width) {
  const group = view.group;
  const height = 250;
  const drawn = stage.begin(width, height, panel.title + " over " + option);
  const rows = series.flatMap((one) => one.rows).filter((row) => known(panel.of(row)));
  const vanilla = group.vanilla === null ? null : panel.of(group.rows[group.vanilla]);
  const bounds = rows.flatMap((row) => [
    panel.of(row),
    panel.low ? panel.low(row) : null,
    panel.high ? panel.high(row) : null,
  ]);
  const range = span(bounds.concat(vanilla), { zero: panel.zero, most: panel.most, least: 0 });
  const names = values.map(optionValue);
  const { x, y, box } = axes(
    drawn,
    width,
    height,
    {
      range: [-0.5, values.length - 0.5],
      ticks: values.map((_, nth) => nth),
      format: (nth) => shorten(names[nth], 14),
      title: option,
    },
    { range, title: panel.title, format: panel.format },
  );
  if (known(vanilla)) {
    drawn.append(svg("line", { class: "even", x1: box.left, x2: box.right, y1: y(vanilla), y2: y(vanilla) }));
    const above = y(vanilla) - box.top > 16;
    drawn.append(
      svg(
        "text",
        { class: "axis-title", x: box.right, y: y(vanilla) + (above ? -4 : 13), "text-anchor": "end" },
        "vanilla",
      ),
    );
  }
  // Series stand a little beside each other, so that their intervals can be told apart.
  const at = (value) => series.filter((one) => one.rows.some((row) => row.options[option] === value));
  const there = new Map(values.map((value) => [value, at(value)]));
  const room = (0.7 * (box.right - box.left)) / Math.max(1, values.length);
  const place = (one, value) => {
    const all = there.get(value);
    return x(values.indexOf(value)) + (all.indexOf(one) - (all.length - 1) / 2) * Math.min(9, room / all.length);
  };
  const points = [];
  series.forEach((one, nth) => {
    const line = one.rows
      .filter((row) => known(panel.of(row)))
      .map((row) => ({ row, x: place(one, row.options[option]), y: y(panel.of(row)) }))
      .sort((a, b) => a.x - b.x);
    if (!line.length) return;
    const d = "M" + line.map((point) => r(point.x) + " " + r(point.y)).join("L");
    drawn.append(
      svg("path", { class: "series", d, ink: one.rows[0].color, "stroke-dasharray": DASHES[nth % DASHES.length] }),
    );
    for (const point of line) {
      const whisker = panel.low && known(panel.low(point.row));
      const [low, high] = whisker ? [y(panel.low(point.row)), Math.max(box.top, y(panel.high(point.row)))] : [];
      const node = stage.mark(group, point.row, { ...point, low, high });
      points.push({ ...point, node, tip: () => rowTip(group, point.row), open: () => view.ranking.reveal(point.row) });
    }
  });
  stage.settle(points.sort((a, b) => a.x - b.x));
}
