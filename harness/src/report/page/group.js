// One group of results: its finding, ranking, plots and captions. Parts are drawn when they first come into sight.

/** Milliseconds of drawing after which the browser gets to show what there is. */
const BUDGET = 15;

class GroupView {
  constructor(group, data, changed) {
    this.group = group;
    this.parts = [];
    this.slot = el("div", { class: "slot" });
    this.ranking = new Ranking(group, changed);
    this.near = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          const part = this.parts.find((other) => other.element === entry.target);
          part.near = entry.isIntersecting;
          if (part.near) part.draw();
        }
      },
      { rootMargin: "120px" },
    );
    this.element = el("section", { class: "group", id: "group-" + group.id, "aria-label": group.title });
    this.element.append(el("h2", null, group.title), ...this.finding(), this.slot);
    this.element.append(el("h3", { class: "ranking-title" }, "Ranking"), this.ranking.element, this.foot(data));
    for (const section of [costSection, optionSection, curveSection, speedSection, layerSection]) {
      const part = section(this);
      if (part) this.element.append(part.element);
    }
    this.captions();
  }

  finding() {
    const sentences = this.group.finding || [];
    if (!sentences.length) return [];
    const block = el(
      "div",
      { class: "finding" },
      sentences.map((sentence) => html("p", null, sentence)),
    );
    return [block, foldable(block)];
  }

  /** What the signs of the ranking mean, and where its numbers are. */
  foot(data) {
    const group = this.group;
    const signs = [];
    if (!group.cost_only) {
      signs.push("± and whiskers: 95 % interval of the mean over seeds.");
      if (group.rows.some((row) => row.delta))
        signs.push("▼ worse than vanilla by the Holm-corrected test, or slower than it.");
    }
    const timed = group.rows.some((row) => known(row.one?.speedup) || known(row.many?.speedup));
    if (timed) signs.push("1.50× of 2.00×: measured of theoretical speed-up.");
    if (group.rows.some((row) => (row.one && row.one.noisy) || (row.many && row.many.noisy))) {
      signs.push("~ noisy: rounds differ by more than 10 %.");
    }
    if (group.rows.some(over)) signs.push("▲ over its budget by more than 5 %.");
    if (group.rows.some((row) => row.parent)) signs.push("Indented: controls of the row above.");
    const files = el("span", { class: "files" }, "All numbers: ");
    const links = Object.values(data.files || {}).map((file) => el("a", { href: file }, file));
    links.forEach((link, nth) => files.append(nth ? ", " : "", link));
    const failed = data.failed
      ? el("a", { href: "#notes", class: "failed" }, plural(data.failed, "failed trial"))
      : null;
    return el("p", { class: "foot dim" }, signs.join(" "), " ", files, failed ? [". ", failed] : null, ".");
  }

  captions() {
    const [first, ...others] = this.group.captions || [];
    if (!first) return;
    const part = el("section", { class: "part captions" }, el("h3", null, "What has to be known to judge the table"));
    if (!others.length) part.append(html("p", null, first));
    else {
      const list = el(
        "ul",
        null,
        others.map((caption) => html("li", null, caption)),
      );
      part.append(el("details", null, html("summary", null, first), list));
    }
    this.element.append(part);
  }

  /** A section that is drawn by `draw(rows, width)` when it is first seen, and again when what it shows has changed. */
  part(name, draw, { filters = true } = {}) {
    const element = el("section", { class: "part", "data-part": name });
    const part = {
      element,
      near: false,
      stale: true,
      took: 0,
      filters,
      draw: () => {
        if (!part.stale) return;
        part.stale = false;
        const start = performance.now();
        draw(this.rows, this.printWidth || this.width);
        part.took = performance.now() - start;
        element.dataset.drawn = "true";
      },
      again: () => {
        part.stale = true;
        part.draw();
      },
    };
    this.parts.push(part);
    this.near.observe(element);
    return part;
  }

  /** Applies the filters: to what is in sight, and to the rest when it comes into sight. */
  update() {
    const start = performance.now();
    this.rows = visibleRows(this.group);
    this.ranking.update(this.rows, Boolean(this.printWidth));
    hideTip();
    for (const part of this.parts) if (part.filters) part.stale = true;
    cancelAnimationFrame(this.later);
    this.drawSome(start);
    return this.rows;
  }

  /** Draws what is in sight; where that takes long, the first of it at once and the rest in the next frames. */
  drawSome(start, atLeast = 0) {
    let drawn = 0;
    for (const part of this.parts) {
      if (!part.stale || !(part.near || this.printWidth)) continue;
      const late = performance.now() - start + part.took > BUDGET;
      if (late && drawn >= atLeast && !this.printWidth) {
        this.later = requestAnimationFrame(() => this.drawSome(performance.now(), 1));
        return;
      }
      part.draw();
      drawn += 1;
    }
  }

  /**
   * Draws for another width: after the window was resized, and for paper. Parts are not asked for their width when they
   * are drawn: each question makes the browser lay out all that was changed before.
   */
  resize(width, printWidth = null) {
    this.width = width;
    this.printWidth = printWidth;
    for (const part of this.parts) part.stale = true;
    return this.update();
  }

  columnsChanged() {
    this.ranking.build();
    this.ranking.update(this.rows);
  }
}
