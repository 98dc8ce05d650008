// Which node has the session of a request: its name is at the end of the sid, which is in the
// start tag of the body.
const nodes = ['a', 'b', 'c'];
const sid = /<[^?!][^>]*\ssid\s*=\s*["'][A-Z2-7]{26}\.([a-z0-9-]{1,32})["']/;

function route(r) {
  const found = sid.exec(r.requestText || '');
  if (!found) return r.internalRedirect('@new');
  r.internalRedirect(nodes.includes(found[1]) ? '@' + found[1] : '@gone');
}

export default { route };
