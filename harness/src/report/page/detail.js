// What stands under a row that was opened: everything known of the network, and the trials its numbers come from.

function intervalText(stat) {
  if (!stat) return null;
  const text = accuracy(stat.mean) + THIN + "%";
  if (!known(stat.low)) return text + " (one seed)";
  return text + " (" + accuracy(stat.low) + " to " + accuracy(stat.high) + ", SD " + accuracy(stat.sd) + ")";
}

function deltaText(row) {
  const delta = row.delta;
  if (!delta) return null;
  const parts = [signed(delta.mean)];
  if (known(delta.low)) parts.push("(" + signed(delta.low) + " to " + signed(delta.high) + ")");
  if (known(delta.p)) parts.push("p = " + probability(delta.p) + (known(delta.p_holm) ? "," : ""));
  if (known(delta.p_holm)) parts.push("Holm " + probability(delta.p_holm));
  if (delta.why) parts.push("(" + delta.why + ")");
  return parts.join(" ").replace(/= </, "<");
}

function timeText(time) {
  if (!time) return null;
  const [middle, most, worst] = time.ms;
  const parts = [milliseconds(middle) + " (p90 " + three(most) + ", p99 " + three(worst) + ")"];
  if (known(time.speedup)) {
    const range = known(time.low) ? " (rounds " + times(time.low) + " to " + times(time.high) + ")" : "";
    parts.push(times(time.speedup) + range + (known(time.theory) ? " of " + times(time.theory) : ""));
  }
  if (time.noisy) parts.push("noisy: rounds differ by more than 10 %");
  return parts.join("; ");
}

function nonzero(all, kept) {
  return known(kept) ? count(all) + ", nonzero " + count(kept) : count(all);
}

function factList(group, row) {
  const images = group.speed ? "Batch of " + group.speed.images : "Batch";
  const pairs = [
    ["Method", row.method],
    ["Options", settings(row.options) || null],
    ["Replaced layers", row.replaced],
    ["Control of", (row.control_of || []).join(", ") || null],
    ["Controls", row.children.map((child) => child.name).join(", ") || null],
    ["Budget", row.budget && row.budget + (known(row.budget_off) ? ", off by " + signedPercent(row.budget_off) : "")],
    ["Test", intervalText(row.test)],
    ["Validation", intervalText(row.validation)],
    ["Δ to vanilla", deltaText(row)],
    ["MACs", nonzero(row.macs, row.macs_nonzero) + (known(row.share) ? ", " + percent(row.share) + " of vanilla" : "")],
    ["Params", nonzero(row.params, row.params_nonzero)],
    ["Activations", known(row.activations) ? count(row.activations) : null],
    ["Effective depth", known(row.depth) ? String(row.depth) : null],
    ["One image", timeText(row.one)],
    [images, timeText(row.many)],
    ["Memory", row.memory && three(row.memory.infer) + " MiB, training " + three(row.memory.train) + " MiB"],
    ["Energy", known(row.energy) ? three(row.energy) + " mJ an image" : null],
    ["Epochs", known(row.epochs) ? String(row.epochs) : null],
  ];
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (known(value)) list.append(el("div", null, el("dt", null, name), el("dd", null, value)));
  }
  return list;
}

function trialTable(row) {
  const trials = row.trials || [];
  if (!trials.length) return el("p", { class: "dim" }, "No trials: nothing was trained.");
  const heads = [
    ["Trial", ""],
    ["Seed", "num"],
    ["Validation, %", "num"],
    ["Test, %", "num"],
    ["Seconds", "num"],
    ["Commit", ""],
    ["Processor", "cpu"],
  ];
  const head = el(
    "tr",
    null,
    heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)),
  );
  const body = el("tbody");
  for (const trial of trials) {
    body.append(
      el(
        "tr",
        null,
        el("td", null, el("a", { href: trial.path, class: "key" }, trial.key)),
        el("td", { class: "num" }, known(trial.seed) ? String(trial.seed) : NONE),
        el("td", { class: "num" }, accuracy(trial.validation)),
        el("td", { class: "num" }, accuracy(trial.test)),
        el("td", { class: "num" }, known(trial.seconds) ? three(trial.seconds) : NONE),
        el("td", { class: "key" }, trial.commit || NONE),
        el("td", { class: "cpu" }, trial.cpu || NONE),
      ),
    );
  }
  return el("div", { class: "scroll" }, el("table", { class: "trials" }, el("thead", null, head), body));
}

function detail(group, row) {
  return el("div", { class: "detail-box" }, trialTable(row), factList(group, row));
}
