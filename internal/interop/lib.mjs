// What the scripts share. Each script is run by interop_test.go with the
// server's addresses in the environment; it says what it does as it goes, and
// ends with a status other than 0 if anything is not as it must be.

import net from 'node:net';

export const config = {
  http: process.env.INTEROP_HTTP, // http://host:port
  https: process.env.INTEROP_HTTPS, // https://host:port
  c2s: process.env.INTEROP_C2S, // host:port
  domain: process.env.INTEROP_DOMAIN ?? 'localhost',
  wait: Number(process.env.INTEROP_WAIT ?? 60), // seconds, as the server grants
  pid: Number(process.env.INTEROP_PID), // of the server
  output: process.env.INTEROP_OUTPUT, // a folder for screenshots
  chromium: process.env.INTEROP_CHROMIUM ?? '/usr/bin/chromium',
};

// Text that a careless hand would break on its way.
export const TRICKY = [
  `<b>bold</b> & "quotes" 'single' ]]> <!-- no comment --> &amp;amp; &#65;`,
  '<img src=x onerror="document.title=\'owned\'">',
  'emoji 👋🏽 👩‍👩‍👧 🇪🇺, ſpéçïål, 漢字, עברית, z̷̤͐',
  'two lines,\nthe second with  two blanks and a tab\tin it',
];

export function step(text) {
  console.log(`- ${text}`);
}

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

export function checkEqual(got, want, what) {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g !== w) throw new Error(`${what}:\n   got ${g}\n  want ${w}`);
}

/** Waits for a promise, but not for ever. */
export function within(seconds, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A list that can be waited for. */
export class Inbox {
  items = [];
  #waiting = new Set();

  add(item) {
    this.items.push(item);
    for (const look of this.#waiting) look();
  }

  /** Waits until there are n items, and fails if there are more. */
  async count(n, seconds, what) {
    await within(seconds, new Promise((resolve) => {
      const look = () => {
        if (this.items.length < n) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    }), `${what} (${this.items.length} of ${n} so far)`).catch((error) => {
      throw new Error(`${error.message}; there are ${this.items.length} of ${n}`);
    });
    check(this.items.length === n, `${what}: ${this.items.length} instead of ${n}`);
    return this.items;
  }
}

/** An XMPP client on a bare TCP connection, with eyes only for what the tests need. */
export class TCPClient {
  messages = new Inbox(); // { from, text }
  #socket;
  #in = '';
  #wake = () => {};
  #closed = false;

  static async login(name, password) {
    const client = new TCPClient();
    await within(20, client.#login(name, password), 'log-in over TCP');
    return client;
  }

  send(to, text) {
    this.#socket.write(`<message to='${escape(to)}' type='chat'><body>${escape(text)}</body></message>`);
  }

  async close() {
    const closed = new Promise((resolve) => this.#socket.once('close', resolve));
    this.#socket.end('</stream:stream>');
    await within(10, closed, 'closing the TCP stream');
  }

  async #login(name, password) {
    const i = config.c2s.lastIndexOf(':');
    this.#socket = net.connect(Number(config.c2s.slice(i + 1)), config.c2s.slice(0, i));
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text) => {
      this.#in += text;
      this.#wake();
    });
    const gone = () => {
      this.#closed = true;
      this.#wake();
    };
    this.#socket.on('close', gone);
    this.#socket.on('error', gone);
    const open = () => this.#socket.write(`<?xml version='1.0'?><stream:stream to='${config.domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`);
    open();
    await this.#until(/<mechanism>PLAIN<\/mechanism>[^]*<\/stream:features>/);
    const plain = Buffer.from(`\0${name}\0${password}`).toString('base64');
    this.#socket.write(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${plain}</auth>`);
    await this.#until(/<success[^>]*>/);
    open();
    await this.#until(/<bind[^]*<\/stream:features>/);
    this.#socket.write(`<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`);
    await this.#until(/<jid>[^<]*<\/jid>[^]*?<\/iq>/);
    this.#socket.write('<presence/>');
    this.#read();
  }

  async #read() {
    for (;;) {
      const found = await this.#until(/<message\b([^>]*)>([^]*?)<\/message>/).catch(() => null);
      if (!found) return;
      const body = /<body[^>]*>([^]*?)<\/body>/.exec(found[2]);
      const from = /\bfrom=["']([^"']*)["']/.exec(found[1])?.[1] ?? '';
      if (body) this.messages.add({ from, text: unescape(body[1]) });
    }
  }

  async #until(pattern) {
    for (;;) {
      const found = pattern.exec(this.#in);
      if (found) {
        this.#in = this.#in.slice(found.index + found[0].length);
        return found;
      }
      if (this.#closed) throw new Error(`the server closed the TCP connection; it had said: ${this.#in}`);
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function escape(text) {
  return text.replace(/[&<>'"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

function unescape(text) {
  const named = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (all, hex, dec, name) => {
    if (hex || dec) return String.fromCodePoint(parseInt(hex ?? dec, hex ? 16 : 10));
    return named[name] ?? all;
  });
}

/** Runs the test that the command line names, or all. */
export async function main(tests) {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(tests);
  for (const name of names) {
    check(tests[name], `there is no test ${name}`);
    console.log(`${name}:`);
    try {
      await tests[name]();
    } catch (error) {
      console.error(`FAILED ${name}: ${error.stack}`);
      process.exit(1);
    }
  }
  process.exit(0); // whatever timers a client has left
}
