// The page of examples/push in a real browser.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PATIENCE, accessible, launch, listen, looks, shot as shotOf } from './browser.mjs';
import { check, checkEqual, config, main, step, within } from './lib.mjs';

async function withPage(options, work) {
  const browser = await launch();
  const problems = [];
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options });
    context.setDefaultTimeout(PATIENCE * 1000);
    const page = await context.newPage();
    const posts = []; // bodies of the requests
    listen(page, problems);
    page.on('request', (request) => {
      if (request.method() === 'POST') posts.push(request.postData() ?? '');
    });
    try {
      await page.goto(`${config.http}/`);
      await work(page, posts, context, browser);
    } catch (error) {
      await shot(page, `failed-push-${process.argv[2]}`).catch(() => {});
      throw error;
    }
    checkEqual(problems, [], 'errors in the page');
  } finally {
    await browser.close();
  }
}

const shot = (page, name) => shotOf(page, `push-${name}`, { fullPage: true });
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

/** The processor time that the page takes, in parts of one core, over some seconds. Its process is the busiest. */
async function load(page, browser, seconds) {
  const cdp = await browser.newBrowserCDPSession();
  const spent = async () => new Map((await cdp.send('SystemInfo.getProcessInfo')).processInfo
    .filter(({ type }) => type === 'renderer').map(({ id, cpuTime }) => [id, cpuTime]));
  const before = await spent();
  await page.waitForTimeout(seconds * 1000);
  return Math.max(...[...await spent()].map(([id, time]) => time - (before.get(id) ?? 0))) / seconds;
}

/** Presses the button of a load, and waits for its result. */
async function press(page, name, result) {
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
      await page.locator('.chart canvas').first().scrollIntoViewIfNeeded();
      await page.waitForTimeout(200);
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
        await press(page, 'Idle sessions', '200 sessions said nothing'),
        await press(page, 'Lost clients', '30 clients have gone'),
      ];
      await says(page, 'Held requests', /open (?:20\d|2[1-9]\d)$/);
      results.push(await press(page, 'Conversation', '20 sessions sent 2000 payloads'));
      await says(page, 'Round trip', /median \d/);
      results.push(await press(page, 'Broken connections', 'none was lost, none came twice'));
      await says(page, 'Requests', /repeats [1-9]/);
      results.push(await press(page, 'Burst', 'sent 10000 payloads at once'));
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
      await press(page, 'Idle sessions', '');
      await says(page, 'Sessions', /live 201$/);
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.getByRole('log').getByText('Stopped.').waitFor();
      await says(page, 'Sessions', /live 1$/);
      await page.locator('#ends li').filter({ hasText: 'closed' }).filter({ hasText: '200' }).waitFor();
    });
  },

  // What it looks like, and whom it shuts out. The pictures are to be looked at.
  async looks() {
    await withPage({ colorScheme: 'light' }, async (page, posts, context, browser) => {
      await connected(page);
      await says(page, 'Sessions', /live 1$/);

      step('how busy it is with nothing to do');
      let idle = 1;
      for (let i = 0; i < 4 && idle >= 0.03; i++) { // the browser has something of its own to do at first, and the machine may be busy
        idle = await load(page, browser, 8);
        console.log(`  ${(100 * idle).toFixed(1)} % of a core`);
      }
      check(idle < 0.03, `the page takes ${(100 * idle).toFixed(1)} % of a core`);

      step('what a screen reader is told in five seconds');
      await page.evaluate(() => {
        window.told = [];
        new MutationObserver((changes) => {
          for (const { target } of changes) {
            const live = (target.closest ? target : target.parentElement)?.closest('[role=status], [role=log], [role=alert], [aria-live]:not([aria-live=off]), output');
            if (live) window.told.push(live.textContent);
          }
        }).observe(document.body, { subtree: true, childList: true, characterData: true });
      });
      await page.waitForTimeout(5000);
      const told = await page.evaluate(() => window.told);
      check(told.length <= 1, `${told.length} times: ${told}`);
      check(/^\d+ sessions?, \d+ held requests?, .* requests a second, round trip .* ms\.$/.test(await page.locator('#summary').textContent()), 'there is no summary');

      const result = await press(page, 'Conversation', '20 sessions sent 2000 payloads');
      await press(page, 'Idle sessions', '');
      await result();
      await page.getByText('What goes over the wire').click();
      await page.getByText('sent, and not answered yet').waitFor();
      step('two scales where two sizes meet');
      for (const name of ['repeats (right)', 'out (right)', 'this page (right)']) await page.getByText(name).waitFor();
      await looks(page, 'push', { fullPage: true });
    });
  },

  // Another server comes in the place of this one, and the page goes on with it.
  async reconnect() {
    let server = null;
    await withPage({ colorScheme: 'light' }, async (page) => {
      await connected(page);
      await says(page, 'Sessions', /live 1$/);
      process.kill(config.pid, 'SIGINT');
      await page.getByRole('alert').filter({ hasText: /The server is shutting down|The server cannot be reached/ }).waitFor();
      await page.getByText(/Trying again (in \d+ s|now)\./).waitFor();
      await page.getByText(/^These numbers are \d+ s old\.$/).waitFor();
      check(await page.evaluate(() => {
        const colour = (selector) => getComputedStyle(document.querySelector(selector)).color;
        return colour('#t-sessions') === colour('.tiles small');
      }), 'old numbers look like new ones');
      await accessible(page, 'the page without a server');
      await shot(page, 'stale');
      await within(PATIENCE, (async () => {
        while (await fetch(config.http).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 100));
      })(), 'the end of the server');
      server = spawn(process.env.INTEROP_PROGRAM, ['-http', new URL(config.http).host], { stdio: ['ignore', 'pipe', 'inherit'] });
      await within(PATIENCE, once(server.stdout, 'data'), 'the next server');
      await connected(page); // by itself
      await says(page, 'Sessions', /live 1$/);
      check(!(await page.locator('#ended').isVisible()), 'the end is shown yet');
      await page.waitForFunction(() => !document.body.classList.contains('stale'));
    }).finally(() => server?.kill('SIGINT'));
  },

  // A front has HTTPS, and a prefix.
  async front() {
    await withPage({}, async (page, posts, context) => {
      await page.getByText('pushed to it over ordinary HTTP, in').waitFor();
      await context.route('https://push.test/**', async (route) => {
        const url = route.request().url().replace('https://push.test/some/where/', `${config.http}/`);
        const { origin, ...headers } = route.request().headers(); // it would be another host's than this request is for
        await route.fetch({ url, headers }).then((response) => route.fulfill({ response })).catch(() => {}); // the page is gone
      });
      await page.goto('https://push.test/some/where/');
      await connected(page);
      await page.getByText('pushed to it over ordinary HTTPS, in').waitFor();
      checkEqual(await page.getByRole('link', { name: 'Live sessions' }).evaluate((a) => a.href), 'https://push.test/some/where/sessions', 'the link');
      await says(page, 'Sessions', /live \d$/);
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
      await looks(monitor, 'monitor', { fullPage: true });

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
