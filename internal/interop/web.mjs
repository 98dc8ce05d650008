// The client for browsers, in Node, in a page of Chromium, and in a worker of it.

import { chromium } from 'playwright-core';
import * as client from '../../boshclient/web/bosh.js';
import { check, checkEqual, config, main, step } from './lib.mjs';
import { run } from './web-scenario.mjs';
import { run as runXMPP } from './web-xmpp.mjs';

async function withPage(work) {
  const browser = await chromium.launch({
    executablePath: config.chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  try {
    const context = await browser.newContext();
    const page = await context.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(`${error}`));
    await page.goto(`${config.http}/`);
    await work(page, context);
    checkEqual(problems, [], 'errors in the page');
  } finally {
    await browser.close();
  }
}

/** Connects with a store, and says of which session the page is. */
const connect = (page) => page.evaluate(async () => {
  const { Bosh } = await import('/bosh/bosh.js');
  globalThis.bosh = new Bosh('/elements', {
    to: 'example.com', headers: { Authorization: 'Bearer 0' }, attributes: { token: `a'<b>` }, store: sessionStorage,
  });
  globalThis.got = JSON.parse(sessionStorage.getItem('got') ?? '[]'); // also by the page before a reload
  bosh.onjson = (value) => {
    if (value.session) sessionStorage.setItem('number', value.session);
    got.push(value);
    sessionStorage.setItem('got', JSON.stringify(got));
  };
  bosh.connect();
  while (!['online', 'closed'].includes(bosh.status) || !sessionStorage.getItem('number')) await new Promise((resolve) => setTimeout(resolve, 20));
  return sessionStorage.getItem('number');
});

/** Runs a scenario in a page. */
const inPage = (scenario) => withPage((page) => page.evaluate(async (scenario) => {
  const [client, { run }] = [await import('/bosh/bosh.js'), await import(scenario)];
  await run(client, location.origin);
}, scenario));

/** Runs a scenario in a worker. */
const inWorker = (scenario) => withPage(async (page) => {
  const error = await page.evaluate((scenario) => new Promise((resolve) => {
    const worker = new Worker(`/web-worker.mjs?${scenario}`, { type: 'module' });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (e) => resolve(`the worker failed: ${e.message}`);
  }), scenario);
  check(!error, error);
});

await main({
  async node() {
    await run(client, config.http);
  },

  async page() {
    await inPage('/web-scenario.mjs');
  },

  async worker() {
    await inWorker('/web-scenario.mjs');
  },

  async xmpp() {
    step('in Node');
    await runXMPP(client, config.http);
    step('in a page');
    await inPage('/web-xmpp.mjs');
    step('in a worker');
    await inWorker('/web-xmpp.mjs');
  },

  async reload() {
    await withPage(async (page, context) => {
      const first = await connect(page);
      step('what was sent just before a reload is sent once');
      await page.evaluate(() => {
        for (let i = 0; i < 20; i++) bosh.sendJSON({ i });
      });
      await page.reload();
      checkEqual(await connect(page), first, 'the session after a reload');
      await page.waitForFunction(() => got.some((value) => value.i === 19));
      await page.evaluate(() => bosh.sendJSON({ after: true }));
      await page.waitForFunction(() => got.at(-1)?.after);
      checkEqual(await page.evaluate(() => got.filter((v) => 'i' in v).map((v) => v.i)), Array.from({ length: 20 }, (_, i) => i), 'echoes');

      step('a copy of the tab gets a session of its own');
      const [copy] = await Promise.all([context.waitForEvent('page'), page.evaluate(() => window.open('/', '_blank') && 0)]);
      await copy.waitForLoadState();
      check(await copy.evaluate(() => sessionStorage.length > 0), 'the copy has no copy of the store');
      await copy.evaluate(() => sessionStorage.removeItem('number'));
      check(await connect(copy) !== first, 'two tabs share a session');
      await page.evaluate(() => bosh.sendJSON({ still: true }));
      await page.waitForFunction(() => got.at(-1)?.still);

      step('after an end there is nothing to go on with');
      await page.evaluate(() => bosh.terminate({ keepalive: true }));
      await page.reload();
      await page.evaluate(() => sessionStorage.removeItem('number'));
      check(await connect(page) !== first, 'an ended session goes on');
    });
  },
});
