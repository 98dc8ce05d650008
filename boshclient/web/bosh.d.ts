/** What an element is to this client. A DOM Element is one; parseXML makes others. */
export interface ElementLike {
  readonly localName: string;
  readonly prefix: string | null;
  readonly namespaceURI: string | null;
  readonly nodeName: string;
  readonly textContent: string | null;
  readonly children: Iterable<ElementLike>;
  readonly firstElementChild: ElementLike | null;
  getAttribute(name: string): string | null;
  getAttributeNS(namespace: string, localName: string): string | null;
  hasAttribute(name: string): boolean;
}

/** What a session reports. The callbacks of Bosh may be given as options, too. */
export type Callbacks = Pick<Bosh, 'onopen' | 'onelement' | 'onjson' | 'onbytes' | 'onstatus' | 'onend' | 'onsave' | 'onexchange'>;

export interface Options extends Partial<Callbacks> {
  /** The domain asked for. Default: the host name of the URL. */
  to?: string;
  /** xml:lang of the session. Default: "en". */
  lang?: string;
  /** Seconds that the server may hold a request. The server may grant less. Default: 60. */
  wait?: number;
  /** Requests that the server may hold. 0 polls. Default: 1. */
  hold?: number;
  /** Speak XMPP (XEP-0206): ask for version 1.0, and use restart after SASL. Default: false. */
  xmpp?: boolean;

  /**
   * Headers of each request, for example Authorization. A function is called
   * for each attempt, counted from 0, so that a token may be renewed. A header
   * that is not on CORS's safe list needs the server's leave.
   */
  headers?: HeadersInit | ((attempt: number) => HeadersInit | Promise<HeadersInit>);
  /**
   * Further attributes of the request that opens a session. A name with a
   * prefix needs its xmlns attribute beside it.
   */
  attributes?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
  /** As for fetch. Default: that of fetch, "same-origin". */
  credentials?: RequestCredentials;

  /**
   * Open another session when one ends that the application did not end. The
   * pause before it grows to 30 s; it ends at once when the network or the page
   * is back, and by retry(). A refused session is tried again only if the
   * condition may pass. see-other-uri is followed, but not from https to http.
   * Default: false.
   */
  reconnect?: boolean;

  /**
   * Keeps the session over a reload of its page: sessionStorage, or anything
   * like it. The state holds the session's secret and what is not sent yet.
   */
  store?: { getItem(key: string): string | null; setItem(key: string, value: string): void; removeItem(key: string): void };
  /** The key in the store. Default: "bosh " and the URL. */
  key?: string;

  /** The most characters that may wait to be sent; one payload may always. Default: 1 MiB. */
  maxBuffered?: number;

  /** In place of the global fetch. */
  fetch?: typeof fetch;
  /** In place of DOMParser, or of parseXML where there is none. It must throw on bad XML. */
  parse?: (text: string) => ElementLike;
}

/**
 * connecting: a session is being opened. online: the server has it. repeating:
 * a request broke and is sent again. waiting: before the next session is
 * opened. closed: connect was not called, or all is over.
 */
export type Status = 'connecting' | 'online' | 'repeating' | 'waiting' | 'closed';

/** A payload that the server may not have. */
export interface Undelivered {
  xml: string;
  /** It went out in a request, and may have arrived. */
  sent: boolean;
  /** Its request has not failed for a second, so that it probably has arrived. */
  held: boolean;
}

/** The end of a session. */
export interface End {
  /** The terminal condition of XEP-0124, or http-NNN. Empty if the end was asked for, or the server was not reached. */
  condition: string;
  /** Why the server was not reached. Empty otherwise. */
  message: string;
  /** Where to go instead, for see-other-uri. */
  uri: string;
  /** Seconds until another session is opened; null if none will be. */
  again: number | null;
  /** What was sent and not provably received, in order. It is not sent again by itself. */
  undelivered: Undelivered[];
}

/** One HTTP request and its answer, for logs and debugging. The bodies contain the sid, which is a secret. */
export interface Exchange {
  rid: number;
  /** Counted from 0. */
  attempt: number;
  request: string;
  /** Milliseconds since 1970. */
  sent: number;
  answered?: number;
  response?: string;
  error?: string;
}

/** The state of a session: plain data, fit for JSON. It holds the session's secret. */
export interface State {
  sid: string;
  [name: string]: unknown;
}

/**
 * A misuse: "open" for connect in a session, "closed" for send without one, "full"
 * for more than maxBuffered, "xml" for what is not whole elements, and "state" for
 * resume from what is no state.
 */
export class BoshError extends Error {
  readonly code: 'open' | 'closed' | 'full' | 'xml' | 'state';
}

/**
 * A BOSH session, or with `reconnect` one after the other.
 *
 * Callbacks run one at a time. An exception in one is logged and has no other
 * effect. Set them before connect.
 */
export class Bosh {
  /** @param url The endpoint. A page may give a relative URL. */
  constructor(url: string | URL, options?: Options);

  /** A new session is open. It is not called for a session that goes on after a reload. */
  onopen: () => void;
  /** A payload, in order. onjson and onbytes take theirs away, if they are set. */
  onelement: (element: ElementLike) => void;
  /** The value in a JSON container (XEP-0335). Without it, or if the JSON is bad, onelement has the element. */
  onjson: ((value: any, element: ElementLike) => void) | null;
  /** Bytes of a stream that is Opaque. Where one call's bytes end means nothing. */
  onbytes: ((bytes: Uint8Array) => void) | null;
  onstatus: (status: Status) => void;
  /** A session has ended. With end.again, another follows. */
  onend: (end: End) => void;
  /** The state has changed, to be kept for resume. Options.store does it by itself. */
  onsave: (state: State) => void;
  /** A request with payloads has not failed for a second. undelivered() says so from now on: they are held. */
  onheld: () => void;
  /** Called when a request leaves, and again when it is over. */
  onexchange: (exchange: Exchange) => void;

  readonly status: Status;
  /** When the next attempt is, of a request or of a session, in milliseconds since 1970. 0 if none waits. */
  readonly retryAt: number;
  /** Characters that wait for a request. */
  readonly bufferedAmount: number;

  /** Opens a session, or goes on with the stored one. Throws BoshError "open" if there is one. */
  connect(): void;
  /** Goes on with the session of a state. Whatever was not answered is repeated. Throws BoshError "open" or "state". */
  resume(state: State): void;

  /**
   * Sends one or more whole elements; use escapeXML for text in them. They go
   * out in order and once. All that is sent in one go shares a request. It
   * throws BoshError "closed", "full" or "xml", and never waits.
   */
  send(xml: string | ElementLike): void;
  /** Sends a value as JSON in a container (XEP-0335). */
  sendJSON(value: unknown): void;
  /** Sends bytes, all or none of them, for a stream that is Opaque. */
  sendBytes(bytes: ArrayBuffer | ArrayBufferView): void;
  /** Asks for a new XMPP stream, as after SASL, behind what was sent before. Throws BoshError "closed". XEP-0206, section 5. */
  restart(): void;

  /**
   * Ends the session. What was sent goes first. onend follows by the answer, or
   * after 3 s. With keepalive the request outlives its page, and onend comes at
   * once: for a pagehide listener.
   */
  terminate(options?: { keepalive?: boolean }): void;

  /**
   * For a pagehide listener of a page that may be loaded again: asks the server to
   * end the session in so many seconds unless the page is back (XEP-0124, section
   * 12). What waits is sent too. By the request that outlives the page nobody sees a
   * tab that was closed for longer than that, and a reload goes on by `store` or
   * `resume`. Returns false, and does nothing, without a session or if the server
   * has no pauses. After it the object is of no more use.
   */
  leave(seconds: number): boolean;

  /** Ends the pause before a repeat or a new session. The events online, pageshow and visibilitychange do so too. */
  retry(): void;
  /** Breaks the requests under way, as a bad network does. They are repeated. For tests. */
  cut(): void;
  /** What was sent and has not provably been received, in order. */
  undelivered(): Undelivered[];
}

/** Text as it may stand in XML, in an element or in a quoted attribute. */
export function escapeXML(text: unknown): string;

/** Parses a document without a DOM: namespaces are resolved, and what BOSH bans is refused. */
export function parseXML(text: string): ElementLike;
