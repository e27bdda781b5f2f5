// Opens a report's page in Chromium and checks it against the data that it carries itself.
//
//     node browser.mjs PAGE.html [SCREENSHOT_DIR]
//
// Exits with 1 and one sentence at the first thing that is not as it should be.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { contrast } from "./contrast.mjs";
import * as expected from "./expected.mjs";
import {
  NARROW,
  Unexpected,
  WIDE,
  begin,
  check,
  choose,
  close,
  complaints,
  data,
  drawAll,
  end,
  open,
  same,
  section,
  shots,
  shownRows,
  source,
  unfold,
} from "./session.mjs";
import { curveTips, tooltips, touches } from "./tooltips.mjs";

/** Within how many milliseconds a filter has to answer. */
const ANSWER = 50;

async function opens() {
  const small =
    data.groups.flatMap((group) => group.rows.map((row) => row.trials.length)).reduce((a, b) => a + b, 0) <= 1000;
  const size = Buffer.byteLength(source);
  if (small) check(size < 1e6, `A page of at most 1,000 trials is to stay below 1 MB, and has ${size} bytes.`);
  for (const viewport of [NARROW, WIDE]) {
    const page = await open({ viewport });
    const name = `${viewport.width}x${viewport.height}`;
    const first = await page.locator("tr.row").first().boundingBox();
    check(first, `At ${name} no row of the ranking is shown.`);
    const bottom = Math.round(first.y + first.height);
    check(bottom <= viewport.height, `At ${name} the first row ends at ${bottom}, below the fold.`);
    for (const group of data.groups) {
      await choose(page, group);
      await drawAll(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(wide <= viewport.width, `At ${name} "${group.title}" is ${wide} pixels wide and scrolls sideways.`);
    }
    console.log(`first row at ${name}: ends at ${bottom} of ${viewport.height} pixels`);
    await close(page);
  }
  console.log(`page: ${(size / 1e3).toFixed(0)} kB`);
}

async function sorts(page, group) {
  await unfold(page, group);
  const keys = await page.$$eval(`${section(group)} .ranking > thead th`, (heads) =>
    heads.map((head) => head.dataset.column),
  );
  same(keys, expected.columns(group, null), `Columns of "${group.title}"`);
  let count = 0;
  const all = ["rank", "label", ...expected.columns(group, "all")];
  for (const column of new Set(all)) {
    if (!keys.includes(column)) await switchColumn(page, column);
    const head = page.locator(`${section(group)} th[data-column="${column}"]`);
    for (const way of ["click", "Enter", "Space"]) {
      const before = await head.getAttribute("aria-sort");
      if (way === "click") await head.locator("button").click();
      else await head.locator("button").press(way);
      const now = await head.getAttribute("aria-sort");
      check(
        now && now !== before,
        `Sorting "${group.title}" by ${column} with ${way} was to change aria-sort from ${before}, and it is ${now}.`,
      );
      const wanted = expected.sorted(group, column, now === "descending");
      same(await shownRows(page, group), wanted, `"${group.title}" sorted by ${column}, ${now}`);
      count += 1;
    }
    if (!keys.includes(column)) await switchColumn(page, column);
  }
  await page.locator(`${section(group)} th[data-column="rank"] button`).click();
  if ((await page.locator(`${section(group)} th[data-column="rank"]`).getAttribute("aria-sort")) !== "ascending") {
    await page.locator(`${section(group)} th[data-column="rank"] button`).click();
  }
  return count;
}

async function switchColumn(page, column) {
  const menu = page.locator(".menu", { hasText: "Columns" });
  await menu.locator("summary").click();
  await menu.locator(`input[value="${column}"]`).click();
  await menu.locator("summary").click();
}

/** Sets one filter as a reader would, and gives what has to be left. */
const FILTERS = {
  text: {
    of: (group) => ({ q: group.rows[group.rows.length - 1].label.slice(0, 5) }),
    set: (page, { q }) => page.locator(".filters input[type=search]").fill(q),
  },
  method: {
    of: (group) => {
      const methods = [...new Set(group.rows.map((row) => row.method))];
      return methods.length > 1 ? { off: [methods[1]] } : null;
    },
    set: async (page, { off }) => {
      const menu = page.locator(".menu", { hasText: "Methods" });
      await menu.locator("summary").click();
      for (const method of off) await menu.locator(`input[value=${JSON.stringify(method)}]`).uncheck();
      await menu.locator("summary").click();
    },
  },
  controls: {
    of: (group) => (group.rows.some((row) => row.rank === "control") ? { controls: false } : null),
    set: (page) => page.locator(".filters label", { hasText: "Hide controls" }).locator("input").check(),
  },
  share: {
    of: (group) => {
      const shares = expected.shares(group);
      return shares && shares[1] > shares[0] ? { share: Math.floor((shares[0] + shares[1]) / 2) } : null;
    },
    set: (page, { share }) => page.locator(".filters input[type=range]").fill(String(share)),
  },
  front: {
    of: (group) => {
      const front = ["macs", "params", "one", "many"].find((key) => group.rows.some((row) => row.front?.[key] === "front"));
      return front ? { front } : null;
    },
    set: (page, { front }) => page.locator(".front-choice select").selectOption(front),
  },
  unbeaten: {
    of: (group) => {
      const key = ["macs", "params", "one", "many"].find((key) => group.rows.some((row) => row.front?.[key] === "beaten"));
      return key ? { front: "unbeaten-" + key } : null;
    },
    set: (page, { front }) => page.locator(".front-choice select").selectOption(front),
  },
};

async function filters(page, group) {
  const tried = [];
  for (const [name, filter] of Object.entries(FILTERS)) {
    const wish = filter.of(group);
    if (!wish) continue;
    await filter.set(page, wish);
    const wanted = expected.passing(group, wish);
    same(await shownRows(page, group), wanted, `"${group.title}" filtered by ${name} ${JSON.stringify(wish)}`);
    const total = await page.locator(".total").textContent();
    same(
      total,
      `${wanted.length} of ${group.rows.length} row${group.rows.length === 1 ? "" : "s"}`,
      "The number of rows",
    );
    await marks(page, group, wanted, name);
    // The address alone brings the filter back.
    await page.waitForFunction(() => location.hash.length > 1, null, { timeout: 1000 }).catch(() => {});
    const hash = await page.evaluate(() => location.hash);
    check(
      hash.length > 1 || wanted.length === group.rows.length,
      `The filter by ${name} was to be kept in the address, which has none.`,
    );
    await page.reload();
    await unfold(page, group);
    same(await shownRows(page, group), wanted, `"${group.title}" filtered by ${name} after a reload`);
    await page.locator(".reset").click();
    await unfold(page, group);
    same(await shownRows(page, group), expected.passing(group, {}), `"${group.title}" after a reset`);
    tried.push(name);
  }
  return tried;
}

/** Every plot has a mark for each row that passes and has what the plot shows, and none for another. */
async function marks(page, group, rows, why) {
  await drawAll(page);
  for (const [part, wanted] of Object.entries(expected.plots(group, rows))) {
    const drawings = await page.$$eval(`${section(group)} [data-part="${part}"] svg.plot`, (plots) =>
      plots.map((plot) =>
        [...plot.querySelectorAll(".mark")].map((mark) => Number(mark.dataset.row)).sort((a, b) => a - b),
      ),
    );
    check(drawings.length > 0, `"${group.title}" has no plot of ${part}, and ${wanted[0].length} rows to show in it.`);
    drawings.forEach((found, nth) =>
      same(found, wanted[Math.min(nth, wanted.length - 1)], `Marks of plot ${nth + 1} of ${part}, filtered by ${why}`),
    );
  }
}

/**
 * How long the page takes to answer a letter typed and a box ticked: its script, styles and
 * layout; the median of nine.
 */
async function answers(page, group) {
  await drawAll(page);
  const times = {};
  for (const place of ["ranking", "cost", "curves", "speed"]) {
    const there = await page.evaluate(
      ([id, part]) => {
        const group = document.getElementById("group-" + id);
        const target =
          part === "ranking" ? group.querySelector(".ranking") : group.querySelector(`[data-part="${part}"]`);
        if (target) target.scrollIntoView({ block: part === "ranking" ? "start" : "center" });
        return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(Boolean(target)))));
      },
      [group.id, place],
    );
    if (!there) continue;
    times[place] = await page.evaluate(
      async (words) => {
        const box = document.querySelector(".filters input[type=search]");
        const found = [];
        for (let nth = 0; nth < 9; nth += 1) {
          // The page is at rest when the letter comes: all that the one before asked for is drawn.
          for (let frame = 0; frame < 6; frame += 1) await new Promise((done) => requestAnimationFrame(done));
          const start = performance.now();
          box.value = words[nth % words.length];
          box.dispatchEvent(new Event("input", { bubbles: true }));
          document.body.getBoundingClientRect();
          found.push(performance.now() - start);
        }
        box.value = "";
        box.dispatchEvent(new Event("input", { bubbles: true }));
        return found.sort((a, b) => a - b)[4];
      },
      [group.rows[0].label.slice(0, 3), "", group.rows[group.rows.length - 1].label.slice(0, 4)],
    );
    check(
      times[place] <= ANSWER,
      `A filter takes ${times[place].toFixed(1)} ms with ${place} in sight, more than ${ANSWER} ms.`,
    );
  }
  return times;
}

async function details(page, group) {
  const at = Math.max(
    0,
    group.rows.findIndex((row) => row.trials.length > 0),
  );
  await unfold(page, group);
  const line = page.locator(`${section(group)} tr.row[data-row="${at}"] .open-row`);
  await line.focus();
  await page.keyboard.press("Enter");
  const box = page.locator(`${section(group)} [data-detail="${at}"]`);
  check(await box.isVisible(), `Enter was to open "${group.rows[at].label}".`);
  same(await line.getAttribute("aria-expanded"), "true", "aria-expanded of an open row");
  const links = await box
    .locator("a")
    .evaluateAll((all) => all.map((link) => [link.textContent, link.getAttribute("href")]));
  same(
    links,
    group.rows[at].trials.map((trial) => [trial.key, trial.path]),
    `Trials of "${group.rows[at].label}"`,
  );
  await page.keyboard.press("Enter");
  check(!(await box.isVisible()), `Enter was to close "${group.rows[at].label}" again.`);
  await page.locator(`${section(group)} tr.row[data-row="${at}"] .c-rank`).click();
  check(await box.isVisible(), `A click was to open "${group.rows[at].label}".`);
}

async function themes() {
  const page = await open();
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.locator("#theme").click();
  const dark = await ground();
  check(light !== dark, `The theme button was to change the background, which stays ${light}.`);
  await page.locator("#theme").click();
  same(await ground(), light, "The background after the theme button was pressed twice");
  await close(page);
  let least = { ratio: Infinity };
  for (const colorScheme of ["light", "dark"]) {
    const themed = await open({ colorScheme });
    for (const group of data.groups) {
      await choose(themed, group);
      await drawAll(themed);
      await themed
        .locator(`${section(group)} .open-row`)
        .first()
        .click();
      for (const pair of await themed.evaluate(contrast)) {
        check(
          pair.ratio >= 4.5,
          `In the ${colorScheme} theme "${pair.text}" has a contrast of ${pair.ratio.toFixed(2)}, less than 4.5: ` +
            `${pair.color} on ${pair.ground} (${pair.node}).`,
        );
        if (pair.ratio < least.ratio) least = { ...pair, colorScheme };
      }
    }
    await close(themed);
  }
  console.log(`least contrast: ${least.ratio.toFixed(2)} (${least.node}, ${least.colorScheme})`);
}

async function prints() {
  const page = await open({ viewport: { width: 1040, height: 720 } });
  await page.emulateMedia({ media: "print" });
  await page.waitForTimeout(200);
  for (const group of data.groups) {
    const rows = await shownRows(page, group);
    same(rows, expected.passing(group, {}), `Rows of "${group.title}" on paper`);
    await marksOnPaper(page, group);
  }
  const shut = await page.$$eval("details:not(.menu)", (folds) => folds.filter((fold) => !fold.open).length);
  same(shut, 0, "Folds that stay shut on paper");
  const controls = await page.$$eval(
    ".filters, #theme, .controls, .tooltip",
    (all) => all.filter((one) => one.checkVisibility()).length,
  );
  same(controls, 0, "Controls on paper");
  if (shots) await page.pdf({ path: join(shots, "print.pdf"), preferCSSPageSize: true });
  await page.emulateMedia({ media: "screen" });
  await page.waitForTimeout(100);
  const back = await page.$$eval(".group", (all) => all.filter((one) => one.checkVisibility()).length);
  same(back, 1, "Groups on the screen after printing");
  await close(page);
}

async function marksOnPaper(page, group) {
  for (const [part, wanted] of Object.entries(
    expected.plots(
      group,
      group.rows.map((_, at) => at),
    ),
  )) {
    const found = await page.$$eval(`${section(group)} [data-part="${part}"] svg.plot`, (plots) =>
      plots.map((plot) => plot.querySelectorAll(".mark").length),
    );
    same(found[0], wanted[0].length, `Marks of ${part} of "${group.title}" on paper`);
  }
}

async function screenshots() {
  mkdirSync(shots, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    for (const viewport of [NARROW, WIDE]) {
      const page = await open({ viewport, colorScheme });
      const name = join(shots, `${colorScheme}-${viewport.width}`);
      await page.screenshot({ path: name + "-fold.png" });
      await drawAll(page);
      await page.screenshot({ path: name + ".png", fullPage: true });
      await close(page);
    }
  }
}

async function run() {
  await begin();
  if (shots) await screenshots();
  await opens();
  for (const group of data.groups) {
    const page = await open();
    await choose(page, group);
    await marks(
      page,
      group,
      group.rows.map((_, at) => at),
      "nothing",
    );
    const sorted = await sorts(page, group);
    const tried = await filters(page, group);
    const tips = await tooltips(page, group);
    if (await curveTips(page, group)) tips.push("curves");
    await details(page, group);
    const times = await answers(page, group);
    await close(page);
    const figures = Object.entries(times).map(([part, ms]) => `${part} ${ms.toFixed(1)}`);
    console.log(
      `${group.id}: ${group.rows.length} rows; ${sorted} sorts; filters ${tried.join(", ") || "none"}; ` +
        `tooltips ${tips.join(", ") || "none"}; a filter answers in ms with in sight: ${figures.join(", ")}`,
    );
  }
  await touches();
  await themes();
  await prints();
  check(complaints.length === 0, `The page was to be silent and alone, but ${complaints[0]}.`);
}

let failed = null;
try {
  await run();
} catch (error) {
  failed = error;
}
await end();
if (failed) {
  // What the page itself complained of is nearer to the cause than what was then missing.
  for (const complaint of complaints.slice(0, 3)) console.error(complaint);
  console.error(failed instanceof Unexpected ? failed.message : failed.stack);
  process.exit(1);
}
console.log("all as expected");
