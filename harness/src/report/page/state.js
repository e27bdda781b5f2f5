// What the reader has chosen. All but the theme is kept in the address, so that a link shows what its sender saw.

const state = {
  group: "",
  q: "",
  off: new Set(),
  controls: true,
  share: null,
  front: "",
  sort: "rank",
  down: false,
  columns: null,
};

function readHash(groups) {
  const text = location.hash.slice(1);
  if (!text.includes("=")) {
    // An anchor of the page: that of a group shows it, any other is the browser's affair.
    const named = groups.find((group) => group.id === decodeURIComponent(text));
    if (named) state.group = named.id;
    return Boolean(named);
  }
  const read = new URLSearchParams(text);
  state.group = groups.some((group) => group.id === read.get("group")) ? read.get("group") : groups[0].id;
  state.q = read.get("q") || "";
  state.off = new Set(read.getAll("off"));
  state.controls = read.get("controls") !== "0";
  state.share = /^\d+$/.test(read.get("macs") || "") ? Number(read.get("macs")) : null;
  const front = read.get("front") || "";
  state.front = FRONTS.includes(front.replace(/^unbeaten-/, "")) ? front : "";
  state.sort = read.get("sort") || "rank";
  state.down = read.get("down") === "1";
  state.columns = read.has("columns") ? new Set(read.get("columns").split(",").filter(Boolean)) : null;
  return true;
}

let writing = null;

/** A little later, and once for several changes: browsers refuse an address that changes with every letter. */
function writeHash(groups) {
  clearTimeout(writing);
  writing = setTimeout(() => writeNow(groups), 150);
}

function writeNow(groups) {
  const write = new URLSearchParams();
  if (state.group !== groups[0].id) write.set("group", state.group);
  if (state.q) write.set("q", state.q);
  for (const method of state.off) write.append("off", method);
  if (!state.controls) write.set("controls", "0");
  if (state.share !== null) write.set("macs", String(state.share));
  if (state.front) write.set("front", state.front);
  if (state.sort !== "rank") {
    write.set("sort", state.sort);
    if (state.down) write.set("down", "1");
  }
  if (state.columns) write.set("columns", [...state.columns].join(","));
  const hash = write.toString();
  // Nothing chosen leaves an address as it came, with an anchor into the notes perhaps.
  if (hash === "" && !location.hash.includes("=")) return;
  history.replaceState(null, "", "#" + hash);
}

function filtered() {
  return Boolean(state.q.trim() || state.off.size || !state.controls || state.share !== null || state.front);
}

function resetFilters() {
  Object.assign(state, { q: "", off: new Set(), controls: true, share: null, front: "" });
}

/** The rows of a group that the filters leave, in the order of the ranking. */
function visibleRows(group) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return group.order.filter((row) => {
    if (state.off.has(row.method)) return false;
    if (!state.controls && row.rank === "control") return false;
    if (state.share !== null && group.shares && !(known(row.share) && 100 * row.share <= state.share + 1e-9))
      return false;
    if (group.fronts.includes(state.front) && standing(row, state.front) !== "front") return false;
    const unbeaten = state.front.replace(/^unbeaten-/, "");
    if (unbeaten !== state.front && group.beaten.includes(unbeaten) && standing(row, unbeaten) === "beaten") return false;
    return words.every((word) => row.text.includes(word));
  });
}
