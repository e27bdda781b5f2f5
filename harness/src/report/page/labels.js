// Puts labels beside marks so that they cover neither each other nor the marks.

const measured = new Map();
let ruler = null;

/** Width of a label in pixels, in the font of the plots. */
function textWidth(text) {
  let width = measured.get(text);
  if (width === undefined) {
    if (!ruler) {
      ruler = document.createElement("canvas").getContext("2d");
      ruler.font = "12px " + getComputedStyle(document.body).fontFamily;
    }
    width = ruler.measureText(text).width;
    measured.set(text, width);
  }
  return width;
}

function overlaps(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/** Places around a mark: beside it first, then further away at the end of a thin line. */
const AROUND = [];
for (const [reach, price] of [
  [9, 0],
  [18, 1],
  [29, 2],
]) {
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, -1],
    [0, 1],
    [0.8, -0.8],
    [0.8, 0.8],
    [-0.8, -0.8],
    [-0.8, 0.8],
  ]) {
    AROUND.push({ dx: dx * reach, dy: dy * reach, side: Math.sign(dx), far: price > 0 });
  }
}

function boxAt(point, place, width, height) {
  const x = point.x + place.dx;
  const left = place.side > 0 ? x : place.side < 0 ? x - width : x - width / 2;
  const middle = point.y + place.dy + (place.side === 0 ? Math.sign(place.dy) * height * 0.4 : 0);
  return { left, right: left + width, top: middle - height / 2, bottom: middle + height / 2 };
}

/**
 * Chooses a place for each of `wishes`, {x, y, text, number}, in their order: the text where it fits, else the number,
 * else nothing. `obstacles` are boxes that stay free. Gives {wish, text, box, far, numbered} for those that have one.
 */
function placeLabels(wishes, obstacles, bounds) {
  const taken = [...obstacles];
  const placed = [];
  const tryText = (wish, text, numbered) => {
    const width = textWidth(text) + 2;
    for (const place of numbered ? AROUND.slice(0, 16) : AROUND) {
      const box = boxAt(wish, place, width, 13);
      const inside =
        box.left >= bounds.left && box.right <= bounds.right && box.top >= bounds.top && box.bottom <= bounds.bottom;
      if (!inside || taken.some((other) => overlaps(box, other))) continue;
      taken.push(box);
      placed.push({ wish, text, box, far: place.far, numbered });
      return true;
    }
    return false;
  };
  // All texts before any number: a number that is in the way of a label would cost more than it tells.
  const left = wishes.filter((wish) => !tryText(wish, wish.text, false));
  for (const wish of left) if (wish.number) tryText(wish, wish.number, true);
  return placed;
}

function drawLabels(placed) {
  const layer = svg("g", { class: "labels", "aria-hidden": "true" });
  for (const { wish, text, box, far, numbered } of placed) {
    if (far) {
      const [x, y] = [
        Math.min(Math.max(wish.x, box.left), box.right),
        Math.min(Math.max(wish.y, box.top + 2), box.bottom - 2),
      ];
      layer.append(svg("line", { class: "leader", x1: r(wish.x), y1: r(wish.y), x2: r(x), y2: r(y) }));
    }
    const kind = numbered ? "label numbered" : "label";
    layer.append(svg("text", { class: kind, x: r(box.left + 1), y: r(box.bottom - 3) }, text));
  }
  return layer;
}
