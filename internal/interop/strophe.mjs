// strophe.js, its build for browsers, in a DOM by jsdom. The page comes from
// another origin than the server, so every answer passes through CORS too.

import { JSDOM } from 'jsdom';
import { Inbox, TCPClient, TRICKY, check, checkEqual, config, main, step, within } from './lib.mjs';

const PATIENCE = 20; // seconds

const { window } = new JSDOM('', { url: 'http://page.example/' });
for (const name of ['window', 'document', 'DOMParser', 'XMLSerializer', 'XMLHttpRequest', 'Node', 'Element', 'Document']) {
  globalThis[name] = window[name] ?? window;
}
// By its path, since Node would be given the build that brings no XMLHttpRequest.
const { Strophe, $iq, $msg, $pres } = await import('./node_modules/strophe.js/dist/strophe.esm.js');

Strophe.setLogLevel(Strophe.LogLevel.WARN);

/** Opens a session; the answer has what the tests look at. */
async function login(name, password) {
  const connection = new Strophe.Connection(`${config.http}/http-bind`);
  const client = { connection, messages: new Inbox(), polls: new Inbox(), sent: '', onstatus: () => {} };
  connection.rawOutput = (xml) => {
    client.sent += xml;
  };
  connection.rawInput = (xml) => {
    if (/^<body[^>]*\/>$/.test(xml)) client.polls.add(xml);
  };
  connection.addHandler((message) => {
    const body = message.getElementsByTagName('body')[0];
    if (body) client.messages.add({ from: message.getAttribute('from'), text: body.textContent });
    return true;
  }, null, 'message');
  connection.connect(`${name}@${config.domain}`, password, (status, condition) => client.onstatus(status, condition));
  await within(PATIENCE, new Promise((resolve, reject) => {
    client.onstatus = (status, condition) => {
      if (status === Strophe.Status.CONNECTED) resolve();
      if ([Strophe.Status.AUTHFAIL, Strophe.Status.CONNFAIL, Strophe.Status.DISCONNECTED].includes(status)) {
        reject(new Error(`status ${status} ${condition ?? ''}`));
      }
    };
  }), 'log-in by strophe.js').catch((error) => {
    connection.disconnect(''); // which strophe.js does not by itself
    throw error;
  });
  connection.send($pres().tree());
  // What comes for the account before the server knows of the presence it may keep for later.
  const ping = $iq({ type: 'get', to: config.domain }).c('ping', { xmlns: 'urn:xmpp:ping' });
  await within(PATIENCE, new Promise((resolve) => connection.sendIQ(ping.tree(), resolve, resolve)), 'presence');
  return client;
}

await main({
  async strophe() {
    const bob = await TCPClient.login('bob', 'bob');

    step('a wrong password is refused');
    const refused = await login('alice', 'mallory').catch((error) => error);
    check(refused instanceof Error && refused.message.includes(`status ${Strophe.Status.AUTHFAIL}`), `got ${refused.message ?? 'in'}`);

    step('log-in by SCRAM');
    const alice = await login('alice', 'alice');
    check(/mechanism=["']SCRAM-SHA-256/.test(alice.sent), 'not logged in by SCRAM-SHA-256');
    const say = (text) => alice.connection.send($msg({ to: `bob@${config.domain}`, type: 'chat' }).c('body').t(text).tree());

    step('50 messages in a burst each way, in order');
    const texts = Array.from({ length: 50 }, (_, i) => `message ${i + 1}`);
    for (const text of texts) {
      say(text);
      bob.send(`alice@${config.domain}`, text);
    }
    checkEqual((await bob.messages.count(50, PATIENCE, 'burst from strophe.js')).map((m) => m.text), texts, 'burst from strophe.js');
    checkEqual((await alice.messages.count(50, PATIENCE, 'burst to strophe.js')).map((m) => m.text), texts, 'burst to strophe.js');

    step('markup characters and emoji, verbatim');
    for (const text of TRICKY) {
      say(text);
      bob.send(alice.connection.jid, text);
    }
    const all = [...texts, ...TRICKY];
    checkEqual((await bob.messages.count(all.length, PATIENCE, 'from strophe.js')).map((m) => m.text), all, 'from strophe.js');
    checkEqual((await alice.messages.count(all.length, PATIENCE, 'to strophe.js')).map((m) => m.text), all, 'to strophe.js');

    step(`silence for longer than wait, ${config.wait} s`);
    const rid = /.*rid=["'](\d+)/s.exec(alice.sent)[1];
    const before = alice.polls.items.length;
    const start = Date.now();
    await alice.polls.count(before + 2, 3 * config.wait + 5, 'empty answers');
    check(Date.now() - start >= 900 * config.wait, 'the server does not hold requests');
    check(alice.sent.split(`rid="${rid}"`).length <= 2 && alice.sent.split(`rid='${rid}'`).length <= 2, 'strophe.js repeated a request');
    say('after the silence');
    bob.send(alice.connection.jid, 'after the silence');
    checkEqual((await bob.messages.count(all.length + 1, PATIENCE, 'from strophe.js')).at(-1).text, 'after the silence', 'last message');
    checkEqual((await alice.messages.count(all.length + 1, PATIENCE, 'to strophe.js')).at(-1).text, 'after the silence', 'last message');

    step('clean disconnect');
    const disconnected = new Promise((resolve, reject) => {
      alice.onstatus = (status, condition) => {
        if (status === Strophe.Status.DISCONNECTED) resolve(condition);
        if (status === Strophe.Status.CONNFAIL) reject(new Error(`connection failed: ${condition}`));
      };
    });
    const leaving = Date.now();
    alice.connection.disconnect('');
    check(!(await within(PATIENCE, disconnected, 'disconnect')), 'there was an error');
    check(Date.now() - leaving < 2000, 'strophe.js ran into its own time-out (3 s): a request was left unanswered');
    await bob.close();
  },

  // The other end of boshclient's test: it sends back what it gets, until that is 'bye'.
  async peer() {
    const bob = await login('bob', 'bob');
    console.log(`logged in as ${bob.connection.jid}`);
    for (let n = 1; ; n++) {
      const { from, text } = (await bob.messages.count(n, PATIENCE, 'a message')).at(-1);
      bob.connection.send($msg({ to: from, type: 'chat' }).c('body').t(text).tree());
      bob.connection.flush();
      if (text === 'bye') break;
    }
    const disconnected = new Promise((resolve) => {
      bob.onstatus = (status) => {
        if (status === Strophe.Status.DISCONNECTED) resolve();
      };
    });
    bob.connection.disconnect('');
    await within(PATIENCE, disconnected, 'disconnect');
  },
});
