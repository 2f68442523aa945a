// What operators do, and what they see of it without asking again: on a fleet of two processes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, openPage, settled } from './browser.mjs';
import { eventually, startFleet } from './fleet.mjs';

let fleet;
let browser;

before(async () => {
  [fleet, browser] = await Promise.all([startFleet(), launch()]);
  // Another process of the same fleet does the work too.
  await fleet.run({ CALLSPOOL_ROLES: 'worker' });
});
after(async () => {
  await browser?.close();
  await fleet?.stop();
});

async function on(hash, act, options = {}) {
  const it = await openPage(browser, fleet.url, { hash, ...options });
  await settled(it.page);
  // Set once: whoever loads the page again loses it.
  await it.page.evaluate(() => { window.sameDocument = true; });
  await act(it.page, it);
  assert.ok(await it.page.evaluate(() => window.sameDocument), 'the page was loaded again');
  await it.close();
}

const count = (page, name, value) => page.locator('.tile', { hasText: name }).locator('strong', { hasText: new RegExp(`^${value}$`) }).waitFor();
const notice = (page, text) => page.locator('.toast', { hasText: text }).first().waitFor();

test('what happens is seen without loading the page again', () =>
  on('#/', async (page) => {
    await count(page, 'Instances', 2);
    fleet.provider.hold(1);
    const id = await fleet.enqueue(11, 1);
    await count(page, 'Running', 1);
    await page.getByRole('meter', { name: 'Slots of business 11 in use' }).waitFor();
    fleet.provider.release(1);
    await count(page, 'Done', 1);
    await fleet.until(id, 'done');
  }));

test('a list and a job follow what happens, too', async () => {
  await fleet.api('PATCH', '/v1/businesses/12', { weight: 2 });
  await on('#/jobs?business_id=12', async (page) => {
    await page.getByText('No job matches.').waitFor();
    fleet.provider.hold(2);
    const id = await fleet.enqueue(12, 2);
    await page.getByRole('link', { name: 'CA2' }).click();
    await page.getByRole('heading', { level: 1, name: `Job #${id}` }).waitFor();
    await page.locator('.head .chip', { hasText: 'running' }).waitFor();
    fleet.provider.release(2);
    await page.locator('.head .chip', { hasText: 'done' }).waitFor();
    await page.locator('audio').waitFor();
  });
});

test('a business is set up before its first job', () =>
  on('#/businesses/13', async (page) => {
    await page.getByText('no job of business 13 was met yet').waitFor();
    await page.getByLabel('Slots', { exact: true }).fill('3');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('0 of 3').waitFor();
  }, { expected: [/status of 404/] }));

test('a paused business begins nothing, and goes on when it is resumed', () =>
  on('#/businesses/13', async (page) => {
    await page.getByRole('button', { name: 'Pause business 13' }).click();
    await notice(page, 'Business 13 is paused');
    assert.equal((await fleet.api('GET', '/v1/businesses/13')).paused, true);
    const [kept, other] = [await fleet.enqueue(13, 3), await fleet.enqueue(14, 4)];
    // Another business's job, enqueued later, is done meanwhile.
    await fleet.until(other, 'done');
    assert.equal(await fleet.state(kept), 'ready');
    await page.getByText(/Paused for .* by loopback/).waitFor();

    await page.evaluate((id) => { location.hash = `#/jobs/${id}`; }, kept);
    await page.locator('.explain.business_paused').getByRole('button', { name: 'Resume' }).click();
    await fleet.until(kept, 'done');
    await page.locator('.head .chip', { hasText: 'done' }).waitFor();
  }));

test('a business that is stuck can be resumed from the overview', () =>
  on('#/', async (page) => {
    await fleet.api('PATCH', '/v1/businesses/15', { paused: true });
    const id = await fleet.enqueue(15, 5);
    const stall = page.locator('.stall', { hasText: 'The business is paused' });
    await stall.waitFor();
    await stall.getByRole('button', { name: 'Resume' }).click();
    await fleet.until(id, 'done');
    await page.getByText('Nothing is stuck.').waitFor();
  }));

test('slots and weight are changed in the list, and the jobs that waited begin', () =>
  on('#/businesses', async (page) => {
    await fleet.api('PATCH', '/v1/businesses/16', { max_slots: 1 });
    fleet.provider.hold(21, 22);
    const ids = [await fleet.enqueue(16, 21), await fleet.enqueue(16, 22)];
    await fleet.until(ids[0], 'running');
    assert.equal(await fleet.state(ids[1]), 'ready');
    const row = page.locator('tbody tr', { has: page.getByRole('link', { name: 'Business 16' }) });
    await row.getByRole('button', { name: 'Edit business 16' }).click();
    await row.getByLabel('Slots', { exact: true }).fill('2');
    await row.getByLabel('Weight').fill('7');
    await row.getByRole('button', { name: 'Save' }).click();
    await notice(page, 'Business 16 is changed');
    await fleet.until(ids[1], 'running');
    await row.getByText('2 of 2').waitFor();
    assert.equal((await fleet.api('GET', '/v1/businesses/16')).weight, 7);
    fleet.provider.release(21, 22);
    await Promise.all(ids.map((id) => fleet.until(id, 'done')));
  }));

test('a value that is not allowed is refused before it is sent, and one that the server refuses says why', () =>
  on('#/businesses/16', async (page) => {
    await page.getByLabel('Slots', { exact: true }).fill('99999');
    await page.getByRole('button', { name: 'Save' }).first().click();
    assert.ok(await page.getByLabel('Slots', { exact: true }).evaluate((field) => field.validity.rangeOverflow));
    await page.getByLabel('Slots', { exact: true }).evaluate((field) => field.removeAttribute('max'));
    await page.getByRole('button', { name: 'Save' }).first().click();
    await page.locator('.toast.bad', { hasText: 'max_slots' }).waitFor();
    assert.notEqual((await fleet.api('GET', '/v1/businesses/16')).max_slots, 99999);
  }, { expected: [/status of 422/] }));

test('a running job that is cancelled stops, and its slot is free', () =>
  on('#/', async (page) => {
    await fleet.api('PATCH', '/v1/businesses/17', { max_slots: 1 });
    fleet.provider.hold(31);
    const [first, second] = [await fleet.enqueue(17, 31), await fleet.enqueue(17, 32)];
    await fleet.until(first, 'running');
    await page.evaluate((id) => { location.hash = `#/jobs/${id}`; }, first);
    await page.getByRole('button', { name: 'Cancel' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('It runs: its download stops').waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await fleet.until(first, 'cancelled');
    await fleet.until(second, 'done');
    await page.locator('.head .chip', { hasText: 'cancelled' }).waitFor();
    fleet.provider.release(31);
    await page.getByRole('button', { name: 'Retry' }).click();
    await fleet.until(first, 'done');
    await page.locator('.head .chip', { hasText: 'done' }).waitFor();
  }));

test('several jobs are retried after a dialog that says how many', () =>
  on('#/', async (page) => {
    fleet.provider.refuse(410, 41, 42, 43);
    const ids = [];
    for (const number of [41, 42, 43]) ids.push(await fleet.enqueue(18, number));
    await Promise.all(ids.map((id) => fleet.until(id, 'dead')));
    fleet.provider.refuse(200, 41, 42, 43);
    await page.evaluate(() => { location.hash = '#/jobs?state=dead&business_id=18'; });
    await page.getByLabel('Select the job of call CA41').check();
    await page.getByLabel('Select the job of call CA43').check();
    await page.getByText('Selected: 2 jobs').waitFor();
    await page.getByRole('button', { name: 'Retry', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'Retry 2 jobs?' });
    // Enter right away does nothing.
    await page.keyboard.press('Enter');
    await dialog.waitFor({ state: 'detached' });
    assert.equal(await fleet.state(ids[0]), 'dead');
    await page.getByRole('button', { name: 'Retry', exact: true }).click();
    await dialog.getByRole('button', { name: 'Retry 2 jobs' }).click();
    await notice(page, 'Ready again: 2 jobs.');
    await Promise.all([ids[0], ids[2]].map((id) => fleet.until(id, 'done')));
    assert.equal(await fleet.state(ids[1]), 'dead');
  }));

test('all jobs that match are cancelled at once, on every page of the list', () =>
  on('#/', async (page) => {
    await fleet.api('PATCH', '/v1/businesses/19', { paused: true });
    const ids = [];
    for (let number = 100; number < 160; number += 1) ids.push(await fleet.enqueue(19, number));
    await eventually('the counters', async () => (await fleet.api('GET', '/v1/businesses/19')).ready === 60);
    await page.evaluate(() => { location.hash = '#/jobs?state=ready&business_id=19'; });
    await page.locator('tbody tr').nth(49).waitFor();
    await page.getByRole('button', { name: 'Cancel all (60)' }).click();
    await page.getByRole('dialog', { name: 'Cancel 60 jobs?' }).getByRole('button', { name: 'Cancel 60 jobs' }).click();
    await notice(page, 'Cancelled: 60 jobs.');
    await page.getByText('No job matches.').waitFor();
    assert.equal(await fleet.state(ids[59]), 'cancelled');
    await fleet.api('PATCH', '/v1/businesses/19', { paused: false });
  }));

test('long lists are turned over forwards and back', () =>
  on('#/jobs?state=cancelled&business_id=19', async (page) => {
    await page.locator('tbody tr').nth(49).waitFor();
    const first = await page.locator('tbody th').first().innerText();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 10);
    await page.getByRole('button', { name: 'Previous' }).click();
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 50);
    assert.equal(await page.locator('tbody th').first().innerText(), first);
  }));

test('a dashboard whose process ends says so, says what is old, and goes on with its next process', async () => {
  const other = await fleet.run({ CALLSPOOL_ROLES: 'api' });
  const it = await openPage(browser, other.url, { expected: [/ERR_CONNECTION_REFUSED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/, /ERR_EMPTY_RESPONSE/, /ERR_CONNECTION_RESET/] });
  await settled(it.page);
  await other.stop();
  await it.page.locator('.badge.reconnecting').waitFor();
  await it.page.getByText(/What you see is of \d\d:\d\d:\d\d, .* ago/).waitFor();
  await fleet.run({ CALLSPOOL_ROLES: 'api', CALLSPOOL_HTTP_BIND: new URL(other.url).host });
  await it.page.locator('.badge.live').waitFor();
  await it.page.getByText(/What you see is of/).waitFor({ state: 'detached' });
  await it.close();
});
