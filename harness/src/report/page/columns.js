// The ranking's columns. `down` says in which direction a first click sorts: the best first.

/** A cell's text, with a second, quieter one beside it. */
function pair(main, more) {
  return more
    ? [el("span", { class: "main" }, main), " ", el("small", null, more)]
    : [el("span", { class: "main" }, main)];
}

function statColumn(key, head, about, width, of) {
  return {
    key,
    head,
    about,
    width,
    down: true,
    value: (row) => (of(row) ? of(row).mean : null),
    cell: (row) => (of(row) ? pair(accuracy(of(row).mean), half(of(row))) : [NONE]),
  };
}

function plain(key, head, about, of, write, down = false, width = 5.2) {
  return { key, head, about, width, down, value: of, cell: (row) => [write(of(row))] };
}

/** Measured time of one image or of a batch: how much faster than vanilla, beside what the MACs promise. */
function timeColumn(group, key, what) {
  const relative = group.rows.some((row) => row[key] && known(row[key].speedup));
  return {
    key,
    head: relative ? "Speed-up, " + what : "Time, " + what,
    about: relative
      ? "Measured speed-up over vanilla, of the theoretical one (vanilla's MACs over this network's)"
      : "Median of the measured time",
    width: 9.2,
    down: relative,
    value: (row) => (row[key] ? (relative ? row[key].speedup : row[key].ms[0]) : null),
    lose: (row) => relative && row.at !== group.vanilla && slower(row[key]),
    cell: (row) => {
      const time = row[key];
      if (!time) return [NONE];
      const sign = (row.at !== group.vanilla && slower(time) ? "▼" + THIN : "") + (time.noisy ? "~" : "");
      if (!relative || !known(time.speedup)) return pair(sign + milliseconds(time.ms[0]));
      return pair(sign + times(time.speedup), known(time.theory) ? "of " + times(time.theory) : "");
    },
  };
}

const VERDICT_ORDER = { better: 0, same: 1, worse: 2, untested: 3 };

/** All columns that a group has something to show in, in their order; those with `usual` are shown at first. */
function columnsOf(group) {
  const images = group.speed ? "batch of " + group.speed.images : "batch";
  const name = splitName(group);
  const percentile = (key, nth) => (row) => (row[key] ? row[key].ms[nth] : null);
  const all = [
    {
      key: "rank",
      head: "#",
      about: "Place by the mean difference to vanilla; controls under what they control",
      width: 3,
      usual: true,
      fixed: true,
      down: false,
      value: (row) => row.place,
      cell: (row) => [row.number],
    },
    {
      key: "label",
      head: "Method",
      about: "Method and options",
      width: 13,
      usual: true,
      fixed: true,
      down: false,
      value: (row) => row.name,
      cell: () => [],
    },
    {
      ...statColumn(
        "accuracy",
        name + " top-1, %",
        "Mean over seeds, ± 95 % interval of the mean",
        8,
        (row) => row.accuracy,
      ),
      usual: true,
    },
    {
      key: "delta",
      head: "Δ to vanilla, points",
      short: "Δ to vanilla",
      about: "Paired by seed, with its 95 % interval",
      width: 16,
      usual: true,
      down: true,
      value: (row) => (row.delta ? row.delta.mean : null),
      lose: (row) => Boolean(row.delta) && row.delta.verdict === "worse",
      cell: (row) => deltaCell(group, row),
    },
    {
      key: "macs",
      head: "MACs, % of vanilla",
      short: "MACs",
      about: "Counted multiply-accumulates of one image",
      width: 8.4,
      usual: true,
      down: false,
      value: (row) => row.macs,
      cell: (row) => pair(count(row.macs), known(row.share) ? percent(row.share) : ""),
    },
    { ...timeColumn(group, "one", "one image"), usual: true },
    { ...timeColumn(group, "many", images), usual: true },
    {
      key: "budget",
      head: "Budget",
      about: "What the network was to cost, and by how much it misses that",
      width: 7,
      usual: true,
      down: false,
      value: (row) => row.budget,
      lose: over,
      cell: (row) =>
        row.budget ? pair(row.budget, over(row) ? "▲" + THIN + percent(row.budget_off) + " over" : "") : [NONE],
    },
    plain("off", "Off budget", "By how much it misses its budget", (row) => row.budget_off, signedPercent),
    plain("params", "Params", "Parameters", (row) => row.params, count),
    plain(
      "params_nonzero",
      "Params nonzero",
      "Parameters that no mask holds at zero",
      (row) => row.params_nonzero,
      count,
    ),
    plain(
      "macs_nonzero",
      "MACs nonzero",
      "MACs with weights that no mask holds at zero",
      (row) => row.macs_nonzero,
      count,
    ),
    plain("activations", "Activations", "Values written by convolutions", (row) => row.activations, count, false, 6),
    plain(
      "depth",
      "Depth",
      "Effective depth of the modules",
      (row) => row.depth,
      (value) => (known(value) ? String(value) : NONE),
    ),
    plain(
      "epochs",
      "Epochs",
      "Epochs of training",
      (row) => row.epochs,
      (value) => (known(value) ? String(value) : NONE),
      true,
    ),
    statColumn("validation", "Validation, %", "Validation top-1, ± 95 % interval", 8, (row) => row.validation),
    statColumn("test", "Test, %", "Test top-1, ± 95 % interval", 8, (row) => row.test),
    plain(
      "seeds",
      "Seeds",
      "Seeds trained",
      (row) => (row.accuracy ? row.accuracy.n : null),
      (value) => (known(value) ? String(value) : NONE),
      true,
      4.2,
    ),
    plain("p", "p", "Paired t-test against vanilla", (row) => row.delta && row.delta.p, probability),
    plain(
      "p_holm",
      "p, Holm",
      "The same, corrected for the number of comparisons",
      (row) => row.delta && row.delta.p_holm,
      probability,
    ),
  ];
  ["p50", "p90", "p99"].forEach((quantile, nth) =>
    all.push(
      plain(
        "one_" + quantile,
        "One image, " + quantile,
        "Measured latency of one image",
        percentile("one", nth),
        milliseconds,
        false,
        6,
      ),
    ),
  );
  ["p50", "p90", "p99"].forEach((quantile, nth) =>
    all.push(
      plain(
        "many_" + quantile,
        "Batch, " + quantile,
        "Measured latency of a " + images,
        percentile("many", nth),
        milliseconds,
        false,
        6,
      ),
    ),
  );
  all.push(
    plain("memory", "Memory, MiB", "Memory for inference", (row) => row.memory && row.memory.infer, three),
    plain(
      "memory_train",
      "Memory, training, MiB",
      "Memory for training",
      (row) => row.memory && row.memory.train,
      three,
      false,
      6,
    ),
    plain("energy", "Energy, mJ", "Energy of one image in a batch", (row) => row.energy, three),
    {
      key: "verdict",
      head: "Verdict",
      about: "Against vanilla, by the Holm-corrected test",
      width: 9.2,
      usual: true,
      down: false,
      value: (row) => (row.delta ? VERDICT_ORDER[row.delta.verdict] : null),
      lose: (row) => Boolean(row.delta) && row.delta.verdict === "worse",
      cell: (row) => pair(verdict(group, row), row.delta && row.delta.verdict === "untested" ? row.delta.why : ""),
    },
  );
  return all.filter((column) => column.fixed || group.rows.some((row) => known(column.value(row))));
}

function shownColumns(group) {
  return group.columns.filter(
    (column) => column.fixed || (state.columns ? state.columns.has(column.key) : column.usual),
  );
}

/** The scale of all small pictures of intervals in a group: the same for every row, whatever the filters leave. */
function deltaScale(group) {
  const values = [0];
  for (const row of group.rows) {
    if (row.delta) values.push(row.delta.mean, ...[row.delta.low, row.delta.high].filter(known));
  }
  let [low, high] = [Math.min(...values), Math.max(...values)];
  // One row with a very wide interval must not press all others together: then its whisker leaves the picture.
  const means = group.rows.filter((row) => row.delta).map((row) => row.delta.mean);
  const [least, most] = [Math.min(0, ...means), Math.max(0, ...means)];
  const room = Math.max(1.2 * (most - least), 0.5);
  low = Math.max(low, least - room);
  high = Math.min(high, most + room);
  if (high === low) [low, high] = [-1, 1];
  const air = 0.06 * (high - low);
  return { low: low - air, high: high + air };
}

function deltaCell(group, row) {
  const delta = row.delta;
  const at = (value) => (100 * (value - group.scale.low)) / (group.scale.high - group.scale.low);
  const place = (value) => Math.min(100, Math.max(0, at(value))).toFixed(2) + "%";
  // The zero line runs through the whole cell, so that it is one line down the table; the rest sits in the middle.
  const middle = svg("svg", { y: "50%", overflow: "visible" });
  const zero = svg("line", { class: "zero", x1: place(0), x2: place(0), y1: 0, y2: "100%" });
  const picture = svg("svg", { class: "whisker", "aria-hidden": "true", ink: row.color }, zero, middle);
  if (delta && known(delta.low)) {
    middle.append(svg("line", { class: "bar", x1: place(delta.low), x2: place(delta.high), y1: 0, y2: 0 }));
    for (const end of [delta.low, delta.high]) {
      // No cap where the whisker goes on beyond the scale.
      if (at(end) >= 0 && at(end) <= 100) {
        middle.append(svg("line", { class: "bar", x1: place(end), x2: place(end), y1: -3, y2: 3 }));
      }
    }
  }
  const mean = delta ? delta.mean : row.at === group.vanilla ? 0 : null;
  if (known(mean)) middle.append(svg("circle", { class: "dot", cx: place(mean), cy: 0, r: 3.2 }));
  const lost = delta && delta.verdict === "worse";
  const text = delta ? (lost ? "▼" + THIN : "") + signed(delta.mean) : NONE;
  return [el("span", { class: "main" }, text), picture];
}
