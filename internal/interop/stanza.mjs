// The npm package stanza. It asks for hold=2 and alternates two channels.

import { createClient } from 'stanza';
import { Inbox, TCPClient, TRICKY, check, checkEqual, config, main, step, within } from './lib.mjs';

const PATIENCE = 20; // seconds

await main({
  async stanza() {
    const bob = await TCPClient.login('bob', 'bob');
    const alice = createClient({
      jid: `alice@${config.domain}`, password: 'alice', server: config.domain,
      transports: { bosh: `${config.http}/http-bind`, websocket: false },
    });
    alice.updateConfig({ autoReconnect: false });
    let sent = '';
    alice.on('raw:outgoing', (xml) => {
      sent += xml;
    });
    const messages = new Inbox();
    alice.on('message', (message) => message.body && messages.add(message.body));

    step('log-in');
    await within(PATIENCE, new Promise((resolve, reject) => {
      alice.on('session:started', resolve);
      for (const event of ['auth:failed', 'disconnected', 'stream:error']) alice.on(event, (e) => reject(new Error(`${event} ${JSON.stringify(e)}`)));
      alice.connect();
    }), 'log-in by stanza');
    check(/mechanism=["']SCRAM-SHA-256/.test(sent), 'not logged in by SCRAM-SHA-256');
    alice.sendPresence();

    step('messages both ways, verbatim and in order');
    const all = [...TRICKY, ...Array.from({ length: 20 }, (_, i) => `message ${i + 1}`)];
    for (const text of all) {
      alice.sendMessage({ to: `bob@${config.domain}`, type: 'chat', body: text });
      bob.send(alice.jid, text);
    }
    checkEqual((await bob.messages.count(all.length, PATIENCE, 'from stanza')).map((m) => m.text), all, 'from stanza');
    checkEqual(await messages.count(all.length, PATIENCE, 'to stanza'), all, 'to stanza');

    step('a query and its answer');
    const roster = await within(PATIENCE, alice.getRoster(), 'roster');
    check(Array.isArray(roster.items), 'no roster');

    step('clean disconnect');
    const ended = new Promise((resolve) => alice.on('disconnected', resolve));
    alice.disconnect();
    await within(PATIENCE, ended, 'disconnect');
    await bob.close();
  },
});
