// The two scatter plots: accuracy over what a network costs, and realized over theoretical speed-up.

function costFormat(key) {
  return key === "macs" || key === "params" ? shortCount : fixed;
}

function heading(text, ...controls) {
  return el("div", { class: "section-head" }, el("h3", null, text), el("div", { class: "controls" }, controls));
}

function costSection(view) {
  const group = view.group;
  const keys = costs(group).filter(() => group.rows.some((row) => row.accuracy));
  if (!keys.length) return null;
  const choice = { key: keys[0], log: false };
  const place = el("div", { class: "drawing" });
  const stage = new Stage(place);
  const below = el("div");
  const part = view.part("cost", (rows, width) => {
    const { key, log } = choice;
    const front = (row) => standing(row, key) === "front";
    const beaten = (row) => standing(row, key) === "beaten";
    const of = (row) => {
      const at = cost(row, key);
      if (!row.accuracy || !known(at) || (log && at <= 0)) return null;
      return { x: at, y: row.accuracy.mean, low: row.accuracy.low, high: row.accuracy.high };
    };
    const values = rows.map(of).filter(known);
    const range = span(
      values.flatMap((value) => [value.y, value.low, value.high]),
      { most: 100, least: 0 },
    );
    const across = span(
      values.map((value) => value.x),
      { zero: true, log },
    );
    const unlabelled = scatter(stage, {
      group,
      rows,
      width,
      of,
      front,
      beaten,
      open: (row) => view.ranking.reveal(row),
      height: width < 600 ? 340 : 470,
      name: splitName(group) + " accuracy over " + costName(group, key),
      x: {
        range: across,
        title: costName(group, key) + (key === "one" || key === "many" ? ", ms" : ""),
        format: costFormat(key),
        log,
      },
      y: { range, title: splitName(group) + " top-1, %", format: fixed },
    });
    const members = values.length && rows.some(front);
    const extra = members
      ? [el("span", { class: "entry" }, el("i", { class: "front-key" }), "Pareto front of the means")]
      : [];
    if (rows.some(beaten))
      extra.push(el("span", { class: "entry dim" }, "faded: another that costs no more is better, by a verdict"));
    below.replaceChildren(
      legend(
        group,
        rows.filter((row) => of(row)),
        unlabelled,
        extra,
      ),
    );
  });
  const controls = [
    labelled(
      "Over",
      select(
        "Cost on the x axis",
        keys.map((key) => [key, costName(group, key)]),
        choice.key,
        (key) => {
          choice.key = key;
          part.again();
        },
      ),
    ),
    checkbox("Log scale", false, (log) => {
      choice.log = log;
      part.again();
    }),
  ];
  part.element.append(heading("Accuracy over cost", ...controls), place, below);
  return part;
}

function speedSection(view) {
  const group = view.group;
  const has = (row, key) => row[key] && known(row[key].speedup) && known(row[key].theory);
  const keys = ["one", "many"].filter((key) => group.rows.some((row) => has(row, key)));
  if (!keys.length) return null;
  const choice = { key: keys[0] };
  const place = el("div", { class: "drawing" });
  const stage = new Stage(place);
  const below = el("div");
  const part = view.part("speed", (rows, width) => {
    const key = choice.key;
    const of = (row) =>
      has(row, key) ? { x: row[key].theory, y: row[key].speedup, low: row[key].low, high: row[key].high } : null;
    const values = rows.map(of).filter(known);
    const across = span(values.map((value) => value.x).concat(1), { zero: true, least: 0 });
    const range = span(values.flatMap((value) => [value.y, value.low, value.high]).concat(1), { zero: true, least: 0 });
    const format = (value, decimals) => fixed(value, decimals) + "×";
    const unlabelled = scatter(stage, {
      group,
      rows,
      width,
      of,
      front: null,
      beaten: null,
      open: (row) => view.ranking.reveal(row),
      height: width < 600 ? 340 : 420,
      diagonal: true,
      name: "Realized over theoretical speed-up",
      x: { range: across, title: "theoretical speed-up: vanilla's MACs over the network's", format },
      y: { range, title: "realized speed-up, " + costName(group, key).replace("time of ", ""), format },
    });
    below.replaceChildren(
      legend(
        group,
        rows.filter((row) => of(row)),
        unlabelled,
      ),
    );
  });
  const names = keys.map((key) => [key, costName(group, key).replace("time of ", "")]);
  const control = labelled(
    "For",
    select("What was timed", names, choice.key, (key) => {
      choice.key = key;
      part.again();
    }),
  );
  part.element.append(heading("Realized against theoretical speed-up", control));
  if (group.speed && group.speed.note) part.element.append(el("p", { class: "dim" }, group.speed.note));
  part.element.append(place, below);
  return part;
}
