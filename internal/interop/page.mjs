// The page of examples/chat in a real browser.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { PATIENCE, SIZES, accessible, launch, listen, looks, shot } from './browser.mjs';
import { TCPClient, TRICKY, check, checkEqual, config, main, step, within } from './lib.mjs';

async function withBrowser({ args = [], ...options }, work) {
  const browser = await launch(...args);
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
    listen(page, problems);
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

  /** Logs in as a guest. */
  async join() {
    await this.page.goto(`${config.http}/`);
    await this.page.getByRole('button', { name: 'Join without a name' }).click();
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
    await this.page.waitForFunction(() => !document.querySelector('.message.mine:not([data-state="sent"])'), null, { timeout: 30_000 });
  }

  sid() {
    return this.page.evaluate(() => JSON.parse(sessionStorage.getItem('bosh-chat')).session.bosh.sid);
  }

  repeats() {
    for (const [rid, bodies] of this.bodies) {
      for (const body of bodies) check(body === bodies[0], `rid ${rid} was repeated with another body:\n${bodies.join('\n')}`);
    }
    return [...this.bodies.values()].reduce((sum, bodies) => sum + bodies.length - 1, 0);
  }

  async shot(name) {
    await shot(this.page, name);
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
    await this.page.locator('#welcome').waitFor();
    check(await this.page.evaluate(() => sessionStorage.length === 0), 'the session was left in the storage');
    check(!(await this.page.getByRole('alert').isVisible()), 'an error is shown after the log-out');
  }
}

/** Takes the network from a tab, until the page says so. */
async function cutOff(tab, context) {
  await context.route('**/http-bind', (route) => (route.request().frame().page() === tab.page ? route.abort('internetdisconnected') : route.fallback()));
  await tab.page.getByRole('button', { name: 'Cut' }).click();
  await tab.page.getByText('The server cannot be reached. Trying again in').waitFor();
}

function back(context) {
  return context.unrouteAll({ behavior: 'ignoreErrors' });
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

      step('a message in the only request, which is held, behind a lost answer');
      let lost;
      const answerLost = new Promise((resolve) => { lost = resolve; });
      await alice.page.route('**/http-bind', async (route) => {
        await route.fetch().catch(() => {});
        await alice.say('mine, held'); // behind an answer that does not know of it yet
        await route.abort('connectionreset').catch(() => {});
        lost();
      }, { times: 1 });
      const repeat = alice.page.waitForRequest('**/http-bind');
      await alice.page.getByRole('button', { name: 'Cut' }).click();
      await repeat;
      await bob.say('other, lost');
      await answerLost;
      heard.push('other, lost');
      said.push('mine, held');
      await arrived();

      step('a time without any network');
      await alice.page.route('**/http-bind', (route) => route.abort('internetdisconnected'));
      await alice.page.getByRole('button', { name: 'Cut' }).click();
      await alice.page.getByRole('status').filter({ hasText: 'repeating' }).waitFor();
      await both('no network', 5);
      checkEqual(await alice.page.locator('.message.mine[data-state="sending"]').count(), 5, 'messages marked as on their way');
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

  // Guests can be told apart, and one whose tab is closed is gone at once.
  async guests() {
    await withBrowser({}, async (newTab) => {
      const alice = await newTab();
      await alice.login('alice', 'alice');
      const guests = [await newTab(), await newTab(), await newTab()];
      for (const guest of guests) await guest.join();
      const names = alice.page.locator('.person .who').filter({ hasText: /^guest [0-9a-f]{4,}$/ });
      await names.nth(2).waitFor();
      checkEqual(new Set(await names.allTextContents()).size, 3, 'different names of three guests');
      const seen = await guests[0].page.locator('#me').textContent();
      check((await names.allTextContents()).some((name) => seen.startsWith(name)), `a guest has another name for itself: ${seen}`);

      step('a closed tab');
      await alice.page.waitForTimeout(1000); // before that it may be the new page of a reload
      const closed = Date.now();
      await guests[0].page.close();
      await within(15, alice.page.waitForFunction(() => [...document.querySelectorAll('.person')].filter((p) => p.dataset.state === 'online').length === 2), 'the guest goes');
      const took = Date.now() - closed;
      console.log(`  gone after ${took} ms`);
      check(took < 2500, 'a closed tab is seen until its pause is over'); // 3 s at least

      step('a tab that is loaded again is not gone');
      const sid = await guests[1].sid();
      await guests[1].page.reload();
      await guests[1].connected();
      await alice.page.waitForTimeout(4000);
      checkEqual(await guests[1].sid(), sid, 'sid after the reload');
      checkEqual(await alice.page.locator('.person[data-state="online"]').count(), 2, 'guests online');

      step('what a tab said as it was closed has arrived');
      await guests[1].openChat('alice');
      await guests[1].page.evaluate(() => {
        document.getElementById('text').value = 'bye';
        document.getElementById('compose').requestSubmit();
      });
      await guests[1].page.close();
      await alice.page.locator('.unread').waitFor();
      await guests[2].logout();
      await alice.logout();
    });
  },

  // The keyboard, and whoever hears the page instead of seeing it.
  async keyboard() {
    await withBrowser({}, async (newTab) => {
      const [alice, bob] = [await newTab(), await newTab()];
      const focus = () => alice.page.evaluate(() => `${document.activeElement.id} ${document.activeElement.className} ${document.activeElement.dataset.jid ?? ''}`.trim());
      await bob.login('bob', 'bob');
      await alice.page.goto(`${config.http}/`);
      await alice.page.getByLabel('Name').waitFor();
      checkEqual(await focus(), 'name', 'focus before the log-in');
      await alice.page.keyboard.type('alice');
      await alice.page.keyboard.press('Tab');
      await alice.page.keyboard.type('alice');
      await alice.page.keyboard.press('Enter');
      await alice.connected();
      await alice.page.waitForFunction(() => document.activeElement.matches('.person'));
      checkEqual(await focus(), `person bob@${config.domain}`, 'focus after the log-in');
      await alice.page.keyboard.press('Enter');
      checkEqual(await focus(), 'text', 'focus in the chat');
      await alice.page.keyboard.type('half a sentence');
      await alice.page.keyboard.press('Escape');
      checkEqual(await focus(), `person bob@${config.domain}`, 'focus after Escape');
      check(!(await alice.page.locator('#compose').isVisible()), 'Escape has not closed the chat');
      await alice.page.keyboard.press('Enter');
      await alice.page.keyboard.type(', and the rest');
      await alice.page.keyboard.press('Enter');

      step('who wrote what is said, and what has become of it');
      await bob.openChat('alice');
      await bob.shows(['half a sentence, and the rest']);
      await bob.say('an answer');
      await alice.shows(['an answer']);
      await alice.settled();
      const heard = await alice.page.getByRole('log').getByRole('listitem').allTextContents();
      check(/^You: half a sentence, and the rest\d\d:\d\dsent/.test(heard[0]) && /^bob: an answer\d/.test(heard[1]), `the log says ${JSON.stringify(heard)}`);

      step('Escape in the wire view');
      await alice.page.getByLabel('HTTP requests and their answers').focus();
      await alice.page.keyboard.press('Escape');
      check(!(await alice.page.locator('#wire').isVisible()), 'Escape has not closed the wire view');
      checkEqual(await focus(), 'wire-toggle', 'focus after that');
      check(await alice.page.locator('#compose').isVisible(), 'the same Escape has closed the chat');

      step('the draft outlives a reload');
      await alice.page.getByLabel('Message', { exact: true }).fill('not yet');
      await alice.page.reload();
      await alice.connected();
      checkEqual(await alice.page.getByLabel('Message', { exact: true }).inputValue(), 'not yet', 'the draft');
      await alice.logout();
      checkEqual(await focus(), 'name', 'focus after the log-out');
      await bob.logout();
    });
  },

  // What the page looks like, and whom it shuts out. The pictures are to be looked at.
  async looks() {
    await withBrowser({ colorScheme: 'light' }, async (newTab) => {
      const [alice, bob] = [await newTab(), await newTab()];
      await alice.page.goto(`${config.http}/`);
      await alice.page.getByRole('button', { name: 'Log in' }).waitFor();
      await alice.page.getByText('Server', { exact: true }).click();
      await looks(alice.page, 'login');
      await alice.login('alice', 'alice');
      await bob.login('bob', 'bob');
      await alice.openChat('bob');
      await bob.openChat('alice');
      const long = 'A rather long message, which goes on and on until it must break on every screen that somebody may hold in a hand, and then some more.';
      for (const text of ['Hello!', long, `https://example.com/${'without/a/blank/'.repeat(8)}`]) {
        await alice.say(text);
        await bob.say(`${text} Yes.`);
      }
      await alice.page.waitForFunction(() => document.querySelectorAll('.message').length === 6);
      await alice.settled();
      await alice.page.getByRole('button', { name: 'Clear' }).click(); // a long wire view takes long to be looked at
      await bob.say('And that is all.');
      await alice.page.waitForFunction(() => document.querySelectorAll('.message').length === 7);
      await looks(alice.page, 'chat');
      step('the newest message stays in sight in each size, as when a keyboard opens');
      for (const [width, height] of [[390, 844], [390, 500], [844, 390], [1280, 860], [390, 844], [1280, 860]]) {
        await alice.page.setViewportSize({ width, height });
        await alice.page.waitForFunction(() => {
          const log = document.getElementById('log');
          return log.scrollHeight - log.scrollTop - log.clientHeight < 2;
        });
      }
      await alice.page.setViewportSize({ width: 390, height: 844 });
      check(!(await alice.page.locator('.people').isVisible()), 'there is more than one column on a phone');
      await alice.page.getByRole('button', { name: 'Wire' }).click();
      const phones = { sizes: SIZES.slice(0, 2) };
      await looks(alice.page, 'chat-without-wire', phones);
      await alice.page.keyboard.press('Escape');
      await looks(alice.page, 'people', phones);
      await alice.page.locator('.person', { hasText: 'bob' }).click();

      step('the wire view is off by default where there is no room');
      for (const [width, height, visible] of [[390, 844, false], [844, 390, false], [1280, 860, true]]) {
        await alice.page.setViewportSize({ width, height });
        await alice.page.reload();
        await alice.connected();
        checkEqual(await alice.page.locator('#wire').isVisible(), visible, `the wire view at ${width}x${height}`);
      }

      await alice.logout();
      await bob.logout();
    });
  },

  // The network goes, and comes back.
  async backoff() {
    await withBrowser({}, async (newTab, context) => {
      const alice = await newTab();
      await alice.login('alice', 'alice');
      await alice.openChat('bob');
      await alice.page.getByRole('button', { name: 'Clear' }).click();
      await cutOff(alice, context);
      await alice.say('Into the void.');
      await looks(alice.page, 'trouble', { sizes: SIZES.slice(0, 1) });
      await back(context);
      await alice.page.locator('#peer').click();
      await alice.settled();

      // A pause that has grown ends at once by each of these.
      for (const [name, end] of Object.entries({
        'the button': () => alice.page.getByRole('button', { name: 'Try now' }).click(),
        'a click': () => alice.page.locator('#peer').click(),
        online: () => alice.page.evaluate(() => window.dispatchEvent(new Event('online'))),
        visibility: () => alice.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange'))),
      })) {
        step(name);
        await cutOff(alice, context);
        await alice.page.waitForFunction(() => Number(/in (\d+) s/.exec(document.getElementById('trouble-when').textContent)?.[1]) >= 3);
        await back(context);
        const attempt = alice.page.waitForRequest((request) => request.method() === 'POST', { timeout: 2000 });
        await end();
        await attempt;
        await alice.connected();
        check(!(await alice.page.locator('#trouble').isVisible()), 'there is trouble yet');
      }
      await alice.logout();
    });
  },

  // The session is over before the network is back, as after a sleep.
  async sleep() { // with a short time of inactivity
    await withBrowser({}, async (newTab, context) => {
      const [alice, bob] = [await newTab(), await newTab()];
      await alice.login('alice', 'alice');
      await bob.login('bob', 'bob');
      await alice.openChat('bob');
      await bob.openChat('alice');
      await alice.say('before');
      await bob.say('before');
      await alice.shows(['before']);
      await alice.settled();
      const sid = await alice.sid();
      await alice.burst(['meant to be the last']);
      await alice.settled();
      await cutOff(alice, context);
      await alice.say('into the void');
      await bob.page.locator('#peer-state').filter({ hasText: 'offline' }).waitFor();
      await bob.say('are you there?');
      checkEqual(await alice.page.locator('.message.mine[data-state="sending"]').count(), 1, 'messages on their way');
      await back(context);
      await alice.page.evaluate(() => window.dispatchEvent(new Event('online')));
      await alice.connected();
      check(await alice.sid() !== sid, 'it is the same session');
      await alice.shows(['before', 'are you there?']);
      await alice.shows(['before', 'meant to be the last', 'into the void'], { mine: true });

      step('what may not have arrived is marked, and has a button');
      const doubtful = alice.page.locator('.message.mine').filter({ hasText: 'into the void' });
      await doubtful.getByText('perhaps not sent').waitFor();
      await alice.shot('perhaps-not-sent');
      await doubtful.getByRole('button', { name: 'Send again' }).click();
      await alice.settled();
      await bob.shows(['before', 'meant to be the last', 'into the void']);

      step('a message that came twice is seen once');
      await alice.page.reload();
      await alice.connected();
      await alice.shows(['before', 'are you there?']);
      await alice.logout();
      await bob.logout();
    });
  },

  // The server goes, and another comes in its place.
  async restart() {
    let server = null;
    await withBrowser({}, async (newTab) => {
      const [alice, guest] = [await newTab(), await newTab()];
      await alice.login('alice', 'alice');
      await guest.join();
      await alice.openChat('bob');
      await alice.say('to be stored');
      await alice.settled();
      process.kill(config.pid, 'SIGINT');
      for (const tab of [alice, guest]) {
        await tab.page.getByText(/^(The server is shutting down \(system-shutdown\)|The server cannot be reached)\.$/).waitFor();
        await tab.page.getByText(/Trying again (in \d+ s|now)\./).waitFor();
      }
      await alice.shot('system-shutdown');
      await within(PATIENCE, (async () => {
        while (await fetch(config.http).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 100));
      })(), 'the end of the server');

      step('what is written meanwhile is not sent, and says so');
      await alice.say('written meanwhile');
      const waiting = alice.page.locator('.message.mine').filter({ hasText: 'written meanwhile' });
      await waiting.getByText('not sent yet').waitFor();
      await waiting.getByRole('button', { name: 'Send again' }).waitFor();
      await alice.page.waitForFunction(() => document.querySelector('#trouble-text').textContent === 'The server cannot be reached.');

      const { host } = new URL(config.http);
      server = spawn(process.env.INTEROP_PROGRAM, ['-http', host, '-https', '', '-c2s', ''], { stdio: ['ignore', 'pipe', 'inherit'] });
      await within(PATIENCE, once(server.stdout, 'data'), 'the next server');
      step('the tabs log in again by themselves');
      await alice.page.locator('#peer').click();
      await alice.connected();
      await guest.connected();
      await alice.settled();
      await alice.shows(['to be stored', 'written meanwhile'], { mine: true });
      const bob = await newTab();
      await bob.login('bob', 'bob');
      await bob.openChat('alice');
      await bob.shows(['written meanwhile']); // the other one was the first server's
      await bob.say('I see');
      await alice.shows(['I see']);

      step('a tab whose session is over when it is loaded again');
      await alice.page.evaluate(() => {
        const kept = JSON.parse(sessionStorage.getItem('bosh-chat'));
        kept.session.bosh.sid = 'gone';
        addEventListener('pagehide', () => sessionStorage.setItem('bosh-chat', JSON.stringify(kept)));
      });
      await alice.page.reload();
      await alice.connected();
      await alice.shows(['to be stored', 'written meanwhile'], { mine: true });
      const kept = await alice.page.evaluate(() => sessionStorage.getItem('bosh-chat'));
      check(!kept.includes('"password"') && kept.includes('"clientKey"'), 'the password is kept, or nothing to log in with');
      for (const tab of [alice, bob, guest]) await tab.logout();
    }).finally(() => server?.kill('SIGINT'));
  },

  // Another machine's browser, a front with a prefix of its own, and addresses that are wrong.
  async elsewhere() {
    await withBrowser({ args: ['--host-resolver-rules=MAP chat.test 127.0.0.1'], ignoreHTTPSErrors: true }, async (newTab) => {
      const port = new URL(config.http).port;
      const tab = await newTab();
      await tab.page.goto(`http://chat.test:${port}/`);
      await tab.page.getByText('Browsers let a page prove a password only if it came over HTTPS.').waitFor();
      check(!(await tab.page.getByLabel('Password').isVisible()), 'a password can be given all the same');
      await accessible(tab.page, 'the page without HTTPS');
      await tab.shot('without-https');
      const link = await tab.page.getByRole('link', { name: 'Open this page over HTTPS' }).getAttribute('href');
      checkEqual(link, `https://chat.test:${new URL(config.https).port}/`, 'the link');
      await tab.page.getByRole('button', { name: 'Join without a name' }).click();
      await tab.connected();
      await tab.logout();

      step('over HTTPS, where the page asks its server for the domain');
      await tab.page.getByRole('link', { name: 'Open this page over HTTPS' }).click();
      await tab.page.waitForURL(link);
      await tab.page.getByText('XMPP over ordinary HTTPS requests').waitFor();
      await tab.page.getByLabel('Name').fill('alice');
      await tab.page.getByLabel('Password').fill('alice');
      await tab.page.getByRole('button', { name: 'Log in' }).click();
      await tab.connected();
      await tab.logout();

      step('behind a front with a prefix');
      const front = http.createServer((request, response) => {
        if (!request.url.startsWith('/some/where/')) return response.writeHead(404).end();
        const target = http.request(`${config.http}/${request.url.slice('/some/where'.length)}`, { method: request.method, headers: request.headers }, (answer) => {
          response.writeHead(answer.statusCode, answer.headers);
          answer.pipe(response);
        });
        target.on('error', () => response.destroy());
        response.on('close', () => target.destroy());
        request.pipe(target);
      });
      front.listen(0, '127.0.0.1');
      await once(front, 'listening');
      await tab.login('alice', 'alice', `http://127.0.0.1:${front.address().port}/some/where`);
      await tab.page.reload();
      await tab.connected();
      await tab.logout();

      step('wrong addresses');
      const other = http.createServer((request, response) => {
        response.setHeader('Access-Control-Allow-Origin', '*');
        response.setHeader('Access-Control-Allow-Headers', '*');
        if (request.method === 'OPTIONS') return response.end();
        response.end('<!doctype html><title>something else</title>');
      });
      other.listen(0, '127.0.0.1');
      await once(other, 'listening');
      await tab.page.goto(`${config.http}/`);
      await tab.page.getByText('Server', { exact: true }).click();
      const attempt = async (url, sentence) => {
        await tab.page.getByLabel('BOSH address').fill(url);
        await tab.page.getByLabel('Name').fill('alice');
        await tab.page.getByLabel('Password').fill('alice');
        await tab.page.getByRole('button', { name: 'Log in' }).click();
        await tab.page.getByRole('alert').filter({ hasText: sentence }).waitFor();
      };
      const elsewhere = `http://127.0.0.1:${other.address().port}/`;
      await attempt('nowhere', `There is no BOSH at ${config.http}/nowhere (`);
      await attempt(elsewhere, `There is no BOSH at ${elsewhere} (`);
      other.close();
      other.closeAllConnections();
      await attempt(elsewhere, `The server cannot be reached at ${elsewhere}.`);
      await attempt('http://', 'The BOSH address is no URL.');
      await attempt('http://127.0.0.1:1/', 'The server cannot be reached at http://127.0.0.1:1/.');

      step('the policy of the page lets it speak to the address that the form invites');
      await attempt(`${config.http.replace('127.0.0.1', 'localhost')}/http-bind`, '').catch(() => {});
      await tab.connected();
      await tab.logout();
      front.close();
      front.closeAllConnections();
    });
  },

  // What is behind the address is stopped in good order.
  async shutdown() {
    await withBrowser({}, async (newTab) => {
      const alice = await newTab();
      await alice.login('alice', 'alice');
      process.kill(config.pid, 'SIGINT');
      await alice.page.getByText(/^The server is shutting down \(system-shutdown\)\.$/).waitFor();
      await alice.shot('system-shutdown');
      await alice.page.getByText(/^The server cannot be reached/).waitFor();
    });
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
});
