// The page of examples/chat in a real browser.

import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { TCPClient, TRICKY, check, checkEqual, config, main, step, within } from './lib.mjs';

const PATIENCE = 20; // seconds

async function withBrowser(options, work) {
  const browser = await chromium.launch({
    executablePath: config.chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const problems = [];
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: 'en-GB', ...options });
    context.setDefaultTimeout(PATIENCE * 1000);
    const tabs = [];
    const newTab = async () => {
      const tab = new Tab(await context.newPage(), problems);
      tabs.push(tab);
      return tab;
    };
    try {
      await work(newTab, context);
    } catch (error) {
      for (const [i, tab] of tabs.entries()) await tab.autopsy(`failed-${process.argv[2] ?? 'page'}-${i + 1}`).catch(() => {});
      throw error;
    }
    checkEqual(problems, [], 'errors in the page');
  } finally {
    await browser.close();
  }
}

class Tab {
  constructor(page, problems) {
    this.page = page;
    this.bodies = new Map(); // rid -> the bodies sent under it
    page.on('pageerror', (error) => problems.push(`${error}`));
    page.on('console', (message) => {
      // The browser itself reports each request that a test has broken.
      if (['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource')) problems.push(message.text());
    });
    page.on('request', (request) => {
      if (request.method() !== 'POST') return;
      const body = request.postData() ?? '';
      const rid = /\brid='(\d+)'/.exec(body)?.[1];
      if (!this.bodies.has(rid)) this.bodies.set(rid, []);
      this.bodies.get(rid).push(body);
    });
  }

  async login(name, password, url = config.http) {
    const { page } = this;
    await page.goto(`${url}/`);
    await page.getByLabel('Name').fill(name);
    await page.getByLabel('Password').fill(password);
    await page.getByText('Server', { exact: true }).click();
    await page.getByLabel('Domain').fill(config.domain);
    await page.getByRole('button', { name: 'Log in' }).click();
    await this.connected();
  }

  async connected() {
    await this.page.getByRole('status').filter({ hasText: /^connected$/ }).waitFor();
  }

  async openChat(name) {
    await this.page.getByLabel('Address to write to').fill(`${name}@${config.domain}`);
    await this.page.getByLabel('Open this chat').click();
  }

  async say(text) {
    await this.page.getByLabel('Message', { exact: true }).fill(text);
    await this.page.getByLabel('Message', { exact: true }).press('Enter');
  }

  /** Says all of these in one go, faster than a hand could. */
  async burst(texts) {
    await this.page.evaluate((all) => {
      for (const text of all) {
        document.getElementById('text').value = text;
        document.getElementById('compose').requestSubmit();
      }
    }, texts);
  }

  /** Waits until the chat on screen shows these messages of the other one (or, mine) and no more. */
  async shows(texts, { mine = false } = {}) {
    const selector = mine ? '.message.mine .bubble' : '.message:not(.mine) .bubble';
    const read = () => this.page.$$eval(selector, (bubbles) => bubbles.map((bubble) => bubble.textContent));
    await this.page.waitForFunction(([s, n]) => document.querySelectorAll(s).length >= n, [selector, texts.length])
      .catch(async (error) => {
        throw new Error(`${error.message}\n   there are ${JSON.stringify(await read())}\n  instead of ${JSON.stringify(texts)}`);
      });
    checkEqual(await read(), texts, 'messages on the page');
  }

  /** Waits until no message is on its way to the server any more. */
  async settled() {
    await this.page.waitForFunction(() => !document.querySelector('.message.pending'));
  }

  sid() {
    return this.page.evaluate(() => JSON.parse(sessionStorage.getItem('bosh-chat')).client.bosh.sid);
  }

  repeats() {
    for (const [rid, bodies] of this.bodies) {
      for (const body of bodies) check(body === bodies[0], `rid ${rid} was repeated with another body:\n${bodies.join('\n')}`);
    }
    return [...this.bodies.values()].reduce((sum, bodies) => sum + bodies.length - 1, 0);
  }

  async shot(name) {
    if (config.output) await this.page.screenshot({ path: path.join(config.output, `${name}.png`) });
  }

  /** Keeps what the page looks like and what went over the wire. */
  async autopsy(name) {
    if (!config.output) return;
    await this.shot(name);
    const wire = await this.page.$$eval('.exchange', (rows) => rows.map((row) => [...row.children].map((side) => side.innerText).join('\n  -->\n')));
    await writeFile(path.join(config.output, `${name}.txt`), wire.join('\n\n'));
  }

  async logout() {
    await this.page.getByRole('button', { name: 'Log out' }).click();
    await this.page.getByRole('button', { name: 'Log in' }).waitFor();
    check(await this.page.evaluate(() => sessionStorage.length === 0), 'the session was left in the storage');
    check(!(await this.page.getByRole('alert').isVisible()), 'an error is shown after the log-out');
  }
}

const numbered = (what, n) => Array.from({ length: n }, (_, i) => `${what} ${i + 1}`);

await main({
  // Two tabs chat with each other.
  async chat() {
    await withBrowser({ colorScheme: 'light' }, async (newTab) => {
      const [alice, bob] = [await newTab(), await newTab()];
      await alice.page.goto(`${config.http}/`);
      await alice.page.getByRole('button', { name: 'Log in' }).waitFor();
      await alice.shot('1-login-light');

      step('a wrong password is refused, and said to be wrong');
      await alice.page.getByLabel('Name').fill('alice');
      await alice.page.getByLabel('Password').fill('mallory');
      await alice.page.getByRole('button', { name: 'Log in' }).click();
      await alice.page.getByRole('alert').filter({ hasText: 'Wrong name or password' }).waitFor();
      await alice.shot('2-login-refused');

      step('log-in by SCRAM, twice');
      await alice.login('alice', 'alice');
      await bob.login('bob', 'bob');
      for (const tab of [alice, bob]) {
        const all = [...tab.bodies.values()].flat().join('\n');
        check(/mechanism='SCRAM-SHA-(256|1)'/.test(all), 'not logged in by SCRAM');
        const seen = await tab.page.getByLabel('HTTP requests and their answers').textContent();
        check(seen.includes('SCRAM-SHA') && seen.includes('(hidden)'), 'the wire view does not show the log-in');
        check(!/>[A-Za-z0-9+/=]{20,}<\/(auth|response|challenge|success)>/.test(seen), 'the wire view shows SASL data');
      }

      step('messages both ways, verbatim');
      await alice.openChat('bob');
      for (const text of TRICKY) await alice.say(text.replaceAll('\n', ' '));
      await bob.page.locator('.unread').filter({ hasText: String(TRICKY.length) }).waitFor();
      check((await bob.page.title()).startsWith(`(${TRICKY.length})`), 'no unread count in the title');
      await bob.shot('3-unread');
      await bob.openChat('alice');
      await bob.shows(TRICKY.map((text) => text.replaceAll('\n', ' ')));
      await bob.burst(TRICKY);
      await alice.shows(TRICKY);
      await alice.settled();
      check(!(await bob.page.title()).includes('owned'), 'a message was taken for markup');
      await alice.shot('4-chat-light');

      step('50 messages in a burst, in order');
      await bob.burst(numbered('burst', 50));
      await alice.shows([...TRICKY, ...numbered('burst', 50)]);
      checkEqual(alice.repeats() + bob.repeats(), 0, 'repeated requests');

      step('a duplicate of the tab does not take the session away');
      const [popup] = await Promise.all([
        bob.page.waitForEvent('popup'),
        bob.page.evaluate(() => void window.open(location.href)),
      ]);
      await popup.getByRole('button', { name: 'Log in' }).waitFor();
      await popup.close();
      await bob.say('still here');
      await alice.shows([...TRICKY, ...numbered('burst', 50), 'still here']);

      step('other looks');
      await alice.page.emulateMedia({ colorScheme: 'dark' });
      await alice.shot('5-chat-dark');
      await alice.page.getByRole('button', { name: 'Wire' }).click();
      await alice.shot('6-chat-without-wire');
      await alice.page.emulateMedia({ colorScheme: 'light' });
      await alice.page.setViewportSize({ width: 390, height: 780 });
      await alice.shot('7-phone-chat');
      await alice.page.getByLabel('Back to the list of people').click();
      await alice.shot('8-phone-people');

      step('log-out');
      await alice.logout();
      await bob.logout();
    });
  },

  // A tab is loaded again, and again, while messages come and go.
  async reload() {
    await withBrowser({}, async (newTab) => {
      const [alice, bob] = [await newTab(), await newTab()];
      await alice.login('alice', 'alice');
      await bob.login('bob', 'bob');
      await alice.openChat('bob');
      await bob.openChat('alice');
      const sid = await alice.sid();
      const [said, heard] = [[], []];
      for (let round = 1; round <= 5; round++) {
        step(`reload ${round}`);
        const mine = numbered(`mine ${round}:`, 5);
        const others = numbered(`before ${round}:`, 5);
        const during = numbered(`during ${round}:`, 5);
        await bob.burst(others);
        await alice.burst(mine);
        const reloaded = alice.page.reload();
        await bob.burst(during);
        await reloaded;
        said.push(...mine);
        heard.push(...others, ...during);
        await alice.connected();
        await alice.shows(heard);
        await alice.shows(said, { mine: true });
        await bob.shows(said);
        checkEqual(await alice.sid(), sid, 'sid after the reload');
      }
      await alice.settled();
      await alice.shot('reloaded');
      check(alice.repeats() > 0, 'no request was repeated; this cannot be');
      await alice.logout();
      await bob.logout();
    });
  },

  // Connections are cut by the button, refused, and lost with the answer on them.
  async cut() {
    await withBrowser({}, async (newTab) => {
      const [alice, bob] = [await newTab(), await newTab()];
      await alice.login('alice', 'alice');
      await bob.login('bob', 'bob');
      await alice.openChat('bob');
      await bob.openChat('alice');
      const sid = await alice.sid();
      const [said, heard] = [[], []];
      const both = async (what, n) => {
        const mine = numbered(`mine, ${what}`, n);
        const others = numbered(`other, ${what}`, n);
        for (let i = 0; i < n; i++) {
          await alice.say(mine[i]);
          await bob.say(others[i]);
        }
        said.push(...mine);
        heard.push(...others);
      };
      const arrived = async () => {
        await alice.shows(heard);
        await bob.shows(said);
        await alice.settled();
      };

      step('the button');
      for (let round = 1; round <= 5; round++) {
        await arrived(); // so that there is a request to cut, not one that waits for its repeat
        await alice.page.getByRole('button', { name: 'Cut' }).click();
        await both(`button ${round}`, 2);
      }
      await alice.shot('cut-by-the-button');
      await arrived();
      const byButton = alice.repeats();
      check(byButton >= 5, `${byButton} repeats after the button was pressed 5 times`);

      step('every second request refused, every third answer lost');
      let n = 0;
      await alice.page.route('**/http-bind', async (route) => {
        n++;
        if (n % 2 === 0) return route.abort('connectionrefused');
        if (n % 3 !== 0) return route.continue();
        await route.fetch().catch(() => {}); // the server gets it and answers, and nobody hears
        await route.abort('connectionreset').catch(() => {});
      });
      await both('bad network', 15);
      await arrived();
      await alice.page.unrouteAll({ behavior: 'ignoreErrors' });
      check(alice.repeats() > byButton, 'no request was repeated on the bad network');
      await alice.page.locator('.exchange .badge').first().waitFor();

      step('a time without any network');
      await alice.page.route('**/http-bind', (route) => route.abort('internetdisconnected'));
      await alice.page.getByRole('button', { name: 'Cut' }).click();
      await alice.page.getByRole('status').filter({ hasText: 'repeating' }).waitFor();
      await both('no network', 5);
      checkEqual(await alice.page.locator('.message.pending').count(), 5, 'messages marked as on their way');
      await alice.shot('without-network');
      await alice.page.unrouteAll({ behavior: 'ignoreErrors' });
      await arrived();
      await alice.connected();
      checkEqual(await alice.sid(), sid, 'sid at the end');
      await alice.shot('network-is-back');
      await alice.logout();
      await bob.logout();
    });
  },

  // A tab and a client on a TCP connection.
  async tcp() {
    const bob = await TCPClient.login('bob', 'bob');
    await withBrowser({}, async (newTab) => {
      const alice = await newTab();
      await alice.login('alice', 'alice');
      await alice.openChat('bob');
      step('tab to TCP');
      await alice.burst(TRICKY);
      checkEqual((await bob.messages.count(TRICKY.length, PATIENCE, 'messages over TCP')).map((m) => m.text), TRICKY, 'messages over TCP');
      step('TCP to tab');
      for (const text of TRICKY) bob.send(`alice@${config.domain}`, text);
      await alice.shows(TRICKY);
      step('a session without a name');
      const guest = await newTab();
      await guest.page.goto(`${config.http}/`);
      await guest.page.getByText('Server', { exact: true }).click();
      await guest.page.getByLabel('Domain').fill(config.domain);
      await guest.page.getByRole('button', { name: 'Join without a name' }).click();
      await guest.connected();
      await guest.openChat('bob');
      await guest.say('hello from nobody');
      const { from, text } = (await bob.messages.count(TRICKY.length + 1, PATIENCE, 'message of the guest')).at(-1);
      checkEqual(text, 'hello from nobody', 'message of the guest');
      bob.send(from, 'hello, nobody');
      await guest.shows(['hello, nobody']);
      await guest.shot('guest');
      await within(PATIENCE, guest.logout(), 'log-out of the guest');
      await alice.logout();
    });
    await bob.close();
  },

  // The same over TLS, which means HTTP/2 and a server whose certificate nobody knows.
  async tls() {
    await withBrowser({ ignoreHTTPSErrors: true }, async (newTab) => {
      const [alice, bob] = [await newTab(), await newTab()];
      await alice.login('alice', 'alice', config.https);
      await bob.login('bob', 'bob', config.https);
      const protocol = await alice.page.evaluate(() => performance.getEntriesByType('resource').find((e) => e.name.endsWith('/http-bind')).nextHopProtocol);
      checkEqual(protocol, 'h2', 'protocol');
      await alice.openChat('bob');
      await bob.openChat('alice');
      const texts = numbered('over TLS', 50);
      await alice.burst(texts);
      await bob.burst(texts);
      await alice.shows(texts);
      await bob.shows(texts);
      await alice.page.reload();
      await alice.connected();
      await bob.say('and on');
      await alice.shows([...texts, 'and on']);
      await alice.logout();
      await bob.logout();
    });
  },

  // The server is stopped in an orderly way.
  async shutdown() {
    await withBrowser({}, async (newTab) => {
      const alice = await newTab();
      await alice.login('alice', 'alice');
      process.kill(config.pid, 'SIGINT');
      await alice.page.getByRole('alert').filter({ hasText: 'system-shutdown' }).waitFor();
      await alice.shot('system-shutdown');
    });
  },
});
