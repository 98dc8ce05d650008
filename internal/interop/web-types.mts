// A program that uses all the types of the client: tsc must take it.

import { Bosh, BoshError, escapeXML, parseXML, type End, type Exchange, type State, type Status } from '../../boshclient/web/bosh.js';

const bosh = new Bosh(new URL('https://example.com/push'), {
  to: 'example.com', lang: 'en', wait: 60, hold: 1, xmpp: true, reconnect: true, maxBuffered: 1, key: 'k', store: sessionStorage,
  headers: async (attempt: number) => ({ Authorization: `Bearer ${attempt}` }), attributes: { token: 't' }, credentials: 'include',
  fetch, parse: (text) => new DOMParser().parseFromString(text, 'text/xml').documentElement,
});
bosh.onopen = () => bosh.restart();
bosh.onelement = (element) => bosh.send(element);
bosh.onjson = (value, element) => bosh.sendJSON({ value, name: element.localName });
bosh.onbytes = (bytes: Uint8Array) => bosh.sendBytes(bytes);
bosh.onstatus = (status: Status) => console.log(status);
bosh.onend = (end: End) => console.log(end.condition, end.message, end.uri, end.again, end.undelivered.map((u) => u.xml && u.sent && u.held));
bosh.onsave = (state: State) => bosh.resume(state);
bosh.onheld = () => bosh.undelivered();
bosh.onexchange = (exchange: Exchange) => console.log(exchange.rid, exchange.attempt, exchange.request, exchange.sent, exchange.answered, exchange.response, exchange.error);
try {
  bosh.connect();
  bosh.send(`<a>${escapeXML(bosh.bufferedAmount)}</a>`);
} catch (error) {
  if (error instanceof BoshError) console.log(error.code);
}
bosh.retry();
bosh.cut();
console.log(bosh.undelivered().length, bosh.status, parseXML('<a/>').children);
bosh.terminate({ keepalive: true });
export const left: boolean = bosh.leave(2);
export const at: number = bosh.retryAt;

// @ts-expect-error: there is no such option
new Bosh('/', { nothing: true });
