// Who may look: a token, once, for a cookie that no script can read.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { axe, fitsTheWidth, launch, openPage, settled } from './browser.mjs';
import { startFleet } from './fleet.mjs';

const TOKEN = 'secret-of-the-browser-tests';
const READER = 'secret-of-a-reader';
// The browser itself writes these down: the page learns by them that nobody is logged in.
const expected = [/status of 401/];
let fleet;
let browser;

before(async () => {
  [fleet, browser] = await Promise.all([startFleet({ token: TOKEN, variables: { CALLSPOOL_API_TOKENS: `night:read:${READER}` } }), launch()]);
});
after(async () => {
  await browser?.close();
  await fleet?.stop();
});

const door = async (options) => {
  const it = await openPage(browser, fleet.url, { expected, ...options });
  await it.page.getByLabel('API token').or(it.page.getByLabel('אסימון API')).waitFor();
  return it;
};
async function logIn(page, token) {
  await page.locator('#token').fill(token);
  await page.keyboard.press('Enter');
}

test('a wrong token is refused, and the right one opens the page that was asked for', async () => {
  const { page, context, close } = await door({ hash: '#/schema' });
  assert.ok(await page.locator('#token').evaluate((field) => field === document.activeElement && field.type === 'password'));
  await logIn(page, 'wrong');
  await page.getByRole('alert').getByText('This token is not known.').waitFor();
  assert.deepEqual(await context.cookies(), []);
  await logIn(page, TOKEN);
  await page.getByRole('heading', { level: 1, name: 'Schema' }).waitFor();
  await settled(page);

  const [cookie, ...others] = await context.cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite, others.length], ['callspool_session', true, 'Strict', 0]);
  assert.ok(!cookie.value.includes(TOKEN));
  assert.equal(await page.evaluate(() => document.cookie), '');
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.documentElement.outerHTML]));
  assert.ok(!kept.includes(TOKEN), 'the token is nowhere in the page');
  await close();
});

test('the session lasts over a new page, and ends with the logout', async () => {
  const { page, context, close } = await door();
  await logIn(page, TOKEN);
  await settled(page);
  await page.reload();
  await settled(page);
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.locator('#token').waitFor();
  assert.deepEqual(await context.cookies(), []);
  await page.reload();
  await page.locator('#token').waitFor();
  await close();
});

test('a session that ends meanwhile leads to the login, and then back', async () => {
  const { page, context, close } = await door({ hash: '#/businesses' });
  await logIn(page, TOKEN);
  await page.getByRole('heading', { level: 1, name: 'Businesses' }).waitFor();
  await context.clearCookies();
  await page.locator('#token').waitFor();
  await logIn(page, TOKEN);
  await page.getByRole('heading', { level: 1, name: 'Businesses' }).waitFor();
  await close();
});

test('who may only read sees everything and has nothing to press', async () => {
  const { page, close } = await door();
  const id = await fleet.enqueue(1, 1);
  await fleet.until(id, 'done');
  await logIn(page, READER);
  await settled(page);
  for (const hash of ['#/jobs', `#/jobs/${id}`, '#/businesses', '#/businesses/1']) {
    await page.evaluate((to) => { location.hash = to; }, hash);
    await page.getByText('Business 1').first().waitFor();
    for (const name of [/^Retry/, /^Cancel/, /^Pause/, /^Edit/, /^Save/]) assert.equal(await page.getByRole('button', { name }).count(), 0, `${hash} ${name}`);
    assert.equal(await page.getByRole('checkbox').count(), 0, hash);
  }
  await close();
});

test('another site’s page cannot use the session', async () => {
  const { page, context, close } = await door();
  await logIn(page, TOKEN);
  await settled(page);
  // What a form of another site would send, with the cookie that a careless browser would add.
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  const headers = { Cookie: cookie, 'Content-Type': 'application/json', Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' };
  const answer = await fetch(`${fleet.url}/v1/businesses/1`, { method: 'PATCH', headers, body: '{"paused":true}' });
  assert.equal(answer.status, 403);
  assert.equal((await fleet.api('GET', '/v1/businesses/1')).paused, false);
  await close();
});

for (const [language, theme] of [['en-GB', 'light'], ['he-IL', 'dark']]) {
  test(`the login is for everybody: ${language}, ${theme}`, async () => {
    const { page, close } = await door({ language, theme, width: 360, height: 640 });
    await axe(page, 'login');
    await fitsTheWidth(page, 'login');
    await logIn(page, 'wrong');
    await page.getByRole('alert').waitFor();
    await axe(page, 'login with a fault');
    await close();
  });
}
