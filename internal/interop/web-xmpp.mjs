// The client for browsers with an XMPP server of any make, in whatever it runs: see
// web.mjs. It logs in, and sends itself messages while connections break, unless the
// server does not bear that.

const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const N = 60;

export async function run({ Bosh, escapeXML }, base) {
  const [name, domain] = ['alice', 'localhost'];
  const cuts = (await fetch(`${base}/cuts`)).ok; // not every server bears them
  const bosh = new Bosh(`${base}/http-bind`, { to: domain, xmpp: true });
  const seen = [];
  let me = '';
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${seen.length} messages came; status ${bosh.status}, ${me}`)), 40_000);
    bosh.onend = (end) => {
      clearTimeout(timer);
      if (seen.length === N && end.condition === '' && end.undelivered.length === 0) resolve();
      else reject(new Error(`the end came after ${seen.length} messages: ${JSON.stringify(end).slice(0, 500)}`));
    };
    bosh.onelement = (e) => {
      const child = (local) => [...e.children].find((c) => c.localName === local);
      if (e.localName === 'features' && child('mechanisms')) {
        bosh.send(`<auth xmlns='${SASL}' mechanism='PLAIN'>${btoa(`\0${name}\0${name}`)}</auth>`);
      } else if (e.localName === 'success') {
        bosh.restart();
      } else if (e.localName === 'features') {
        bosh.send(`<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='${BIND}'/></iq>`);
      } else if (e.getAttribute('id') === 'bind') {
        me = child('bind').firstElementChild.textContent;
        bosh.send(`<presence xmlns='jabber:client'/>`);
        talk(bosh, escapeXML, me, cuts).catch(reject);
      } else if (e.localName === 'message' && child('body')) {
        seen.push(child('body').textContent);
        if (seen.at(-1) !== text(seen.length - 1)) reject(new Error(`${seen.at(-1)} came as number ${seen.length - 1}`));
        if (seen.length === N) bosh.terminate();
      }
    };
    bosh.connect();
  });
}

const text = (i) => `${i} <b>&amp; "'👋🏽 漢字`;

async function talk(bosh, escapeXML, me, cuts) {
  for (let i = 0; i < N; i++) {
    bosh.send(`<message xmlns='jabber:client' type='chat' to='${escapeXML(me)}'><body>${escapeXML(text(i))}</body></message>`);
    if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    if (cuts && i % 20 === 10) bosh.cut();
  }
}
