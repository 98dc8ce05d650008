// As much of an XMPP client as a chat page needs, on top of bosh.js: log in,
// roster, presence, messages.

import { Bosh, BoshError } from './bosh.js';

const NS_CLIENT = 'jabber:client';
const NS_STREAM = 'http://etherx.jabber.org/streams';
const NS_SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const NS_BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const NS_SESSION = 'urn:ietf:params:xml:ns:xmpp-session';
const NS_STANZAS = 'urn:ietf:params:xml:ns:xmpp-stanzas';
const NS_ROSTER = 'jabber:iq:roster';
const NS_PING = 'urn:xmpp:ping';
const NS_DELAY = 'urn:xmpp:delay';
const NS_LEAVE = 'https://github.com/gobosh/bosh/examples/chat#leave'; // our server's: see reload.go

// By these the server says that another try would end no better.
const FINAL = ['host-unknown', 'improper-addressing', 'conflict', 'not-authorized', 'policy-violation'];

export class Client {
  // The user's ears.
  onready = (jid) => {}; // logged in, for the first time or again
  onmessage = ({ id, from, to, text, time, error }) => {};
  onpresence = ({ from, available, show, status }) => {};
  onroster = (items) => {}; // some or all of it: { jid, name, removed }
  onstatus = (status) => {}; // as of Bosh
  onsave = (state) => {}; // called only while there is something to go on with
  onkeys = (keys) => {}; // what logs in without the password, for as long as the server keeps its salt
  onheld = () => {};
  onexchange = (exchange) => {};
  // The session is over. It is null after a log-out. `again` is in how many seconds
  // there will be another, or null. `unsent` are the ids of messages that cannot have
  // arrived, `unsure` those of messages that may have.
  onend = ({ error, again, unsent, unsure }) => {};

  jid = '';

  #bosh;
  #phase = ''; // auth, bind, ready
  #who; // name, and password or keys
  #sasl = null; // the mechanism under way
  #error = null; // better known than what BOSH will say at the end
  #leaving = false;
  #patient = false; // another session is opened if one ends
  #lost = null; // what a session that ends has lost

  /** A client of the domain, by the BOSH server at url. */
  constructor({ url, domain, name = '', password = '', keys = null }) {
    this.#who = { name, password, keys };
    const bosh = this.#bosh = new Bosh(url, { to: domain, xmpp: true, reconnect: true });
    bosh.onopen = () => {
      this.#phase = 'auth';
    };
    bosh.onelement = (element) => this.#take(element);
    bosh.onstatus = (status) => this.onstatus(status);
    bosh.onheld = () => this.onheld();
    bosh.onexchange = (exchange) => this.onexchange(exchange);
    bosh.onsave = (state) => {
      if (this.#phase === 'ready') this.onsave({ jid: this.jid, bosh: state });
    };
    bosh.onend = (end) => this.#end(end);
  }

  get status() {
    return this.#bosh.status;
  }

  /** Is there a session, with somebody logged in? */
  get ready() {
    return this.#phase === 'ready';
  }

  /** When the next attempt is, in milliseconds since 1970; 0 if none waits. */
  get retryAt() {
    return this.#bosh.retryAt;
  }

  /** Logs in with name and password, or keys, or anonymously if name is empty. If patient, it tries again. */
  login({ patient = false } = {}) {
    this.#patient = patient;
    this.#bosh.connect();
  }

  /** Goes on with a session from what onsave was given. */
  resume({ jid, bosh }) {
    this.jid = jid;
    this.#patient = true;
    this.#phase = 'ready';
    this.#bosh.resume(bosh);
  }

  logout() {
    this.#leaving = true;
    if (this.ready) this.#send(xml`<presence xmlns='jabber:client' type='unavailable'/>`);
    this.#bosh.terminate();
  }

  /** The page goes away. If it does not come back in so many seconds, the others are to know. */
  leave(seconds) {
    this.onend = () => {};
    if (this.ready) this.#send(xml`<iq xmlns='jabber:client' type='set' id='leave'><leave xmlns='${NS_LEAVE}'/></iq>`);
    if (this.ready && (this.#bosh.leave(seconds) || !this.#canReturn())) return;
    this.#bosh.terminate({ keepalive: true });
  }

  /** Is there all that another log-in needs, also in a page that is loaded again? */
  #canReturn() {
    return !this.#who.name || !!this.#who.keys;
  }

  /** Sends a chat message. It reports whether it could: not without a session, nor if too much waits already. */
  sendMessage(id, to, text) {
    return this.ready && this.#send(xml`<message xmlns='jabber:client' to='${to}' type='chat' id='${id}'><body>${text}</body></message>`);
  }

  /** Is the message with this id perhaps still on its way to the server? */
  isPending(id) {
    const mark = `id='${id}'`;
    return this.#bosh.undelivered().some(({ xml: text, held }) => !held && text.includes(mark));
  }

  /** Ends the pause before the next attempt. */
  retry() {
    this.#bosh.retry();
  }

  cut() {
    this.#bosh.cut();
  }

  /** Sends a stanza in the session that there is. */
  #send(stanza) {
    try {
      if (this.#phase) this.#bosh.send(String(stanza));
      return this.#phase !== '';
    } catch (error) {
      if (!(error instanceof BoshError)) throw error;
      return false;
    }
  }

  #fail(error) {
    this.#error ??= error;
    this.#bosh.terminate();
  }

  #end({ condition, message, again, undelivered }) {
    this.#lost ??= { unsent: [], unsure: [] };
    for (const { xml: text, sent } of undelivered) {
      const id = /^<message [^>]*\bid='([^']*)'/.exec(text)?.[1];
      if (id) this.#lost[sent ? 'unsure' : 'unsent'].push(id);
    }
    if (!this.#leaving) {
      this.#error ??= Object.assign(new Error([condition, message].filter(Boolean).join(': ') || 'the server ended the session'),
        { condition, opened: this.#phase !== '' });
    }
    this.#phase = '';
    this.#sasl = null;
    if (again !== null && (!this.#patient || FINAL.includes(this.#error?.condition))) {
      this.#bosh.terminate(); // and so to here again
      return;
    }
    const end = { error: this.#error, again, ...this.#lost };
    this.#error = this.#lost = null;
    this.onend(end);
  }

  #take(element) {
    const { namespaceURI: ns, localName: name } = element;
    if (ns === NS_STREAM && name === 'features') this.#features(element);
    else if (ns === NS_STREAM && name === 'error') {
      const condition = element.firstElementChild?.localName ?? 'unknown';
      this.#error = Object.assign(new Error(`stream error: ${condition}`), { condition, opened: true });
    } else if (ns === NS_SASL) this.#takeSasl(element);
    else if (ns === NS_CLIENT && name === 'message') this.#takeMessage(element);
    else if (ns === NS_CLIENT && name === 'presence') this.#takePresence(element);
    else if (ns === NS_CLIENT && name === 'iq') this.#takeIq(element);
  }

  // Logging in.

  #features(features) {
    if (this.#phase === 'auth') {
      const offered = [...features.getElementsByTagNameNS(NS_SASL, 'mechanism')].map((m) => m.textContent.trim());
      this.#sasl = chooseMechanism(offered, this.#who, (keys) => {
        this.#who.keys = keys;
        this.onkeys(keys);
      });
      if (!this.#sasl) {
        const { name, password } = this.#who;
        return this.#fail(new Error(name && !password ? 'the password is needed again'
          : `no way to log in: the server offers ${offered.join(', ') || 'nothing'}`));
      }
      this.#answerSasl((sasl) => sasl.start(), (data) => xml`<auth xmlns='${NS_SASL}' mechanism='${this.#sasl.name}'>${data || '='}</auth>`);
    } else if (this.#phase === 'bind') {
      const session = child(features, 'session', NS_SESSION);
      this.#send(xml`<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='${NS_BIND}'/></iq>`);
      if (session && !child(session, 'optional', NS_SESSION)) {
        this.#send(xml`<iq xmlns='jabber:client' type='set' id='session'><session xmlns='${NS_SESSION}'/></iq>`);
      }
    }
  }

  #takeSasl(element) {
    if (this.#phase !== 'auth' || !this.#sasl) return;
    const data = fromBase64(element.textContent.trim());
    if (element.localName === 'challenge') {
      this.#answerSasl((sasl) => sasl.challenge(data), (text) => xml`<response xmlns='${NS_SASL}'>${text}</response>`);
    } else if (element.localName === 'success') {
      this.#withSasl((sasl) => sasl.success(data), () => {
        this.#phase = 'bind';
        this.#sasl = null;
        this.#bosh.restart();
      });
    } else if (element.localName === 'failure') {
      const why = element.firstElementChild?.localName;
      this.#fail(new Error(why === 'not-authorized' ? 'wrong name or password' : `log-in refused: ${why}`));
    }
  }

  #answerSasl(step, wrap) {
    this.#withSasl(step, (text) => this.#send(wrap(toBase64(text))));
  }

  /** Takes a step of the mechanism, and goes on unless the session is over meanwhile. */
  async #withSasl(step, next) {
    const sasl = this.#sasl;
    try {
      const result = await step(sasl);
      if (this.#sasl === sasl) next(result);
    } catch (error) {
      if (this.#sasl === sasl) this.#fail(error);
    }
  }

  #bound(iq) {
    const jid = iq.getElementsByTagNameNS(NS_BIND, 'jid')[0]?.textContent;
    if (iq.getAttribute('type') !== 'result' || !jid) return this.#fail(new Error('the server gave no address'));
    this.jid = jid;
    this.#phase = 'ready';
    this.#patient = true;
    this.onready(jid);
    this.#send(xml`<iq xmlns='jabber:client' type='get' id='roster'><query xmlns='${NS_ROSTER}'/></iq>`);
    this.#send(xml`<presence xmlns='jabber:client'/>`);
  }

  // Stanzas. Everything is understood from the stanza itself: no call waits for
  // an answer, so there is nothing of the kind to lose when the page is loaded again.

  #takeIq(iq) {
    const type = iq.getAttribute('type');
    const from = iq.getAttribute('from');
    if (type === 'result' || type === 'error') {
      if (this.#phase === 'bind' && iq.getAttribute('id') === 'bind') this.#bound(iq);
      else if (type === 'result') this.#takeRoster(iq, from);
      return;
    }
    const to = from ? xml` to='${from}'` : xml``;
    const reply = (type, inner) => this.#send(
      xml`<iq xmlns='jabber:client' type='${type}' id='${iq.getAttribute('id') ?? ''}'${to}>${inner}</iq>`);
    if (type === 'get' && child(iq, 'ping', NS_PING)) reply('result', xml``);
    else if (type === 'set' && this.#takeRoster(iq, from)) reply('result', xml``);
    else reply('error', xml`<error type='cancel'><service-unavailable xmlns='${NS_STANZAS}'/></error>`);
  }

  #takeRoster(iq, from) {
    const query = child(iq, 'query', NS_ROSTER);
    if (!query || (from && from !== bare(this.jid))) return false; // nobody else may change it
    this.onroster([...query.children].filter((item) => item.localName === 'item').map((item) => ({
      jid: item.getAttribute('jid'),
      name: item.getAttribute('name') ?? '',
      removed: item.getAttribute('subscription') === 'remove',
    })));
    return true;
  }

  #takePresence(presence) {
    const type = presence.getAttribute('type');
    if (type && type !== 'unavailable') return;
    this.onpresence({
      from: presence.getAttribute('from') ?? '',
      available: !type,
      show: text(presence, 'show'),
      status: text(presence, 'status'),
    });
  }

  #takeMessage(message) {
    const type = message.getAttribute('type') ?? 'normal';
    const error = type === 'error' ? child(message, 'error')?.firstElementChild?.localName ?? 'error' : '';
    const body = text(message, 'body');
    if (!error && (!body || !['chat', 'normal'].includes(type))) return;
    this.onmessage({
      id: message.getAttribute('id') ?? '',
      from: message.getAttribute('from') ?? bare(this.jid),
      to: message.getAttribute('to') ?? this.jid,
      text: body,
      time: Date.parse(child(message, 'delay', NS_DELAY)?.getAttribute('stamp')) || Date.now(),
      error,
    });
  }
}

// Addresses.

export function bare(jid) {
  return jid.split('/', 1)[0];
}

export function resource(jid) {
  return jid.includes('/') ? jid.slice(jid.indexOf('/') + 1) : '';
}

// XML out: xml`<a b='${value}'>${value}</a>` escapes its values, except those made by xml itself.

class Markup extends String {}

export function xml(literals, ...values) {
  let out = literals[0];
  values.forEach((value, i) => {
    out += (value instanceof Markup ? value : escape(value)) + literals[i + 1];
  });
  return new Markup(out);
}

function escape(value) {
  return String(value)
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '\uFFFD') // what XML has no room for
    .replace(/[&<>'"\r]/g, (c) => `&#${c.charCodeAt(0)};`);
}

// XML in.

function child(element, name, ns = NS_CLIENT) {
  return [...element.children].find((c) => c.localName === name && c.namespaceURI === ns);
}

function text(element, name) {
  return child(element, name)?.textContent ?? '';
}

// SASL. A mechanism has start, challenge and success; each takes and gives strings, or promises of them.

function chooseMechanism(offered, { name, password, keys }, onkeys) {
  if (!name) return offered.includes('ANONYMOUS') ? { name: 'ANONYMOUS', start: () => '', challenge: () => '', success() {} } : null;
  if (crypto.subtle) { // absent in pages that came over plain HTTP from another machine
    for (const hash of ['SHA-256', 'SHA-1']) if (offered.includes(`SCRAM-${hash}`)) return scram(hash, name, password, keys, onkeys);
  }
  if (password && offered.includes('PLAIN')) {
    return { name: 'PLAIN', start: () => `\0${name}\0${password}`, challenge: () => '', success() {} };
  }
  return null;
}

// RFC 5802, RFC 7677, without channel binding, which a browser cannot give.
function scram(hash, name, password, known, onkeys) {
  const escapedName = name.normalize('NFKC').replaceAll('=', '=3D').replaceAll(',', '=2C');
  const nonce = randomId();
  const first = `n=${escapedName},r=${nonce}`;
  let serverSignature = ''; // as it must be
  let verified = false;

  const verify = (text) => {
    verified ||= serverSignature !== '' && parseFields(text).v === serverSignature;
    if (!verified) throw new Error('this server does not know your password');
    return '';
  };

  const hmac = async (key, data) => {
    const k = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash }, false, ['sign']);
    return new Uint8Array(await crypto.subtle.sign('HMAC', k, bytes(data)));
  };

  // The keys that stand for the password. With the same salt they are the same again.
  const derive = async (salt, iterations) => {
    if (known?.hash === hash && known.salt === salt && known.iterations === iterations) return known;
    if (!password) throw new Error('the password is needed again');
    const key = await crypto.subtle.importKey('raw', bytes(password.normalize('NFKC')), 'PBKDF2', false, ['deriveBits']);
    const length = hash === 'SHA-1' ? 160 : 256;
    const salted = new Uint8Array(await crypto.subtle.deriveBits({ name: 'PBKDF2', hash, salt: fromBase64ToBinary(salt), iterations }, key, length));
    const [clientKey, serverKey] = [await hmac(salted, 'Client Key'), await hmac(salted, 'Server Key')].map(binaryToBase64);
    return { hash, salt, iterations, clientKey, serverKey };
  };
  let kept = null;

  return {
    name: `SCRAM-${hash}`,
    start: () => `n,,${first}`,
    async challenge(challenge) {
      if (serverSignature) return verify(challenge); // some servers say it here, others with the success
      const fields = parseFields(challenge);
      const iterations = Number(fields.i);
      if (!fields.r?.startsWith(nonce) || fields.r === nonce || !fields.s || !(iterations > 0 && iterations <= 1e7)) {
        throw new Error('the server made a mistake in the log-in');
      }
      const keys = await derive(fields.s, iterations);
      const [clientKey, serverKey] = [keys.clientKey, keys.serverKey].map(fromBase64ToBinary);
      const storedKey = new Uint8Array(await crypto.subtle.digest(hash, clientKey));
      const last = `c=biws,r=${fields.r}`;
      const all = `${first},${challenge},${last}`;
      const signature = await hmac(storedKey, all);
      serverSignature = binaryToBase64(await hmac(serverKey, all));
      kept = keys;
      return `${last},p=${binaryToBase64(clientKey.map((b, i) => b ^ signature[i]))}`;
    },
    success(text) {
      verify(text);
      onkeys(kept);
    },
  };
}

function parseFields(text) {
  return Object.fromEntries(text.split(',').map((field) => [field[0], field.slice(2)]));
}

function bytes(text) {
  return new TextEncoder().encode(text);
}

function binaryToBase64(array) {
  return btoa(String.fromCharCode(...array));
}

function toBase64(text) {
  return binaryToBase64(bytes(text));
}

function fromBase64ToBinary(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function fromBase64(text) {
  try {
    return new TextDecoder().decode(fromBase64ToBinary(text));
  } catch {
    return '';
  }
}

export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}
