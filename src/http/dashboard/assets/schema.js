// The schema: does it fit, who migrates, what failed, how far backfills are.

import { resource } from './api.js';
import { h } from './dom.js';
import { bar, card, chip, empty, english, facts, fetched, icon, ltr, table } from './parts.js';
import { duration, num, percent, since, t, when, word } from './words.js';

const FATE = { applied: 'done', pending: 'scheduled', newer: 'done', drifted: 'dead', missing: 'dead', incompatible: 'dead', failed: 'dead', running: 'running', done: 'done' };

export function schema({ changed }) {
  const [status, migrations] = [resource(changed), resource(changed)];
  return {
    title: t('schema'),
    load: () => Promise.all([status.load('/v1/status'), migrations.load('/v1/migrations')]),
    view: () => [
      fetched(status, top),
      card(t('schema.migrations'), fetched(migrations, (data) => records(data.migrations ?? data))),
    ],
  };

  function top(found) {
    const it = found.schema;
    const [kind, text] = it.incompatible ? ['bad', t('schema.incompatible', { version: num(it.incompatible) })]
      : it.pending > 0 ? ['warn', t('schema.behind', { n: it.pending })] : ['good', t('schema.fits')];
    return [
      h('p', { class: `notice ${kind}` }, icon(kind === 'good' ? 'ok' : 'warn'), text),
      h('div', { class: 'columns' },
        card(t('schema.versions'), facts([[t('schema.have'), num(it.have)], [t('schema.need'), num(it.need)], [t('schema.pending'), num(it.pending)]])),
        card(t('schema.lock'), holder(found.lock_holder))),
      (found.failed_migrations ?? []).length > 0 && card(t('schema.failed'), table(t('schema.failed'), [
        { title: t('version'), name: true, cell: (failed) => ltr(`${failed.set} ${failed.version}`) },
        { title: t('schema.failed_at'), cell: (failed) => when(failed.failed_at) },
        { title: t('schema.reason'), className: 'wide', cell: (failed) => [english(failed.reason), failed.sqlstate && [' ', ltr(failed.sqlstate)]] },
      ], found.failed_migrations, (failed) => ({ key: `${failed.set} ${failed.version}` }))),
      card(t('schema.backfills'), (found.backfills ?? []).length === 0 ? empty(t('schema.no_backfills')) : h('ul', { class: 'slots backfills' }, found.backfills.map(backfill))),
    ];
  }
}

const holder = (it) => !it ? empty(t('schema.unlocked')) : facts([
  [t('schema.holder'), ltr(`pid ${it.pid}`), ' ', ltr(it.app || '–')],
  it.client && [t('schema.client'), ltr(it.client)],
  it.since && [t('schema.held'), since(it.since)],
  it.state && [t('job.state'), ltr(it.state)],
  it.query && [t('schema.query'), ltr(it.query)],
]);

const backfill = (it) =>
  h('li', { key: it.name },
    h('span', { class: 'who' }, ltr(it.name), chip(FATE[it.state], word('state', it.state))),
    bar(Math.round(it.percent ?? 0), 100, it.name),
    h('span', { class: 'much' }, it.percent === null ? '–' : percent(it.percent)),
    h('span', { class: 'more quiet' }, t('backfill.rows', { n: it.rows }), it.rows_per_s && [' · ', t('backfill.rate', { n: Math.round(it.rows_per_s) })], it.last_error && [' · ', english(it.last_error)]));

function records(found) {
  if (found.length === 0) return empty(t('schema.no_migrations'));
  return table(t('schema.migrations'), [
    { title: t('version'), name: true, cell: (it) => ltr(`${it.set === 'callspool' ? '' : `${it.set} `}${it.version}`) },
    { title: t('schema.description'), className: 'wide', cell: (it) => english(it.description) },
    { title: t('job.state'), cell: (it) => chip(FATE[it.state], word('state', it.state)) },
    { title: t('schema.applied'), cell: (it) => when(it.applied_at) },
    { title: t('schema.took'), className: 'number', cell: (it) => duration(it.ms) },
    { title: t('schema.reason'), className: 'wide', cell: (it) => (it.detail ? english(it.detail) : '') },
  ], [...found].reverse(), (it) => ({ key: `${it.set} ${it.version}` }));
}
