// Learning curves: validation accuracy by epoch, the mean over seeds in a band from the least to the most.

function curveSection(view) {
  const group = view.group;
  if (!group.rows.some((row) => row.curve)) return null;
  const place = el("div", { class: "drawing" });
  const list = el("ul", { class: "curve-legend" });
  // What no filter changes is made once.
  const all = group.order.filter((row) => row.curve);
  const keep = { dash: dashes(all), choose: null, lines: new Map(), layer: svg("g", { class: "curves" }) };
  keep.entries = new Map(all.map((row) => [row, curveEntry(view, row, keep.dash.get(row), (one) => keep.choose(one))]));
  list.append(...keep.entries.values());
  const part = view.part("curves", (rows, width) => {
    const shown = rows.filter((row) => row.curve);
    // The legend stands beside the plot where there is room for both.
    const beside = width >= 800;
    const size = { width: beside ? width - 290 : width, height: width < 600 ? 320 : 400 };
    drawCurves(group, { node: place, ...size }, list, shown, keep);
  });
  const hint = el(
    "p",
    { class: "dim" },
    "Validation top-1 after each epoch, mean over seeds; the band spans the seeds. " +
      "Point at a name or a curve to single it out.",
  );
  part.element.append(heading("Learning curves"), hint, el("div", { class: "beside" }, place, list));
  return part;
}

/** Rows of one method share its colour; the dashes tell them apart, the same whatever the filters leave. */
function dashes(rows) {
  const seen = new Map();
  return new Map(
    rows.map((row) => {
      const nth = seen.get(row.method) || 0;
      seen.set(row.method, nth + 1);
      return [row, nth];
    }),
  );
}

function bandPath(curve, x, y) {
  const top = curve.epoch.map((epoch, at) => r(x(epoch)) + " " + r(y(curve.high[at])));
  const bottom = curve.epoch.map((epoch, at) => r(x(epoch)) + " " + r(y(curve.low[at]))).reverse();
  return "M" + top.concat(bottom).join("L") + "z";
}

function newCurve(row, dash) {
  const { curve } = row;
  const path = svg("path", { class: "series", "stroke-dasharray": DASHES[dash % DASHES.length] });
  const end = svg("g", null, shape(row.mark));
  const node = svg("g", { class: "mark curve", "data-row": row.at, ink: row.color }, path);
  const phases = (curve.phase || [])
    .filter(([epoch]) => curve.epoch.includes(epoch))
    .map(([epoch, name]) => {
      const circle = svg("circle", { class: "phase", r: 3.5 }, svg("title", null, name));
      node.append(circle);
      return [curve.epoch.indexOf(epoch), circle];
    });
  node.append(end);
  return { node, path, end, phases };
}

function drawCurves(group, { node, width, height }, list, rows, keep) {
  if (keep.choose) keep.choose(null);
  if (keep.width !== width) {
    keep.width = width;
    keep.svg = drawing(width, height, "Learning curves");
    curveHover(group, keep);
    node.replaceChildren(keep.svg);
  }
  const drawn = svg("g");
  const all = rows.flatMap((row) => [...row.curve.mean, ...(row.curve.low || []), ...(row.curve.high || [])]);
  const range = span(all, { most: 100, least: 0 });
  const epochs = rows.flatMap((row) => row.curve.epoch);
  const last = epochs.reduce((most, epoch) => Math.max(most, epoch), 1);
  const first = epochs.reduce((least, epoch) => Math.min(least, epoch), last);
  const across = first === last ? [first - 0.5, last + 0.5] : [first, last];
  const whole = ticks(...across, Math.max(2, width / 90)).filter(Number.isInteger);
  const { x, y, box } = axes(
    drawn,
    width,
    height,
    { range: across, title: "epoch", format: String, ticks: whole },
    { range, title: "Validation top-1, %", format: fixed },
  );
  const bands = svg("g", { class: "bands" });
  const lines = keep.layer;
  const { dash, entries } = keep;
  for (const row of rows) {
    const { curve } = row;
    if (!keep.lines.has(row)) keep.lines.set(row, newCurve(row, dash.get(row)));
    const { path, end, phases } = keep.lines.get(row);
    const points = curve.epoch.map((epoch, nth) => r(x(epoch)) + " " + r(y(curve.mean[nth])));
    put(path, "d", "M" + points.join("L"));
    put(end, "transform", "translate(" + points[points.length - 1] + ")");
    for (const [nth, circle] of phases) put(circle, "transform", "translate(" + points[nth] + ")");
  }
  keepOnly(
    lines,
    rows.map((row) => keep.lines.get(row).node),
  );
  const band = (row, kind) => {
    const { curve } = row;
    if (!curve.low || !curve.high) return null;
    return svg("path", { class: kind, d: bandPath(curve, x, y), ink: row.color });
  };
  // Many bands on top of each other say nothing: then a band is shown with the curve that is singled out.
  if (rows.length <= 8) bands.append(...rows.map((row) => band(row, "band")).filter(known));
  drawn.append(bands);
  let chosen = null;
  const choose = (row) => {
    if (row === chosen) return;
    for (const part of [keep.svg, list]) part.classList.toggle("has-chosen", Boolean(row));
    for (const old of [keep.svg, list])
      old.querySelectorAll(".chosen").forEach((one) => one.classList.remove("chosen"));
    bands.querySelector(".single")?.remove();
    if (row) {
      keep.lines.get(row).node.classList.add("chosen");
      entries.get(row).firstChild.classList.add("chosen");
      bands.append(band(row, "band single") || "");
      // On top of all others.
      lines.append(keep.lines.get(row).node);
    }
    chosen = row;
  };
  Object.assign(keep, { choose, rows, x, y, box });
  const there = new Set(rows);
  for (const [row, entry] of entries) if (entry.hidden === there.has(row)) entry.hidden = !there.has(row);
  list.style.setProperty("--most", height + "px");
  for (const old of [...keep.svg.children]) if (old !== lines) old.remove();
  keep.svg.prepend(drawn);
  if (lines.parentNode !== keep.svg) keep.svg.append(lines);
}

function curveEntry(view, row, dash, choose) {
  const last = row.curve.mean[row.curve.mean.length - 1];
  const button = el(
    "button",
    { type: "button", class: "curve-name", "aria-label": row.name + ", last " + accuracy(last) + " %" },
    lineKey(row, dash),
    el("span", { class: "name" }, row.name),
    el("span", { class: "num dim" }, accuracy(last)),
  );
  button.addEventListener("pointerenter", () => choose(row));
  button.addEventListener("pointerleave", () => choose(null));
  button.addEventListener("focus", () => {
    choose(row);
    follow = () => {
      const box = button.getBoundingClientRect();
      showTip(curveTip(view.group, row, row.curve.mean.length - 1), box.right, box.top + box.height / 2);
    };
    follow();
  });
  button.addEventListener("blur", () => {
    choose(null);
    hideTip();
  });
  button.addEventListener("click", () => view.ranking.reveal(row));
  return el("li", { "data-row": row.at }, button);
}

function curveTip(group, row, at) {
  const { curve } = row;
  const phase = [...(curve.phase || [])].reverse().find(([epoch]) => epoch <= curve.epoch[at]);
  const epoch = "Epoch " + curve.epoch[at] + (phase ? " (" + phase[1] + ")" : "");
  const [low, high] = [curve.low && curve.low[at], curve.high && curve.high[at]];
  const range = known(low) && low !== high ? ", " + accuracy(low) + " to " + accuracy(high) : "";
  return [
    el("p", { class: "tip-head" }, inlineMark(row), el("strong", null, row.name)),
    el("p", null, epoch + ": " + accuracy(curve.mean[at]) + " %" + range),
  ];
}

/** Shows the nearest curve's numbers at the nearest epoch. */
function curveHover(group, keep) {
  const drawn = keep.svg;
  const look = (event) => {
    const { rows, x, y, box, choose } = keep;
    const frame = drawn.getBoundingClientRect();
    const zoom = drawn.viewBox.baseVal.width / frame.width;
    const [px, py] = [(event.clientX - frame.left) * zoom, (event.clientY - frame.top) * zoom];
    let best = null;
    for (const row of rows) {
      let nearest = 0;
      row.curve.epoch.forEach((epoch, at) => {
        if (Math.abs(x(epoch) - px) < Math.abs(x(row.curve.epoch[nearest]) - px)) nearest = at;
      });
      const far = Math.abs(y(row.curve.mean[nearest]) - py);
      if (far < 40 && (!best || far < best.far)) best = { row, at: nearest, far };
    }
    if (!best || px < box.left - 20) {
      choose(null);
      return hideTip();
    }
    choose(best.row);
    const { curve } = best.row;
    showTip(
      curveTip(group, best.row, best.at),
      frame.left + x(curve.epoch[best.at]) / zoom,
      frame.top + y(curve.mean[best.at]) / zoom,
    );
  };
  drawn.addEventListener("pointermove", look);
  drawn.addEventListener("click", look);
  drawn.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return;
    keep.choose(null);
    hideTip();
  });
}
