// Learning curves: validation accuracy by epoch, the mean over seeds in a band from the least to the most.

function curveSection(view) {
  const group = view.group;
  if (!group.rows.some((row) => row.curve)) return null;
  const place = el("div", { class: "drawing" });
  const list = el("ul", { class: "curve-legend" });
  const part = view.part("curves", (rows, width) => {
    const shown = rows.filter((row) => row.curve && row.curve.epoch.length);
    // The legend stands beside the plot where there is room for both.
    const beside = width >= 800;
    drawCurves(
      view,
      { node: place, width: beside ? width - 290 : width, height: width < 600 ? 320 : 400 },
      list,
      shown,
    );
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

/** Rows of one method share its colour; the dashes tell them apart. */
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

function drawCurves(view, { node, width, height }, list, rows) {
  const group = view.group;
  const drawn = drawing(width, height, "Learning curves");
  const all = rows.flatMap((row) => [...row.curve.mean, ...(row.curve.low || []), ...(row.curve.high || [])]);
  const range = span(all, { most: 100, least: 0 });
  const epochs = rows.flatMap((row) => row.curve.epoch);
  const last = Math.max(1, ...epochs);
  const first = Math.min(last, ...epochs);
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
  const lines = svg("g", { class: "curves" });
  const dash = dashes(rows);
  const parts = new Map();
  for (const row of rows) {
    const { curve } = row;
    // Many bands on top of each other say nothing: then a band is shown with the curve that is singled out.
    const band =
      curve.low && curve.high
        ? svg("path", { class: rows.length > 8 ? "band quiet" : "band", d: bandPath(curve, x, y), ink: row.color })
        : null;
    const at = curve.epoch.length - 1;
    const line = svg("g", { class: "mark curve", "data-row": row.at, ink: row.color });
    const d = "M" + curve.epoch.map((epoch, nth) => r(x(epoch)) + " " + r(y(curve.mean[nth]))).join("L");
    line.append(svg("path", { class: "series", d, "stroke-dasharray": DASHES[dash.get(row) % DASHES.length] }));
    for (const [epoch, name] of curve.phase || []) {
      const nth = curve.epoch.indexOf(epoch);
      if (nth >= 0) {
        line.append(
          svg(
            "circle",
            { class: "phase", cx: r(x(epoch)), cy: r(y(curve.mean[nth])), r: 3.5 },
            svg("title", null, name),
          ),
        );
      }
    }
    line.append(
      svg("g", { transform: `translate(${r(x(curve.epoch[at]))} ${r(y(curve.mean[at]))})` }, shape(row.mark)),
    );
    if (band) bands.append(band);
    lines.append(line);
    parts.set(row, { line, band });
  }
  drawn.append(bands, lines);
  let chosen = null;
  const choose = (row) => {
    if (row === chosen) return;
    for (const part of [drawn, list]) part.classList.toggle("has-chosen", Boolean(row));
    for (const [other, { line, band }] of parts) {
      line.classList.toggle("chosen", other === row);
      if (band) band.classList.toggle("chosen", other === row);
      entries.get(other).classList.toggle("chosen", other === row);
    }
    // On top of all others.
    if (row) lines.append(parts.get(row).line);
    chosen = row;
  };
  const entries = new Map(rows.map((row) => [row, curveEntry(view, row, dash.get(row), choose)]));
  list.replaceChildren(...rows.map((row) => entries.get(row)));
  list.style.setProperty("--most", height + "px");
  curveHover(group, drawn, rows, { x, y, box }, choose);
  node.replaceChildren(drawn);
}

function curveEntry(view, row, dash, choose) {
  const last = row.curve.mean[row.curve.mean.length - 1];
  const button = el(
    "button",
    { type: "button", class: "curve-name", "aria-label": label(view.group, row) + ", last " + accuracy(last) + " %" },
    lineKey(row, dash),
    el("span", { class: "name" }, label(view.group, row)),
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
    el("p", { class: "tip-head" }, inlineMark(row), el("strong", null, label(group, row))),
    el("p", null, epoch + ": " + accuracy(curve.mean[at]) + " %" + range),
  ];
}

/** Shows the nearest curve's numbers at the nearest epoch. */
function curveHover(group, drawn, rows, { x, y, box }, choose) {
  const look = (event) => {
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
    choose(null);
    hideTip();
  });
}
