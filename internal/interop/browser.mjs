// What the scripts of the pages share: the browser, and what a page must be like.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { check, checkEqual, config } from './lib.mjs';

export const PATIENCE = 60; // seconds

/** The sizes that pages are looked at: a phone, a phone held across, and a desk. */
export const SIZES = [[390, 844], [844, 390], [1280, 860]];

export function launch(...more) {
  return chromium.launch({
    executablePath: config.chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', ...more],
  });
}

/** Has a page's errors and warnings put into problems. */
export function listen(page, problems) {
  page.on('pageerror', (error) => problems.push(`${error}`));
  page.on('console', (message) => {
    // Axe has styles of its own, which the page's policy refuses.
    if (page.axe && message.text().startsWith('Applying inline style violates')) return;
    // The browser itself reports each request that a test has broken.
    if (['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource')) problems.push(message.text());
  });
}

export async function shot(page, name, options = {}) {
  if (config.output) await page.screenshot({ path: path.join(config.output, `${name}.png`), ...options });
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Has axe-core look for what shuts people out. */
export async function accessible(page, name) {
  page.axe = true;
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => axe.run({
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  check(passes.length > 10, `axe looked at nothing of ${name}`);
  checkEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html.slice(0, 120)} ${n.failureSummary}`).join('; ')}`), [],
    `what axe found on ${name}`);
}

/** Looks at a page in these sizes, and in both schemes. In none is it wider than the screen. */
export async function looks(page, name, { sizes = SIZES, ...options } = {}) {
  const before = page.viewportSize();
  for (const [width, height] of sizes) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const as = `${name}-${width}x${height}-${colorScheme}`;
      await accessible(page, as);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      check(wide <= 0, `${as} is ${wide} pixels too wide`);
      checkEqual(await small(page), [], `what is too small to be touched on ${as}`);
      await shot(page, as, options);
    }
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: 'light' });
}

/** What can be touched, and is less than 24 pixels in either direction. WCAG 2.2, 2.5.8. */
function small(page) {
  return page.evaluate(() => [...document.querySelectorAll('button, a[href], input, textarea, select, summary')]
    .map((element) => [element, element.getBoundingClientRect()])
    .filter(([element, r]) => r.width > 0 && !(r.width >= 24 && r.height >= 24) && getComputedStyle(element).display !== 'inline')
    .map(([element, r]) => `${element.outerHTML.slice(0, 80)} ${r.width}x${r.height}`));
}
