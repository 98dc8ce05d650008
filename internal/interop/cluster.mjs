// examples/cluster while all its processes are restarted, one after the other.

import { readFileSync } from 'node:fs';
import { launch, listen, looks, shot } from './browser.mjs';
import { check, checkEqual, config, main, step } from './lib.mjs';

const restart = async () => {
  const answer = await fetch(`${config.http}/restart`, { method: 'POST', headers: { Cluster: 'restart' } });
  check(answer.ok, `restart: ${answer.status} ${await answer.text()}`);
};

const strophe = readFileSync(new URL('./node_modules/strophe.js/dist/strophe.umd.min.js', import.meta.url), 'utf8');

/** In the page: a session that strophe.js goes on with. It sends numbers, which come back. */
function talk({ every }) {
  const { Strophe, $msg } = globalThis.strophe ?? globalThis;
  const log = { sent: 0, got: [], late: [], status: [] };
  if (!globalThis.stalled) { // the longest time that the page did nothing
    let last = performance.now();
    globalThis.stalled = 1;
    setInterval(() => {
      const now = performance.now();
      globalThis.stalled = Math.max(globalThis.stalled, now - last);
      last = now;
    }, 10);
  }
  const sentAt = [];
  const rid = 1 + Math.floor(Math.random() * 2 ** 40);
  const creation = `<body rid='${rid}' to='x' wait='60' hold='1' ver='1.11' content='text/xml; charset=utf-8' xmlns='http://jabber.org/protocol/httpbind'/>`;
  return fetch('/http-bind', { method: 'POST', body: creation }).then((answer) => answer.text()).then((text) => {
    const sid = new DOMParser().parseFromString(text, 'text/xml').documentElement.getAttribute('sid');
    const connection = new Strophe.Connection('/http-bind');
    connection.addHandler((message) => {
      const n = Number(message.getAttribute('id'));
      log.got.push(n);
      log.late.push(performance.now() - sentAt[n]);
      return true;
    }, null, 'message');
    connection.attach('a@x/y', sid, rid + 1, (status) => log.status.push(status));
    const timer = setInterval(() => {
      sentAt[log.sent] = performance.now();
      connection.send($msg({ id: `${log.sent++}` }).c('body').t('x'.repeat(100)).tree());
    }, every);
    (globalThis.all ??= []).push({ log, stop: () => clearInterval(timer), attached: Strophe.Status.ATTACHED });
  });
}

await main({
  async strophe() {
    const browser = await launch();
    try {
      step('ten clients');
      const problems = [];
      const pages = await Promise.all(Array.from({ length: 5 }, async () => {
        const page = await (await browser.newContext()).newPage(); // with connections of its own
        listen(page, problems);
        await page.route('**/empty', (route) => route.fulfill({ contentType: 'text/html', body: '<!DOCTYPE html><title>strophe.js</title>' }));
        await page.goto(`${config.http}/empty`);
        await page.evaluate(strophe);
        await page.evaluate(talk, { every: 250 }); // strophe.js sends 100 ms after the last stanza, so not while they come faster
        await page.evaluate(talk, { every: 350 });
        return page;
      }));
      step('two rolling restarts');
      await restart();
      await restart();
      step('nothing lost, nothing twice, all in order, and no session has ended');
      await Promise.all(pages.map((page) => page.evaluate(() => globalThis.all.forEach((x) => x.stop()))));
      let n = 0;
      const late = [];
      const stalled = Math.max(...await Promise.all(pages.map((page) => page.evaluate(() => globalThis.stalled))));
      const timely = stalled < 100; // or else the pages themselves may take two answers in the wrong order
      console.log(`  the pages stood still for ${stalled.toFixed(0)} ms${timely ? '' : ', so that the order tells nothing'}`);
      for (const page of pages) {
        await page.waitForFunction(() => globalThis.all.every(({ log }) => log.got.length >= log.sent), null, { timeout: 20000 });
        for (const { log, attached } of await page.evaluate(() => globalThis.all.map(({ log, attached }) => ({ log, attached })))) {
          const got = timely ? log.got : log.got.toSorted((a, b) => a - b);
          checkEqual(got, Array.from({ length: log.sent }, (_, i) => i), 'the numbers that came back');
          checkEqual(log.status, [attached], 'the states of the connection');
          check(log.sent > 3, `only ${log.sent} sent`);
          n += log.sent;
          late.push(...log.late);
        }
      }
      late.sort((a, b) => a - b);
      console.log(`  ${n} messages, half within ${late[late.length >> 1].toFixed(1)} ms, all within ${late.at(-1).toFixed(0)} ms`);
      // strophe.js says so when a node ends before it has answered: then it repeats.
      checkEqual(problems.filter((p) => !p.includes('502')), [], 'errors in the pages');
    } finally {
      await browser.close();
    }
  },

  async page() {
    const browser = await launch();
    try {
      const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
      const problems = [];
      listen(page, problems);
      await page.goto(`${config.http}/`);
      await page.waitForFunction(() => document.querySelectorAll('#nodes tr').length === 3 && document.getElementById('line').points.length > 5);
      step('the button');
      await page.click('#restart');
      await page.waitForFunction(() => document.getElementById('restarting').textContent === 'all have been restarted', null, { timeout: 60000 });
      const points = await page.evaluate(() => document.getElementById('line').points.length);
      await page.waitForFunction((n) => document.getElementById('line').points.length > n + 8, points);
      checkEqual(await page.locator('#log li').allTextContents(), ['a session begins'], 'the log: no session has ended');
      checkEqual(await page.textContent('#state'), 'connected', 'the state');
      console.log(`  ${await page.textContent('#late')}`);
      await shot(page, 'cluster-1280');
      step('what the page is like');
      await looks(page, 'cluster', { fullPage: true });
      checkEqual(problems, [], 'errors in the page');
    } finally {
      await browser.close();
    }
  },
});
