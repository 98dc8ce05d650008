// As much of an XMPP client as a chat page needs, on top of bosh.js: log in,
// roster, presence, messages.

import { Bosh } from './bosh.js';

const NS_CLIENT = 'jabber:client';
const NS_STREAM = 'http://etherx.jabber.org/streams';
const NS_SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const NS_BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const NS_SESSION = 'urn:ietf:params:xml:ns:xmpp-session';
const NS_STANZAS = 'urn:ietf:params:xml:ns:xmpp-stanzas';
const NS_ROSTER = 'jabber:iq:roster';
const NS_PING = 'urn:xmpp:ping';
const NS_DELAY = 'urn:xmpp:delay';

export class Client {
  // The user's ears.
  onready = (jid) => {};
  onmessage = ({ id, from, to, text, time, error }) => {};
  onpresence = ({ from, available, show, status }) => {};
  onroster = (items) => {}; // some or all of it: { jid, name, removed }
  onstatus = (status) => {};
  onsave = (state) => {}; // called only while there is something to go on with
  onexchange = (exchange) => {};
  onend = (error) => {}; // null after a log-out

  jid = '';

  #bosh = new Bosh();
  #phase = ''; // auth, bind, ready
  #who = null;
  #sasl = null; // the mechanism under way
  #error = null; // better known than what BOSH will say at the end
  #leaving = false;

  constructor() {
    const bosh = this.#bosh;
    bosh.onstanza = (element) => this.#take(element);
    bosh.onstatus = (status) => this.onstatus(status);
    bosh.onexchange = (exchange) => this.onexchange(exchange);
    bosh.onsave = (state) => {
      if (this.#phase === 'ready') this.onsave({ jid: this.jid, bosh: state });
    };
    bosh.onend = (condition, message) => {
      this.#phase = '';
      const why = [condition, message].filter(Boolean).join(': ');
      this.onend(this.#error ?? (condition ? new Error(why) : this.#leaving ? null : new Error('the server ended the session')));
    };
  }

  get status() {
    return this.#bosh.status;
  }

  /** Logs in with name and password, or anonymously if name is empty. */
  login({ url, domain, name, password }) {
    this.#who = { name, password };
    this.#phase = 'auth';
    this.#bosh.connect({ url, to: domain });
  }

  /** Goes on with a session from what onsave was given. */
  resume({ jid, bosh }) {
    this.jid = jid;
    this.#phase = 'ready';
    this.#bosh.resume(bosh);
  }

  logout() {
    this.#leaving = true;
    if (this.#phase === 'ready') this.#bosh.send(xml`<presence xmlns='jabber:client' type='unavailable'/>`);
    this.#bosh.terminate();
  }

  /** Sends a chat message and returns its id. */
  sendMessage(to, text) {
    const id = randomId();
    this.#bosh.send(xml`<message xmlns='jabber:client' to='${to}' type='chat' id='${id}'><body>${text}</body></message>`);
    return id;
  }

  /** Is the message with this id perhaps still on its way to the server? */
  isPending(id) {
    return this.#bosh.isPending(`id='${id}'`);
  }

  cut() {
    this.#bosh.cut();
  }

  #fail(error) {
    this.#error ??= error;
    this.#bosh.terminate();
  }

  #take(element) {
    const { namespaceURI: ns, localName: name } = element;
    if (ns === NS_STREAM && name === 'features') this.#features(element);
    else if (ns === NS_STREAM && name === 'error') {
      this.#error = new Error(`stream error: ${element.firstElementChild?.localName ?? 'unknown'}`);
    } else if (ns === NS_SASL) this.#takeSasl(element);
    else if (ns === NS_CLIENT && name === 'message') this.#takeMessage(element);
    else if (ns === NS_CLIENT && name === 'presence') this.#takePresence(element);
    else if (ns === NS_CLIENT && name === 'iq') this.#takeIq(element);
  }

  // Logging in.

  #features(features) {
    if (this.#phase === 'auth') {
      const offered = [...features.getElementsByTagNameNS(NS_SASL, 'mechanism')].map((m) => m.textContent.trim());
      this.#sasl = chooseMechanism(offered, this.#who);
      if (!this.#sasl) return this.#fail(new Error(`no way to log in: the server offers ${offered.join(', ') || 'nothing'}`));
      this.#answerSasl(this.#sasl.start(), (data) => xml`<auth xmlns='${NS_SASL}' mechanism='${this.#sasl.name}'>${data || '='}</auth>`);
    } else if (this.#phase === 'bind') {
      const session = child(features, 'session', NS_SESSION);
      this.#bosh.send(xml`<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='${NS_BIND}'/></iq>`);
      if (session && !child(session, 'optional', NS_SESSION)) {
        this.#bosh.send(xml`<iq xmlns='jabber:client' type='set' id='session'><session xmlns='${NS_SESSION}'/></iq>`);
      }
    }
  }

  #takeSasl(element) {
    if (this.#phase !== 'auth' || !this.#sasl) return;
    const data = fromBase64(element.textContent.trim());
    if (element.localName === 'challenge') {
      this.#answerSasl(this.#sasl.challenge(data), (text) => xml`<response xmlns='${NS_SASL}'>${text}</response>`);
    } else if (element.localName === 'success') {
      Promise.resolve(this.#sasl.success(data)).then(() => {
        this.#phase = 'bind';
        this.#who = this.#sasl = null; // the password is not needed any more
        this.#bosh.restart();
      }).catch((error) => this.#fail(error));
    } else if (element.localName === 'failure') {
      const why = element.firstElementChild?.localName;
      this.#fail(new Error(why === 'not-authorized' ? 'wrong name or password' : `log-in refused: ${why}`));
    }
  }

  #answerSasl(data, wrap) {
    Promise.resolve(data).then((text) => this.#bosh.send(wrap(toBase64(text)))).catch((error) => this.#fail(error));
  }

  #bound(iq) {
    const jid = iq.getElementsByTagNameNS(NS_BIND, 'jid')[0]?.textContent;
    if (iq.getAttribute('type') !== 'result' || !jid) return this.#fail(new Error('the server gave no address'));
    this.jid = jid;
    this.#phase = 'ready';
    this.onready(jid);
    this.#bosh.send(xml`<iq xmlns='jabber:client' type='get' id='roster'><query xmlns='${NS_ROSTER}'/></iq>`);
    this.#bosh.send(xml`<presence xmlns='jabber:client'/>`);
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
    const reply = (type, inner) => this.#bosh.send(
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

function chooseMechanism(offered, { name, password }) {
  if (!name) return offered.includes('ANONYMOUS') ? { name: 'ANONYMOUS', start: () => '', challenge: () => '', success() {} } : null;
  if (crypto.subtle) { // absent in pages that came over plain HTTP from another machine
    for (const hash of ['SHA-256', 'SHA-1']) if (offered.includes(`SCRAM-${hash}`)) return scram(hash, name, password);
  }
  if (offered.includes('PLAIN')) return { name: 'PLAIN', start: () => `\0${name}\0${password}`, challenge: () => '', success() {} };
  return null;
}

// RFC 5802, RFC 7677, without channel binding, which a browser cannot give.
function scram(hash, name, password) {
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
      const key = await crypto.subtle.importKey('raw', bytes(password.normalize('NFKC')), 'PBKDF2', false, ['deriveBits']);
      const salt = Uint8Array.from(atob(fields.s), (c) => c.charCodeAt(0));
      const length = hash === 'SHA-1' ? 160 : 256;
      const salted = new Uint8Array(await crypto.subtle.deriveBits({ name: 'PBKDF2', hash, salt, iterations }, key, length));
      const clientKey = await hmac(salted, 'Client Key');
      const storedKey = new Uint8Array(await crypto.subtle.digest(hash, clientKey));
      const last = `c=biws,r=${fields.r}`;
      const all = `${first},${challenge},${last}`;
      const signature = await hmac(storedKey, all);
      serverSignature = binaryToBase64(await hmac(await hmac(salted, 'Server Key'), all));
      return `${last},p=${binaryToBase64(clientKey.map((b, i) => b ^ signature[i]))}`;
    },
    success: verify,
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

function fromBase64(text) {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
  } catch {
    return '';
  }
}

function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}
