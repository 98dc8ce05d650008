// The scenario in a worker.
import * as client from '/bosh/bosh.js';
import { run } from '/web-scenario.mjs';

run(client, location.origin).then(() => postMessage(''), (error) => postMessage(error.stack));
