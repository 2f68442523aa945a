// The state of a fleet that has something on every page: jobs of every state, a business whose slots are full, a paused
// one, migrations of an application, a backfill.

export const FILES = {
  'migrations/1_leads.sql': 'create table public.leads (id bigint generated always as identity primary key, score integer);\ninsert into public.leads (score) select g from generate_series(1, 2500) g;\n',
  'migrations/backfills/lead_scores.sql': '-- callspool: backfill table=public.leads key=id batch=1000\nupdate public.leads set score = score + 1 where id > $1 and id <= $2;\n',
};
export const VARIABLES = { MIGRATIONS_DIR: 'migrations' };

export async function makeScene(fleet) {
  const { provider } = fleet;
  const numbers = (from, count) => Array.from({ length: count }, (_, at) => from + at);
  const done = await Promise.all(numbers(1, 6).map((number) => fleet.enqueue(1 + (number % 3), number)));
  // Gone for good: not tried again.
  provider.refuse(410, 51, 52);
  const dead = [await fleet.enqueue(1, 51), await fleet.enqueue(2, 52)];
  const scheduled = await fleet.enqueue(1, 61, { run_at: '2999-01-01T00:00:00Z' });
  const cancelled = await fleet.enqueue(1, 62, { run_at: '2999-01-01T00:00:00Z' });
  await fleet.api('POST', `/v1/jobs/${cancelled}/cancel`);
  // Five of them have the slots of business 4, and two wait.
  provider.hold(...numbers(71, 7));
  const held = [];
  for (const number of numbers(71, 7)) held.push(await fleet.enqueue(4, number));
  await fleet.api('PATCH', '/v1/businesses/5', { paused: true });
  const paused = [await fleet.enqueue(5, 81), await fleet.enqueue(5, 82)];
  await Promise.all(done.map((id) => fleet.until(id, 'done')));
  await Promise.all(dead.map((id) => fleet.until(id, 'dead')));
  await fleet.until(held[4], 'running');
  return { done, dead, scheduled, cancelled, running: held.slice(0, 5), waiting: held.slice(5), paused };
}
