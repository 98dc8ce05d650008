// What the client for browsers must do, in whatever it runs: see web.mjs.

const OPTIONS = {
  to: 'example.com', headers: async () => ({ Authorization: 'Bearer 0' }), attributes: { token: `a'<b>` },
};

const TRICKY = [
  `<b>bold</b> & "quotes" 'single' ]]> &amp;amp; &#65;`, 'emoji 👋🏽 👩‍👩‍👧, 漢字, עברית, z̷̤͐', 'two lines,\nand\ta tab', '\ufffe\u0000\ud800',
];

export async function run({ Bosh, escapeXML }, base) {
  await json(Bosh, base);
  await elements(Bosh, escapeXML, base);
  await bytes(Bosh, base);
  await ends(Bosh, base);
}

/** A session, and promises of what comes. */
function open(Bosh, url, options = {}) {
  const bosh = new Bosh(url, { ...OPTIONS, ...options });
  const s = { bosh, items: [], wake: () => {}, end: null };
  const add = (item) => {
    s.items.push(item);
    s.wake();
  };
  bosh.onjson = add;
  bosh.onelement = add;
  bosh.onbytes = (b) => add(b);
  s.ended = new Promise((resolve) => {
    bosh.onend = (end) => {
      resolve(end);
      s.failed?.(new Error(`the session has ended: ${JSON.stringify(end).slice(0, 300)}`));
    };
  });
  s.until = (done) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing more came; ${s.items.length} items so far`)), 40_000);
    s.failed = (error) => reject(error);
    s.wake = () => {
      if (!done()) return;
      clearTimeout(timer);
      s.failed = null;
      resolve();
    };
    s.wake();
  });
  bosh.connect();
  return s;
}

// 500 values, in order and once, while connections break.
async function json(Bosh, base) {
  const s = open(Bosh, `${base}/elements`);
  await s.until(() => s.items.length === 1);
  const values = Array.from({ length: 500 }, (_, i) => ({ i, text: TRICKY[i % TRICKY.length] }));
  for (const [i, value] of values.entries()) {
    s.bosh.sendJSON(value);
    if (i % 60 === 30) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      s.bosh.cut();
    }
    if (i % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await s.until(() => s.items.length >= 501);
  equal(JSON.stringify(s.items.slice(1)), JSON.stringify(values), 'values');
  s.bosh.terminate();
  const end = await s.ended;
  equal(JSON.stringify([end.condition, end.message, end.undelivered.length]), '["","",0]', 'the end');
}

async function elements(Bosh, escapeXML, base) {
  const s = open(Bosh, `${base}/elements`);
  const texts = TRICKY.slice(0, 3);
  for (const text of texts) s.bosh.send(`<x xmlns='urn:x' a='${escapeXML(text)}'>${escapeXML(text)}<y/></x>`);
  await s.until(() => s.items.length === 4);
  equal(JSON.stringify(s.items.slice(1).map((e) => [e.namespaceURI, e.getAttribute('a'), e.textContent, e.firstElementChild.localName])),
    JSON.stringify(texts.map((text) => ['urn:x', text, text, 'y'])), 'elements');
  s.bosh.send(s.items[1]);
  await s.until(() => s.items.length === 5);
  equal(s.items[4].textContent, texts[0], 'an element sent as it came');
  s.bosh.terminate({ keepalive: true });
}

async function bytes(Bosh, base) {
  const s = open(Bosh, `${base}/bytes`);
  const sent = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) >> 3);
  s.bosh.sendBytes(sent);
  const count = () => s.items.reduce((n, b) => n + b.length, 0);
  await s.until(() => count() > 0);
  s.bosh.cut();
  await s.until(() => count() >= sent.length);
  equal(count(), sent.length, 'bytes');
  let i = 0;
  for (const b of s.items) for (const x of b) if (x !== sent[i++]) throw new Error(`byte ${i} is another one`);
  s.bosh.terminate();
  await s.ended;
}

async function ends(Bosh, base) {
  const s = open(Bosh, `${base}/ends`);
  s.bosh.send(`<x xmlns='urn:x'/>`);
  equal((await s.ended).condition, 'policy-violation', 'the condition');
}

function equal(got, want, what) {
  if (got !== want) throw new Error(`${what}:\n   got ${String(got).slice(0, 2000)}\n  want ${String(want).slice(0, 2000)}`);
}
