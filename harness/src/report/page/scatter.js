// A scatter plot of rows: accuracy over a cost, and realized over theoretical speed-up, are both one.

/** Whom labels are given to first where not all fit. */
const PRIORITY = { reference: 0, studied: 1, rival: 2, control: 3 };

/** The steps of a Pareto line: front members from left to right, only those that raise the best so far. */
function staircase(members) {
  const steps = [];
  for (const point of [...members].sort((a, b) => a.valueX - b.valueX || b.valueY - a.valueY)) {
    if (!steps.length || point.valueY > steps[steps.length - 1].valueY) steps.push(point);
  }
  return steps;
}

/**
 * Draws `rows` onto a stage. `of(row)` gives {x, y, low, high} or null; `front(row)` tells front members and `beaten(row)` those
 * that fade; either may be null.
 * Gives the drawing and which marks bear a number instead of a label.
 */
function scatter(stage, { group, rows, width, name, of, front, beaten, x, y, diagonal, open, height }) {
  const drawn = stage.begin(width, height, name);
  const values = rows.map((row) => [row, of(row)]).filter(([, value]) => value);
  const { x: toX, y: toY, box } = axes(drawn, width, height, x, y);
  const inside = (value) => Math.min(box.bottom, Math.max(box.top, toY(value)));
  const points = values
    .map(([row, value]) => ({
      row,
      valueX: value.x,
      valueY: value.y,
      x: toX(value.x),
      y: toY(value.y),
      low: known(value.low) ? inside(value.low) : null,
      high: known(value.high) ? inside(value.high) : null,
    }))
    .sort((a, b) => a.x - b.x || a.y - b.y);
  const obstacles = [];
  if (diagonal) {
    const [from, to] = [Math.max(x.range[0], y.range[0]), Math.min(x.range[1], y.range[1])];
    drawn.append(svg("line", { class: "diagonal", x1: toX(from), y1: toY(from), x2: toX(to), y2: toY(to) }));
    const text = "realized = theoretical";
    const [long, end, top] = [textWidth(text), toX(to), toY(to)];
    const left = end + 8 + long < box.right ? end + 8 : end - long - 14;
    drawn.append(svg("text", { class: "axis-title", x: left, y: top + 10 }, text));
    obstacles.push({ left, right: left + long, top: top - 4, bottom: top + 14 });
    const one = toY(1);
    if (one > box.top && one < box.bottom) {
      drawn.append(svg("line", { class: "even", x1: box.left, x2: box.right, y1: one, y2: one }));
      const below = "below: slower than vanilla";
      drawn.append(svg("text", { class: "axis-title", x: box.right, y: one + 13, "text-anchor": "end" }, below));
      obstacles.push({ left: box.right - textWidth(below) - 4, right: box.right, top: one, bottom: one + 16 });
    }
  }
  const members = front ? staircase(points.filter((point) => front(point.row))) : [];
  if (members.length) {
    let d = `M${r(members[0].x)} ${r(members[0].y)}`;
    for (const step of members.slice(1)) d += `H${r(step.x)}V${r(step.y)}`;
    drawn.append(svg("path", { class: "front", d: d + `H${r(box.right)}` }));
    members.forEach((step, nth) => {
      const next = members[nth + 1] || { x: box.right, y: step.y };
      obstacles.push({ left: step.x, right: next.x, top: step.y - 1, bottom: step.y + 1 });
      obstacles.push({ left: next.x - 1, right: next.x + 1, top: next.y, bottom: step.y });
    });
  }
  for (const point of points) {
    const member = Boolean(front && front(point.row));
    const whisker = point.low !== null && point.high !== null;
    const node = stage.mark(group, point.row, { ...point, member, faded: Boolean(beaten && beaten(point.row)) });
    if (whisker) obstacles.push({ left: point.x - 2, right: point.x + 2, top: point.high, bottom: point.low });
    const free = member ? 8 : 6;
    obstacles.push({ left: point.x - free, right: point.x + free, top: point.y - free, bottom: point.y + free });
    Object.assign(point, {
      node,
      tip: (byKey) => rowTip(group, point.row, byKey ? "Enter: its trials. Arrows: other marks" : "Click: its trials"),
      open: () => open(point.row),
    });
  }
  // Labels for the sixty that matter most; nobody reads more, and every letter typed into the search draws them again.
  const wishes = points
    .map((point) => ({
      x: point.x,
      y: point.y,
      text: shorten(point.row.name, width < 600 ? 20 : 30),
      number: point.row.number,
      row: point.row,
    }))
    .sort((a, b) => rate(a.row) - rate(b.row) || a.row.place - b.row.place)
    .slice(0, 60);
  function rate(row) {
    return (front && front(row) ? 0 : 10) + (PRIORITY[row.rank] || 0);
  }
  const placed = placeLabels(wishes, obstacles, {
    left: box.left + 2,
    right: width - 2,
    top: 16,
    bottom: box.bottom - 1,
  });
  drawn.append(drawLabels(placed));
  if (!points.length) {
    drawn.append(
      svg(
        "text",
        { class: "axis-title", x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, "text-anchor": "middle" },
        "No row to draw",
      ),
    );
  }
  stage.settle(points);
  const told = new Set(placed.filter((one) => !one.numbered).map((one) => one.wish.row));
  return points.map((point) => point.row).filter((row) => !told.has(row));
}

/** Which marks mean which methods, and what rows those marks are that have no label of their own. */
function legend(group, rows, unlabelled, extra) {
  const box = el("div", { class: "legend" });
  const methods = group.methods.filter((first) => rows.some((row) => row.method === first.method));
  const names = el(
    "p",
    { class: "methods" },
    methods.map((row) => el("span", { class: "entry" }, inlineMark(row), row.method)),
  );
  if (extra) names.append(...extra);
  box.append(names);
  if (unlabelled.length) {
    const list = el(
      "p",
      { class: "numbered-list" },
      [...unlabelled]
        .sort((a, b) => a.place - b.place)
        .map((row) => el("span", { class: "entry" }, el("b", null, row.number), inlineMark(row), row.name)),
    );
    const text = "Rows without room for a label, by their number in the ranking";
    if (unlabelled.length <= 12) box.append(el("p", { class: "dim" }, text + ":"), list);
    else box.append(el("details", null, el("summary", null, text + " (" + unlabelled.length + ")"), list));
  }
  return box;
}
