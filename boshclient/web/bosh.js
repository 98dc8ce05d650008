// A BOSH client in one file: XEP-0124, with the parts of XEP-0206 that XMPP
// needs. It runs in a page, in a worker and in Node. bosh.d.ts documents each
// option and callback.
//
// The rules it keeps:
//
//  - Every request has a number, the rid, one higher than the rid before.
//    Answers are taken in the order of the rids, in whatever order they arrive.
//  - A request stays in `open` until its answer has been taken. At most
//    `requests` are open. While there is nothing to send, one empty request is
//    open, so that the server can answer at any time.
//  - A request that breaks (connection lost, time-out, HTTP 5xx, garbage) is
//    repeated byte for byte under its rid. The server recognises the rid and
//    answers with the same bytes. Nothing is lost, and nothing happens twice.
//  - The whole state is plain data. It is saved before a request leaves and
//    after an answer was taken. `resume` goes on from it, also in another page,
//    by repeating whatever was open.

const NS = 'http://jabber.org/protocol/httpbind';
const NS_XBOSH = 'urn:xmpp:xbosh';
const NS_JSON = 'urn:xmpp:json:0';
const NS_BYTES = 'urn:bosh:opaque:0';

const MAX_BODY = 64 * 1024; // characters of payload in one request; a longer payload goes alone
const MAX_BYTES = 48 * 1024; // bytes in one element
const MAX_BACKOFF = 15; // seconds between repeats of a request
const MAX_PAUSE = 30; // seconds between two attempts to open a session
const GOODBYE = 3; // seconds that the end waits for its answer
const CLAIM = 0.5; // seconds that a page waits for the page before it to let go of a session
const STABLE = 60; // seconds after which a session counts as a success
const CALLBACKS = ['onopen', 'onelement', 'onjson', 'onbytes', 'onstatus', 'onend', 'onsave', 'onheld', 'onexchange'];
const RESTART = ''; // in place of a payload
const MAX_DEPTH = 256; // of elements, for the parser below

/** A misuse of Bosh. `code` is "open", "closed", "full", "xml" or "state". */
export class BoshError extends Error {
  constructor(code, message) {
    super(`bosh: ${message}`);
    this.name = 'BoshError';
    this.code = code;
  }
}

export class Bosh {
  onopen = () => {};
  onelement = (element) => {};
  onjson = null;
  onbytes = null;
  onstatus = (status) => {};
  onend = (end) => {};
  onsave = (state) => {};
  onheld = () => {};
  onexchange = (exchange) => {};

  #url;
  #o; // the options
  #fetch;
  #parse;
  #s = null; // the state: see #fresh
  #status = 'closed';
  #special = ''; // terminate, waiting for its request
  #last = 0; // rid of the terminate request
  #failures = 0; // requests that broke since the last answer
  #attempts = 0; // sessions that could not be opened, or ended soon, one after the other
  #next = []; // payloads for the next session
  #buffered = 0; // characters in #next and in the queue
  #repeatTimer = 0;
  #pollTimer = 0;
  #openTimer = 0;
  #retryAt = 0; // when the timer of either goes off
  #pumping = false;
  #unlock = null; // gives up the lock of a stored session

  constructor(url, options = {}) {
    this.#url = new URL(url, globalThis.location?.href).href;
    this.#o = { lang: 'en', wait: 60, hold: 1, maxBuffered: 1 << 20, key: `bosh ${this.#url}`, ...options };
    this.#o.to ??= new URL(this.#url).hostname;
    this.#fetch = options.fetch ?? ((...args) => fetch(...args));
    for (const name of CALLBACKS) this[name] = options[name] ?? this[name];
    this.#parse = options.parse ?? (globalThis.DOMParser ? parseByDOM : parseXML);
  }

  get status() {
    return this.#status;
  }

  /** When the next attempt is, of a request or a session, in milliseconds since 1970; 0 if none waits. */
  get retryAt() {
    return this.#repeatTimer || this.#openTimer ? this.#retryAt : 0;
  }

  get bufferedAmount() {
    return this.#buffered;
  }

  /** Opens a session, or goes on with the one that the store has. */
  connect() {
    if (this.#status !== 'closed') throw new BoshError('open', 'connect was called already');
    this.#attempts = 0;
    this.#listen();
    this.#setStatus('connecting');
    this.#begin();
  }

  /** Goes on with a session from a state that onsave was given. */
  resume(state) {
    if (this.#status !== 'closed') throw new BoshError('open', 'connect was called already');
    if (!isState(state)) throw new BoshError('state', 'this is not the state of a session: resume takes what onsave was given');
    this.#listen();
    this.#setStatus('connecting');
    this.#resume(structuredClone(state));
  }

  /** Sends one or more XML elements: a string, or an element. */
  send(xml) {
    this.#queue([typeof xml === 'string' ? elements(xml) : serialize(xml)]);
  }

  /** Queues payloads: all of them, or none. */
  #queue(payloads) {
    if (this.#status === 'closed' || this.#special === 'terminate' || this.#last) {
      throw new BoshError('closed', 'there is no session: call connect first, and again after its end');
    }
    const length = payloads.reduce((n, text) => n + text.length, 0);
    if (length && this.#buffered > 0 && this.#buffered + length > this.#o.maxBuffered) {
      throw new BoshError('full', `${this.#buffered} characters wait to be sent; wait for bufferedAmount to fall`);
    }
    this.#buffered += length;
    (this.#s?.queue ?? this.#next).push(...payloads);
    this.#pumpSoon();
  }

  /** Sends a value as JSON, in a container of XEP-0335. */
  sendJSON(value) {
    const json = JSON.stringify(value);
    if (json === undefined) throw new TypeError('bosh: the value has no JSON');
    // XML has no U+FFFE and no U+FFFF. Quotation marks may stay as they are: JSON is full of them.
    const text = json.replace(/[\ufffe\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16)}`).replace(/[&<>]/g, escapeXML);
    this.#queue([`<json xmlns='${NS_JSON}'>${text}</json>`]);
  }

  /** Sends bytes, for a server whose streams are Opaque. */
  sendBytes(bytes) {
    const view = ArrayBuffer.isView(bytes);
    if (!view && Object.prototype.toString.call(bytes) !== '[object ArrayBuffer]') {
      throw new TypeError('bosh: sendBytes takes an ArrayBuffer or a view of one; new TextEncoder().encode(text) makes one of text');
    }
    const all = view ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);
    const payloads = [];
    for (let i = 0; i < all.length; i += MAX_BYTES) {
      payloads.push(`<data xmlns='${NS_BYTES}'>${toBase64(all.subarray(i, i + MAX_BYTES))}</data>`);
    }
    this.#queue(payloads);
  }

  /** Asks for a new XMPP stream, after SASL. */
  restart() {
    if (!this.#s?.sid) throw new BoshError('closed', 'there is no session whose stream could be restarted');
    this.#queue([RESTART]);
  }

  /** Ends the session. What was sent before goes with it. */
  terminate({ keepalive = false } = {}) {
    if (this.#status === 'closed') return;
    if (!this.#s?.sid) return this.#close(this.#over('', ''));
    this.#special = 'terminate';
    if (keepalive) {
      this.#pump(true);
      return this.#close(this.#over('', ''));
    }
    this.#pumpSoon();
    const s = this.#s;
    setTimeout(() => {
      if (this.#s === s) this.#close(this.#over('', ''));
    }, GOODBYE * 1000);
  }

  /** For a page that goes away, and may be back at once: the server waits so many seconds for it. */
  leave(seconds) {
    const s = this.#s;
    if (this.#status === 'closed' || !s?.sid || this.#last || !s.maxpause) return false;
    // What may not have arrived goes first: the server takes the pause at its turn.
    for (const r of s.open) {
      if (r.answer || r.held) continue;
      r.flight?.abort(new Error('the page goes away'));
      this.#transmit(r, true);
    }
    this.#request({ pause: Math.min(Math.ceil(seconds), s.maxpause) }, s.queue.splice(0).filter(Boolean), true);
    return true;
  }

  /** Tries at once what waits for a time-out: a repeat, or a new session. */
  retry() {
    if (this.#repeatTimer) this.#repeatNow();
    if (this.#openTimer) this.#openNow();
    for (const r of this.#s?.open ?? []) { // timers stand still while a machine sleeps
      if (r.flight && Date.now() - r.sent > this.#patience() * 1000) r.flight.abort(new Error('no answer in time'));
    }
  }

  /** Breaks the HTTP requests that are under way, as a bad network does. For tests. */
  cut() {
    for (const request of this.#s?.open ?? []) request.flight?.abort(new Error('connection cut'));
  }

  /** What was sent and has not provably reached the server. */
  undelivered() {
    const s = this.#s;
    const lost = [];
    for (const r of s?.open ?? []) {
      if (r.rid > s.acked) for (const xml of r.payloads) lost.push({ xml, sent: true, held: !!r.held });
    }
    for (const xml of [...(s?.queue ?? []), ...this.#next].filter(Boolean)) lost.push({ xml, sent: false, held: false });
    return lost;
  }

  // Opening a session.

  async #begin() {
    const stored = this.#stored();
    if (stored && await this.#claim(stored.sid)) {
      if (this.#status !== 'closed') this.#resume(stored);
      return;
    }
    let attributes;
    try {
      attributes = await callable(this.#o.attributes);
    } catch (error) {
      return this.#end('', error.message, true);
    }
    if (this.#status === 'closed' || this.#s) return;
    const { to, lang, wait, hold, xmpp } = this.#o;
    this.#s = {
      url: this.#url, to, lang, sid: '',
      rid: firstRid(), // of the next request
      done: 0, // all up to this rid are answered, and the answers taken
      acked: 0, // all up to this rid have reached the server
      wait, hold, requests: 2, inactivity: 60, polling: 0, maxpause: 0,
      queue: this.#next.splice(0), // payloads that wait for a request
      open: [], // requests without answer: { rid, head, payloads } and, for this page only, flight, sent, held, answer, attempt
    };
    this.#request({
      to, wait, hold, ver: '1.11', ack: 1, content: 'text/xml; charset=utf-8', 'xml:lang': lang,
      ...(xmpp ? { 'xmpp:version': '1.0', 'xmlns:xmpp': NS_XBOSH } : {}), ...attributes,
    });
  }

  #resume(state) {
    const s = this.#s = { ...state, queue: [...state.queue, ...this.#next.splice(0)] };
    this.#buffered = s.queue.reduce((n, xml) => n + xml.length, 0);
    this.#setStatus('repeating');
    for (const request of s.open) {
      request.attempt = 1;
      this.#transmit(request);
    }
    this.#pump();
  }

  #opened(answer) {
    const s = this.#s;
    s.sid = answer.getAttribute('sid') ?? '';
    for (const name of ['wait', 'hold', 'inactivity', 'polling', 'maxpause']) s[name] = number(answer, name, s[name]);
    s.requests = number(answer, 'requests', s.hold + 1);
    if (!s.sid) return;
    s.began = Date.now();
    this.#claim(s.sid);
    this.#call('onopen');
  }

  // Choosing the next request.

  #pumpSoon() {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(keepalive = false) {
    const s = this.#s;
    if (this.#status === 'closed' || !s?.sid || this.#last) return;
    // What broke is repeated before anything new is sent: a server may take no rids out of order.
    const room = this.#broken() ? 0 : s.requests - s.open.length;
    if (this.#special === 'terminate') {
      this.#special = '';
      this.#last = s.rid; // one more than `requests` is allowed for this one
      this.#request({ type: 'terminate' }, s.queue.splice(0).filter(Boolean), keepalive);
    } else if (room > 0 && s.queue[0] === RESTART) {
      s.queue.shift();
      this.#request({ to: s.to, 'xml:lang': s.lang, 'xmpp:restart': 'true', 'xmlns:xmpp': NS_XBOSH });
    } else if (room > 0 && s.queue.length) {
      let n = 1;
      for (let size = s.queue[0].length; n < s.queue.length && s.queue[n] !== RESTART; n++) {
        size += s.queue[n].length;
        if (size > MAX_BODY) break;
      }
      this.#request({}, s.queue.splice(0, n));
      if (s.queue.length) this.#pump();
    } else if (!s.open.length) {
      const holds = s.wait > 0 && s.hold > 0;
      if (holds) this.#request({});
      else if (!this.#pollTimer) this.#pollTimer = setTimeout(() => this.#poll(), s.polling * 1000 + 100);
    }
    if (s.queue.length) this.#save(); // it waits for room, and must survive a reload too
  }

  #poll() { // in a session that holds nothing
    this.#pollTimer = 0;
    if (this.#status !== 'closed' && this.#s && !this.#s.open.length) this.#request({});
  }

  // Sending requests, and repeating them.

  #request(attributes, payloads = [], keepalive = false) {
    const s = this.#s;
    const rid = s.rid++;
    const all = { rid, sid: s.sid || null, ...attributes, xmlns: NS };
    if (s.sid && s.done < rid - 1) all.ack = s.done; // else it is implied
    let head = '<body';
    for (const [name, value] of Object.entries(all)) if (value !== null) head += ` ${name}='${escapeXML(value)}'`;
    const request = { rid, head, payloads, attempt: 0 };
    for (const xml of payloads) this.#buffered -= xml.length;
    s.open.push(request);
    this.#save();
    this.#transmit(request, keepalive);
  }

  /** Seconds that an answer may take. */
  #patience() {
    const { wait, inactivity } = this.#s;
    return wait + Math.max(2, Math.min(10, inactivity / 2));
  }

  async #transmit(request, keepalive = false) {
    const s = this.#s;
    const flight = request.flight = new AbortController();
    const timer = setTimeout(() => flight.abort(new Error('no answer in time')), this.#patience() * 1000);
    flight.signal.addEventListener('abort', () => clearTimeout(timer)); // a request with keepalive does not hear of it
    const body = request.payloads.length ? `${request.head}>${request.payloads.join('')}</body>` : `${request.head}/>`;
    const exchange = { rid: request.rid, attempt: request.attempt++, request: body, sent: request.sent = Date.now() };
    this.#call('onexchange', exchange);
    // A held request says nothing. A request that has not failed for a second counts as held.
    request.held = false;
    const holding = setTimeout(() => {
      if (request.flight !== flight || this.#s !== s || !s.sid) return;
      request.held = true;
      this.#setStatus(this.#broken() ? 'repeating' : 'online');
      if (request.payloads.length) this.#call('onheld');
    }, 1000);

    let answer = null;
    try {
      // Only a function is waited for: a last request leaves while its page is closed.
      let { headers } = this.#o;
      if (typeof headers === 'function') headers = await headers(exchange.attempt);
      const all = new Headers(headers);
      if (!all.has('Content-Type')) all.set('Content-Type', 'text/xml; charset=utf-8');
      const response = await this.#fetch(s.url, {
        method: 'POST', body, headers: all, cache: 'no-store', signal: keepalive ? undefined : flight.signal, keepalive,
        ...(this.#o.credentials ? { credentials: this.#o.credentials } : {}),
      });
      exchange.response = await response.text();
      answer = this.#understand(response.status, exchange.response);
    } catch (error) {
      exchange.error = (flight.signal.aborted && flight.signal.reason?.message) || error.message;
    }
    clearTimeout(timer);
    clearTimeout(holding);
    exchange.answered = Date.now();
    this.#call('onexchange', exchange);

    if (request.flight !== flight || this.#s !== s) return;
    request.flight = null;
    if (!answer) {
      this.#repeat(exchange.error);
    } else if (answer.getAttribute('type') === 'error') {
      // Recoverable: this request and those before it are to be sent again.
      for (const r of s.open) if (r.rid < request.rid && !r.answer) r.flight?.abort(new Error('to be repeated'));
      this.#repeat('recoverable error');
    } else {
      this.#failures = 0;
      request.answer = answer;
      if (s.sid) this.#setStatus(this.#broken() ? 'repeating' : 'online');
      this.#take();
    }
  }

  /** What an answer says. Throws if it says nothing that can be understood, so that the request is repeated. */
  #understand(status, text) {
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
      // How servers answer clients of old, and proxies everyone: final.
      const condition = { 400: 'bad-request', 403: 'policy-violation', 404: 'item-not-found' }[status] ?? `http-${status}`;
      return this.#parse(`<body xmlns='${NS}' type='terminate' condition='${condition}'/>`);
    }
    if (status !== 200) throw new Error(`HTTP status ${status}`);
    let why = '';
    try {
      const root = this.#parse(text);
      if (root.localName === 'body' && root.namespaceURI === NS) return root;
    } catch (error) {
      why = ` (${error.message})`;
    }
    throw new Error(`the answer is no BOSH body${why}; is the URL that of a BOSH endpoint?`);
  }

  #repeat(why) {
    if (!this.#s.sid) return this.#end('', why, true);
    this.#setStatus('repeating');
    const seconds = Math.min(MAX_BACKOFF, 0.25 * 2 ** this.#failures++) * (0.75 + Math.random() / 2);
    if (this.#repeatTimer) return;
    this.#retryAt = Date.now() + seconds * 1000;
    this.#repeatTimer = setTimeout(() => this.#repeatNow(), seconds * 1000);
  }

  #repeatNow() {
    clearTimeout(this.#repeatTimer);
    this.#repeatTimer = 0;
    if (this.#status === 'closed' || !this.#s) return;
    for (const r of this.#s.open) if (!r.flight && !r.answer) this.#transmit(r);
    this.#pump();
  }

  #broken() { // does a request wait for its repeat?
    return this.#s.open.some((r) => !r.flight && !r.answer);
  }

  // Taking answers, in order.

  #take() {
    const s = this.#s;
    while (s.open[0]?.answer) {
      const { rid, answer } = s.open[0];
      const last = answer.getAttribute('type') === 'terminate';
      if (!s.sid && !last) {
        this.#opened(answer);
        if (this.#s !== s) return;
        if (!s.sid) return this.#end('', 'the server named no session', true);
        this.#setStatus('online');
      }
      s.acked = Math.max(s.acked, rid, number(answer, 'ack', 0));
      for (const child of answer.children) {
        if (child.namespaceURI === NS) continue; // the <uri/> of an end
        this.#deliver(child);
        if (this.#s !== s) return;
      }
      s.open.shift(); // only now, so that nobody saves a state in which this answer is half taken
      s.done = rid;
      if (last || rid === this.#last) {
        const condition = answer.getAttribute('condition') ?? '';
        const uri = condition === 'see-other-uri' ? [...answer.children].find((c) => c.localName === 'uri')?.textContent.trim() : '';
        return this.#end(condition, '', !this.#last, uri);
      }
    }
    this.#save();
    this.#pump();
  }

  #deliver(element) {
    const is = (namespace, name) => element.namespaceURI === namespace && element.localName === name;
    try {
      if (this.onjson && is(NS_JSON, 'json')) return this.#call('onjson', JSON.parse(element.textContent), element);
      if (this.onbytes && is(NS_BYTES, 'data')) return this.#call('onbytes', fromBase64(element.textContent));
    } catch {
      // It is not what it says it is.
    }
    this.#call('onelement', element);
  }

  /** Calls a function of the application, whose errors must not end the session. */
  #call(name, ...args) {
    try {
      this[name](...args);
    } catch (error) {
      console.error(error);
    }
  }

  // The end, and the next beginning.

  /** Describes the end. */
  #over(condition, message) {
    return { condition, message, uri: '', again: null, undelivered: this.undelivered() };
  }

  /** Ends the session. If it is not our own wish, another one may follow. */
  #end(condition, message, unwanted, uri = '') {
    const opened = !!this.#s?.sid;
    const end = { ...this.#over(condition, message), uri };
    if (!unwanted || !this.#o.reconnect || !opened && !TEMPORARY.has(condition)) return this.#close(end);
    if (opened && Date.now() - this.#s.began > STABLE * 1000) this.#attempts = 0;
    if (uri && safer(this.#url, uri)) this.#url = uri;
    this.#drop();
    const most = Math.min(MAX_PAUSE, 2 ** this.#attempts++);
    end.again = most * (0.25 + 0.75 * Math.random()); // never all clients at once
    this.#retryAt = Date.now() + end.again * 1000;
    this.#openTimer = setTimeout(() => this.#openNow(), end.again * 1000);
    this.#setStatus('waiting');
    this.#call('onend', end);
  }

  #openNow() {
    clearTimeout(this.#openTimer);
    this.#openTimer = 0;
    if (this.#status !== 'waiting') return;
    this.#setStatus('connecting');
    this.#begin();
  }

  #close(end) {
    if (this.#status === 'closed') return;
    this.#drop();
    clearTimeout(this.#openTimer);
    this.#openTimer = 0;
    for (const [target, type, f] of this.#heard.splice(0)) target.removeEventListener(type, f);
    this.#setStatus('closed');
    this.#call('onend', end);
  }

  /** Forgets the session. */
  #drop() {
    const open = this.#s?.open ?? [];
    this.#s = null;
    this.#next = [];
    this.#buffered = this.#failures = this.#last = 0;
    this.#special = '';
    clearTimeout(this.#repeatTimer);
    clearTimeout(this.#pollTimer);
    this.#repeatTimer = this.#pollTimer = 0;
    this.#o.store?.removeItem(this.#o.key);
    this.#unlock?.();
    this.#unlock = null;
    for (const request of open) request.flight?.abort(new Error('the session has ended'));
  }

  #setStatus(status) {
    if (this.#status === status) return;
    this.#status = status;
    this.#call('onstatus', status);
  }

  // What the page tells: it is back, or the network is.

  #heard = [];

  #listen() {
    const on = (target, type, f) => {
      if (!target?.addEventListener) return;
      target.addEventListener(type, f);
      this.#heard.push([target, type, f]);
    };
    on(globalThis, 'online', () => this.retry());
    on(globalThis, 'pageshow', () => this.retry());
    on(globalThis.document, 'visibilitychange', () => {
      if (document.visibilityState === 'visible') this.retry();
    });
  }

  // A session outlives its page by its state.

  #save() {
    const s = this.#s;
    if (!s.sid) return;
    const state = { ...s, saved: Date.now(), queue: [...s.queue], open: s.open.map(({ rid, head, payloads }) => ({ rid, head, payloads })) };
    this.#call('onsave', state);
    try {
      this.#o.store?.setItem(this.#o.key, JSON.stringify(state));
    } catch (error) {
      console.error(error); // the store is full: the session goes on
    }
  }

  /** The state that the store has, unless the server has given up on its session. */
  #stored() {
    try {
      const s = JSON.parse(this.#o.store?.getItem(this.#o.key) ?? 'null');
      if (isState(s) && Date.now() - s.saved < (s.wait + s.inactivity) * 1000) return s;
    } catch {
      // Somebody else's, or cut off.
    }
    return null;
  }

  /** Makes sure that no other page has the session: a duplicated tab has a copy of its store. */
  #claim(sid) {
    const locks = globalThis.navigator?.locks;
    if (!this.#o.store || !locks) return Promise.resolve(true);
    return new Promise((resolve) => {
      locks.request(`bosh ${sid}`, { signal: AbortSignal.timeout(CLAIM * 1000) }, () => {
        resolve(true);
        return new Promise((unlock) => {
          this.#unlock?.();
          this.#unlock = unlock;
        });
      }).catch((error) => resolve(error.name !== 'TimeoutError')); // or locks are not to be had here
    });
  }
}

/** Can a session go on from this? A store may hold anything. */
function isState(s) {
  const texts = (a) => Array.isArray(a) && a.every((text) => typeof text === 'string');
  return typeof s?.sid === 'string' && s.sid !== '' && typeof s.url === 'string' && texts(s.queue)
    && ['rid', 'done', 'acked', 'wait', 'hold', 'requests', 'inactivity', 'polling', 'maxpause'].every((name) => Number.isFinite(s[name]))
    && Array.isArray(s.open) && s.open.every((r) => Number.isFinite(r?.rid) && typeof r.head === 'string' && texts(r.payloads));
}

/** Conditions by which a session is refused for now. No condition: the server was not reached. */
const TEMPORARY = new Set(['', 'internal-server-error', 'remote-connection-failed', 'see-other-uri', 'system-shutdown']);

/** May a session at one URL go on at another? Not over less than TLS, if it was over TLS. */
function safer(from, to) {
  try {
    const [a, b] = [new URL(from).protocol, new URL(to).protocol];
    return b === 'https:' || b === 'http:' && a === b;
  } catch {
    return false;
  }
}

function callable(value, ...args) {
  return typeof value === 'function' ? value(...args) : value;
}

function number(element, name, otherwise) {
  const text = element.getAttribute(name);
  return /^\d+$/.test(text ?? '') ? Number(text) : otherwise;
}

// Random and below 2^52, which leaves as many rids again below the limit of 2^53.
function firstRid() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 12) * 2 ** 32 + low + 1;
}

function toBase64(bytes) {
  let binary = '';
  for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(binary);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// XML.

/** Text as it may stand in XML, between tags and in a value. */
export function escapeXML(text) {
  return String(text).replace(/[&<>'"\t\n\r]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** Returns a text if it is one or more whole elements. A server would end the session for anything else. */
function elements(text) {
  let why = 'XML has no such characters';
  try {
    if (!/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/.test(text)) {
      const { childNodes } = parseXML(`<body xmlns='${NS}'>${text}</body>`);
      if (childNodes.some((node) => typeof node !== 'string') && childNodes.every((node) => typeof node !== 'string' || !node.trim())) return text;
      why = 'this is text, or nothing';
    }
  } catch (error) {
    why = error.message;
  }
  throw new BoshError('xml', `only whole elements can be sent (${why}); escapeXML is for the text in them, sendJSON for values`);
}

function serialize(element) {
  return element instanceof XMLElement ? element.toString() : new XMLSerializer().serializeToString(element);
}

function parseByDOM(text) {
  const root = new DOMParser().parseFromString(text, 'text/xml').documentElement;
  // Some browsers report bad XML in the place of the root, some as its first child.
  if (root.localName === 'parsererror' || root.firstElementChild?.localName === 'parsererror') throw new Error('no XML');
  return root;
}

/** An element of parseXML: the few members of a DOM element that most need. */
class XMLElement {
  constructor(name, attributes, scope) {
    [this.prefix, this.localName] = split(name);
    this.nodeName = this.tagName = name;
    this.namespaceURI = resolve(this.prefix, scope);
    this.attributes = attributes; // { name, namespaceURI, localName, value }
    this.childNodes = []; // elements and strings
    this.scope = scope;
  }

  get children() {
    return this.childNodes.filter((node) => node instanceof XMLElement);
  }

  get firstElementChild() {
    return this.children[0] ?? null;
  }

  get textContent() {
    return this.childNodes.map((node) => (typeof node === 'string' ? node : node.textContent)).join('');
  }

  getAttribute(name) {
    return this.attributes.find((a) => a.name === name)?.value ?? null;
  }

  getAttributeNS(namespace, localName) {
    return this.attributes.find((a) => a.namespaceURI === namespace && a.localName === localName)?.value ?? null;
  }

  hasAttribute(name) {
    return this.getAttribute(name) !== null;
  }

  /** The element as XML, with the namespaces that it has from its parents. */
  toString(outer = { xml: XML }) {
    let text = `<${this.nodeName}`;
    for (const prefix in this.scope) {
      if (this.scope[prefix] !== outer[prefix]) text += ` xmlns${prefix && `:${prefix}`}='${escapeXML(this.scope[prefix])}'`;
    }
    for (const a of this.attributes) {
      if (a.namespaceURI !== XMLNS) text += ` ${a.name}='${escapeXML(a.value)}'`;
    }
    if (!this.childNodes.length) return `${text}/>`;
    const inner = this.childNodes.map((node) => (typeof node === 'string' ? escapeXML(node) : node.toString(this.scope)));
    return `${text}>${inner.join('')}</${this.nodeName}>`;
  }
}

const XML = 'http://www.w3.org/XML/1998/namespace';
const XMLNS = 'http://www.w3.org/2000/xmlns/';

// A tag's end, a tag, a CDATA section, or text. There is nothing else in BOSH:
// XEP-0124 bans comments, processing instructions and document types.
const TOKEN = /<\/([^\s<>/]+)\s*>|<([^\s<>/!?=]+)((?:\s+[^\s<>/=]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|<!\[CDATA\[([^]*?)\]\]>|([^<]+)/y;
const ATTRIBUTE = /([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;

/** Parses a document, where there is no DOMParser: in a worker, and in Node. */
export function parseXML(text) {
  let root = null;
  const open = [];
  TOKEN.lastIndex = 0;
  const input = text.replace(/^\ufeff?\s*(?:<\?xml\s[^?]*\?>)?\s*/, '').replace(/\r\n?/g, '\n').trimEnd();
  while (TOKEN.lastIndex < input.length) {
    const found = TOKEN.exec(input);
    if (!found) throw new Error('no XML');
    const [, end, name, attributes, empty, cdata, data] = found;
    const parent = open.at(-1);
    if (name) {
      if (root && !parent || open.length >= MAX_DEPTH) throw new Error('no XML: more than one root, or too deep');
      const element = parseTag(name, attributes, parent?.scope ?? { xml: XML });
      if (parent) parent.childNodes.push(element);
      root ??= element;
      if (!empty) open.push(element);
    } else if (end) {
      if (open.pop()?.nodeName !== end) throw new Error(`no XML: </${end}> has no beginning`);
    } else if (parent) {
      parent.childNodes.push(cdata ?? unescapeXML(data));
    } else {
      throw new Error('no XML: text without an element');
    }
  }
  if (!root || open.length) throw new Error('no XML: it is cut off');
  return root;
}

function parseTag(name, text, outer) {
  const attributes = [];
  let scope = outer;
  for (const [, attribute, double, single] of text.matchAll(ATTRIBUTE)) {
    const value = unescapeXML((double ?? single).replace(/[\t\n]/g, ' '));
    if (attributes.some((a) => a.name === attribute)) throw new Error(`no XML: ${attribute} comes twice`);
    attributes.push({ name: attribute, value });
    const [prefix, localName] = split(attribute);
    if (prefix === 'xmlns') scope = { ...scope, [localName]: value };
    else if (attribute === 'xmlns') scope = { ...scope, '': value };
  }
  for (const a of attributes) {
    const [prefix, localName] = split(a.name);
    a.localName = localName;
    a.namespaceURI = prefix === 'xmlns' || a.name === 'xmlns' ? XMLNS : prefix ? resolve(prefix, scope) : null;
  }
  return new XMLElement(name, attributes, scope);
}

function split(name) {
  const i = name.indexOf(':');
  return i < 0 ? [null, name] : [name.slice(0, i), name.slice(i + 1)];
}

function resolve(prefix, scope) {
  const uri = Object.hasOwn(scope, prefix ?? '') ? scope[prefix ?? ''] : null;
  if (uri === null && prefix) throw new Error(`no XML: ${prefix} is not declared`);
  return uri || null;
}

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescapeXML(text) {
  return text.replace(/&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w+))?;?/g, (all, hex, decimal, name) => {
    const known = name ? ENTITIES[name] : hex || decimal ? String.fromCodePoint(parseInt(hex ?? decimal, hex ? 16 : 10)) : undefined;
    if (known === undefined || !all.endsWith(';')) throw new Error(`no XML: ${all}`);
    return known;
  });
}
