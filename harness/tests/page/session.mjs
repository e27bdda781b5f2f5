// What all checks share: the page under test with its own data, and a browser that notes what it complains of.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const FLAGS =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync";
export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };
export class Unexpected extends Error {}

export function check(holds, sentence) {
  if (!holds) throw new Unexpected(sentence);
}

export function same(found, wanted, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  check(a === b, `${what}: expected ${b.slice(0, 600)}, found ${a.slice(0, 600)}.`);
}

export const [file, shots] = process.argv.slice(2);
if (!file) {
  console.error("Usage: node browser.mjs PAGE.html [SCREENSHOT_DIR]");
  process.exit(2);
}
const path = resolve(file);
export const source = readFileSync(path, "utf8");
export const data = JSON.parse(source.match(/<script type="application\/json" id="data">([\s\S]*?)<\/script>/)[1]);
const address = pathToFileURL(path).href;

export const complaints = [];
let browser;

/** Starts the browser that pages are opened in. */
export async function begin() {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS.split(" ") });
}

export async function end() {
  if (browser) await browser.close();
}

export async function open(options = {}, hash = "") {
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

export const close = (page) => page.context().close();

/** Chooses a group as the reader does: by its tab, or in the list. */
export async function choose(page, group) {
  if (data.groups.length < 2) return;
  const tab = page.locator(".tab", { hasText: group.title });
  if (await tab.first().isVisible()) await page.locator(".tab").nth(data.groups.indexOf(group)).click();
  else await page.locator(".groups select").selectOption(group.id);
}

/** Shows what a long ranking folds. */
export async function unfold(page, group) {
  const more = page.locator(`${section(group)} .show-all`);
  if (await more.isVisible()) await more.click();
}

export const section = (group) => `.group[id=${JSON.stringify("group-" + group.id)}]`;

/** The rows that are shown, by their place in the data, from top to bottom. */
export const shownRows = (page, group) =>
  page.$$eval(`${section(group)} tr.row`, (rows) =>
    rows.filter((row) => row.checkVisibility()).map((row) => Number(row.dataset.row)),
  );

/** Scrolls through the page, so that all its parts are drawn. */
export async function drawAll(page) {
  await page.evaluate(async () => {
    for (let y = 0; y < document.documentElement.scrollHeight; y += 400) {
      scrollTo(0, y);
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
    scrollTo(0, 0);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  });
}
