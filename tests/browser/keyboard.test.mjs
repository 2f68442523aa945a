// Everything without a mouse.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, openPage, settled } from './browser.mjs';
import { startFleet } from './fleet.mjs';
import { makeScene } from './scene.mjs';

let fleet;
let browser;
let scene;

before(async () => {
  [fleet, browser] = await Promise.all([startFleet(), launch()]);
  scene = await makeScene(fleet);
});
after(async () => {
  await browser?.close();
  await fleet?.stop();
});

const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  return element.getAttribute('aria-label') ?? element.textContent.trim();
});

test('somebody walks from the overview to a dead job and retries it, by keyboard alone', async () => {
  const it = await openPage(browser, fleet.url);
  const { page } = it;
  await settled(page);
  await page.keyboard.press('Tab');
  assert.equal(await focused(page), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await focused(page), 'Overview');

  await page.keyboard.press('g');
  await page.keyboard.press('j');
  await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor();
  assert.equal(await focused(page), 'Jobs', 'a new page is read from its heading on');
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  await page.keyboard.type('CA51');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);

  const pressUntil = async (name) => {
    for (let at = 0; at < 60; at += 1) {
      await page.keyboard.press('Tab');
      if ((await focused(page)) === name) return;
    }
    assert.fail(`Tab does not lead to ${name}`);
  };
  await pressUntil('CA51');
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, 'solid', 'where the focus is can be seen');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: `Job #${scene.dead[0]}` }).waitFor();
  fleet.provider.refuse(200, 51);
  await pressUntil('Retry');
  await page.keyboard.press('Enter');
  await fleet.until(scene.dead[0], 'done');
  await it.close();
});

test('a dialog keeps the focus, Esc closes it, and the focus goes back', async () => {
  const it = await openPage(browser, fleet.url, { hash: `#/jobs/${scene.scheduled}` });
  const { page } = it;
  await settled(page);
  await page.getByRole('button', { name: 'Cancel' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  for (let at = 0; at < 5; at += 1) {
    await page.keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))));
  }
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(await focused(page), 'Cancel');
  assert.equal(await fleet.state(scene.scheduled), 'scheduled');
  await it.close();
});

test('every page has its shortcut, a list of them, and a way to turn them off', async () => {
  const it = await openPage(browser, fleet.url);
  const { page } = it;
  await settled(page);
  for (const [key, name] of [['b', 'Businesses'], ['i', 'Instances'], ['s', 'Schema'], ['j', 'Jobs'], ['o', 'Overview']]) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await page.getByRole('heading', { level: 1, name }).waitFor();
  }
  await page.keyboard.press('?');
  const dialog = page.getByRole('dialog', { name: 'Keyboard shortcuts' });
  await dialog.getByText('g j').waitFor();
  await dialog.getByLabel('Single keys are shortcuts').uncheck();
  await page.keyboard.press('Escape');
  await page.keyboard.press('g');
  await page.keyboard.press('j');
  await page.keyboard.press('?');
  assert.equal(await page.getByRole('heading', { level: 1 }).innerText(), 'Overview');
  assert.equal(await page.getByRole('dialog').count(), 0);
  await it.close();
});

test('what is typed into a field is no shortcut, and what is new does not take the focus away', async () => {
  const it = await openPage(browser, fleet.url, { hash: '#/jobs' });
  const { page } = it;
  await settled(page);
  await page.locator('#search').focus();
  await page.keyboard.type('gj?');
  assert.equal(await page.locator('#search').inputValue(), 'gj?');
  // An event of the stream, and another list.
  await page.waitForResponse((response) => response.url().includes('/v1/jobs?'));
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  assert.equal(await page.locator('#search').inputValue(), 'gj?');
  await it.close();
});

test('a screen reader has landmarks, one first heading, and is told changes without chatter', async () => {
  const it = await openPage(browser, fleet.url);
  const { page } = it;
  await settled(page);
  for (const role of ['banner', 'navigation', 'main']) await page.getByRole(role).first().waitFor();
  assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
  assert.equal(await page.locator('nav [aria-current=page]').innerText(), 'Overview');
  const levels = await page.locator('h1, h2, h3').evaluateAll((all) => all.map((heading) => Number(heading.tagName[1])));
  levels.reduce((before, level) => {
    assert.ok(level <= before + 1, `h${level} after h${before}`);
    return level;
  }, 0);
  // Changes of the stream are drawn without a word: only what is stuck, and the connection, are told.
  const told = await page.locator('#announcer').innerText();
  assert.ok(told === '' || told.startsWith('This is stuck'), told);
  assert.equal(await page.locator('[aria-live]').count(), 1);
  await it.close();
});
