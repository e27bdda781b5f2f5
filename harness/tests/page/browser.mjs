// Opens a report's page in Chromium and checks it against the data that it carries itself.
//
//     node browser.mjs PAGE.html [SCREENSHOT_DIR]
//
// Exits with 1 and one sentence at the first thing that is not as it should be.
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { contrast } from "./contrast.mjs";
import * as expected from "./expected.mjs";

const FLAGS =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync";
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 390, height: 844 };
/** Within how many milliseconds a filter has to answer. */
const ANSWER = 50;

class Unexpected extends Error {}

function check(holds, sentence) {
  if (!holds) throw new Unexpected(sentence);
}

function same(found, wanted, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  check(a === b, `${what}: expected ${b.slice(0, 600)}, found ${a.slice(0, 600)}.`);
}

const [file, shots] = process.argv.slice(2);
if (!file) {
  console.error("Usage: node browser.mjs PAGE.html [SCREENSHOT_DIR]");
  process.exit(2);
}
const path = resolve(file);
const source = readFileSync(path, "utf8");
const data = JSON.parse(source.match(/<script type="application\/json" id="data">([\s\S]*?)<\/script>/)[1]);
const address = pathToFileURL(path).href;

const complaints = [];
let browser;

async function open(options = {}, hash = "") {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`the console says "${message.text()}"`);
  });
  page.on("pageerror", (error) => complaints.push(`the script fails: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url().split("#")[0];
    if (url !== address && !url.startsWith("data:")) complaints.push(`the page asks for ${url}`);
  });
  await page.goto(address + hash);
  return page;
}

const close = (page) => page.context().close();

/** Chooses a group as the reader does: by its tab, or in the list. */
async function choose(page, group) {
  if (data.groups.length < 2) return;
  const tab = page.locator(".tab", { hasText: group.title });
  if (await tab.first().isVisible()) await page.locator(".tab").nth(data.groups.indexOf(group)).click();
  else await page.locator(".groups select").selectOption(group.id);
}

/** Shows what a long ranking folds. */
async function unfold(page, group) {
  const more = page.locator(`${section(group)} .show-all`);
  if (await more.isVisible()) await more.click();
}

const section = (group) => `.group[id=${JSON.stringify("group-" + group.id)}]`;

/** The rows that are shown, by their place in the data, from top to bottom. */
const shownRows = (page, group) =>
  page.$$eval(`${section(group)} tr.row`, (rows) =>
    rows.filter((row) => row.checkVisibility()).map((row) => Number(row.dataset.row)),
  );

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

/** Scrolls through the page, so that all its parts are drawn. */
async function drawAll(page) {
  await page.evaluate(async () => {
    for (let y = 0; y < document.documentElement.scrollHeight; y += 400) {
      scrollTo(0, y);
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
    scrollTo(0, 0);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  });
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
      const front = ["macs", "params", "one", "many"].find((key) => group.rows.some((row) => row.front?.[key]));
      return front ? { front } : null;
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

async function tooltips(page, group) {
  await drawAll(page);
  const tried = [];
  for (const [part, wanted] of Object.entries(
    expected.plots(
      group,
      group.rows.map((_, at) => at),
    ),
  )) {
    if (part === "curves" || !wanted[0].length) continue;
    const plot = page.locator(`${section(group)} [data-part="${part}"] svg.plot`).first();
    await page.locator(`${section(group)} [data-part="${part}"]`).scrollIntoViewIfNeeded();
    await plot.scrollIntoViewIfNeeded();
    const tip = page.locator("#tooltip");
    // By keyboard: the one mark that tab reaches, and the arrows from there.
    await plot.locator('.mark[tabindex="0"]').focus();
    for (const key of [null, "ArrowRight"]) {
      if (key) await page.keyboard.press(key);
      const at = await page.evaluate(() => Number(document.activeElement.dataset.row));
      const text = await tip.textContent();
      check(await tip.isVisible(), `The tooltip of ${part} was to show on keyboard focus.`);
      said(text, group, group.rows[at], part);
      const box = await tip.boundingBox();
      const inside = box.x >= 0 && box.y >= 0 && box.x + box.width <= WIDE.width && box.y + box.height <= WIDE.height;
      check(inside, `The tooltip of ${part} stands outside the window: ${JSON.stringify(box)}.`);
    }
    await page.keyboard.press("Escape");
    check(!(await tip.isVisible()), `Escape was to hide the tooltip of ${part}.`);
    await page.evaluate(() => document.activeElement.blur());
    // By pointer: the mark that is farthest from all others, for others may cover it.
    const point = await plot.evaluate((node) => {
      const all = [...node.querySelectorAll(".mark")].map((mark) => {
        const box = mark.querySelector(".shape").getBoundingClientRect();
        return { at: Number(mark.dataset.row), x: box.x + box.width / 2, y: box.y + box.height / 2 };
      });
      const lone = (one) =>
        Math.min(1e9, ...all.filter((two) => two !== one).map((two) => Math.hypot(one.x - two.x, one.y - two.y)));
      return all.sort((one, two) => lone(two) - lone(one))[0];
    });
    await page.mouse.move(point.x + 2, point.y + 1);
    check(await tip.isVisible(), `The tooltip of ${part} was to show on hover.`);
    said(await tip.textContent(), group, group.rows[point.at], part);
    await page.mouse.move(5, 5);
    check(!(await tip.isVisible()), `The tooltip of ${part} was to go with the pointer.`);
    tried.push(part);
  }
  return tried;
}

function said(text, group, row, part) {
  for (const piece of expected.tooltip(group, row)) {
    const plain = (words) => words.replace(/\s+/g, " ");
    check(
      plain(text).includes(plain(piece)),
      `The tooltip of ${part} for "${row.label}" lacks "${piece}": ${plain(text)}`,
    );
  }
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
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS.split(" ") });
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
    await details(page, group);
    const times = await answers(page, group);
    await close(page);
    const figures = Object.entries(times).map(([part, ms]) => `${part} ${ms.toFixed(1)}`);
    console.log(
      `${group.id}: ${group.rows.length} rows; ${sorted} sorts; filters ${tried.join(", ") || "none"}; ` +
        `tooltips ${tips.join(", ") || "none"}; a filter answers in ms with in sight: ${figures.join(", ")}`,
    );
  }
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
if (browser) await browser.close();
if (failed) {
  // What the page itself complained of is nearer to the cause than what was then missing.
  for (const complaint of complaints.slice(0, 3)) console.error(complaint);
  console.error(failed instanceof Unexpected ? failed.message : failed.stack);
  process.exit(1);
}
console.log("all as expected");
