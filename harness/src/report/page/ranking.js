// The ranking: one line a row, sortable, each row opens to its trials.

/** Longer rankings show this many rows at first. */
const FOLD = 40;

class Ranking {
  /** `changed` is called when the reader sorts: the address keeps the order. */
  constructor(group, changed) {
    this.group = group;
    this.changed = changed;
    this.all = false;
    this.open = new Map();
    this.visible = [];
    this.table = el("table", { class: "ranking", role: "table" });
    this.more = el("button", { type: "button", class: "link show-all" });
    this.more.addEventListener("click", () => {
      this.all = true;
      this.update(this.visible);
    });
    this.empty = el("p", { class: "empty", hidden: true }, "No row passes the filters.");
    this.note = el("p", { class: "print-only" });
    this.element = el(
      "div",
      { class: "ranking-box" },
      this.note,
      el("div", { class: "scroll wide" }, this.table),
      this.empty,
      this.more,
    );
    this.build();
  }

  /** Head and rows for the columns that are shown now. */
  build() {
    this.columns = shownColumns(this.group);
    const columns = this.columns;
    const width = columns.reduce((sum, column) => sum + column.width, 0);
    this.table.style.setProperty("--least", width + "em");
    const widths = columns.map((column) => {
      const node = el("col");
      if (column.key !== "label") node.style.width = column.width + "em";
      return node;
    });
    this.heads = new Map();
    const head = el("tr", { role: "row" });
    for (const column of columns) {
      const button = el(
        "button",
        { type: "button", title: column.about },
        el("span", { class: column.short ? "long" : null }, column.head),
        column.short ? el("span", { class: "short" }, column.short) : null,
      );
      button.addEventListener("click", () => this.sort(column));
      const cell = el(
        "th",
        { scope: "col", role: "columnheader", "data-column": column.key, class: this.kind(column) },
        button,
      );
      if (column.key === "delta") cell.append(this.scale());
      this.heads.set(column.key, cell);
      head.append(cell);
    }
    this.lines = new Map(this.group.rows.map((row) => [row.at, this.line(row)]));
    this.body = el("tbody", { role: "rowgroup" });
    this.open.forEach((_, at) => this.open.set(at, this.detailLine(this.group.rows[at])));
    this.table.replaceChildren(
      el("caption", null, "Ranking: " + this.group.title),
      el("colgroup", null, widths),
      el("thead", { role: "rowgroup" }, head),
      this.body,
    );
  }

  kind(column) {
    const usual = column.usual ? "" : " extra";
    return "c-" + column.key + (column.key === "label" || column.key === "verdict" ? "" : " num") + usual;
  }

  /** The ends of the scale of differences, and its zero, above the small pictures. */
  scale() {
    const { low, high } = this.group.scale;
    const box = svg("svg", { class: "whisker ticks", height: 12, "aria-hidden": "true" });
    const tick = (value, anchor) => {
      const x = (100 * (value - low)) / (high - low);
      box.append(
        svg(
          "text",
          { x: x.toFixed(1) + "%", y: 10, "text-anchor": anchor },
          signed(value, value !== 0 && Math.abs(value) < 3 ? 1 : 0),
        ),
      );
    };
    const part = -low / (high - low);
    tick(0, part > 0.85 ? "end" : part < 0.15 ? "start" : "middle");
    const round = (value) => (Math.abs(value) < 3 ? Math.trunc(10 * value) / 10 : Math.trunc(value));
    if (part > 0.35) tick(round(low * 0.9), part > 0.5 ? "middle" : "start");
    if (part < 0.65) tick(round(high * 0.9), part < 0.5 ? "middle" : "end");
    return box;
  }

  line(row) {
    const line = el("tr", { role: "row", "data-row": row.at, class: "row rank-" + row.rank });
    for (const column of this.columns) {
      const cell = el(column.key === "label" ? "th" : "td", {
        class: this.kind(column) + (column.lose && column.lose(row) ? " lose" : ""),
        role: column.key === "label" ? "rowheader" : "cell",
        scope: column.key === "label" ? "row" : null,
        "data-head": column.usual ? null : column.head,
      });
      if (column.key === "label") {
        const button = el(
          "button",
          { type: "button", class: "open-row", "aria-expanded": "false" },
          inlineMark(row),
          el("span", { class: "name" }, row.name),
        );
        cell.append(button);
        button.addEventListener("keydown", (event) => this.walk(event, row));
      } else {
        cell.append(...column.cell(row));
      }
      line.append(cell);
    }
    line.addEventListener("click", (event) => {
      if (event.target.closest("a") || String(getSelection())) return;
      this.toggle(row);
    });
    return line;
  }

  /** Arrows go from row to row. */
  walk(event, row) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const next = this.shown[this.shown.indexOf(row) + step];
    event.preventDefault();
    if (next) this.lines.get(next.at).querySelector(".open-row").focus();
  }

  detailLine(row) {
    const cell = el("td", { colspan: this.columns.length, role: "cell" }, detail(this.group, row));
    return el("tr", { class: "detail", role: "row", "data-detail": row.at }, cell);
  }

  toggle(row, open = !this.open.has(row.at)) {
    const line = this.lines.get(row.at);
    const old = this.open.get(row.at);
    if (old) old.remove();
    this.open.delete(row.at);
    if (open) {
      const added = this.detailLine(row);
      this.open.set(row.at, added);
      line.after(added);
    }
    line.classList.toggle("is-open", open);
    line.querySelector(".open-row").setAttribute("aria-expanded", String(open));
  }

  /** Opens a row from elsewhere on the page, and goes there. */
  reveal(row) {
    if (!this.shown.includes(row)) {
      this.all = true;
      this.update(this.visible);
    }
    this.toggle(row, true);
    const button = this.lines.get(row.at).querySelector(".open-row");
    button.focus({ preventScroll: true });
    this.lines.get(row.at).scrollIntoView({ block: "center" });
  }

  sort(column) {
    if (state.sort === column.key) state.down = !state.down;
    else Object.assign(state, { sort: column.key, down: column.down });
    this.changed();
    this.update(this.visible);
  }

  sorted(visible) {
    const column = this.columns.find((other) => other.key === state.sort) || this.columns[0];
    const direction = column.key === state.sort && state.down ? -1 : 1;
    return {
      column,
      direction,
      rows: [...visible].sort((a, b) => compare(column.value(a), column.value(b), direction)),
    };
  }

  /** Shows these rows and no others, as sorted. */
  update(visible, printing = false) {
    this.visible = visible;
    const { column, direction, rows } = this.sorted(visible);
    const all = this.all || printing || rows.length <= FOLD;
    this.shown = all ? rows : rows.slice(0, FOLD);
    const there = new Set(this.shown);
    const tree = column.key === "rank" && direction === 1;
    const nodes = [];
    for (const row of this.shown) {
      const line = this.lines.get(row.at);
      line.classList.toggle("child", tree && Boolean(row.parent) && there.has(row.parent));
      nodes.push(line);
      if (this.open.has(row.at)) nodes.push(this.open.get(row.at));
    }
    this.body.replaceChildren(...nodes);
    this.heads.forEach((head, key) => {
      if (key === column.key) head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    this.more.hidden = all;
    this.more.textContent = "Show all " + rows.length + " rows";
    this.empty.hidden = rows.length > 0;
    const total = this.group.rows.length;
    this.note.textContent = rows.length < total ? "Filtered: " + rows.length + " of " + plural(total, "row") + "." : "";
  }
}
