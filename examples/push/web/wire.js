// The page's last exchanges in full, the newest first.

const ROWS = 6;
const LONG = 2000; // characters

export class Wire {
  #list;
  #rows = new Map(); // exchange -> its element

  constructor(list) {
    this.#list = list;
  }

  /** Takes an exchange of Bosh.onexchange, which comes again when it is over. */
  add(exchange) {
    const row = this.#rows.get(exchange);
    if (row) {
      fill(row.lastElementChild, exchange.response ?? exchange.error, exchange.error ? 'broken' : '');
      return;
    }
    if (this.#list.matches(':hover, :focus-within')) return; // somebody reads
    const item = document.createElement('li');
    for (const side of ['Request', 'Answer']) {
      const pre = item.appendChild(document.createElement('pre'));
      pre.setAttribute('aria-label', side);
      pre.tabIndex = 0; // it may be scrolled
    }
    fill(item.firstElementChild, exchange.request, exchange.attempt ? 'again' : '');
    fill(item.lastElementChild, 'The server holds the request.', 'quiet');
    this.#rows.set(exchange, item);
    this.#list.prepend(item);
    for (const old of this.#rows.keys()) {
      if (this.#rows.size <= ROWS) break;
      this.#rows.get(old).remove();
      this.#rows.delete(old);
    }
  }
}

function fill(pre, text, className) {
  const open = text.replace(/\b(sid=)(["'])[^"']*\2/, '$1$2…$2'); // the secret is not for a screen
  pre.textContent = open.length > LONG ? `${open.slice(0, LONG)} … and ${open.length - LONG} characters more` : open;
  pre.className = className;
}
