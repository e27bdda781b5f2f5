// One tooltip for all plots: shown on hover, on keyboard focus and on touch.

const tooltip = el("div", { class: "tooltip", role: "tooltip", id: "tooltip", hidden: true });

/** What is said of a row beside its mark: the same numbers as in the ranking. */
function facts(group, row) {
  const lines = [];
  if (row.accuracy) {
    const seeds = row.accuracy.n > 1 ? "95 %, " + plural(row.accuracy.n, "seed") : plural(row.accuracy.n, "seed");
    const interval = half(row.accuracy);
    lines.push([
      splitName(group) + " accuracy",
      accuracy(row.accuracy.mean) + " %" + (interval ? " " + interval : ""),
      seeds,
    ]);
  }
  if (row.delta) {
    const interval = known(row.delta.low)
      ? signed(row.delta.low) + " to " + signed(row.delta.high)
      : row.delta.why || "";
    lines.push(["Δ to vanilla", signed(row.delta.mean), interval]);
  }
  lines.push(["MACs", count(row.macs), known(row.share) ? percent(row.share) + " of vanilla" : ""]);
  lines.push(["Params", count(row.params), ""]);
  for (const [key, name] of [
    ["one", "One image"],
    ["many", group.speed ? "Batch of " + group.speed.images : "Batch"],
  ]) {
    const time = row[key];
    if (!time) continue;
    const speed = known(time.speedup)
      ? times(time.speedup) + (known(time.theory) ? " of " + times(time.theory) : "")
      : "";
    lines.push([
      name,
      milliseconds(time.ms[0]),
      speed + (slower(time) ? ", slower" : "") + (time.noisy ? ", noisy" : ""),
    ]);
  }
  if (!group.cost_only) lines.push(["Verdict", verdict(group, row), ""]);
  return lines;
}

function describe(group, row) {
  return (
    row.name +
    ". " +
    facts(group, row)
      .map((line) => line.filter(Boolean).join(" "))
      .join("; ")
  );
}

function rowTip(group, row, hint) {
  const table = el("table", null);
  for (const [name, value, more] of facts(group, row)) {
    table.append(
      el("tr", null, el("th", null, name), el("td", { class: "num" }, value), el("td", { class: "dim" }, more)),
    );
  }
  return [
    el("p", { class: "tip-head" }, inlineMark(row), el("strong", null, row.name)),
    table,
    hint ? el("p", { class: "dim hint" }, hint) : null,
  ];
}

/** Shows the tooltip beside a point of the window, inside it. */
function showTip(content, x, y) {
  tooltip.replaceChildren(...content.filter(known));
  tooltip.hidden = false;
  const { width, height } = tooltip.getBoundingClientRect();
  const wide = document.documentElement.clientWidth;
  const left = x + 14 + width > wide - 8 ? Math.max(8, Math.min(x - width - 14, wide - width - 8)) : x + 14;
  // Where it fits on neither side of the point, it stands above or below and leaves the point free.
  const covers = left < x && left + width > x;
  const above = covers ? y - height - 14 : y - height / 2;
  const top = covers && above < 8 ? y + 14 : Math.max(8, Math.min(above, innerHeight - height - 8));
  tooltip.style.left = left + "px";
  tooltip.style.top = top + "px";
}

/** Puts the tooltip where its mark has gone while the page scrolled: a focused mark is scrolled into sight. */
let follow = null;

function hideTip() {
  tooltip.hidden = true;
  follow = null;
}

/**
 * Makes the marks of a plot speak. Gives a function that takes its marks, whenever they are drawn: {x, y, node, tip,
 * open}, in pixels of the drawing. One mark can be reached by tab, the others from it by arrows, in the order given.
 * One listener serves all marks: there may be hundreds, and every letter typed into the search draws them again.
 */
function interactive(drawing) {
  let points = [];
  let places = new Map();
  let current = null;
  const choose = (point, byKey) => {
    if (current === point) return;
    if (current) current.node.classList.remove("chosen");
    current = point;
    drawing.classList.toggle("has-chosen", Boolean(point));
    if (!point) return hideTip();
    point.node.classList.add("chosen");
    const content = point.tip(byKey);
    follow = () => {
      const box = drawing.getBoundingClientRect();
      const scale = box.width / drawing.viewBox.baseVal.width;
      showTip(content, box.left + scale * point.x, box.top + scale * point.y);
    };
    follow();
  };
  const nearest = (event, reach) => {
    const box = drawing.getBoundingClientRect();
    const scale = drawing.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = null;
    let least = reach;
    for (const point of points) {
      const far = Math.hypot(point.x - x, point.y - y);
      if (far < least) [least, best] = [far, point];
    }
    return best;
  };
  const tab = (chosen) => {
    for (const point of points) put(point.node, "tabindex", point === chosen ? "0" : "-1");
  };
  drawing.addEventListener("pointermove", (event) => event.pointerType !== "touch" && choose(nearest(event, 28)));
  drawing.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && choose(null));
  drawing.addEventListener("click", (event) => {
    const point = nearest(event, 28);
    const touch = event.pointerType === "touch";
    choose(point);
    if (point && point.open && !touch) point.open();
  });
  drawing.addEventListener("focusin", (event) => {
    const point = points[places.get(event.target)];
    if (!point) return;
    tab(point);
    choose(point, true);
  });
  drawing.addEventListener("focusout", () => choose(null));
  drawing.addEventListener("keydown", (event) => {
    const nth = places.get(event.target);
    if (nth === undefined) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      points[(nth + step + points.length) % points.length].node.focus({ preventScroll: true });
    } else if (event.key === "Escape") {
      choose(null);
    } else if (event.key === "Enter" && points[nth].open) {
      event.preventDefault();
      points[nth].open();
    }
  });
  return (drawn) => {
    choose(null);
    points = drawn;
    places = new Map(points.map((point, nth) => [point.node, nth]));
    tab(points.find((point) => point.node === document.activeElement) || points[0]);
  };
}
