// Every page on the data of a running fleet: what it says, in both languages and themes, and for everybody.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { axe, fitsTheWidth, launch, openPage, settled } from './browser.mjs';
import { startFleet } from './fleet.mjs';
import { FILES, VARIABLES, makeScene } from './scene.mjs';

/** One actor panics once, so that its tree has something to tell. */
const PANIC = '[[faults]]\nactor = "listener"\nplace = "started"\nkind = "panic"\n';

let fleet;
let browser;
let scene;

before(async () => {
  [fleet, browser] = await Promise.all([startFleet({ files: FILES, variables: VARIABLES, config: PANIC }), launch()]);
  scene = await makeScene(fleet);
});
after(async () => {
  await browser?.close();
  await fleet?.stop();
});

const all = () => [
  ['overview', '#/'],
  ['jobs', '#/jobs'],
  ['dead jobs', '#/jobs?state=dead'],
  ['a job that waits', `#/jobs/${scene.waiting[0]}`],
  ['a job that runs', `#/jobs/${scene.running[0]}`],
  ['a job that is done', `#/jobs/${scene.done[0]}`],
  ['a job that is dead', `#/jobs/${scene.dead[0]}`],
  ['a scheduled job', `#/jobs/${scene.scheduled}`],
  ['businesses', '#/businesses'],
  ['a business', '#/businesses/4'],
  ['a paused business', '#/businesses/5'],
  ['instances', '#/instances'],
  ['schema', '#/schema'],
];

/** On a page of its own, which has to be clean in the end. */
async function on(hash, look, options = {}) {
  const it = await openPage(browser, fleet.url, { hash, ...options });
  await settled(it.page);
  await look(it.page, it);
  await it.close();
}

test('the overview says what is stuck, why, since when and what to press', () =>
  on('#/', async (page) => {
    const full = page.locator('.stall', { hasText: 'All slots are in use' });
    await full.waitFor();
    assert.match(await full.innerText(), /for \d+/);
    await full.getByRole('link', { name: 'Raise its slots' }).click();
    await page.getByRole('heading', { level: 1, name: 'Business 4' }).waitFor();
    await page.goBack();
    const paused = page.locator('.stall', { hasText: 'The business is paused' });
    await paused.getByRole('button', { name: 'Resume' }).waitFor();
  }));

test('the overview counts jobs by state, and each count leads to its jobs', () =>
  on('#/', async (page) => {
    for (const [name, count] of [['Running', '5'], ['Dead', '2'], ['Done', '6'], ['Ready', '4'], ['Instances', '1']]) {
      await page.locator('.tile', { hasText: name }).locator('strong', { hasText: new RegExp(`^${count}$`) }).waitFor();
    }
    await page.locator('.tile', { hasText: 'Dead' }).click();
    await page.locator('tbody tr').nth(1).waitFor();
    assert.equal(await page.locator('tbody tr').count(), 2);
  }));

test('plots are read by keyboard and as a table', () =>
  on('#/', async (page) => {
    const plot = page.getByRole('slider', { name: 'Backlog' });
    await plot.focus();
    await page.keyboard.press('ArrowLeft');
    const one = await plot.getAttribute('aria-valuetext');
    assert.match(one, /^\d\d:\d\d:\d\d: ready .*, scheduled .*, running /);
    await page.keyboard.press('Home');
    assert.notEqual(await plot.getAttribute('aria-valuetext'), one);
    assert.equal(await plot.getAttribute('aria-valuenow'), '0');
    const figure = page.locator('figure', { hasText: 'Throughput' });
    await figure.getByText('As a table').click();
    await figure.getByRole('columnheader', { name: 'stored' }).waitFor();
    assert.ok((await figure.locator('tbody tr').count()) > 50);
  }));

test('plots show longer times at a click', () =>
  on('#/', async (page) => {
    const answer = page.waitForResponse((response) => response.url().endsWith('/v1/overview?minutes=361'));
    await page.getByRole('button', { name: '6h' }).click();
    assert.equal((await answer).status(), 200);
    assert.equal(await page.getByRole('button', { name: '6h' }).getAttribute('aria-pressed'), 'true');
  }));

test('slots stand beside each business as a bar', () =>
  on('#/', async (page) => {
    const meter = page.getByRole('meter', { name: 'Slots of business 4 in use' });
    await meter.waitFor();
    assert.deepEqual([await meter.getAttribute('aria-valuenow'), await meter.getAttribute('aria-valuemax')], ['5', '5']);
  }));

test('jobs are found by state, business and call', () =>
  on('#/jobs', async (page) => {
    await page.getByRole('link', { name: /^running/i }).click();
    await page.locator('.chip.running').nth(4).waitFor();
    assert.equal(await page.locator('tbody tr').count(), 5);
    await page.getByRole('link', { name: 'all', exact: true }).click();
    await page.getByLabel('Business', { exact: true }).fill('5');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.waitForURL(/business_id=5/);
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 2);
    await page.getByRole('link', { name: 'Clear' }).click();
    await page.getByLabel('Call SID or job number').fill('CA61');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    await page.getByRole('link', { name: 'CA61' }).click();
    await page.getByRole('heading', { level: 1, name: `Job #${scene.scheduled}` }).waitFor();
    await page.getByRole('link', { name: 'Jobs' }).first().click();
    await page.getByLabel('Call SID or job number').fill(String(scene.dead[0]));
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: `Job #${scene.dead[0]}` }).waitFor();
  }));

test('a job that waits says which jobs hold its slots, and what to do', () =>
  on(`#/jobs/${scene.waiting[0]}`, async (page) => {
    const why = page.locator('.explain');
    await why.getByText('All slots are in use').waitFor();
    await why.getByText('5 of 5 slots of business 4 are in use').waitFor();
    assert.equal(await why.getByRole('listitem').count(), 5);
    await why.getByText(/callspool businesses set 4 --max-slots 6/).waitFor();
    await why.getByRole('link', { name: 'CA71' }).click();
    await page.locator('.explain.running').waitFor();
  }));

test('a job that is dead shows its attempts and why they failed', () =>
  on(`#/jobs/${scene.dead[0]}`, async (page) => {
    await page.locator('.timeline').getByText('Attempt 1 failed').waitFor();
    await page.locator('.timeline').getByText('http_status').or(page.locator('.timeline').getByText('gone')).first().waitFor();
    await page.getByRole('button', { name: 'Retry' }).waitFor();
  }));

test('the recording of a job that is done is played', () =>
  on(`#/jobs/${scene.done[0]}`, async (page) => {
    await page.locator('audio').waitFor();
    const seconds = await page.evaluate(async () => {
      const audio = document.querySelector('audio');
      audio.muted = true;
      await audio.play();
      await new Promise((resolve) => audio.addEventListener('timeupdate', () => audio.currentTime > 0 && resolve()));
      return audio.duration;
    });
    assert.ok(seconds > 20, `${seconds} s`);
    await page.getByText('audio/mpeg').waitFor();
    assert.equal(await page.getByText('cannot be played').count(), 0);
  }));

test('businesses are listed with slots, and one has its history of jobs and of what operators did', () =>
  on('#/businesses', async (page) => {
    const row = page.locator('tbody tr', { hasText: 'Business 5' });
    await row.getByText('paused').waitFor();
    await row.getByRole('link', { name: 'Business 5' }).click();
    await page.getByText(/Paused for .* by loopback/).waitFor();
    await page.locator('section', { hasText: 'Who did what' }).last().getByText('loopback').waitFor();
    await page.locator('section', { hasText: 'Recent jobs' }).getByText('CA82').waitFor();
  }));

test('instances show the tree of their actors, and where one panicked last', () =>
  on('#/instances', async (page) => {
    for (const actor of ['supervisor', 'migration', 'slot_manager', 'listener', 'maintenance', 'http']) {
      await page.locator('.tree .actor', { hasText: actor }).waitFor();
    }
    await page.locator('.tree summary', { hasText: /recording_worker.*\d+ of \d+ up/ }).click();
    await page.locator('.tree .actor', { hasText: 'recording_worker-0' }).waitFor();
    const actor = (name) => page.locator('.tree ul > li', { has: page.getByText(name, { exact: true }) }).last();
    await actor('slot_manager').getByText('generation 1').waitFor();
    await actor('listener').getByText('generation 2').waitFor();
    await actor('listener').getByText('restarts: 1').waitFor();
    await actor('listener').getByText(/src\/.+\.rs:\d+/).waitFor();
  }));

test('the schema shows versions, migrations of both sets, and backfills', () =>
  on('#/schema', async (page) => {
    await page.getByText('The schema fits this program.').waitFor();
    await page.locator('tbody tr', { hasText: 'application 1' }).getByText('applied').waitFor();
    await page.locator('.backfills li', { hasText: 'lead_scores' }).getByText('done').waitFor();
    await page.getByText('Nobody holds it.').waitFor();
  }));

for (const language of ['en-GB', 'he-IL']) {
  for (const theme of ['light', 'dark']) {
    test(`axe finds nothing serious on any page: ${language}, ${theme}`, async () => {
      const it = await openPage(browser, fleet.url, { language, theme });
      for (const [name, hash] of all()) {
        await it.page.goto(`${fleet.url}/${hash}`);
        await settled(it.page);
        await axe(it.page, name);
      }
      await it.close();
    });
  }

  test(`no page scrolls sideways on a phone: ${language}`, async () => {
    const it = await openPage(browser, fleet.url, { language, width: 360, height: 740 });
    for (const [name, hash] of all()) {
      await it.page.goto(`${fleet.url}/${hash}`);
      await settled(it.page);
      await fitsTheWidth(it.page, name);
      assert.ok(await it.page.getByRole('navigation').first().isVisible(), name);
    }
    await axe(it.page, 'on a phone');
    await it.close();
  });
}

test('the language is the browser’s, and another one at a click, for good', () =>
  on('#/businesses', async (page) => {
    assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['he', 'rtl']);
    await page.getByRole('heading', { level: 1, name: 'עסקים' }).waitFor();
    // Ids and SIDs read from left to right all the same.
    await page.goto(`${fleet.url}/#/jobs`);
    assert.equal(await page.locator('tbody th bdi').first().getAttribute('dir'), 'ltr');
    await page.getByRole('button', { name: 'English' }).click();
    await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor();
    await page.reload();
    assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['en', 'ltr']);
  }, { language: 'he-IL' }));

test('what is not in a known language is in English', () =>
  on('#/', async (page) => assert.equal(await page.evaluate(() => document.documentElement.lang), 'en'), { language: 'fr-FR' }));

test('both languages have the same texts with the same places', async () => {
  const places = (text) => (typeof text === 'string' ? [...new Set(text.match(/\{\w+\}/g) ?? [])].sort().join() : places(text.other));
  // The files: what is sent has no keys in Hebrew.
  const texts = async (name) => {
    const text = await readFile(new URL(`../../src/http/dashboard/assets/${name}.js`, import.meta.url), 'utf8');
    const { default: all } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
    return Object.fromEntries(Object.entries(all).map(([key, text]) => [key, places(text)]));
  };
  const [english, hebrew] = [await texts('en'), await texts('he')];
  // The server explains in English; in Hebrew the page says it itself.
  const own = Object.keys(hebrew).filter((key) => /^why\.\w+$/.test(key) && !(key in english));
  for (const key of own) delete hebrew[key];
  assert.deepEqual(hebrew, english);
});

test('the theme is the system’s, and another one at a click, for good', () =>
  on('#/', async (page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ground();
    await page.getByRole('button', { name: 'Light theme' }).click();
    const light = await ground();
    assert.notEqual(light, dark);
    await page.reload();
    await settled(page);
    assert.equal(await ground(), light);
  }, { theme: 'dark' }));

test('however many look, pages that are not streamed ask for no more together', async () => {
  // All of it is one script in the browser: the module alone, without what it asks the server by.
  const text = await readFile(new URL('../../src/http/dashboard/assets/live.js', import.meta.url), 'utf8');
  const { refreshEvery } = await import(`data:text/javascript,${encodeURIComponent(text.replace(/^import .*$/m, ''))}`);
  const paces = [1, 50, 200].map((viewers) => (viewers * 1000) / refreshEvery(viewers));
  assert.ok(paces.every((pages) => pages <= 2), `${paces} pages a second`);
});

test('a page that does not exist and a job that is not there say so', async () => {
  await on('#/nowhere', async (page) => page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor());
  const it = await openPage(browser, fleet.url, { hash: '#/jobs/999999', expected: [/status of 404/] });
  await it.page.getByText('there is no job 999999').waitFor();
  await it.close();
});
