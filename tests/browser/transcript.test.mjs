// What was said: found by its words, read, and played along. And what many jobs wait for together.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { axe, fitsTheWidth, launch, openPage, settled } from './browser.mjs';
import { startFleet } from './fleet.mjs';

let service;
let fleet;
let browser;
let jobs;
/** The service's status for the next uploads; 200 is good. */
let status = 200;

const SAID = {
  1: 'Good morning. I want my money back. <b>Now</b> please.',
  2: 'שלום, אני רוצה החזר כספי. תודה.',
};

/** As OpenAI has it: the file's name says the call. */
async function startService() {
  const server = createServer((request, answer) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const form = Buffer.concat(parts).toString('latin1');
      const text = SAID[/filename="CA(\d+)/.exec(form)?.[1]] ?? 'Nothing much.';
      const segments = text.split(/(?<=\.)\s*/).filter(Boolean).map((part, at) => ({ start: at * 4, end: at * 4 + 4, text: part }));
      answer.writeHead(status, { 'Content-Type': 'application/json' });
      answer.end(JSON.stringify(status === 200 ? { text, language: 'english', segments } : { error: { message: 'Incorrect API key provided' } }));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { base: `http://127.0.0.1:${server.address().port}/v1`, stop: () => server.close() };
}

before(async () => {
  service = await startService();
  const variables = { CALLSPOOL__TRANSCRIPTION__BASE_URL: service.base, CALLSPOOL_TRANSCRIPTION_KEY: 'key' };
  [fleet, browser] = await Promise.all([startFleet({ variables }), launch()]);
  jobs = [];
  for (const number of [1, 2]) {
    jobs.push(await fleet.enqueue(number, number, { job_type: 'full', recording_sid: `RE${number}` }));
    await fleet.until(jobs.at(-1), 'done');
  }
});
after(async () => {
  await browser?.close();
  await fleet?.stop();
  service?.stop();
});

async function on(hash, look, options = {}) {
  const it = await openPage(browser, fleet.url, { hash, ...options });
  await settled(it.page);
  await look(it.page, it);
  await it.close();
}

test('transcripts are found by their words, which are marked and never markup', () =>
  on('#/transcripts', async (page) => {
    await page.getByLabel('Words that were said').fill('money now');
    await page.keyboard.press('Enter');
    const row = page.locator('tbody tr');
    await row.getByRole('rowheader', { name: 'CA1' }).waitFor();
    assert.equal(await row.count(), 1);
    assert.deepEqual(await row.locator('mark').allInnerTexts(), ['money', 'Now']);
    assert.equal(await page.locator('main b').count(), 0);
    await axe(page, 'the search');
    await fitsTheWidth(page, 'the search');
    await page.getByLabel('Words that were said').fill('refund');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByText('No transcript has these words.').waitFor();
    await page.goBack();
    await row.getByRole('link', { name: 'CA1' }).click();
    await page.getByRole('heading', { level: 1, name: 'Recording CA1' }).waitFor();
    await page.locator('.spoken').getByText('I want my money back.').waitFor();
  }));

test('a segment plays the recording from its time', () =>
  on(`#/jobs/${jobs[0]}`, async (page) => {
    await page.locator('.spoken li').nth(2).waitFor();
    assert.equal(await page.locator('.spoken li').count(), 3);
    await page.locator('.facts').getByText('full', { exact: true }).waitFor();
    await page.evaluate(() => {
      document.querySelector('audio').muted = true;
    });
    await page.getByRole('button', { name: '0:04' }).click();
    await page.waitForFunction(() => document.querySelector('audio').currentTime >= 4 && !document.querySelector('audio').paused);
    await axe(page, 'a job with its transcript');
  }));

test('the job of a recording that is transcribed says its type in lists', () =>
  on('#/jobs', async (page) => {
    await page.locator('tbody tr').first().getByText('full').waitFor();
  }));

for (const language of ['en-GB', 'he-IL']) {
  for (const [width, theme] of [[1280, 'light'], [390, 'dark']]) {
    test(`transcripts are for everybody: ${language}, ${width} px, ${theme}`, async () => {
      for (const [what, hash] of [
        ['the search', '#/transcripts?q=money'],
        ['hebrew words', '#/transcripts?q=%D7%94%D7%97%D7%96%D7%A8'],
        ['a recording', '#/recordings/CA2?business_id=2'],
        ['a job', `#/jobs/${jobs[1]}`],
      ]) {
        await on(hash, async (page) => {
          await axe(page, what);
          await fitsTheWidth(page, what);
        }, { language, width, theme });
      }
    });
  }
}

test('what is done with the recordings of a business is set on its page', async (t) => {
  if (!('forms' in (await fleet.api('GET', '/v1/businesses/1')))) return t.skip('this process has no such settings');
  await on('#/businesses/1', async (page) => {
    await page.getByLabel('Forms, in order').fill('wav-dual, mp3');
    await page.getByLabel('Days kept').fill('30');
    await page.getByLabel('Delete at the provider').selectOption('no');
    await axe(page, 'a business');
    await page.locator('.card', { hasText: 'Its recordings' }).getByRole('button', { name: 'Save' }).click();
    await page.getByText('Business 1 is changed.').first().waitFor();
    const { forms, retention_days, delete_at_provider, completion_url } = await fleet.api('GET', '/v1/businesses/1');
    assert.deepEqual([forms, retention_days, delete_at_provider, completion_url], [['wav-dual', 'mp3'], 30, false, null]);
  });
});

test('a recording is kept by a legal hold, and deleted after a question', async (t) => {
  if (!('legal_hold' in (await fleet.api('GET', '/v1/recordings/CA1')))) return t.skip('this process has no legal holds');
  const doomed = await fleet.enqueue(1, 9, { job_type: 'full', recording_sid: 'RE9' });
  await fleet.until(doomed, 'done');
  await on('#/recordings/CA9?business_id=1', async (page) => {
    await page.getByRole('button', { name: 'Legal hold', exact: true }).click();
    await page.getByText('Under a legal hold: nothing deletes it.').first().waitFor();
    await page.getByRole('button', { name: 'Delete' }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'End the legal hold' }).click();
    await page.getByRole('button', { name: 'Delete' }).click();
    await axe(page, 'the question');
    await page.locator('#confirm').click();
    await page.getByText('The recording is deleted.').first().waitFor();
    assert.equal(await page.locator('audio').count(), 0);
  });
});

test('what many jobs wait for is told on top, and lifted at a click', async (t) => {
  if (!(await fleet.api('GET', '/v1/overview')).holds) return t.skip('this process has no holds');
  status = 401;
  const waiting = await fleet.enqueue(1, 3, { job_type: 'full', recording_sid: 'RE3' });
  await on('#/', async (page) => {
    const hold = page.locator('.hold', { hasText: 'account:transcription' });
    await hold.getByText('The account is suspended').waitFor();
    await hold.getByText(/answered 401: Incorrect API/).waitFor();
    await hold.getByText(/1 job/).waitFor();
    await axe(page, 'a hold');
    status = 200;
    await hold.getByRole('button', { name: 'Lift' }).click();
    await fleet.until(waiting, 'done');
    await hold.waitFor({ state: 'detached' });
  });
});
