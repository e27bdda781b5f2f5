// Two networks side by side, layer by layer: a bar to the left for the first, to the right for the second.

const MEASURES = [
  { key: "macs", name: "MACs", write: count, sum: true },
  { key: "params", name: "Params", write: count, sum: true },
  { key: "ms", name: "Time, ms", write: three, sum: true },
  { key: "depth", name: "Depth", write: (value) => (known(value) ? String(value) : NONE), sum: false },
];

function layerSection(view) {
  const group = view.group;
  const rows = group.order.filter((row) => row.layers);
  if (!rows.length || !(group.layer_names || []).length) return null;
  const vanilla = rows.find((row) => row.at === group.vanilla);
  const left = vanilla || rows[0];
  const right = rows.find((row) => row !== left && row.rank === "studied") || rows.find((row) => row !== left) || left;
  const choice = { left, right, measure: "macs" };
  const place = el("div", { class: "layers-box" });
  const part = view.part("layers", () => place.replaceChildren(layerTable(group, choice)), { filters: false });
  const names = rows.map((row) => [String(row.at), row.name]);
  const chooser = (side, text) =>
    labelled(
      text,
      select(text, names, String(choice[side].at), (at) => {
        choice[side] = group.rows[Number(at)];
        part.again();
      }),
    );
  const measures = MEASURES.filter((measure) => rows.some((row) => row.layers[measure.key]));
  const measure = labelled(
    "Show",
    select(
      "Measure",
      measures.map((one) => [one.key, one.name]),
      choice.measure,
      (key) => {
        choice.measure = key;
        part.again();
      },
    ),
  );
  measure.classList.add("narrow-only");
  part.element.append(
    heading("Layers side by side", chooser("left", "Left"), chooser("right", "Right"), measure),
    place,
  );
  return part;
}

function cells(row, key) {
  row.expanded = row.expanded || {};
  if (!row.expanded[key]) row.expanded[key] = expand(row.layers[key]);
  return row.expanded[key];
}

function total(column) {
  const values = column ? column.filter(known) : [];
  return values.length ? values.reduce((sum, value) => sum + value, 0) : null;
}

/** A pair of bars that grow from the middle. */
function butterfly(left, right, most, choice) {
  const width = (value) => (known(value) && most > 0 ? (48 * value) / most : 0);
  const picture = svg("svg", { class: "butterfly", height: 12, "aria-hidden": "true" });
  const [a, b] = [width(left), width(right)];
  picture.append(
    svg("rect", { x: (50 - a).toFixed(2) + "%", y: 1.5, width: a.toFixed(2) + "%", height: 9, ink: choice.left.color }),
    svg("rect", { x: "50%", y: 1.5, width: b.toFixed(2) + "%", height: 9, ink: choice.right.color }),
    svg("line", { class: "zero", x1: "50%", x2: "50%", y1: 0, y2: 12 }),
  );
  return picture;
}

function layerTable(group, choice) {
  const both = [choice.left, choice.right];
  const measures = MEASURES.filter((measure) => both.some((row) => row.layers[measure.key]));
  const columns = new Map(measures.map((measure) => [measure.key, both.map((row) => cells(row, measure.key))]));
  const makers = both.map((row) => cells(row, "made_by"));
  const shown = (measure) => (measure.key === choice.measure ? " now" : "");
  const head = [el("th", { scope: "col", rowspan: 2 }, "Layer")];
  const names = [];
  for (const measure of measures) {
    const wide = measure.sum ? 3 : 2;
    head.push(el("th", { scope: "colgroup", colspan: wide, class: "measure" + shown(measure) }, measure.name));
    names.push(el("th", { scope: "col", class: "num measure" + shown(measure), title: choice.left.label }, "left"));
    if (measure.sum) names.push(el("th", { class: "bars measure" + shown(measure) }));
    names.push(el("th", { scope: "col", class: "side measure" + shown(measure), title: choice.right.label }, "right"));
  }
  head.push(el("th", { scope: "colgroup", colspan: 2, class: "maker" }, "Made by"));
  names.push(el("th", { scope: "col", class: "maker" }, "left"), el("th", { scope: "col", class: "maker" }, "right"));
  const body = el("tbody");
  const line = (name, at, isTotal) => {
    const row = el("tr", { class: isTotal ? "total-line" : null }, el("th", { scope: "row" }, name));
    for (const measure of measures) {
      const [a, b] = columns.get(measure.key).map((column) => (!column ? null : isTotal ? total(column) : column[at]));
      const kind = "measure" + shown(measure);
      const write = isTotal && !measure.sum ? () => "" : measure.write;
      row.append(el("td", { class: "num " + kind }, write(a)));
      if (measure.sum) {
        const most = Math.max(0, ...columns.get(measure.key).flatMap((column) => (column || []).filter(known)));
        const bars = isTotal ? (known(a) && known(b) && a > 0 ? percent(b / a) : "") : butterfly(a, b, most, choice);
        row.append(el("td", { class: "bars " + kind }, bars));
      }
      row.append(el("td", { class: "side " + kind }, write(b)));
    }
    for (const column of makers)
      row.append(el("td", { class: "maker" }, isTotal ? "" : (column && column[at]) || NONE));
    body.append(row);
  };
  group.layer_names.forEach((name, at) => {
    // A layer that neither network has would be an empty line.
    if (measures.some((measure) => columns.get(measure.key).some((column) => column && known(column[at]))))
      line(name, at, false);
  });
  line("All layers", null, true);
  const key = el(
    "p",
    { class: "legend sides" },
    el("span", { class: "entry" }, inlineMark(choice.left), "left: " + choice.left.name),
    el("span", { class: "entry" }, inlineMark(choice.right), "right: " + choice.right.name),
  );
  const table = el("table", { class: "layers" }, el("thead", null, el("tr", null, head), el("tr", null, names)), body);
  return el("div", null, key, el("div", { class: "scroll" }, table));
}
