// `make screenshots`: the README's pictures, of a real fleet. The hour before them is written down by a migration; what
// they show of now is real.

import { mkdir, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { launch, openPage, settled } from './browser.mjs';
import { eventually, startFleet } from './fleet.mjs';

const IMAGES = fileURLToPath(new URL('../../docs/images/', import.meta.url));
/** So that the README stays quick to load. */
const MOST_BYTES = 150_000;

const HOUR = `-- callspool: compatible=true
insert into callspool.pulse (at, ready, scheduled, running, done, failed, dead, bytes, latency)
select date_bin('10 seconds', now(), timestamptz '2000-01-01 00:00:00Z') - n * interval '10 seconds',
       60 + 45 * sin(n / 19.0) + n % 7, 12 + 6 * cos(n / 11.0), 17 + 3 * sin(n / 19.0),
       14 + 5 * sin(n / 13.0) + n % 3, case when n % 9 = 0 then 2 else 0 end, 0, 4000000,
       array[0, 0, 0, 0, 2, 6 + n % 4, 5 + (3 * sin(n / 17.0))::int, 2 + n % 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  from generate_series(1, 400) n
on conflict do nothing;
`;

const sid = (number) => Buffer.from(String(number * 7919)).toString('hex').padEnd(32, (number * 2654435761 >>> 0).toString(16)).slice(0, 32);
const SLOTS = { 1: 5, 2: 5, 3: 10, 4: 5, 5: 3, 6: 5, 7: 8 };
const BUSY = { 1: 5, 2: 2, 3: 7, 5: 1, 6: 3, 7: 6 };

const fleet = await startFleet({
  files: { 'migrations/1_an_hour.sql': HOUR },
  variables: { MIGRATIONS_DIR: 'migrations', CALLSPOOL__WORKER__COUNT: '32', CALLSPOOL__QUEUE__STALLED_AFTER: '3s' },
});
const browser = await launch();
try {
  await fleet.run({ CALLSPOOL_ROLES: 'worker', CALLSPOOL__WORKER__COUNT: '16' });
  let number = 1;
  const enqueue = (business, more) => {
    number += 1;
    return fleet.enqueue(business, number, { call_sid: `CA${sid(number)}`, ...more });
  };
  for (const [business, max_slots] of Object.entries(SLOTS)) await fleet.api('PATCH', `/v1/businesses/${business}`, { max_slots, weight: business === '3' ? 3 : 1 });
  const stored = [];
  for (let at = 0; at < 40; at += 1) stored.push(await enqueue(1 + (at % 7)));
  for (const id of stored) await fleet.until(id, 'done');
  fleet.provider.hold(...Array.from({ length: 400 }, (_, at) => number + 1 + at));
  for (const [business, count] of Object.entries(BUSY)) for (let at = 0; at < count; at += 1) await enqueue(Number(business));
  await fleet.api('PATCH', '/v1/businesses/4', { paused: true });
  for (let at = 0; at < 12; at += 1) await enqueue(4);
  let waiting;
  for (let at = 0; at < 58; at += 1) waiting = await enqueue(1);
  for (let at = 0; at < 9; at += 1) await enqueue(2, { run_at: new Date(Date.now() + 3_600_000).toISOString() });

  await mkdir(IMAGES, { recursive: true });
  const shoot = async (name, hash, ready, options) => {
    const { page, close } = await openPage(browser, fleet.url, { hash, ...options });
    await settled(page);
    await page.locator(ready).first().waitFor();
    await page.screenshot({ path: `${IMAGES}${name}.png` });
    await close();
    const { size } = await stat(`${IMAGES}${name}.png`);
    console.log(`docs/images/${name}.png: ${size} bytes`);
    if (size > MOST_BYTES) throw new Error(`${name}.png has more than ${MOST_BYTES} bytes`);
  };
  await eventually('both stalls', async () => (await fleet.api('GET', '/v1/overview?minutes=0')).stalls.length === 2);
  await shoot('overview', '#/', '.stall:nth-child(2)');
  await shoot('job', `#/jobs/${waiting}`, '.explain.slots_full', { theme: 'dark' });
  await shoot('businesses-he', '#/businesses', 'tr.paused', { language: 'he-IL' });
} finally {
  await browser.close();
  await fleet.stop();
}
