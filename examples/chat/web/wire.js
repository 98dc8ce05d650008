// The live view of what goes over the wire: a row for each HTTP exchange, the
// request on the left and its answer on the right.

const NS_SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const SECRET = ['auth', 'challenge', 'response', 'success'];
const MAX_ROWS = 300;
const MAX_SHOWN = 20000; // characters of one body

export class WireView {
  #list;
  #rows = new WeakMap(); // exchange -> its elements
  #follow = true; // stay at the end, unless somebody scrolls back

  constructor(list) {
    this.#list = list;
    list.addEventListener('scroll', () => {
      this.#follow = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    });
  }

  /** Goes to the newest exchange; to be called when the list becomes visible. */
  toEnd() {
    this.#follow = true;
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** Shows an exchange, or what has become of it. */
  show(exchange) {
    const list = this.#list;
    let row = this.#rows.get(exchange);
    if (!row) {
      row = this.#add(exchange);
      this.#rows.set(exchange, row);
      while (list.childElementCount > MAX_ROWS) list.firstElementChild.remove();
    }
    if (exchange.answered) {
      const took = exchange.answered - exchange.sent;
      row.item.classList.remove('open');
      row.note.textContent = `${clock(exchange.answered)} · after ${took < 1000 ? `${took} ms` : `${(took / 1000).toFixed(1)} s`}`;
      if (exchange.error) {
        row.item.classList.add('broken');
        row.answer.textContent = exchange.error;
      } else {
        row.answer.replaceChildren(pretty(exchange.response));
      }
    }
    if (this.#follow) list.scrollTop = list.scrollHeight;
  }

  clear() {
    this.#list.replaceChildren();
  }

  #add(exchange) {
    const item = make('li', 'exchange open');
    const request = make('div', 'side');
    const head = make('p', 'note', `${clock(exchange.sent)} · rid ${exchange.rid}`);
    if (exchange.attempt) head.append(' ', make('span', 'badge', 'repeat'));
    const body = make('pre');
    body.append(pretty(exchange.request));
    request.append(head, body);
    const side = make('div', 'side');
    const note = make('p', 'note', 'waiting for the answer');
    const answer = make('pre');
    side.append(note, answer);
    item.append(request, side);
    this.#list.append(item);
    return { item, note, answer };
  }
}

function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function clock(time) {
  const date = new Date(time);
  return `${date.toLocaleTimeString([], { hourCycle: 'h23' })}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

// Indented and coloured, without what must not be seen over a shoulder.
function pretty(text) {
  const out = document.createDocumentFragment();
  if (text.length > MAX_SHOWN) {
    out.append(`a body of ${text.length} characters`);
    return out;
  }
  const doc = new DOMParser().parseFromString(text, 'text/xml');
  if (doc.getElementsByTagName('parsererror').length) out.append(text);
  else print(out, doc.documentElement, '');
  return out;
}

function escape(text) {
  return text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);
}

function print(out, element, indent) {
  const add = (className, text) => out.append(make('span', className, text));
  add('x-tag', `${indent}<${element.nodeName}`);
  for (const { name, value } of element.attributes) {
    add('x-name', ` ${name}=`);
    add('x-value', `'${element.localName === 'body' && name === 'sid' ? `${value.slice(0, 4)}…` : escape(value)}'`);
  }
  if (!element.childNodes.length) return add('x-tag', '/>');
  add('x-tag', '>');
  if (element.namespaceURI === NS_SASL && SECRET.includes(element.localName)) {
    add('x-masked', '(hidden)');
  } else if (!element.childElementCount) {
    out.append(escape(element.textContent));
  } else {
    for (const node of element.childNodes) {
      if (node.nodeType === Node.ELEMENT_NODE) {
        out.append('\n');
        print(out, node, `${indent}  `);
      } else if (node.nodeValue.trim()) {
        out.append(`\n${indent}  ${escape(node.nodeValue.trim())}`);
      }
    }
    out.append(`\n${indent}`);
  }
  add('x-tag', `</${element.nodeName}>`);
}
