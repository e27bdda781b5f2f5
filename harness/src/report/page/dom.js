// Elements, and the marks of methods. Text from the data is always set as text, never as HTML.

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "ink") paint(node, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (known(child)) node.append(child);
  }
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** Sentences that the report's program wrote as HTML; what varies in them is escaped there. */
function html(tag, attributes, markup) {
  const node = el(tag, attributes);
  node.innerHTML = markup;
  return node;
}

const lightened = new Map();

/** A colour as it is seen on a dark ground: mixed with white as far as it takes to stand out, most not at all. */
function onDark(color) {
  if (!lightened.has(color)) {
    let channels = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    const bright = () => {
      const [red, green, blue] = channels.map((value) => (value / 255) ** 2.2);
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    // A luminance of 0.16 is a contrast of about 3.5 to the dark ground.
    while (bright() < 0.16) channels = channels.map((value) => value + (255 - value) * 0.08);
    lightened.set(color, "rgb(" + channels.map(Math.round).join(" ") + ")");
  }
  return lightened.get(color);
}

/** Gives a node a method's colour. Black stays the page's text colour, so that it is seen in a dark theme as well. */
function paint(node, color) {
  node.classList.add("ink");
  if (!/^#[0-9a-f]{6}$/i.test(color) || color === "#000000") return;
  node.style.setProperty("--ink", color);
  node.style.setProperty("--ink-on-dark", onDark(color));
}

// The shapes of the printed plots, in their units: polygons around the middle; the first one is a disc.
const SHAPES = [
  [],
  [-3, -9, 3, -9, 3, -3, 9, -3, 9, 3, 3, 3, 3, 9, -3, 9, -3, 3, -9, 3, -9, -3, -3, -3],
  [-8, -8, 8, -8, 8, 8, -8, 8],
  [0, -11, 10, 8, -10, 8],
  [0, 11, 10, -8, -10, -8],
  [0, -11, 11, 0, 0, 11, -11, 0],
  [0, -4, 5, -9, 9, -5, 4, 0, 9, 5, 5, 9, 0, 4, -5, 9, -9, 5, -4, 0, -9, -5, -5, -9],
  [0, -10, 10, -3, 6, 9, -6, 9, -10, -3],
  [-9, -9, 9, -9, 2, 0, 9, 9, -9, 9, -2, 0],
];

const PATHS = SHAPES.map((shape) => {
  if (shape.length === 0) return "M-4.8 0a4.8 4.8 0 1 0 9.6 0a4.8 4.8 0 1 0 -9.6 0z";
  const points = [];
  for (let i = 0; i < shape.length; i += 2)
    points.push((0.55 * shape[i]).toFixed(2) + " " + (0.55 * shape[i + 1]).toFixed(2));
  return "M" + points.join("L") + "z";
});
const RING = "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0 -8.4 0z";

/** The shape of a method's mark at the origin; a ring for a method that the program did not know. */
function shape(mark) {
  const path = PATHS[mark];
  return path ? svg("path", { d: path, class: "shape" }) : svg("path", { d: RING, class: "shape ring" });
}

/** A mark to stand in text. */
function inlineMark(row) {
  return svg(
    "svg",
    { class: "inline-mark", viewBox: "-7 -7 14 14", width: 14, height: 14, ink: row.color, "aria-hidden": "true" },
    shape(row.mark),
  );
}

/** Makes `wanted` the children of a node and leaves those that stay: what is put in again is styled again. */
function keepOnly(parent, wanted) {
  const there = new Set(wanted);
  for (const child of [...parent.children]) if (!there.has(child)) child.remove();
  for (const child of wanted) if (child.parentNode !== parent) parent.append(child);
}

/** Sets an attribute that often stays as it was. */
function put(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** A select with what it changes; `options` are [value, text]. */
function select(label, options, value, change) {
  const box = el("select", { "aria-label": label });
  for (const [key, text] of options) box.append(el("option", { value: key }, text));
  box.value = value;
  box.addEventListener("change", () => change(box.value));
  return box;
}

function labelled(text, control) {
  return el("label", { class: "control" }, el("span", null, text), control);
}

function checkbox(text, checked, change) {
  const box = el("input", { type: "checkbox" });
  box.checked = checked;
  box.addEventListener("change", () => change(box.checked));
  return el("label", { class: "check" }, box, text);
}

/**
 * Folds text of more than some lines on narrow screens behind a button: the ranking has to be seen without scrolling.
 * The style sheet alone decides where it folds; the button hides itself where nothing is cut.
 */
function foldable(block) {
  block.classList.add("fold");
  const more = el("button", { type: "button", class: "link more", "aria-expanded": "false" }, "… more");
  const look = () => {
    if (!block.classList.contains("open")) more.hidden = block.scrollHeight <= block.clientHeight + 4;
  };
  more.addEventListener("click", () => {
    const open = block.classList.toggle("open");
    more.textContent = open ? "less" : "… more";
    more.setAttribute("aria-expanded", String(open));
  });
  new ResizeObserver(look).observe(block);
  return more;
}
