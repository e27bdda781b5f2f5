// The bar of filters: one for the page, above the ranking of the group that is shown, and in sight while one scrolls.

class Filters {
  /** `changed` redraws what the filters act on, `columnsChanged` rebuilds the ranking. */
  constructor(changed, columnsChanged) {
    this.changed = changed;
    this.columnsChanged = columnsChanged;
    this.search = el("input", {
      type: "search",
      placeholder: "Filter by text",
      "aria-label": "Filter by text",
      spellcheck: "false",
    });
    this.search.addEventListener("input", () => this.set({ q: this.search.value }));
    this.methods = el("div", { class: "choices" });
    this.methodsHead = el("summary", null, "Methods");
    this.controls = checkbox("Hide controls", false, (hide) => this.set({ controls: !hide }));
    this.range = el("input", { type: "range", step: 1, "aria-label": "MACs at most, percent of vanilla" });
    this.range.addEventListener("input", () => {
      const value = Number(this.range.value);
      this.set({ share: value >= Number(this.range.max) ? null : value });
    });
    this.limit = el("output");
    this.share = el("label", { class: "control" }, el("span", null, "MACs at most"), this.range, this.limit);
    this.front = el("span", { class: "front-choice" });
    this.columns = el("div", { class: "choices" });
    this.total = el("span", { class: "total", "aria-live": "polite" });
    this.reset = el("button", { type: "button", class: "link reset" }, "Reset");
    this.reset.addEventListener("click", () => {
      resetFilters();
      this.show(this.group);
      this.changed();
    });
    const methods = el("details", { class: "menu" }, this.methodsHead, this.methods);
    const columns = el("details", { class: "menu" }, el("summary", null, "Columns"), this.columns);
    this.menus = [methods, columns];
    this.rest = el(
      "div",
      { class: "rest", id: "more-filters" },
      methods,
      this.controls,
      this.share,
      this.front,
      columns,
    );
    this.fold = el(
      "button",
      { type: "button", class: "unfold", "aria-expanded": "false", "aria-controls": "more-filters" },
      "Filters",
    );
    this.fold.addEventListener("click", () => {
      const open = this.element.classList.toggle("unfolded");
      this.fold.setAttribute("aria-expanded", String(open));
    });
    this.element = el(
      "form",
      { class: "filters", role: "search", "aria-label": "Filters" },
      this.search,
      this.fold,
      this.rest,
      el("span", { class: "result" }, this.total, this.reset),
    );
    this.element.addEventListener("submit", (event) => event.preventDefault());
    // A menu closes when the reader turns to anything else.
    const elsewhere = (event) => {
      for (const menu of this.menus) if (menu.open && !menu.contains(event.target)) menu.open = false;
    };
    document.addEventListener("click", elsewhere);
    document.addEventListener("focusin", elsewhere);
    this.element.addEventListener("keydown", (event) => {
      const menu = event.key === "Escape" && this.menus.find((other) => other.open);
      if (menu) {
        menu.open = false;
        menu.firstElementChild.focus();
      }
    });
  }

  set(change) {
    Object.assign(state, change);
    this.changed();
  }

  /** Shows what is chosen, for a group: its methods, its columns, its range of MACs. */
  show(group) {
    this.group = group;
    this.search.value = state.q;
    this.methods.replaceChildren(...group.methods.map((row) => this.methodBox(group, row)));
    this.methods.append(this.allOrNone(group));
    this.menus[0].hidden = group.methods.length < 2;
    this.controls.hidden = !group.rows.some((row) => row.rank === "control");
    this.controls.querySelector("input").checked = !state.controls;
    this.share.hidden = !group.shares || group.shares[0] === group.shares[1];
    if (group.shares) {
      [this.range.min, this.range.max] = group.shares;
      this.range.value = state.share === null ? group.shares[1] : state.share;
    }
    this.showFront(group);
    this.columns.replaceChildren(
      ...group.columns.filter((column) => !column.fixed).map((column) => this.columnBox(column)),
    );
    this.count(null);
  }

  methodBox(group, row) {
    const box = checkbox("", !state.off.has(row.method), (on) => {
      if (on) state.off.delete(row.method);
      else state.off.add(row.method);
      this.changed();
    });
    box.querySelector("input").value = row.method;
    box.append(inlineMark(row), row.method);
    return box;
  }

  allOrNone(group) {
    const button = (text, off) => {
      const node = el("button", { type: "button", class: "link" }, text);
      node.addEventListener("click", () => {
        state.off = new Set(off);
        for (const box of this.methods.querySelectorAll("input")) box.checked = !state.off.has(box.value);
        this.changed();
      });
      return node;
    };
    return el(
      "div",
      { class: "all-none" },
      button("All", []),
      button(
        "None",
        group.methods.map((row) => row.method),
      ),
    );
  }

  columnBox(column) {
    const on = state.columns ? state.columns.has(column.key) : Boolean(column.usual);
    const box = checkbox(column.head, on, (checked) => {
      // From the first change on, the choice is the reader's, and the same in every group.
      const usual = this.group.columns.filter((other) => other.usual && !other.fixed).map((other) => other.key);
      if (!state.columns) state.columns = new Set(usual);
      if (checked) state.columns.add(column.key);
      else state.columns.delete(column.key);
      this.columnsChanged();
    });
    box.querySelector("input").value = column.key;
    box.title = column.about;
    return box;
  }

  showFront(group) {
    const names = group.fronts;
    if (!names.length) return this.front.replaceChildren();
    const options = [
      ["", "all rows"],
      ...names.map((key) => [key, "front over " + costName(group, key)]),
      ...group.beaten.map((key) => ["unbeaten-" + key, "not beaten over " + costName(group, key)]),
    ];
    const value = options.some(([key]) => key === state.front) ? state.front : "";
    const box = select("Only rows on the Pareto front", options, value, (front) => this.set({ front }));
    this.front.replaceChildren(labelled("Show", box));
  }

  /** Says how many rows are left. */
  count(visible) {
    const group = this.group;
    if (visible) this.total.textContent = visible.length + " of " + plural(group.rows.length, "row");
    this.reset.hidden = !filtered();
    const off = group.methods.filter((row) => state.off.has(row.method)).length;
    this.methodsHead.textContent = off
      ? "Methods " + (group.methods.length - off) + "/" + group.methods.length
      : "Methods";
    this.limit.textContent = state.share === null ? "any" : state.share + THIN + "%";
    const hidden = [off > 0, !state.controls, state.share !== null, Boolean(state.front)].filter(Boolean).length;
    this.fold.textContent = hidden ? "Filters (" + hidden + ")" : "Filters";
  }
}
