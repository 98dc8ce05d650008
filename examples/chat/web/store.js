// What a tab keeps: the history, the messages that are not sent yet, and what it
// takes to go on with the session or to log in again. It survives a reload, the
// end of the session, a restart of the server and a sleep; a log-out ends it.
//
// All is in one object in sessionStorage and written at once, so that the history
// and the state of the session never disagree about which messages were taken in.
// Of a password it keeps what SCRAM makes of it, and never the password.

const KEY = 'bosh-chat';
const MAX_MESSAGES = 300; // of each chat
const FEW_MESSAGES = 50; // if there is no room for more

export class Store {
  account = null; // { url, domain, name, keys }; name is empty for a guest
  session = null; // what Client.onsave gave
  model = newModel();

  /** Takes over what the page before this one kept, and reports whether there was anything. */
  load() {
    const kept = JSON.parse(sessionStorage.getItem(KEY));
    if (!kept?.account) return false;
    this.account = kept.account;
    this.session = kept.session;
    this.model = { ...newModel(), ...kept.model };
    return true;
  }

  save() {
    if (!this.account) return;
    for (const most of [MAX_MESSAGES, FEW_MESSAGES, 0]) {
      try {
        sessionStorage.setItem(KEY, JSON.stringify(this));
        return;
      } catch { // there is no room
        for (const chat of Object.values(this.model.chats)) chat.messages.splice(0, chat.messages.length - most);
      }
    }
    console.warn('this session will not survive a reload');
  }

  /** Begins anew for an account; if it is the one that there was, it keeps the history. */
  begin(account) {
    const same = this.account && ['url', 'domain', 'name'].every((key) => this.account[key] === account[key]);
    if (!same) this.model = newModel();
    this.account = account;
    this.session = null;
    this.claim();
  }

  clear() {
    this.account = this.session = null;
    this.model = newModel();
    sessionStorage.removeItem(KEY);
  }

  /**
   * A tab that is duplicated takes its sessionStorage along, but only one of the two may
   * go on with the session. Resolves to whether this is the one.
   */
  claim() {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((resolve) => {
      navigator.locks.request(`${KEY}-${this.model.tab}`, { signal: AbortSignal.timeout(2000) }, () => {
        resolve(true);
        return new Promise(() => {}); // held as long as the page lives
      }).catch(() => resolve(false));
    });
  }

  /** The chat with somebody, which begins when it is first asked for. */
  chat(jid) {
    return this.model.chats[jid] ??= { unread: 0, draft: '', messages: [] };
  }

  add(jid, message) {
    const { messages } = this.chat(jid);
    messages.push(message);
    messages.splice(0, messages.length - MAX_MESSAGES);
  }

  /** The messages of this side, of all chats. */
  * mine() {
    for (const [jid, { messages }] of Object.entries(this.model.chats)) {
      for (const message of messages) if (message.mine) yield { jid, message };
    }
  }
}

function newModel() {
  return {
    tab: Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join(''),
    jid: '',
    names: {}, // bare JID -> name in the roster
    online: {}, // bare JID -> resource -> { show, status }
    // bare JID -> { unread, draft, messages: [{ id, mine, text, time, state, error }] }. The state of a message
    // of this side is waiting (for a session), sending, sent, unsure (it may not have arrived) or failed.
    chats: {},
    open: '', // bare JID of the chat on screen
  };
}
