// Tests of the client against a server made of functions, by node --test.

import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { Bosh, BoshError, escapeXML, parseXML } from './bosh.js';

const NS = 'http://jabber.org/protocol/httpbind';
const settle = async () => {
  for (let i = 0; i < 50; i++) await Promise.resolve();
};

/** A server: answers are given by hand, by rid. */
class Server {
  requests = []; // { rid, body, root, headers, answer(attributes, xml), fail(), status(n) }
  fetch = (url, { body, headers, signal, keepalive }) => new Promise((resolve, reject) => {
    const root = parseXML(body);
    const respond = (status, text) => resolve({ status, text: async () => text });
    signal?.addEventListener('abort', () => reject(signal.reason));
    this.requests.push({
      url, body, root, headers, keepalive, rid: Number(root.getAttribute('rid')),
      answer: (attributes = '', xml = '') => respond(200, `<body xmlns='${NS}' ${attributes}>${xml}</body>`),
      text: (text) => respond(200, text),
      status: (status) => respond(status, 'sorry'),
      fail: () => reject(new TypeError('network')),
    });
  });

  get last() {
    return this.requests.at(-1);
  }
}

const GRANTED = `sid='s' wait='60' hold='1' requests='2' inactivity='75' ver='1.11' ack='1'`;

const sessions = [];
afterEach(() => {
  for (const bosh of sessions.splice(0)) bosh.terminate({ keepalive: true });
});

/** A session that is open. */
async function open(options = {}) {
  const server = new Server();
  const bosh = new Bosh('http://example.com/bind', { fetch: server.fetch, ...options });
  const log = { elements: [], json: [], bytes: [], status: [], ends: [], saved: [] };
  bosh.onelement = (element) => log.elements.push(String(element));
  bosh.onstatus = (status) => log.status.push(status);
  bosh.onend = (end) => log.ends.push(end);
  bosh.onsave = (state) => log.saved.push(structuredClone(state));
  sessions.push(bosh);
  bosh.connect();
  await settle();
  server.last.answer(GRANTED);
  await settle();
  return { server, bosh, log };
}

test('the creation request', async () => {
  const { server, bosh } = await open({ attributes: async () => ({ token: `a'<b>` }), headers: { Authorization: 'Bearer t' }, lang: 'de' });
  const [first, poll] = server.requests;
  for (const [name, value] of Object.entries({
    to: 'example.com', ver: '1.11', wait: '60', hold: '1', ack: '1', token: `a'<b>`, 'xml:lang': 'de', sid: null, 'xmpp:version': null,
  })) assert.equal(first.root.getAttribute(name), value, name);
  assert.equal(first.headers.get('Authorization'), 'Bearer t');
  assert.equal(first.headers.get('Content-Type'), 'text/xml; charset=utf-8');
  assert.ok(first.rid > 0 && first.rid < 2 ** 52);
  assert.equal(poll.rid, first.rid + 1);
  assert.equal(poll.root.getAttribute('sid'), 's');
  bosh.terminate();
});

test('XMPP asks for its version, and restarts', async () => {
  const { server, bosh } = await open({ xmpp: true });
  assert.equal(server.requests[0].root.getAttributeNS('urn:xmpp:xbosh', 'version'), '1.0');
  bosh.restart();
  await settle();
  assert.equal(server.last.root.getAttributeNS('urn:xmpp:xbosh', 'restart'), 'true');
  bosh.terminate();
});

test('payloads sent in one go share a request; no more than `requests` are open', async () => {
  const { server, bosh } = await open();
  bosh.send('<a xmlns=""/>');
  bosh.sendJSON({ x: '<&\ufffe' });
  await settle();
  assert.equal(server.requests.length, 3);
  assert.equal(server.last.root.children.length, 2);
  assert.deepEqual(JSON.parse(server.last.root.children[1].textContent), { x: '<&\ufffe' });
  assert.match(server.last.body, /\{"x":"&#60;&#38;\\ufffe"\}/);
  bosh.send('<b/>');
  await settle();
  assert.equal(server.requests.length, 3); // two are open
  assert.equal(bosh.bufferedAmount, 4);
  server.requests[1].answer();
  await settle();
  assert.equal(server.last.root.children[0].localName, 'b');
  assert.equal(bosh.bufferedAmount, 0);
  bosh.terminate();
});

test('answers are taken in the order of rids', async () => {
  const { server, bosh, log } = await open();
  bosh.send('<a/>');
  await settle();
  server.requests[2].answer('', '<second xmlns="x"/>');
  await settle();
  assert.deepEqual(log.elements, []);
  server.requests[1].answer('', '<first xmlns="x"/>');
  await settle();
  assert.deepEqual(log.elements.map((e) => /<(\w+)/.exec(e)[1]), ['first', 'second']);
  bosh.terminate();
});

test('what breaks is repeated byte for byte, before anything new', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { server, bosh, log } = await open();
    const poll = server.last;
    for (const breakIt of [(r) => r.fail(), (r) => r.status(502), (r) => r.text('<html>'), (r) => r.text(''), (r) => r.answer(`type='error'`)]) {
      const before = server.requests.length;
      breakIt(server.last);
      await settle();
      assert.equal(bosh.status, 'repeating');
      assert.equal(server.requests.length, before);
      mock.timers.tick(20_000);
      await settle();
      assert.equal(server.requests.length, before + 1);
      assert.equal(server.last.body, poll.body);
    }
    server.last.fail();
    await settle();
    bosh.send('<new/>');
    await settle();
    assert.equal(server.last.body, poll.body);
    mock.timers.tick(20_000);
    await settle();
    const [again, next] = server.requests.slice(-2);
    assert.equal(again.body, poll.body);
    assert.equal(next.rid, poll.rid + 1);
    assert.equal(next.root.firstElementChild.localName, 'new');
    assert.equal(log.ends.length, 0);
    bosh.terminate();
  } finally {
    mock.timers.reset();
  }
});

test('a request that has not failed for a second is held, and its payloads probably have arrived', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { server, bosh } = await open();
    const held = [];
    bosh.onheld = () => held.push(bosh.undelivered());
    mock.timers.tick(1_001);
    assert.deepEqual(held, [], 'an empty request carries nothing');
    bosh.send('<a/>');
    await settle();
    server.last.fail();
    await settle();
    mock.timers.tick(400); // it leaves again
    await settle();
    mock.timers.tick(999);
    assert.deepEqual(held, []);
    mock.timers.tick(1);
    assert.deepEqual(held, [[{ xml: '<a/>', sent: true, held: true }]]);
    bosh.terminate();
  } finally {
    mock.timers.reset();
  }
});

test('a request without an answer is repeated after wait and some seconds; retry does so at once', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { server, bosh } = await open();
    const poll = server.last;
    mock.timers.tick(69_000);
    await settle();
    assert.equal(server.requests.length, 2);
    mock.timers.tick(1_001);
    await settle();
    bosh.retry();
    await settle();
    assert.equal(server.requests.length, 3);
    assert.equal(server.last.body, poll.body);
    bosh.terminate();
  } finally {
    mock.timers.reset();
  }
});

test('a state goes on in another page, and nothing of it is lost', async () => {
  const { server, bosh, log } = await open();
  bosh.send('<sent/>');
  await settle();
  bosh.send('<waits/>');
  await settle();
  const state = JSON.parse(JSON.stringify(log.saved.at(-1)));
  const other = new Server();
  const page = new Bosh('http://example.com/bind', { fetch: other.fetch });
  page.resume(state);
  await settle();
  assert.deepEqual(other.requests.map((r) => r.body), server.requests.slice(1).map((r) => r.body));
  assert.equal(page.bufferedAmount, 8);
  other.requests[0].answer();
  other.requests[1].answer();
  await settle();
  assert.equal(other.last.root.firstElementChild.localName, 'waits');
  bosh.terminate();
  page.terminate();
});

test('a store keeps the session over a reload, until it has ended or is too old', async () => {
  const map = new Map();
  const store = { getItem: (k) => map.get(k) ?? null, setItem: (k, v) => map.set(k, v), removeItem: (k) => map.delete(k) };
  const { bosh } = await open({ store });
  const server = new Server();
  const reloaded = new Bosh('http://example.com/bind', { store, fetch: server.fetch });
  reloaded.connect();
  await settle();
  assert.equal(server.last.root.getAttribute('sid'), 's');
  reloaded.terminate({ keepalive: true });
  assert.equal(map.size, 0);

  await open({ store });
  const state = JSON.parse([...map.values()][0]);
  map.set([...map.keys()][0], JSON.stringify({ ...state, saved: Date.now() - 136_000 }));
  const late = new Bosh('http://example.com/bind', { store, fetch: server.fetch });
  late.connect();
  await settle();
  assert.equal(server.last.root.getAttribute('sid'), null);
  late.terminate();
  bosh.terminate();
});

test('the end: its condition, and what was not delivered', async () => {
  const { server, bosh, log } = await open();
  bosh.send('<sent/>');
  await settle();
  bosh.send('<waits/>');
  server.requests[1].answer(`type='terminate' condition='policy-violation'`, '<last xmlns="x"/>');
  await settle();
  assert.equal(bosh.status, 'closed');
  assert.equal(log.elements.length, 1);
  assert.deepEqual(log.ends, [{
    condition: 'policy-violation', message: '', uri: '', again: null,
    undelivered: [{ xml: '<sent/>', sent: true, held: false }, { xml: '<waits/>', sent: false, held: false }],
  }]);
  assert.throws(() => bosh.send('<late/>'), (e) => e instanceof BoshError && e.code === 'closed');
});

test('terminate takes along what was sent, and with keepalive at once', async () => {
  const { server, bosh, log } = await open();
  bosh.send('<bye/>');
  bosh.terminate({ keepalive: true });
  assert.equal(server.last.root.getAttribute('type'), 'terminate');
  assert.equal(server.last.root.firstElementChild.localName, 'bye');
  assert.equal(server.last.keepalive, true);
  assert.equal(log.ends.length, 1);
  assert.equal(bosh.status, 'closed');
});

test('HTTP errors of old are final', async () => {
  for (const [status, condition] of [[404, 'item-not-found'], [403, 'policy-violation'], [400, 'bad-request'], [413, 'http-413']]) {
    const { server, log } = await open();
    server.last.status(status);
    await settle();
    assert.equal(log.ends[0].condition, condition);
  }
});

test('reconnect opens another session, but not where it was refused for good', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { server, bosh, log } = await open({ reconnect: true });
    let opened = 0;
    bosh.onopen = () => opened++;
    server.last.answer(`type='terminate' condition='item-not-found'`);
    await settle();
    assert.equal(bosh.status, 'waiting');
    assert.ok(log.ends[0].again > 0 && log.ends[0].again <= 1);
    bosh.send('<next/>');
    mock.timers.tick(1000);
    await settle();
    server.last.fail(); // the server is not back yet
    await settle();
    assert.equal(bosh.status, 'waiting');
    assert.equal(log.ends[1].message, 'network');
    assert.deepEqual(log.ends[1].undelivered.map((u) => u.xml), ['<next/>']);
    bosh.send('<next/>');
    bosh.retry();
    await settle();
    server.last.answer(GRANTED.replace(`'s'`, `'t'`));
    await settle();
    assert.equal(opened, 1);
    assert.equal(server.last.root.getAttribute('sid'), 't');
    assert.equal(server.last.root.firstElementChild.localName, 'next');
    server.last.answer(`type='terminate' condition='system-shutdown'`);
    await settle();
    mock.timers.tick(30_000);
    await settle();
    server.last.answer(`type='terminate' condition='host-unknown'`);
    await settle();
    assert.equal(bosh.status, 'closed');
    assert.equal(log.ends.at(-1).again, null);
  } finally {
    mock.timers.reset();
  }
});

test('see-other-uri is followed, but not away from TLS', async () => {
  for (const [from, to, follows] of [['https:', 'https:', true], ['http:', 'https:', true], ['https:', 'http:', false], ['http:', 'ftp:', false]]) {
    const server = new Server();
    const bosh = new Bosh(`${from}//a/b`, { fetch: server.fetch, reconnect: true });
    bosh.connect();
    await settle();
    server.last.answer(`type='terminate' condition='see-other-uri'`, `<uri>${to}//c/d</uri>`);
    await settle();
    bosh.retry();
    await settle();
    assert.equal(server.last.url, follows ? `${to}//c/d` : `${from}//a/b`);
    bosh.terminate();
  }
});

test('bytes and JSON', async () => {
  const { server, bosh, log } = await open();
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i * 7);
  const got = [];
  bosh.onbytes = (b) => got.push(...b);
  bosh.onjson = (value) => log.json.push(value);
  bosh.sendBytes(bytes);
  await settle();
  const sent = server.last.root.children;
  server.requests[1].answer('', sent.map(String).join('') + `<json xmlns='urn:xmpp:json:0'>{"a":[1]}</json><json xmlns='urn:xmpp:json:0'>{</json>`);
  await settle();
  assert.deepEqual(log.json, [{ a: [1] }]);
  assert.equal(log.elements.length, 1); // the JSON that is none
  assert.deepEqual(got, [...bytes.subarray(0, got.length)]);
  assert.ok(got.length >= 48 * 1024);
  assert.throws(() => bosh.sendJSON(undefined), TypeError);
  bosh.terminate();
});

test('the buffer is bounded, but one payload always fits', async () => {
  const { bosh } = await open({ maxBuffered: 10 });
  bosh.send(`<a>${'x'.repeat(100)}</a>`);
  assert.throws(() => bosh.send('<b/>'), (e) => e.code === 'full');
  await settle();
  bosh.send('<b/>');
  bosh.terminate();
});

test('only whole elements are sent, and bytes are bytes', async () => {
  const { server, bosh, log } = await open({ maxBuffered: 100_000 });
  const n = server.requests.length;
  for (const bad of ['', ' ', 'hello', '<a>', '<a></b>', '<a/>text', '</body><body>', '<!-- --><a/>', '<a>&nbsp;</a>', '<p:a/>', '<a>\u0001</a>', '<a b=c/>', '<?xml version="1.0"?><a/>']) {
    assert.throws(() => bosh.send(bad), (e) => e instanceof BoshError && e.code === 'xml', bad);
  }
  for (const bad of ['hello', 5, null, undefined, [1, 2], {}]) assert.throws(() => bosh.sendBytes(bad), TypeError, String(bad));
  bosh.sendBytes(new Uint8Array(0));
  await settle();
  assert.equal(server.requests.length, n);
  bosh.send('<a/> <b xmlns="u">x<![CDATA[<]]></b>');
  // Bytes of several elements are one payload: all of them wait, or none.
  assert.throws(() => bosh.sendBytes(new ArrayBuffer(200_000)), (e) => e.code === 'full');
  await settle();
  assert.equal(server.last.root.children.length, 2);
  assert.equal(bosh.bufferedAmount, 0);
  assert.deepEqual(log.ends, []);
  bosh.terminate();
});

test('a restart keeps its place, and needs a session', async () => {
  const { server, bosh, log } = await open({ xmpp: true });
  bosh.send('<a/>');
  bosh.restart();
  bosh.send('<b/>');
  await settle();
  assert.match(server.last.body, /<a\/><\/body>/);
  assert.doesNotMatch(JSON.stringify(bosh.undelivered()), /"xml":""/);
  const again = new Bosh('http://example.com/bind', { fetch: server.fetch, xmpp: true }); // what has not gone out goes with the state
  sessions.push(again);
  server.requests.length = 0;
  again.resume(log.saved.at(-1));
  server.requests[0].answer();
  await settle();
  server.requests[1].answer();
  await settle();
  const texts = server.requests.map(({ body }) => body);
  const at = texts.findIndex((text) => text.includes('xmpp:restart'));
  assert.ok(at > 0 && !texts.slice(0, at).some((text) => text.includes('<b/>')), texts.join('\n'));
  server.requests[2].answer();
  await settle();
  assert.ok(server.requests.slice(at + 1).some(({ body }) => body.includes('<b/>')));
  const closed = new Bosh('http://example.com/bind', { fetch: server.fetch });
  assert.throws(() => closed.restart(), (e) => e.code === 'closed');
});

test('a state that is none is refused, and a store may hold anything', async () => {
  const { bosh, log } = await open();
  bosh.send('<a/>');
  await settle();
  const state = log.saved.at(-1);
  const bad = [null, undefined, 5, 'x', {}, { sid: 's' }, { ...state, queue: undefined }, { ...state, queue: [5] }, { ...state, open: [{}] }, { ...state, rid: 'x' }, { ...state, sid: '' }];
  for (const other of bad) {
    const server = new Server();
    const b = new Bosh('http://example.com/bind', { fetch: server.fetch });
    assert.throws(() => b.resume(other), (e) => e.code === 'state', JSON.stringify(other));
    assert.equal(b.status, 'closed');
    const store = { getItem: () => JSON.stringify(other && { ...other, saved: Date.now() }), setItem() {}, removeItem() {} };
    const s = new Bosh('http://example.com/bind', { fetch: server.fetch, store });
    sessions.push(s);
    s.connect();
    await settle();
    assert.match(server.last?.body ?? '', /ver='1.11'/, JSON.stringify(other));
  }
});

test('an exception of the application costs nothing', async (t) => {
  t.mock.method(console, 'error', () => {});
  const { server, bosh, log } = await open();
  bosh.onjson = () => {
    throw new Error('mine');
  };
  bosh.onexchange = bosh.onsave = bosh.onjson;
  server.last.answer('', `<json xmlns='urn:xmpp:json:0'>1</json><next xmlns='x'/>`);
  await settle();
  assert.equal(log.elements.length, 1);
  assert.equal(server.requests.length, 3);
  bosh.terminate();
});

test('polls are spaced where the server holds nothing', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const server = new Server();
    const bosh = new Bosh('http://example.com/bind', { fetch: server.fetch, hold: 0 });
    bosh.connect();
    await settle();
    server.last.answer(`sid='s' wait='0' hold='0' requests='1' polling='5' inactivity='75'`);
    await settle();
    assert.equal(server.requests.length, 1);
    mock.timers.tick(5099);
    await settle();
    assert.equal(server.requests.length, 1);
    mock.timers.tick(1);
    await settle();
    assert.equal(server.requests.length, 2);
    bosh.terminate();
  } finally {
    mock.timers.reset();
  }
});

test('parseXML', () => {
  const root = parseXML(`<?xml version='1.0'?>
    <b:body xmlns:b='${NS}' a="1&#x2B;&lt;" b:c='d'><x xmlns='u'>t&amp;<![CDATA[<&]]><y/></x ></b:body>`);
  assert.equal(root.localName, 'body');
  assert.equal(root.namespaceURI, NS);
  assert.equal(root.getAttribute('a'), '1+<');
  assert.equal(root.getAttributeNS(NS, 'c'), 'd');
  const [x] = root.children;
  assert.equal(x.textContent, 't&<&');
  assert.equal(x.firstElementChild.namespaceURI, 'u');
  assert.deepEqual(parseXML(String(x)).textContent, x.textContent);
  assert.equal(parseXML(String(root)).getAttribute('a'), '1+<');
  for (const bad of ['', 'x', '<a>', '</a>', '<a></b>', '<a/><b/>', '<a/>x', '<a b=1/>', '<a b/>', `<a b='' b=''/>`, '<a>&x;</a>', '<a>&amp</a>', '<a>&</a>',
    '<p:a/>', `<a p:b=''/>`, '<!DOCTYPE a><a/>', '<a><!-- c --></a>', '<a><?p i?></a>', `<a b='<'/>`, '<a'.repeat(9), '<a>'.repeat(300) + '</a>'.repeat(300), `<a xmlns:__proto__='x'><__proto_:b/></a>`]) {
    assert.throws(() => parseXML(bad), Error, bad);
  }
});

test('escapeXML', () => {
  const text = `<&>'"\t\r\n]]>\u{1F600}`;
  assert.equal(parseXML(`<a b='${escapeXML(text)}'>${escapeXML(text)}</a>`).getAttribute('b'), text);
  assert.equal(parseXML(`<a>${escapeXML(text)}</a>`).textContent, text);
});

test('a page that leaves asks for a pause, behind what may not have arrived', async () => {
  const { server, bosh, log } = await open();
  assert.equal(bosh.leave(2), false); // this server has no pauses
  server.requests[1].answer();
  await settle();
  bosh.terminate({ keepalive: true });

  const other = new Server();
  const page = new Bosh('http://example.com/bind', { fetch: other.fetch });
  sessions.push(page);
  page.onsave = (state) => log.saved.push(structuredClone(state));
  page.connect();
  await settle();
  assert.equal(page.leave(2), false); // there is no session yet
  other.last.answer(`${GRANTED} maxpause='120'`);
  await settle();
  page.send('<a/>');
  await settle();
  page.send('<b/>'); // there is no room for it
  await settle();
  const before = other.requests.length;
  assert.equal(page.leave(2), true);
  const [poll, a, pause] = other.requests.slice(before);
  assert.deepEqual([poll, a, pause].map((r) => r.keepalive), [true, true, true]);
  assert.deepEqual([poll.body, a.body], other.requests.slice(before - 2, before).map((r) => r.body));
  assert.equal(pause.rid, a.rid + 1);
  assert.equal(pause.root.getAttribute('pause'), '2');
  assert.equal(pause.root.children[0].localName, 'b');

  // The page that is loaded again repeats all three.
  const again = new Server();
  const back = new Bosh('http://example.com/bind', { fetch: again.fetch });
  sessions.push(back);
  back.resume(log.saved.at(-1));
  await settle();
  assert.deepEqual(again.requests.map((r) => r.body), [poll.body, a.body, pause.body]);
});

test('retryAt says when the next attempt is', async () => {
  const { server, bosh } = await open({ reconnect: true });
  assert.equal(bosh.retryAt, 0);
  server.last.fail();
  await settle();
  const ms = bosh.retryAt - Date.now();
  assert.ok(ms > 100 && ms < 400, `${ms} ms`);
  bosh.retry();
  await settle();
  assert.equal(bosh.retryAt, 0);
  server.last.answer(`type='terminate' condition='system-shutdown'`);
  await settle();
  assert.equal(bosh.status, 'waiting');
  assert.ok(bosh.retryAt > Date.now());
});
