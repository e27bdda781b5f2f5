// The page: which group is shown, the theme, the address, and paper.

const data = JSON.parse(document.getElementById("data").textContent);
const groups = data.groups;
const main = document.getElementById("main");
const views = new Map();

for (const group of groups) {
  prepare(group);
  group.scale = deltaScale(group);
  group.columns = columnsOf(group);
}

const filters = new Filters(
  () => refresh(),
  () => {
    for (const view of views.values()) view.columnsChanged();
    writeHash(groups);
  },
);

function viewOf(group) {
  if (!views.has(group.id)) {
    const view = new GroupView(group, data, () => writeHash(groups));
    views.set(group.id, view);
    // Groups stand in the order of the data, whichever was looked at first: on paper all are shown.
    const after = groups
      .slice(groups.indexOf(group) + 1)
      .map((other) => views.get(other.id))
      .find(known);
    main.insertBefore(view.element, after ? after.element : null);
  }
  return views.get(group.id);
}

function currentGroup() {
  return groups.find((group) => group.id === state.group) || groups[0];
}

/** Applies the filters to the group that is shown. */
function refresh() {
  filters.count(viewOf(currentGroup()).update());
  writeHash(groups);
}

/** Shows the group that is chosen, and the filters as chosen. */
function show() {
  const group = currentGroup();
  const view = viewOf(group);
  for (const other of views.values()) other.element.hidden = other !== view;
  view.slot.append(filters.element);
  filters.show(group);
  filters.count(view.resize(main.clientWidth));
  chooser.show(group);
}

/** Tabs for a few groups; a list for many, and on narrow screens. */
function groupChooser() {
  const choose = (id) => {
    state.group = id;
    writeHash(groups);
    show();
  };
  const box = el("nav", { class: "groups", "aria-label": "Groups of results" });
  box.hidden = groups.length < 2;
  const list = select(
    "Group of results",
    groups.map((group) => [group.id, group.title]),
    groups[0].id,
    choose,
  );
  const tabs = groups.map((group) => {
    const tab = el("button", { type: "button", class: "tab" }, group.title);
    tab.addEventListener("click", () => choose(group.id));
    return tab;
  });
  box.classList.toggle("many", groups.length > 3);
  box.append(el("div", { class: "tabs" }, tabs), list);
  return {
    element: box,
    show(group) {
      list.value = group.id;
      tabs.forEach((tab, nth) => tab.setAttribute("aria-pressed", String(groups[nth] === group)));
    },
  };
}

/** The theme follows the system until the reader chooses; the choice lasts as long as the page is open. */
function themeButton() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Light theme" : "Dark theme");
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();
}

/** Pixels across which plots are drawn for paper: A4 across, without its margins. */
const PAPER = 1000;

/** On paper every group is shown and every fold is open; afterwards the page is as it was. */
function printing() {
  let before = null;
  const start = () => {
    if (before) return;
    before = [...document.querySelectorAll("details:not([open]):not(.menu)")];
    for (const group of groups) {
      const view = viewOf(group);
      view.element.hidden = false;
      view.resize(main.clientWidth, PAPER);
    }
    before = before.concat([...document.querySelectorAll("details:not([open]):not(.menu)")]);
    for (const fold of before) fold.open = true;
  };
  const end = () => {
    if (!before) return;
    for (const fold of before) fold.open = false;
    before = null;
    for (const view of views.values()) view.resize(main.clientWidth);
    show();
  };
  addEventListener("beforeprint", start);
  addEventListener("afterprint", end);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? start() : end()));
}

for (const block of document.querySelectorAll("#lead > p, #lead > blockquote")) block.after(foldable(block));
const chooser = groupChooser();
main.append(chooser.element);
document.body.append(tooltip);
themeButton();
if (groups.length) {
  state.group = groups[0].id;
  readHash(groups);
  show();
  printing();
  addEventListener("hashchange", () => readHash(groups) && show());
  addEventListener("scroll", () => (follow ? follow() : hideTip()), { passive: true });
  // A phone's bars change the height while one scrolls; only another width asks for other drawings.
  let width = main.clientWidth;
  new ResizeObserver(() => {
    if (main.clientWidth === width) return;
    width = main.clientWidth;
    const view = viewOf(currentGroup());
    filters.count(view.resize(width, view.printWidth));
  }).observe(main);
} else {
  main.append(el("p", { class: "empty" }, "There is nothing to compare here yet."));
}
