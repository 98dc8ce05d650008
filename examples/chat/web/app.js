// The page: what is seen and clicked. The protocol is in xmpp.js and bosh.js, and
// what outlives the page in store.js.

import { Client, bare, randomId, resource } from './xmpp.js';
import { Store } from './store.js';
import { WireView } from './wire.js';

const QUIET = 2000; // milliseconds without connection before it is said to be gone
const RELOAD = Math.min(10, Math.ceil(performance.now() / 500)); // seconds that a reload may take: twice this load, and the server adds two

const $ = (id) => document.getElementById(id);
const wire = new WireView($('exchanges'));
const store = new Store();

let about = { domain: '', guests: true, insecure: false, https: '' }; // what the server says of itself
let client = null;
let trouble = { since: 0, why: '' }; // since when there has been no connection, and why
let follow = true; // the newest message is to be seen, unless somebody scrolls back
let arriving = false; // the focus is to go to where it is of use

// The session.

function newClient(password = '') {
  const c = new Client({ ...store.account, password });
  c.onexchange = (exchange) => wire.show(exchange);
  c.onstatus = showStatus;
  c.onsave = (state) => {
    store.session = state;
    store.save();
    showProgress();
  };
  c.onheld = showProgress;
  c.onkeys = (keys) => {
    store.account.keys = keys;
    store.save();
  };
  c.onready = ready;
  c.onroster = takeRoster;
  c.onpresence = takePresence;
  c.onmessage = takeMessage;
  c.onend = (end) => c === client && takeEnd(end);
  return c;
}

function login(name, password) {
  const at = name.lastIndexOf('@');
  const [local, domain] = at < 0 ? [name, $('domain').value.trim()] : [name.slice(0, at), name.slice(at + 1)];
  let url;
  try {
    url = new URL($('url').value.trim(), document.baseURI).href;
  } catch {
    return showLogin(new Error('the BOSH address is no URL'));
  }
  store.begin({ url, domain, name: local, keys: null });
  wire.clear();
  setBusy(true);
  client = newClient(password);
  client.login();
}

async function start() {
  await ask();
  try {
    if (await goOn()) return;
  } catch (error) {
    console.error(error); // what was stored is not ours, or from another version
    client = null;
    store.clear();
  }
  showLogin(null);
}

/** Asks the server that the page came from what it is. */
async function ask() {
  try {
    const response = await fetch('about.json', { signal: AbortSignal.timeout(3000) });
    if (response.ok) about = { ...about, ...await response.json() };
  } catch {
    // It is somebody else's server, and the form has all that must be known.
  }
  $('domain').value ||= about.domain || (/^[\d.]+$|^\[/.test(location.hostname) ? 'localhost' : location.hostname);
}

/** Goes on where the tab was before it was loaded again, if it was anywhere. */
async function goOn() {
  if (!store.load()) return false;
  if (!await store.claim()) {
    store.clear(); // another tab has it
    return false;
  }
  const { name, keys } = store.account;
  if (store.session) {
    client = newClient();
    client.resume(store.session);
  } else if (store.model.jid && (keys || !name)) { // it was logged in, and can be again
    client = newClient();
    client.login({ patient: true });
  } else {
    return false;
  }
  showChat();
  return true;
}

function ready(jid) {
  const first = $('chat').hidden;
  store.model.jid = jid;
  store.model.names = {};
  store.model.online = {};
  showChat();
  arriving = first;
  flush();
}

function takeEnd({ error, again, unsent, unsure }) {
  store.session = null;
  store.model.online = {};
  for (const { message } of store.mine()) {
    if (unsure.includes(message.id)) message.state = 'unsure';
    else if (unsent.includes(message.id)) message.state = 'waiting';
    else if (message.state === 'sending') message.state = 'sent';
  }
  store.save();
  trouble.why = error ? explain({ ...error, message: error.message, opened: true }) : '';
  if (again !== null) {
    showPeople();
    showMessages();
    showTrouble();
    return;
  }
  client = null;
  if (!error) store.clear();
  showLogin(error);
}

// What comes.

function takeRoster(items) {
  for (const { jid, name, removed } of items) {
    if (removed) delete store.model.names[jid];
    else store.model.names[jid] = name;
  }
  showPeople();
}

function takePresence({ from, available, show, status }) {
  const { online, jid: me } = store.model;
  const jid = bare(from);
  if (jid === bare(me)) return;
  const resources = online[jid] ??= {};
  if (available) resources[resource(from)] = { show, status };
  else delete resources[resource(from)];
  if (!Object.keys(resources).length) delete online[jid];
  showPeople();
}

function takeMessage({ id, from, text, time, error }) {
  const jid = bare(from);
  const chat = store.chat(jid);
  const failed = error && chat.messages.find((m) => m.mine && m.id === id);
  if (failed) {
    failed.state = 'failed';
    failed.error = error;
    if (jid === store.model.open) showMessages();
    return;
  }
  // A server that is not sure whether a message has arrived may send it again, and so may people.
  if (!text || id && chat.messages.some((m) => !m.mine && m.id === id)) return;
  const message = { id, mine: false, text, time, state: '', error };
  store.add(jid, message);
  if (jid === store.model.open) showMessage(message);
  if (jid !== store.model.open || document.hidden) chat.unread++;
  showPeople();
}

// What goes.

function send(jid, text) {
  const message = { id: randomId(), mine: true, text, time: Date.now(), state: 'waiting', error: '' };
  store.add(jid, message);
  if (jid === store.model.open) showMessage(message);
  flush();
  client.retry();
}

/** Sends a message again, which is the same to whoever has it already. */
function sendAgain(message) {
  const { messages } = store.chat(store.model.open);
  messages.splice(messages.indexOf(message), 1);
  messages.push(Object.assign(message, { time: Date.now(), state: 'waiting', error: '' }));
  showMessages();
  flush();
  client.retry();
  $('text').focus();
}

/** Sends what waits for a session. */
function flush() {
  const waiting = [...store.mine()].filter(({ message }) => message.state === 'waiting');
  for (const { jid, message } of waiting.sort((a, b) => a.message.time - b.message.time)) {
    if (client.sendMessage(message.id, jid, message.text)) message.state = 'sending';
  }
  showProgress();
  store.save();
}

// What is seen. Text from elsewhere goes into the page as text only, never as HTML.

function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

const GUEST = /^guest-([0-9a-f]{8,})$/;

/** What somebody is called. Of the random name of a guest it takes as much as tells it from others. */
function nameOf(jid) {
  if (store.model.names[jid]) return store.model.names[jid];
  const local = jid.includes('@') ? jid.split('@')[0] : jid;
  const [, code] = GUEST.exec(local) ?? [];
  if (!code) return local.length > 20 ? `${local.slice(0, 18)}…` : local;
  let n = 4;
  for (const other of everybody()) {
    const [, their] = GUEST.exec(other.split('@')[0]) ?? [];
    while (their && other !== jid && n < code.length && their.startsWith(code.slice(0, n))) n++;
  }
  return `guest ${code.slice(0, n)}`;
}

/** Whom the page knows, this side included. */
function everybody() {
  const { names, online, chats, jid } = store.model;
  return [...new Set([bare(jid), ...Object.keys(names), ...Object.keys(online), ...Object.keys(chats)])];
}

function avatar(jid) {
  const element = make('span', 'avatar', [...nameOf(jid).replace(/^guest /, '')][0]?.toUpperCase() ?? '?');
  let hue = 0;
  for (const c of jid) hue = (hue * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty('--hue', hue);
  element.setAttribute('aria-hidden', 'true');
  return element;
}

function stateOf(jid) {
  if (!client?.ready) return ['unknown', ''];
  const resources = Object.values(store.model.online[jid] ?? {});
  if (!resources.length) return ['offline', 'offline'];
  const { show, status } = resources.find((r) => !r.show || r.show === 'chat') ?? resources[0];
  const words = { away: 'away', xa: 'away', dnd: 'busy' }[show] ?? 'online';
  return [words, status || words];
}

function showLogin(error) {
  setBusy(false);
  showTrouble();
  $('chat').hidden = true;
  $('welcome').hidden = false;
  $('login-error').hidden = !error;
  $('login-error').textContent = error ? `${explain(error)}.` : '';
  const { account, model } = store;
  $('kept').hidden = !account || !Object.keys(model.chats).length;
  if (account) {
    $('name').value ||= account.name;
    $('domain').value = account.domain;
    $('url').value = account.url;
  }
  const passwords = Boolean(crypto.subtle) || about.insecure; // over plain HTTP a page gets none of what SCRAM needs
  $('insecure').hidden = window.isSecureContext || !passwords;
  $('no-passwords').hidden = passwords;
  $('https').hidden = !about.https;
  $('no-https').hidden = Boolean(about.https);
  if (about.https) $('https').href = `https://${location.hostname}:${about.https}${location.pathname}`;
  for (const element of document.querySelectorAll('.named')) element.hidden = !passwords;
  $('anonymous').hidden = !about.guests;
  $('anonymous').classList.toggle('primary', !passwords);
  $('password').value = '';
  document.title = 'BOSH chat';
  const first = !passwords ? about.guests ? $('anonymous') : $('https') : $('name').value ? $('password') : $('name');
  first.focus();
}

/** A sentence, without its full stop, about what has gone wrong. */
function explain({ message: problem, condition, opened }) {
  const noBOSH = /^(item-not-found|http-4\d\d|bad-request)$/.test(condition) || /no BOSH body|no XML/.test(problem);
  if (!condition && /fetch|network|load failed/i.test(problem) || /HTTP status 5/.test(problem)) {
    return opened === false ? `The server cannot be reached at ${store.account?.url}` : 'The server cannot be reached';
  }
  if (opened === false && noBOSH) return `There is no BOSH at ${store.account?.url} (${problem})`;
  const sentence = {
    'host-unknown': 'The server does not know this domain',
    'improper-addressing': 'The server does not know this domain',
    'item-not-found': 'The session is over',
    'policy-violation': 'The server has had enough of this client',
    'remote-connection-failed': 'The server cannot be reached',
    'system-shutdown': 'The server is shutting down',
    conflict: 'Somebody has logged in with the same address',
  }[condition];
  return sentence ? `${sentence} (${problem})` : problem[0].toUpperCase() + problem.slice(1);
}

function showChat() {
  const first = $('chat').hidden;
  setBusy(false);
  $('welcome').hidden = true;
  $('chat').hidden = false;
  const me = bare(store.model.jid);
  $('me').textContent = GUEST.test(me.split('@')[0]) ? `${nameOf(me)} (you)` : me;
  $('me').title = store.model.jid;
  $('password').value = '';
  showStatus();
  showPeople();
  showTalk();
  wire.toEnd();
  // Whoever logged in goes on with the keyboard, and hears where.
  if (first) (store.model.open ? $('text') : document.querySelector('#chat h1')).focus();
}

function setBusy(busy) {
  for (const control of $('login').elements) control.disabled = busy;
  $('login').querySelector('[type=submit]').textContent = busy ? 'Connecting…' : 'Log in';
}

function showStatus() {
  const status = client?.status ?? 'closed';
  const words = {
    connecting: 'connecting', online: client?.ready ? 'connected' : 'logging in', repeating: 'repeating a request',
    waiting: 'not connected', closed: 'not connected',
  }[status];
  if ($('status').textContent !== words) $('status').textContent = words;
  $('status').dataset.status = status;
  clearTimeout(calm);
  if (status === 'online') calm = setTimeout(() => { trouble = { since: 0, why: '' }; }, QUIET); // or it fails again at once
  else trouble.since ||= Date.now();
  showTrouble();
}

let calm = 0;

/** Says that there is no connection, and when the next attempt is. */
function showTrouble() {
  const { status } = client ?? {};
  const long = trouble.since && Date.now() - trouble.since >= QUIET;
  const visible = !$('chat').hidden && (status === 'waiting' || long && ['repeating', 'connecting'].includes(status));
  $('trouble').hidden = !visible;
  if (!visible) return;
  const text = `${trouble.why || 'The server cannot be reached'}.`;
  if ($('trouble-text').textContent !== text) $('trouble-text').textContent = text;
  const seconds = Math.ceil((client.retryAt - Date.now()) / 1000);
  $('trouble-when').textContent = seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again now.';
}

setInterval(() => trouble.since && showTrouble(), 500);

function showPeople() {
  const { model } = store;
  const me = bare(model.jid);
  const jids = everybody().filter((jid) => jid && jid !== me);
  const rank = (jid) => (model.online[jid] ? 0 : 1);
  jids.sort((a, b) => rank(a) - rank(b) || nameOf(a).localeCompare(nameOf(b)));
  const focused = document.activeElement?.dataset?.jid;
  $('people').replaceChildren(...jids.map((jid) => {
    const [state, words] = stateOf(jid);
    const unread = model.chats[jid]?.unread ?? 0;
    const button = make('button', 'person');
    button.type = 'button';
    button.dataset.jid = jid;
    button.dataset.state = state;
    button.title = jid;
    if (jid === model.open) button.setAttribute('aria-current', 'true');
    button.append(avatar(jid), make('span', 'who', nameOf(jid)), make('span', 'quiet', words));
    if (unread) {
      const badge = make('span', 'unread', String(unread));
      badge.append(make('span', 'unseen', ' unread'));
      button.append(badge);
    }
    button.addEventListener('click', () => chooseChat(jid));
    const item = make('li');
    item.append(button);
    return item;
  }));
  if (focused) focusPerson(focused);
  else if (arriving && jids.length) {
    arriving = false;
    if (document.activeElement?.matches('h1')) $('people').querySelector('button').focus();
  }
  const unread = Object.values(model.chats).reduce((sum, chat) => sum + chat.unread, 0);
  document.title = unread ? `(${unread}) BOSH chat` : 'BOSH chat';
  if (model.open) $('peer-state').textContent = stateOf(model.open)[1];
}

function focusPerson(jid) {
  $('people').querySelector(`[data-jid="${CSS.escape(jid)}"]`)?.focus();
}

function chooseChat(jid) {
  const { model } = store;
  const before = model.open;
  keepDraft();
  model.open = jid;
  if (jid) store.chat(jid).unread = 0;
  store.save();
  showPeople();
  showTalk();
  if (jid) $('text').focus();
  else focusPerson(before);
}

function keepDraft() {
  const { open } = store.model;
  if (open) store.chat(open).draft = $('text').value;
}

function showTalk() {
  const jid = store.model.open;
  $('chat').classList.toggle('talking', Boolean(jid));
  $('peer').textContent = jid ? nameOf(jid) : '';
  $('peer').title = jid;
  $('peer-state').textContent = jid ? stateOf(jid)[1] : '';
  $('talk-bar').hidden = !jid;
  $('compose').hidden = !jid;
  $('log').hidden = !jid;
  $('nobody').hidden = Boolean(jid);
  $('text').value = jid ? store.chat(jid).draft : '';
  fitText();
  follow = true;
  showMessages();
}

let shown = new Map(); // message -> its list item

function showMessages() {
  shown = new Map();
  $('log').setAttribute('aria-live', 'off'); // nobody wants to hear all of it again
  $('messages').replaceChildren();
  for (const message of store.model.chats[store.model.open]?.messages ?? []) showMessage(message);
  setTimeout(() => $('log').removeAttribute('aria-live'), 100);
}

function showMessage(message) {
  const item = make('li', message.mine ? 'message mine' : 'message');
  const author = message.mine ? 'You' : nameOf(store.model.open);
  item.append(make('span', 'unseen', `${author}: `), make('span', 'bubble', message.text));
  item.append(make('time', 'quiet', new Date(message.time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })));
  if (message.mine) {
    item.append(make('span', 'state quiet'));
    const again = make('button', 'again', 'Send again');
    again.type = 'button';
    again.addEventListener('click', () => sendAgain(message));
    item.append(again);
  } else if (message.error) {
    item.append(make('span', 'error', message.error));
  }
  shown.set(message, item);
  showState(message, item);
  $('messages').append(item);
  const [oldest] = shown.keys();
  if (shown.size > 300) {
    shown.get(oldest).remove();
    shown.delete(oldest);
  }
  if (message.mine) follow = true;
  toEnd();
}

function toEnd() {
  if (follow) $('log').scrollTop = $('log').scrollHeight;
}

let logSize = ''; // of the last layout: in a new one it is the browser that scrolls, and nobody
const sizeOfLog = () => `${$('log').clientWidth} ${$('log').clientHeight}`;
$('log').addEventListener('scroll', () => {
  if (sizeOfLog() === logSize) follow = $('log').scrollHeight - $('log').scrollTop - $('log').clientHeight < 60;
});
new ResizeObserver(() => {
  logSize = sizeOfLog();
  toEnd();
}).observe($('log'));

const STATES = {
  waiting: 'not sent yet',
  sending: 'sending…',
  sent: 'sent',
  unsure: 'perhaps not sent',
  failed: 'not delivered',
};

function showState(message, item) {
  if (!message.mine || item.dataset.state === message.state) return;
  item.dataset.state = message.state;
  item.querySelector('.state').textContent = message.error ? `${STATES[message.state]}: ${message.error}` : STATES[message.state];
  item.querySelector('.again').hidden = !['waiting', 'unsure', 'failed'].includes(message.state);
}

/** Shows what has become of the messages under way. */
function showProgress() {
  for (const { message } of store.mine()) {
    if (message.state === 'sending' && !client?.isPending(message.id)) message.state = 'sent';
  }
  for (const [message, item] of shown) showState(message, item);
}

// What is clicked.

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  login($('name').value.trim(), $('password').value);
});

$('anonymous').addEventListener('click', () => login('', ''));

$('logout').addEventListener('click', () => {
  store.clear();
  client?.logout();
});

$('cut').addEventListener('click', () => client?.cut());

$('compose').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim() || !client) return;
  send(store.model.open, text);
  $('text').value = '';
  keepDraft();
  fitText();
});

$('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('compose').requestSubmit();
  }
});

$('text').addEventListener('input', fitText);

function fitText() {
  $('text').rows = Math.min(6, $('text').value.split('\n').length);
}

$('write-to').addEventListener('submit', (event) => {
  event.preventDefault();
  const value = bare($('write-to-jid').value.trim().toLowerCase());
  if (!value) return;
  $('write-to-jid').value = '';
  chooseChat(value.includes('@') ? value : `${value}@${bare(store.model.jid).split('@').pop()}`);
});

$('back').addEventListener('click', () => chooseChat(''));

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.isComposing || $('chat').hidden) return;
  if ($('wire').contains(document.activeElement)) {
    showWire(false);
    $('wire-toggle').focus();
  } else if (store.model.open) {
    chooseChat('');
  }
});

$('wire-toggle').addEventListener('click', () => showWire($('wire').hidden));

$('wire-clear').addEventListener('click', () => wire.clear());

function showWire(visible) {
  $('wire').hidden = !visible;
  $('wire-toggle').setAttribute('aria-pressed', String(visible));
  wire.toEnd();
}

// Whoever is here again, or clicks, need not wait for the next attempt. Bosh knows the rest: the network that is
// back, and the page that is looked at again.
document.addEventListener('click', () => trouble.since && client?.retry());

document.addEventListener('visibilitychange', () => {
  const { open, chats } = store.model;
  if (!document.hidden && client && open && chats[open]?.unread) chooseChat(open);
});

// A new network: what was under way on the old one is gone, though the browser may not know yet.
window.addEventListener('online', () => client?.cut());

// A page that does not come back at once is gone, and the others are to know.
window.addEventListener('pagehide', () => {
  keepDraft();
  store.save();
  client?.leave(RELOAD);
});

window.addEventListener('pageshow', (event) => event.persisted && location.reload());

for (const element of document.querySelectorAll('.protocol')) element.textContent = location.protocol === 'https:' ? 'HTTPS' : 'HTTP';
showWire(window.innerWidth >= 700 && window.innerHeight >= 500);
start();
