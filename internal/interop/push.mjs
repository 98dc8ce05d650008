// The page of examples/push in a real browser.

import path from 'node:path';
import { chromium } from 'playwright-core';
import { check, checkEqual, config, main, step } from './lib.mjs';

const PATIENCE = 20; // seconds

async function withPage(options, work) {
  const browser = await chromium.launch({
    executablePath: config.chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const problems = [];
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options });
    context.setDefaultTimeout(PATIENCE * 1000);
    const page = await context.newPage();
    const posts = []; // bodies of the requests
    page.on('pageerror', (error) => problems.push(`${error}`));
    page.on('console', (message) => {
      // The browser itself reports each request that a test has broken.
      if (['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource')) problems.push(message.text());
    });
    page.on('request', (request) => {
      if (request.method() === 'POST') posts.push(request.postData() ?? '');
    });
    try {
      await page.goto(`${config.http}/`);
      await work(page, posts, context);
    } catch (error) {
      await shot(page, `failed-push-${process.argv[2]}`).catch(() => {});
      throw error;
    }
    checkEqual(problems, [], 'errors in the page');
  } finally {
    await browser.close();
  }
}

const shot = (page, name) => page.screenshot({ path: path.join(config.output, `push-${name}.png`), fullPage: true });
const connected = (page) => page.getByRole('status').filter({ hasText: /^connected$/ }).waitFor();
const chart = (page, title) => page.getByRole('img', { name: new RegExp(`^${title}:`) });

/** Waits until the chart says of its newest sample what the pattern wants. */
async function says(page, title, pattern) {
  await page.waitForFunction(([t, p]) => [...document.querySelectorAll('canvas')]
    .some((c) => c.getAttribute('aria-label')?.startsWith(`${t}:`) && new RegExp(p).test(c.getAttribute('aria-label'))), [title, pattern.source])
    .catch(async (error) => {
      throw new Error(`${error.message}\n  it says: ${await chart(page, title).getAttribute('aria-label')}`);
    });
}

/** Whether a canvas shows anything, and in how many colours. */
const colours = (page, selector) => page.locator(selector).first().evaluate((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.add(`${data[i] >> 4},${data[i + 1] >> 4},${data[i + 2] >> 4}`);
  return seen.size;
});

/** Presses the button of a load, and waits for its result. */
async function load(page, name, result) {
  await page.getByRole('button', { name }).click();
  return () => page.getByRole('log').getByRole('listitem').filter({ hasText: name }).filter({ hasText: result }).waitFor({ timeout: 60_000 });
}

await main({
  // The page watches itself.
  async watch() {
    await withPage({ colorScheme: 'light' }, async (page, posts) => {
      await connected(page);
      await says(page, 'Sessions', /live 1$/);
      await says(page, 'Held requests', /open 1$/);
      await says(page, 'Round trip', /this page \d/);
      check(posts.some((body) => /<json xmlns='urn:xmpp:json:0'>\{"do":"ping"/.test(body)), 'no JSON in a container');
      for (const canvas of ['#timeline', '.chart canvas']) check(await colours(page, canvas) >= 3, `nothing is drawn on ${canvas}`);

      step('many payloads in few answers');
      await page.getByRole('button', { name: 'Push 500 payloads to me' }).click();
      await page.getByText(/^500 payloads came in \d answers?, in \d+ ms\.$/).waitFor();

      step('a cut connection is repeated');
      const repeated = () => new Set(posts).size < posts.length;
      check(!repeated(), 'a request was repeated before');
      await page.getByRole('button', { name: 'Cut my connection' }).click();
      for (let i = 0; i < 100 && !repeated(); i++) await page.waitForTimeout(100);
      check(repeated(), 'nothing was repeated');
      await page.waitForFunction(() => document.getElementById('status').dataset.status === 'online');
      await says(page, 'Held requests', /open 1$/);
      await shot(page, 'cut');

      step('the wire shows all but the secret');
      await page.getByText('What goes over the wire').click();
      await page.getByLabel('Answer').filter({ hasText: '"type":"sample"' }).first().waitFor();
      const wire = await page.getByLabel('Requests and answers').textContent();
      await shot(page, 'wire');
      check(/sid='…'/.test(wire) && !/sid=['"]\w/.test(wire), `the wire shows the sid: ${wire}`);
    });
  },

  // Everything at once.
  async loads() {
    await withPage({ colorScheme: 'dark' }, async (page) => {
      await connected(page);
      await says(page, 'Sessions', /live 1$/);
      const results = [
        await load(page, 'Idle sessions', '200 sessions said nothing'),
        await load(page, 'Lost clients', '30 clients have gone'),
      ];
      await says(page, 'Held requests', /open (?:20\d|2[1-9]\d)$/);
      results.push(await load(page, 'Conversation', '20 sessions sent 2000 payloads'));
      await says(page, 'Round trip', /median \d/);
      results.push(await load(page, 'Broken connections', 'none was lost, none came twice'));
      await says(page, 'Requests', /repeats [1-9]/);
      results.push(await load(page, 'Burst', 'sent 10000 payloads at once'));
      await says(page, 'Payloads', /out \d{3}|out .*k/);
      for (const result of results) await result();
      await page.locator('#ends li').filter({ hasText: 'inactive' }).filter({ hasText: '30' }).waitFor();
      await page.locator('#ends li').filter({ hasText: 'closed' }).waitFor();
      await shot(page, 'loads-dark');
      await page.emulateMedia({ colorScheme: 'light' });
      await page.waitForTimeout(300);
      await shot(page, 'loads-light');
      await page.setViewportSize({ width: 390, height: 844 });
      await says(page, 'Sessions', /live \d+$/);
      check(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'the page is wider than a phone');
      await shot(page, 'loads-phone');
    });
  },

  // The page as it is after a while without anything to do, and loads stopped.
  async stop() {
    await withPage({ colorScheme: 'light' }, async (page) => {
      await connected(page);
      await load(page, 'Idle sessions', '');
      await says(page, 'Sessions', /live 201$/);
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.getByRole('log').getByText('Stopped.').waitFor();
      await says(page, 'Sessions', /live 1$/);
      await page.locator('#ends li').filter({ hasText: 'closed' }).filter({ hasText: '200' }).waitFor();
    });
  },

  // The ready monitor: another page, without scripts.
  async monitor() {
    await withPage({ colorScheme: 'light' }, async (page, posts, context) => {
      await connected(page);
      const monitor = await context.newPage();
      await monitor.goto(`${config.http}/sessions`);
      await monitor.getByRole('cell', { name: 'monitor' }).waitFor();
      const problems = [];
      monitor.on('console', (message) => problems.push(message.text()));
      await monitor.reload();
      check(await monitor.evaluate(() => getComputedStyle(document.querySelector('.table')).overflowX === 'auto'), 'the style is not let in');
      await shot(monitor, 'monitor-light');
      await monitor.emulateMedia({ colorScheme: 'dark' });
      await shot(monitor, 'monitor-dark');

      step('a session is ended');
      await monitor.getByText('End…').click();
      await monitor.getByRole('button', { name: 'End session' }).click();
      await monitor.getByRole('status').filter({ hasText: 'ends as soon as' }).waitFor();
      await page.getByRole('alert').filter({ hasText: 'An operator has ended this session.' }).waitFor();
      await shot(page, 'ended');
      await monitor.reload();
      await monitor.getByText('No sessions.').waitFor();
      checkEqual(problems, [], 'complaints about the monitor');

      step('and another begins');
      await page.getByRole('button', { name: 'Connect again' }).click();
      await connected(page);
      await says(page, 'Sessions', /live 1$/);
    });
  },

  // The server is stopped in an orderly way.
  async shutdown() {
    await withPage({}, async (page) => {
      await connected(page);
      process.kill(config.pid, 'SIGINT');
      await page.getByRole('alert').filter({ hasText: 'The server is shutting down.' }).waitFor();
    });
  },
});
