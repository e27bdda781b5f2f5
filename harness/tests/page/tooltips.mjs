// Tooltips: by keyboard, by pointer, on curves, and by a finger.
import { WIDE, check, choose, close, data, drawAll, open, section } from "./session.mjs";
import * as expected from "./expected.mjs";

export async function tooltips(page, group) {
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

/** Waits until the page stands still. */
const settled = (page) =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

/** Learning curves: their ends by pointer, their names by keyboard. */
export async function curveTips(page, group) {
  const at = group.rows.findIndex((row) => row.curve && row.curve.epoch.length > 1);
  if (at < 0) return false;
  await drawAll(page);
  const part = page.locator(`${section(group)} [data-part="curves"]`);
  await part.scrollIntoViewIfNeeded();
  const tip = page.locator("#tooltip");
  const { curve } = group.rows[at];
  const last = curve.mean[curve.mean.length - 1].toFixed(2);
  const names = (text) => group.rows.some((row) => row.curve && text.includes(row.label));
  const end = await part.locator("svg.plot").first().evaluate((node) => {
    const box = node.getBoundingClientRect();
    const path = node.querySelector("path[d^='M']:not(.band)");
    const lines = [...node.querySelectorAll("g path")].filter((one) => one.getTotalLength() > 50);
    const line = lines[lines.length - 1] || path;
    const point = line.getPointAtLength(line.getTotalLength());
    const zoom = box.width / node.viewBox.baseVal.width;
    return { x: box.left + point.x * zoom, y: box.top + point.y * zoom };
  });
  // A scroll that is still under way would take the tooltip with it.
  await settled(page);
  await page.mouse.move(end.x - 1, end.y);
  const said = await tip.textContent();
  check((await tip.isVisible()) && names(said) && said.includes("Epoch"), `A curve's end says "${said}".`);
  await page.mouse.move(5, 5);
  check(!(await tip.isVisible()), "The tooltip of a curve was to go with the pointer.");
  await part.locator(`li[data-row="${at}"] button`).focus();
  const text = await tip.textContent();
  check((await tip.isVisible()) && text.includes(last), `The name of a curve says "${text}", and not ${last}.`);
  await page.evaluate(() => document.activeElement.blur());
  return true;
}

/** A finger on a mark shows its tooltip, and goes nowhere; beside it the tooltip goes. */
export async function touches() {
  const page = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  for (const group of data.groups.filter((group) => group.rows.some((row) => row.test || row.validation))) {
    await choose(page, group);
    await drawAll(page);
    const plot = page.locator(`${section(group)} [data-part="cost"] svg.plot`).first();
    if (!(await plot.count())) continue;
    await plot.scrollIntoViewIfNeeded();
    const mark = await plot.evaluate((node) => {
      const box = node.querySelector(".mark .shape").getBoundingClientRect();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    });
    await settled(page);
    const before = await page.evaluate(() => scrollY);
    await page.touchscreen.tap(mark.x, mark.y);
    const tip = page.locator("#tooltip");
    check(await tip.isVisible(), `A finger on a mark of "${group.title}" was to show its tooltip.`);
    check(before === (await page.evaluate(() => scrollY)), "A finger on a mark was not to scroll the page.");
    const box = await tip.boundingBox();
    check(box.x >= 0 && box.x + box.width <= 390, `The tooltip stands outside the screen: ${JSON.stringify(box)}.`);
  }
  await close(page);
}
