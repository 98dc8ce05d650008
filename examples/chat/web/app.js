// The page: what is seen and clicked. The protocol is in xmpp.js and bosh.js.
//
// All that must survive a reload is in `model` and in the client's state. Both
// are kept in sessionStorage together, and written together, so that they never
// disagree about which messages have been taken in.

import { Client, bare, resource } from './xmpp.js';
import { WireView } from './wire.js';

const STORE = 'bosh-chat';
const MAX_MESSAGES = 300; // kept of each chat

const $ = (id) => document.getElementById(id);
const wire = new WireView($('exchanges'));

let client = null;
let clientState = null;
let model = null;
let messageItems = new Map(); // id -> list item, of the chat that is open
let pending = new Set(); // ids of messages that may not have reached the server yet

function newModel() {
  return {
    tab: Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join(''),
    jid: '',
    names: {}, // bare JID -> name in the roster
    online: {}, // bare JID -> resource -> { show, status }
    chats: {}, // bare JID -> { unread, messages: [{ id, mine, text, time, error }] }
    open: '', // bare JID of the chat on screen
  };
}

function save() {
  if (!clientState) return;
  try {
    sessionStorage.setItem(STORE, JSON.stringify({ client: clientState, model }));
  } catch (error) {
    console.warn('this session will not survive a reload:', error);
  }
}

function forget() {
  clientState = null;
  sessionStorage.removeItem(STORE);
}

// A tab that is duplicated takes its sessionStorage along, but only one of the
// two may go on with the session.
function claimTab() {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks.request(`${STORE}-${model.tab}`, { signal: AbortSignal.timeout(2000) }, () => {
      resolve(true);
      return new Promise(() => {}); // held as long as the page lives
    }).catch(() => resolve(false));
  });
}

// The session.

function newClient() {
  const c = new Client();
  c.onexchange = (exchange) => wire.show(exchange);
  c.onstatus = showStatus;
  c.onsave = (state) => {
    clientState = state;
    save();
    showPending();
  };
  c.onready = (jid) => {
    model.jid = jid;
    showChat();
  };
  c.onroster = takeRoster;
  c.onpresence = takePresence;
  c.onmessage = takeMessage;
  c.onend = (error) => {
    if (c !== client) return;
    client = null;
    forget();
    showLogin(error);
  };
  return c;
}

function login(name, password) {
  const [local, domain] = name.includes('@') ? name.split('@') : [name, $('domain').value.trim()];
  model = newModel();
  claimTab();
  wire.clear();
  setBusy(true);
  client = newClient();
  client.login({ url: $('url').value.trim(), domain, name: local, password });
}

async function start() {
  try {
    if (await resume()) return showChat();
  } catch (error) {
    console.error(error); // what was stored is not ours, or from another version
    client = null;
  }
  forget();
  showLogin(null);
}

// Goes on with the session that this tab had before it was loaded again, if any.
async function resume() {
  const stored = JSON.parse(sessionStorage.getItem(STORE));
  if (!stored) return false;
  model = stored.model;
  if (!await claimTab()) return false;
  clientState = stored.client;
  client = newClient();
  client.resume(stored.client);
  for (const { messages } of Object.values(model.chats)) {
    for (const { id, mine } of messages) if (mine && client.isPending(id)) pending.add(id);
  }
  return true;
}

function takeRoster(items) {
  for (const { jid, name, removed } of items) {
    if (removed) delete model.names[jid];
    else model.names[jid] = name;
  }
  showPeople();
}

function takePresence({ from, available, show, status }) {
  const jid = bare(from);
  if (jid === bare(model.jid)) return;
  const resources = model.online[jid] ??= {};
  if (available) resources[resource(from)] = { show, status };
  else delete resources[resource(from)];
  if (!Object.keys(resources).length) delete model.online[jid];
  showPeople();
}

function takeMessage({ id, from, text, time, error }) {
  const jid = bare(from);
  const chat = openChat(jid);
  const failed = error && chat.messages.find((m) => m.mine && m.id === id);
  if (failed) {
    failed.error = error;
    if (jid === model.open) showMessages();
    return;
  }
  if (!text) return;
  addMessage(jid, { id, mine: false, text, time, error });
  if (jid !== model.open || document.hidden) chat.unread++;
  showPeople();
}

function openChat(jid) {
  return model.chats[jid] ??= { unread: 0, messages: [] };
}

function addMessage(jid, message) {
  const { messages } = openChat(jid);
  messages.push(message);
  messages.splice(0, messages.length - MAX_MESSAGES);
  if (jid === model.open) showMessage(message);
}

function send(text) {
  const id = client.sendMessage(model.open, text);
  pending.add(id);
  addMessage(model.open, { id, mine: true, text, time: Date.now(), error: '' });
  showPending();
  save();
}

// What is seen. Text from elsewhere goes into the page as text only, never as HTML.

function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function nameOf(jid) {
  const local = jid.includes('@') ? jid.split('@')[0] : jid;
  return model.names[jid] || (local.length > 20 ? `guest ${local.slice(0, 6)}` : local);
}

function avatar(jid) {
  const element = make('span', 'avatar', [...nameOf(jid)][0]?.toUpperCase() ?? '?');
  let hue = 0;
  for (const c of jid) hue = (hue * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty('--hue', hue);
  element.setAttribute('aria-hidden', 'true');
  return element;
}

function stateOf(jid) {
  const resources = Object.values(model.online[jid] ?? {});
  if (!resources.length) return ['offline', 'offline'];
  const { show, status } = resources.find((r) => !r.show || r.show === 'chat') ?? resources[0];
  const words = { away: 'away', xa: 'away', dnd: 'busy' }[show] ?? 'online';
  return [words, status || words];
}

function showLogin(error) {
  setBusy(false);
  $('chat').hidden = true;
  $('welcome').hidden = false;
  $('login-error').hidden = !error;
  $('login-error').textContent = error ? explain(error.message) : '';
  $('insecure').hidden = window.isSecureContext;
  $('password').value = '';
  document.title = 'BOSH chat';
  ($('name').value ? $('password') : $('name')).focus();
}

function explain(problem) {
  const condition = problem.split(':')[0];
  const sentence = {
    'host-unknown': 'The server does not know this domain',
    'item-not-found': 'The session is over',
    'policy-violation': 'The server has had enough of this client',
    'remote-connection-failed': 'The server cannot be reached',
    'system-shutdown': 'The server is shutting down',
    'stream error': 'The server ended the session',
  }[condition];
  return sentence ? `${sentence} (${problem})` : problem[0].toUpperCase() + problem.slice(1);
}

function showChat() {
  setBusy(false);
  $('welcome').hidden = true;
  $('chat').hidden = false;
  $('me').textContent = bare(model.jid).length > 40 ? `${nameOf(bare(model.jid))} (you)` : bare(model.jid);
  $('me').title = model.jid;
  $('password').value = '';
  showStatus(client.status);
  showPeople();
  showTalk();
  wire.toEnd();
}

function setBusy(busy) {
  for (const control of $('login').elements) control.disabled = busy;
  $('login').querySelector('[type=submit]').textContent = busy ? 'Connecting…' : 'Log in';
}

function showStatus(status) {
  const words = { connecting: 'connecting', online: 'connected', repeating: 'repeating a request', closed: 'not connected' };
  $('status').textContent = words[status];
  $('status').dataset.status = status;
  showPending();
}

function showPeople() {
  const me = bare(model.jid);
  const jids = [...new Set([...Object.keys(model.names), ...Object.keys(model.online), ...Object.keys(model.chats)])]
    .filter((jid) => jid !== me);
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
      badge.setAttribute('aria-label', `${unread} unread`);
      button.append(badge);
    }
    button.addEventListener('click', () => chooseChat(jid));
    const item = make('li');
    item.append(button);
    return item;
  }));
  if (focused) $('people').querySelector(`[data-jid="${CSS.escape(focused)}"]`)?.focus();
  const unread = Object.values(model.chats).reduce((sum, chat) => sum + chat.unread, 0);
  document.title = unread ? `(${unread}) BOSH chat` : 'BOSH chat';
  if (model.open) $('peer-state').textContent = stateOf(model.open)[1];
}

function chooseChat(jid) {
  model.open = jid;
  if (jid) openChat(jid).unread = 0;
  save();
  showPeople();
  showTalk();
  if (jid) $('text').focus();
}

function showTalk() {
  const jid = model.open;
  $('chat').classList.toggle('talking', Boolean(jid));
  $('peer').textContent = jid ? nameOf(jid) : '';
  $('peer').title = jid;
  $('peer-state').textContent = jid ? stateOf(jid)[1] : '';
  $('talk-bar').hidden = !jid;
  $('compose').hidden = !jid;
  $('messages').hidden = !jid;
  $('nobody').hidden = Boolean(jid);
  showMessages();
}

function showMessages() {
  messageItems = new Map();
  $('messages').replaceChildren();
  for (const message of model.chats[model.open]?.messages ?? []) showMessage(message);
}

function showMessage(message) {
  const list = $('messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const item = make('li', message.mine ? 'message mine' : 'message');
  const time = make('time', 'quiet', new Date(message.time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }));
  item.append(make('span', 'bubble', message.text), time);
  if (message.error) item.append(make('span', 'error', message.mine ? `not delivered: ${message.error}` : message.error));
  item.classList.toggle('pending', pending.has(message.id));
  messageItems.set(message.id, item);
  list.append(item);
  if (list.childElementCount > MAX_MESSAGES) list.firstElementChild.remove();
  if (atEnd || message.mine) list.scrollTop = list.scrollHeight;
}

function showPending() {
  for (const id of pending) {
    const still = client?.isPending(id) ?? false;
    messageItems.get(id)?.classList.toggle('pending', still);
    if (!still) pending.delete(id);
  }
}

// What is clicked.

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  login($('name').value.trim(), $('password').value);
});

$('anonymous').addEventListener('click', () => login('', ''));

$('logout').addEventListener('click', () => {
  forget();
  client?.logout();
});

$('cut').addEventListener('click', () => client?.cut());

$('compose').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim() || !client) return;
  send(text);
  $('text').value = '';
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
  chooseChat(value.includes('@') ? value : `${value}@${bare(model.jid).split('@').pop()}`);
});

$('back').addEventListener('click', () => chooseChat(''));

$('wire-toggle').addEventListener('click', () => showWire($('wire').hidden));

$('wire-clear').addEventListener('click', () => wire.clear());

function showWire(visible) {
  $('wire').hidden = !visible;
  $('wire-toggle').setAttribute('aria-pressed', String(visible));
  wire.toEnd();
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && client && model.open && model.chats[model.open]?.unread) chooseChat(model.open);
});

// A new network: what was under way on the old one is gone, though the browser may not know yet.
window.addEventListener('online', () => client?.cut());

$('domain').value = /^[\d.]+$|^\[/.test(location.hostname) ? 'localhost' : location.hostname;
showWire(window.innerWidth >= 700);
start();
