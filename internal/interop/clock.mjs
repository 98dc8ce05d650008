// The page of examples/clock: it shows one time after the other.
import { launch, listen } from './browser.mjs';
import { check, checkEqual } from './lib.mjs';

const browser = await launch();
try {
  const page = await browser.newPage();
  const problems = [];
  listen(page, problems);
  await page.goto(process.argv[2]);
  const seen = new Set();
  while (seen.size < 3) {
    await page.waitForFunction((last) => ![document.body.textContent, ''].includes(last) && document.body.textContent !== last, [...seen].at(-1));
    seen.add(await page.textContent('body'));
  }
  check([...seen].every((time) => !Number.isNaN(Date.parse(time))), `no times: ${[...seen]}`);
  checkEqual(problems.filter((p) => !p.includes('favicon')), [], 'errors in the page');
} finally {
  await browser.close();
}
