// The page: it takes JSON out of the payloads of a BOSH session, and draws it.

import { Bosh } from './bosh.js';
import { Chart, short } from './chart.js';
import { Timeline } from './timeline.js';
import { Wire } from './wire.js';

const KEEP = 180; // samples

const $ = (id) => document.getElementById(id);
const bosh = new Bosh('http-bind', { to: 'monitor', wait: 20 });

// Talking

bosh.onjson = (value) => take[value.type]?.(value);

function connect() {
  samples.length = 0;
  waiting.clear();
  $('notices').replaceChildren();
  $('ended').hidden = true;
  bosh.connect();
}

const STATUS = { connecting: 'connecting', online: 'connected', repeating: 'repeating', closed: 'not connected' };

bosh.onstatus = (status) => {
  if ($('status').textContent !== STATUS[status]) $('status').textContent = STATUS[status];
  $('status').dataset.status = status;
  for (const button of document.querySelectorAll('.actions button, .loads button')) button.disabled = status === 'closed';
  if (status !== 'closed') showRunning();
};

const REASONS = {
  '': 'The session is over.',
  'system-shutdown': 'The server is shutting down.',
  'policy-violation': 'An operator has ended this session.',
  'item-not-found': 'The server does not know this session any more.',
  'remote-connection-failed': 'The server cannot be reached.',
};

bosh.onend = ({ condition, message }) => {
  $('ended').firstElementChild.textContent = [REASONS[condition] ?? `The session has ended: ${condition}.`, message].filter(Boolean).join(' ');
  $('ended').hidden = false;
};

// What is pushed

const samples = [];
const waiting = new Map(); // number of a ping -> when it was sent
let pings = 0;
let drawing = 0;
const burst = { began: 0, answers: 0 };

const take = {
  sample(sample) {
    samples.push(sample);
    if (samples.length > KEEP) samples.shift();
    if (!waiting.size) {
      waiting.set(++pings, performance.now());
      bosh.sendJSON({ do: 'ping', n: pings });
    }
    drawing ||= requestAnimationFrame(draw); // once, however many came together
  },
  pong({ n }) {
    const sample = samples.at(-1);
    if (sample && waiting.has(n)) sample.ping = performance.now() - waiting.get(n);
    waiting.clear();
    drawing ||= requestAnimationFrame(draw);
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
  wire.add(exchange);
};

// Drawing

const charts = [
  { title: 'Sessions', least: 4, series: [{ name: 'live', color: 'c1', value: (s) => s.sessions }] },
  { title: 'Held requests', least: 4, series: [{ name: 'open', color: 'c2', value: (s) => s.held }] },
  { title: 'Requests', unit: 'per second', least: 4, series: [
    { name: 'all', color: 'c1', value: (s) => s.requests },
    { name: 'repeats', color: 'c5', value: (s) => s.repeats },
  ] },
  { title: 'Payloads', unit: 'per second', least: 4, series: [
    { name: 'in', color: 'c3', value: (s) => s.in },
    { name: 'out', color: 'c4', value: (s) => s.out },
  ] },
  { title: 'Round trip', unit: 'payload and echo, ms', least: 10, series: [
    { name: 'median', color: 'c1', value: (s) => (s.echo.n ? s.echo.p50 : null) },
    { name: '95 %', color: 'c5', value: (s) => (s.echo.n ? s.echo.p95 : null) },
    { name: 'this page', color: 'c3', value: (s) => s.ping ?? null },
  ] },
  { title: 'Requests stay open', unit: 'seconds', least: 1, series: [
    { name: 'median', color: 'c2', value: (s) => (s.open.n ? s.open.p50 / 1000 : null) },
    { name: '95 %', color: 'c4', value: (s) => (s.open.n ? s.open.p95 / 1000 : null) },
  ] },
].map((spec) => new Chart($('charts'), spec));

function draw() {
  drawing = 0;
  const now = samples.at(-1);
  if (!now) return;
  for (const chart of charts) chart.show(samples);
  $('t-sessions').textContent = short(now.sessions);
  $('t-created').textContent = `${short(now.created)} since the start`;
  $('t-held').textContent = short(now.held);
  $('t-requests').textContent = short(now.requests);
  $('t-payloads').textContent = short(now.in + now.out);
  $('t-repeats').textContent = short(now.repeats);
  $('t-ping').textContent = short(samples.findLast((s) => s.ping !== undefined)?.ping);
  showRunning();
  showEnds(now.ended);
}

const LOADS = {};
for (const button of $('loads').children) LOADS[button.dataset.load] = button.querySelector('b').textContent;

function showRunning() {
  const running = samples.at(-1)?.running ?? [];
  for (const button of $('loads').children) {
    const runs = running.includes(button.dataset.load);
    button.setAttribute('aria-busy', runs);
    button.disabled = bosh.status === 'closed' || runs || (button.dataset.load === 'stop' && !running.length);
  }
}

const ENDS = {
  closed: 'in good order, by either side',
  inactive: 'the client was silent for too long',
  'policy-violation': 'the client broke a rule, or an operator ended it',
  'system-shutdown': 'the server went down',
  'item-not-found': 'a request was not one that could follow',
};

function showEnds(ended) {
  const all = Object.entries(ended).sort(([, a], [, b]) => b - a);
  const most = all[0]?.[1] ?? 0;
  $('ends').replaceChildren(...all.map(([name, count]) => {
    const item = document.createElement('li');
    const bar = document.createElement('i');
    bar.style.width = `${(100 * count) / most}%`;
    for (const [tag, text] of [['b', name], ['span', ENDS[name] ?? ''], ['output', count]]) {
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
$('ended').querySelector('button').addEventListener('click', connect);
window.addEventListener('resize', () => charts.forEach((chart) => chart.draw()));
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => charts.forEach((chart) => chart.draw()));

connect();
