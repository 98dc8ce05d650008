// A scenario in a worker: the one that the URL names.
import * as client from '/bosh/bosh.js';

const { run } = await import(location.search.slice(1));
run(client, location.origin).then(() => postMessage(''), (error) => postMessage(error.stack));
