// Drawings that stay while what they show changes: making hundreds of marks anew takes longer than all else.

class Stage {
  constructor(parent) {
    this.parent = parent;
    this.nodes = new Map();
    this.layer = svg("g", { class: "marks" });
    this.width = 0;
  }

  /** Begins to draw: gives an empty layer for what stands behind the marks. */
  begin(width, height, name) {
    if (this.width !== width) {
      this.width = width;
      this.svg = drawing(width, height, name);
      this.speak = interactive(this.svg);
      this.parent.replaceChildren(this.svg);
    }
    put(this.svg, "aria-label", name);
    this.behind = svg("g");
    return this.behind;
  }

  /** Puts a row's mark to its place, with its error bar from `low` to `high`, pixels both. */
  mark(group, row, { x, y, low, high, member, faded }) {
    let node = this.nodes.get(row);
    if (!node) {
      node = svg("g", { "data-row": row.at, ink: row.color, role: "img", "aria-describedby": "tooltip" });
      node.setAttribute("aria-label", describe(group, row));
      node.append(svg("path", { class: "error" }), svg("circle", { class: "on-front", r: 8 }), shape(row.mark));
      this.nodes.set(row, node);
    }
    put(node, "class", "mark ink" + (member ? " member" : "") + (faded ? " faded" : ""));
    put(node, "transform", `translate(${r(x)} ${r(y)})`);
    put(node.firstChild, "d", known(low) && known(high) ? errorPath(0, low - y, high - y) : "");
    return node;
  }

  settle(points) {
    keepOnly(
      this.layer,
      points.map((point) => point.node),
    );
    for (const old of [...this.svg.children]) if (old !== this.layer) old.remove();
    this.svg.prepend(this.behind);
    if (!this.layer.parentNode || this.layer.parentNode !== this.svg) this.svg.append(this.layer);
    this.speak(points);
  }
}
