// The page: it takes JSON out of the payloads of a BOSH session, and draws it.

import { Bosh } from './bosh.js';
import { Chart, short } from './chart.js';
import { Timeline } from './timeline.js';
import { Wire } from './wire.js';

const KEEP = 180; // samples

const $ = (id) => document.getElementById(id);
const STALE = 3000; // milliseconds without a sample after which numbers are said to be old
const PING = 2500; // milliseconds between two pings
const SUMMARY = 30_000; // milliseconds between two summaries for who cannot see

const bosh = new Bosh('http-bind', { to: 'monitor', wait: 20, reconnect: true });

// Talking

bosh.onjson = (value) => take[value.type]?.(value);

// Each session begins with what there was before it.
bosh.onopen = () => {
  samples.length = 0;
  waiting.clear();
  $('notices').replaceChildren();
};

const STATUS = { connecting: 'connecting', online: 'connected', repeating: 'repeating', waiting: 'not connected', closed: 'not connected' };

bosh.onstatus = (status) => {
  if ($('status').textContent !== STATUS[status]) $('status').textContent = STATUS[status];
  $('status').dataset.status = status;
  if (status === 'online') $('ended').hidden = true;
  for (const button of document.querySelectorAll('.actions button, .loads button')) button.disabled = away();
  if (!away()) showRunning();
  showAge();
};

/** There is no session to send anything by. */
function away() {
  return ['waiting', 'closed'].includes(bosh.status);
}

const REASONS = {
  '': 'The session is over.',
  'system-shutdown': 'The server is shutting down.',
  'policy-violation': 'An operator has ended this session.',
  'item-not-found': 'The server does not know this session any more.',
  'remote-connection-failed': 'The server cannot be reached.',
};

bosh.onend = ({ condition, message, again }) => {
  if (again !== null && condition === 'policy-violation') {
    stopped = condition;
    bosh.terminate(); // whoever ended it meant it
    return;
  }
  const why = stopped || condition || (message ? 'remote-connection-failed' : '');
  stopped = '';
  if ($('ended-why').textContent !== reason(why) || $('ended').hidden) $('ended-why').textContent = reason(why);
  $('ended').hidden = false;
  showAge();
};

let stopped = ''; // by what condition, if there is to be no other session

function reason(condition) {
  return REASONS[condition] ?? `The session has ended: ${condition}.`;
}

/** Says how old the numbers are if they are not of now, and when the next attempt is. */
function showAge() {
  const seconds = Math.ceil((bosh.retryAt - Date.now()) / 1000);
  $('ended-when').textContent = bosh.status === 'closed' ? '' : seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again now.';
  const age = Date.now() - received;
  const stale = received > 0 && (away() || age > STALE);
  document.body.classList.toggle('stale', stale);
  $('stale').hidden = !stale;
  if (stale) $('stale').textContent = `These numbers are ${Math.round(age / 1000)} s old.`;
}

setInterval(() => { // without a sample the time goes on
  if (Date.now() - ticked > 1500) timeline.tick();
}, 1000);
setInterval(() => (document.body.classList.contains('stale') || away() || Date.now() - received > STALE) && showAge(), 1000);

// What is pushed

const samples = [];
let received = 0; // when the newest sample came
const waiting = new Map(); // number of a ping -> when it was sent
let pings = 0;
let pinged = 0; // when the last one went
let drawing = 0;
let ticked = 0; // when the timeline was drawn
const burst = { began: 0, answers: 0 };

const take = {
  sample(sample) {
    sample.ping = samples.at(-1)?.ping; // until there is another
    samples.push(sample);
    received = Date.now();
    if (document.body.classList.contains('stale')) showAge();
    if (samples.length > KEEP) samples.shift();
    if (!waiting.size && sample.at - pinged >= PING) {
      pinged = sample.at;
      waiting.set(++pings, performance.now());
      bosh.sendJSON({ do: 'ping', n: pings });
    }
    drawing ||= requestAnimationFrame(draw); // once, however many came together
  },
  pong({ n }) {
    const sample = samples.at(-1);
    if (sample && waiting.has(n)) sample.ping = performance.now() - waiting.get(n);
    waiting.clear(); // it is drawn with the next sample
  },
  pushed({ n, of }) {
    if (n < of) return;
    const ms = Math.round(performance.now() - burst.began);
    $('mine').textContent = `${of} payloads came in ${burst.answers} answer${burst.answers === 1 ? '' : 's'}, in ${ms} ms.`;
  },
  notice({ load, text, at }) {
    note(LOADS[load] ?? load, text, at);
  },
  refused({ text }) {
    note('Refused', text, Date.now());
  },
};

const timeline = new Timeline($('timeline'));
const wire = new Wire($('exchanges'));

bosh.onexchange = (exchange) => {
  timeline.add(exchange);
  if (exchange.response?.includes('"type":"pushed"')) burst.answers++;
  if ($('wire').open) wire.add(exchange);
};

// Drawing

const charts = [
  { title: 'Sessions', least: 4, series: [{ name: 'live', color: 'c1', value: (s) => s.sessions }] },
  { title: 'Held requests', least: 4, series: [{ name: 'open', color: 'c2', value: (s) => s.held }] },
  { title: 'Requests', unit: 'per second', least: 4, series: [
    { name: 'all', color: 'c1', value: (s) => s.requests },
    { name: 'repeats', color: 'c5', second: true, value: (s) => s.repeats },
  ] },
  { title: 'Payloads', unit: 'per second', least: 4, series: [
    { name: 'in', color: 'c3', value: (s) => s.in },
    { name: 'out', color: 'c4', second: true, value: (s) => s.out },
  ] },
  { title: 'Round trip', unit: 'payload and echo, ms', least: 10, series: [
    { name: 'median', color: 'c1', value: (s) => (s.echo.n ? s.echo.p50 : null) },
    { name: '95 %', color: 'c5', value: (s) => (s.echo.n ? s.echo.p95 : null) },
    { name: 'this page', color: 'c3', second: true, value: (s) => s.ping ?? null },
  ] },
  { title: 'Requests stay open', unit: 'seconds', least: 1, series: [
    { name: 'median', color: 'c2', value: (s) => (s.open.n ? s.open.p50 / 1000 : null) },
    { name: '95 %', color: 'c4', value: (s) => (s.open.n ? s.open.p95 / 1000 : null) },
  ] },
].map((spec) => new Chart($('charts'), spec));

function draw() {
  drawing = 0;
  ticked = Date.now();
  timeline.tick();
  const now = samples.at(-1);
  if (!now) return;
  for (const chart of charts) chart.show(samples);
  const ping = short(samples.findLast((s) => s.ping !== undefined)?.ping);
  say('t-sessions', short(now.sessions));
  say('t-created', `${short(now.created)} since the start`);
  say('t-held', short(now.held));
  say('t-requests', short(now.requests));
  say('t-payloads', short(now.in + now.out));
  say('t-repeats', short(now.repeats));
  say('t-ping', ping);
  showRunning();
  showEnds(now.ended);
  if (Date.now() - summed < SUMMARY) return;
  summed = Date.now();
  say('summary', `${now.sessions} sessions, ${now.held} held requests, ${short(now.requests)} requests a second, round trip ${ping} ms.`);
}

let summed = 0;

/** Changes a text, if it does change. */
function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

const LOADS = {};
for (const button of $('loads').children) LOADS[button.dataset.load] = button.querySelector('b').textContent;

function showRunning() {
  const running = samples.at(-1)?.running ?? [];
  for (const button of $('loads').children) {
    const runs = running.includes(button.dataset.load);
    if (button.getAttribute('aria-busy') !== `${runs}`) button.setAttribute('aria-busy', runs);
    button.disabled = away() || runs || (button.dataset.load === 'stop' && !running.length);
  }
}

const ENDS = {
  closed: 'in good order, by either side',
  inactive: 'the client was silent for too long',
  'policy-violation': 'the client broke a rule, or an operator ended it',
  'system-shutdown': 'the server went down',
  'item-not-found': 'a request was not one that could follow',
};

let shownEnds = '';

function showEnds(ended) {
  const all = Object.entries(ended).sort(([, a], [, b]) => b - a);
  const text = JSON.stringify(all);
  if (text === shownEnds) return;
  shownEnds = text;
  const most = all[0]?.[1] ?? 0;
  $('ends').replaceChildren(...all.map(([name, count]) => {
    const item = document.createElement('li');
    const bar = document.createElement('i');
    bar.style.width = `${(100 * count) / most}%`;
    for (const [tag, text] of [['b', name], ['span', ENDS[name] ?? ''], ['em', count]]) {
      item.appendChild(document.createElement(tag)).textContent = text;
    }
    item.append(bar);
    return item;
  }));
  if (!all.length) $('ends').append(Object.assign(document.createElement('li'), { className: 'quiet', textContent: 'None has ended yet.' }));
}

function note(title, text, at) {
  const item = document.createElement('li');
  item.appendChild(document.createElement('time')).textContent = new Date(at).toLocaleTimeString();
  item.appendChild(document.createElement('b')).textContent = title;
  item.appendChild(document.createElement('span')).textContent = text;
  $('notices').prepend(item);
  while ($('notices').children.length > 6) $('notices').lastElementChild.remove();
}

// Clicking

$('loads').addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  button.disabled = true; // until the next sample says how it is
  bosh.sendJSON({ do: button.dataset.load });
});
$('cut').addEventListener('click', () => bosh.cut());
$('push').addEventListener('click', () => {
  Object.assign(burst, { began: performance.now(), answers: 0 });
  bosh.sendJSON({ do: 'push', n: 500 });
});
$('ended').querySelector('button').addEventListener('click', () => (bosh.status === 'closed' ? bosh.connect() : bosh.retry()));
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const drawn of [...charts, timeline]) drawn.forget();
  timeline.draw();
  drawing ||= requestAnimationFrame(draw);
});

for (const element of document.querySelectorAll('.protocol')) element.textContent = location.protocol.slice(0, -1).toUpperCase();
bosh.connect();
