// A BOSH client: XEP-0124, with the parts of XEP-0206 that XMPP needs.
//
// The rules it lives by:
//
//  - Every request has a number, the rid, one higher than that of the request
//    before. Answers are taken in the order of the rids, however they arrive.
//  - A request stays in `open` until its answer has been taken. At most
//    `requests` of them are open, and as long as there is nothing to say one
//    empty request is, so that the server always has something to answer.
//  - A request that breaks (connection lost, time-out, HTTP 5xx, garbage) is
//    repeated byte for byte under its old rid. The server knows by the rid
//    whether it has seen the request, and answers a second time with the same
//    bytes. So nothing is lost and nothing happens twice.
//  - The whole state is one plain object. It is handed to `onsave` before a
//    request leaves and after an answer was taken; `resume` goes on from it,
//    also in another page: it repeats whatever was open.
//
// Stanzas are taken in as DOM elements and sent as strings of XML.

const NS = 'http://jabber.org/protocol/httpbind';
const NS_XBOSH = 'urn:xmpp:xbosh';

const MAX_BODY = 64 * 1024; // characters of stanzas in one request; one that is longer goes alone
const MAX_BACKOFF = 15; // seconds

export class Bosh {
  // The user's ears. All are called synchronously.
  onstanza = (element) => {}; // a child of an answer, in order
  onstatus = (status) => {}; // connecting, online, repeating, closed; may come again without a change
  onsave = (state) => {}; // plain data, fit for JSON
  onexchange = (exchange) => {}; // what goes over the wire; called at the request and at its answer
  onend = (condition, message) => {}; // condition is empty after a clean end

  #s = null; // the state, see connect
  #status = 'closed';
  #special = ''; // restart or terminate, waiting for its request
  #last = 0; // rid of the terminate request
  #failures = 0; // since the last answer
  #repeatTimer = 0;
  #pollTimer = 0;
  #pumping = false;

  get status() {
    return this.#status;
  }

  /** Opens a session with the server at url for the domain `to`. */
  connect({ url, to, lang = 'en', wait = 60, hold = 1 }) {
    this.#s = {
      url, to, lang, sid: '',
      rid: firstRid(), // of the next request
      done: 0, // all up to this rid are answered, and the answers taken
      acked: 0, // all up to this rid have reached the server
      wait, hold, requests: 2, inactivity: 60, polling: 0,
      queue: [], // stanzas that wait for a request
      open: [], // requests without answer: { rid, body } and, for this page only, flight, held, answer, attempt
    };
    this.#setStatus('connecting');
    this.#request({
      to, wait, hold, ver: '1.11', ack: 1, content: 'text/xml; charset=utf-8',
      'xml:lang': lang, 'xmpp:version': '1.0', 'xmlns:xmpp': NS_XBOSH,
    });
  }

  /** Goes on with a session from a state that onsave was given. */
  resume(state) {
    this.#s = structuredClone(state);
    this.#setStatus('repeating');
    for (const request of this.#s.open) {
      request.attempt = 1;
      this.#transmit(request);
    }
    this.#pump();
  }

  /** Sends a stanza. All that are sent in one go share a request. */
  send(xml) {
    if (this.#status === 'closed' || this.#special === 'terminate') return;
    this.#s.queue.push(String(xml));
    this.#pumpSoon();
  }

  /** Asks for a new XMPP stream, after SASL. */
  restart() {
    this.#special = 'restart';
    this.#pumpSoon();
  }

  /** Ends the session; what was sent before goes with it. */
  terminate() {
    if (this.#status === 'closed') return;
    if (!this.#s.sid) return this.#end('');
    this.#special = 'terminate';
    this.#pumpSoon();
    setTimeout(() => this.#end(''), 3000); // nobody waits longer for a goodbye
  }

  /** Drops the HTTP requests that are under way, as a bad network would. */
  cut() {
    for (const request of this.#s?.open ?? []) request.flight?.abort(new Error('connection cut'));
  }

  /** May a stanza that contains `text` still be on its way to the server? */
  isPending(text) {
    if (this.#status === 'closed') return false;
    const { queue, open, acked } = this.#s;
    return queue.some((xml) => xml.includes(text))
      || open.some(({ rid, body, held }) => rid > acked && !held && body.includes(text));
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

  #pump() {
    const s = this.#s;
    if (this.#status === 'closed' || !s.sid || this.#last) return;
    // What broke is repeated before anything new is sent: the server may not expect rids out of order.
    const room = this.#broken() ? 0 : s.requests - s.open.length;
    if (this.#special === 'terminate') {
      this.#special = '';
      this.#last = s.rid; // one more than `requests` is allowed for this one
      this.#request({ type: 'terminate' }, s.queue.splice(0).join(''));
    } else if (room > 0 && this.#special === 'restart') {
      this.#special = '';
      this.#request({ to: s.to, 'xml:lang': s.lang, 'xmpp:restart': 'true', 'xmlns:xmpp': NS_XBOSH });
    } else if (room > 0 && s.queue.length) {
      let n = 1;
      for (let size = s.queue[0].length; n < s.queue.length; n++) {
        size += s.queue[n].length;
        if (size > MAX_BODY) break;
      }
      this.#request({}, s.queue.splice(0, n).join(''));
      if (s.queue.length) this.#pump();
    } else if (!s.open.length) {
      const holds = s.wait > 0 && s.hold > 0;
      if (holds) this.#request({});
      else if (!this.#pollTimer) this.#pollTimer = setTimeout(() => this.#poll(), s.polling * 1000 + 100);
    }
    if (s.queue.length) this.#save(); // waiting for room; must survive a reload too
  }

  #poll() { // in a session that holds nothing
    this.#pollTimer = 0;
    if (this.#status !== 'closed' && !this.#s.open.length) this.#request({});
  }

  // Sending requests, again and again if need be.

  #request(attributes, stanzas = '') {
    const s = this.#s;
    const rid = s.rid++;
    const all = { rid, sid: s.sid || null, ...attributes, xmlns: NS };
    if (s.sid && s.done < rid - 1) all.ack = s.done; // else it is implied
    let head = '<body';
    for (const [name, value] of Object.entries(all)) if (value !== null) head += ` ${name}='${escapeAttribute(value)}'`;
    const request = { rid, body: stanzas ? `${head}>${stanzas}</body>` : `${head}/>`, attempt: 0 };
    s.open.push(request);
    this.#save();
    this.#transmit(request);
  }

  async #transmit(request) {
    const s = this.#s;
    const flight = request.flight = new AbortController();
    const patience = s.wait + Math.max(2, Math.min(10, s.inactivity / 2));
    const timer = setTimeout(() => flight.abort(new Error('no answer in time')), patience * 1000);
    const exchange = { rid: request.rid, attempt: request.attempt++, request: request.body, sent: Date.now() };
    this.onexchange(exchange);
    // A request that is held says nothing. One that has not failed for a second is as good as held.
    request.held = false;
    setTimeout(() => {
      if (request.flight !== flight || this.#status === 'closed' || !s.sid) return;
      request.held = true;
      this.#setStatus(this.#broken() ? 'repeating' : 'online');
    }, 1000);

    let answer = null;
    try {
      const response = await fetch(s.url, {
        method: 'POST', body: request.body, headers: { 'Content-Type': 'text/xml; charset=utf-8' },
        cache: 'no-store', signal: flight.signal,
      });
      exchange.response = await response.text();
      answer = parse(response.status, exchange.response);
    } catch (error) {
      exchange.error = (flight.signal.aborted && flight.signal.reason?.message) || error.message;
    }
    clearTimeout(timer);
    exchange.answered = Date.now();
    this.onexchange(exchange);

    if (request.flight !== flight || this.#status === 'closed') return;
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
      this.#setStatus(this.#broken() ? 'repeating' : 'online');
      this.#take();
    }
  }

  #repeat(why) {
    if (!this.#s.sid) return this.#end('remote-connection-failed', why);
    this.#setStatus('repeating');
    const seconds = Math.min(MAX_BACKOFF, 0.25 * 2 ** this.#failures++) * (0.75 + Math.random() / 2);
    this.#repeatTimer ||= setTimeout(() => {
      this.#repeatTimer = 0;
      if (this.#status === 'closed') return;
      for (const r of this.#s.open) if (!r.flight && !r.answer) this.#transmit(r);
      this.#pump();
    }, seconds * 1000);
  }

  #broken() { // does a request wait for its repeat?
    return this.#s.open.some((r) => !r.flight && !r.answer);
  }

  // Taking answers, in order.

  #take() {
    const s = this.#s;
    while (s.open[0]?.answer) {
      const { rid, answer } = s.open[0];
      if (!s.sid) this.#opened(answer);
      s.acked = Math.max(s.acked, rid, number(answer, 'ack', 0));
      for (const child of answer.children) {
        try {
          this.onstanza(child);
        } catch (error) {
          console.error(error); // one bad stanza must not cost the others
        }
        if (this.#status === 'closed') return;
      }
      s.open.shift(); // only now, so that nobody saves a state in which this answer is half taken
      s.done = rid;
      if (answer.getAttribute('type') === 'terminate' || rid === this.#last) {
        return this.#end(answer.getAttribute('condition') ?? '');
      }
    }
    this.#save();
    this.#pump();
  }

  #opened(answer) {
    const s = this.#s;
    s.sid = answer.getAttribute('sid') ?? '';
    s.wait = number(answer, 'wait', s.wait);
    s.hold = number(answer, 'hold', s.hold);
    s.requests = number(answer, 'requests', s.hold + 1);
    s.inactivity = number(answer, 'inactivity', s.inactivity);
    s.polling = number(answer, 'polling', s.polling);
  }

  #end(condition, message = '') {
    if (this.#status === 'closed') return;
    this.#setStatus('closed');
    clearTimeout(this.#repeatTimer);
    clearTimeout(this.#pollTimer);
    this.cut();
    this.onend(condition, message);
  }

  #setStatus(status) {
    this.#status = status;
    this.onstatus(status);
  }

  #save() {
    if (!this.#s.sid) return;
    this.onsave({ ...this.#s, queue: [...this.#s.queue], open: this.#s.open.map(({ rid, body }) => ({ rid, body })) });
  }
}

// What an answer says. Throws if it says nothing that can be understood, so that the request is repeated.
function parse(status, text) {
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
    // How servers speak to clients of old, and proxies to everyone: final.
    const answer = document.implementation.createDocument(NS, 'body').documentElement;
    answer.setAttribute('type', 'terminate');
    answer.setAttribute('condition', { 400: 'bad-request', 403: 'policy-violation', 404: 'item-not-found' }[status] ?? `http-${status}`);
    return answer;
  }
  if (status !== 200) throw new Error(`HTTP status ${status}`);
  const root = new DOMParser().parseFromString(text, 'text/xml').documentElement;
  // Some browsers report bad XML in the place of the root, some as the root's first child.
  const broken = root.firstElementChild?.localName === 'parsererror';
  if (root.localName !== 'body' || root.namespaceURI !== NS || broken) throw new Error('the answer is no BOSH body');
  return root;
}

function number(element, name, otherwise) {
  const text = element.getAttribute(name);
  return /^\d+$/.test(text ?? '') ? Number(text) : otherwise;
}

function escapeAttribute(value) {
  return String(value).replace(/[&<>'"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

// Random and below 2^52, which leaves as many rids again below the limit of 2^53.
function firstRid() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 12) * 2 ** 32 + low + 1;
}
