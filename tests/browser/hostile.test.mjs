// What comes from outside is text, whatever it looks like.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, openPage, settled } from './browser.mjs';
import { startFleet } from './fleet.mjs';

const HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>"\'&amp;{n}';
let fleet;
let browser;

before(async () => {
  const files = { 'migrations/1_fails.sql': `do $$ begin raise exception '<img src=x onerror="window.hacked = 1">'; end $$;\n` };
  [fleet, browser] = await Promise.all([startFleet({ files, variables: { MIGRATIONS_DIR: 'migrations', CALLSPOOL__MIGRATIONS__RETRIES: '0' } }), launch()]);
});
after(async () => {
  await browser?.close();
  await fleet?.stop();
});

const isHarmless = async (page, what) => {
  assert.equal(await page.evaluate(() => window.hacked), undefined, what);
  assert.equal(await page.locator('main img, main script, #notices img').count(), 0, what);
};

test('a reason that a database gives is shown as it is', async () => {
  const it = await openPage(browser, fleet.url, { hash: '#/schema' });
  await it.page.getByText('<img src=x onerror="window.hacked = 1">').first().waitFor();
  await isHarmless(it.page, 'schema');
  await it.close();
});

test('a provider’s answer is shown as it is', async () => {
  fleet.provider.refuse(410, 7);
  const id = await fleet.enqueue(1, 7);
  await fleet.until(id, 'dead');
  const it = await openPage(browser, fleet.url, { hash: `#/jobs/${id}` });
  await it.page.locator('.timeline').getByText('Attempt 1 failed').waitFor();
  await isHarmless(it.page, 'job');
  await it.close();
});

/** Every text in what the server answers becomes hostile, but those that say which kind of thing it is. */
function poison(value, name) {
  if (Array.isArray(value)) return value.map((item) => poison(item, name));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, poison(item, key)]));
  return typeof value === 'string' && !/^\d{4}-/.test(value) ? HOSTILE : value;
}

test('if every text of every answer were hostile, every page would show it and run none of it', async () => {
  const dead = await fleet.enqueue(1, 8, { run_at: '2999-01-01T00:00:00Z' });
  await fleet.api('PATCH', '/v1/businesses/1', { paused: true });
  const it = await openPage(browser, fleet.url, { hash: '#/' });
  await settled(it.page);
  await it.page.route(/\/v1\/(?!events)/, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: poison(await answer.json().catch(() => ({}))) });
  });
  for (const [hash, shows] of [['#/jobs', true], [`#/jobs/${dead}`, true], ['#/businesses', false], ['#/businesses/1', true], ['#/instances', true], ['#/schema', true], [`#/jobs?call_sid=${encodeURIComponent(HOSTILE)}`, false], [`#/businesses/${encodeURIComponent(HOSTILE)}`, true]]) {
    await it.page.evaluate((to) => { location.hash = to; }, hash);
    await it.page.waitForFunction(() => !document.querySelector('[aria-busy]'));
    if (shows) await it.page.locator('main').getByText('<img src=x onerror=').first().waitFor();
    await isHarmless(it.page, hash);
  }
  await it.context.close();
});

test('a refusal’s text is shown as it is', async () => {
  const it = await openPage(browser, fleet.url, { hash: '#/businesses/1' });
  await settled(it.page);
  await it.page.route('**/v1/businesses/1', (route) => (route.request().method() === 'PATCH' ? route.fulfill({ status: 422, contentType: 'application/problem+json', body: JSON.stringify({ code: HOSTILE, detail: HOSTILE }) }) : route.continue()));
  await it.page.getByRole('button', { name: 'Resume business 1' }).click();
  await it.page.locator('.toast.bad').getByText('<img src=x').waitFor();
  await isHarmless(it.page, 'notice');
  await it.context.close();
});
