// One business: its slots now, its settings, its recent jobs, and who did what.

import { query, resource } from './api.js';
import { keeping, newest, pauseButton, settings } from './businesses.js';
import { h } from './dom.js';
import { columns } from './jobs.js';
import { bar, card, chip, empty, english, facts, fetched, jobLink, link, ltr, table } from './parts.js';
import { num, since, t, when, word } from './words.js';

export function business({ id, changed, may }) {
  const path = `/v1/businesses/${encodeURIComponent(id)}`;
  const [it, recent, actions] = [resource(changed), resource(changed), resource(changed)];
  const load = async () => {
    await Promise.all([it.load(path), recent.load(query('/v1/jobs', { business_id: id, limit: 10 })), actions.load(`${path}/actions`)]);
    if (it.data) it.data.readAt = Date.now();
  };

  return {
    title: t('business.name', { id: ltr(id, 'id') }),
    load,
    up: ['#/businesses', t('businesses')],
    view: () => it.error?.status === 404 ? unmet() : fetched(it, (found) => view(newest(found))),
  };

  // It may be set up before its first job.
  function unmet() {
    return [h('p', { class: 'notice' }, english(it.error.message)), may('operate') && card(t('business.settings'), settings({ business_id: id, max_slots: 5, weight: 1 }, load))];
  }

  function view(found) {
    const count = (name) => [t(`many.${name}`), found[name] > 0 ? link(query('#/jobs', { state: name, business_id: id }), num(found[name])) : num(found[name] ?? 0)];
    return [
      found.paused && h('p', { class: 'notice warn', key: 'paused' }, h('span', null, t('business.is_paused', { since: since(found.paused_at), by: ltr(found.paused_by ?? '–') }), ' ', t('business.pause_means')), may('operate') && pauseButton(found, load)),
      h('div', { class: 'columns' },
        card(t('slots'),
          h('div', { class: 'metered big' }, bar(found.running, found.max_slots, t('slots.label', { id })), h('span', null, t('slots.of', { used: found.running, limit: found.max_slots }))),
          facts([count('ready'), count('scheduled'), count('dead'), count('done'), count('cancelled'), [t('business.waiting'), found.ready > 0 ? since(found.waiting_since) : '–']])),
        card(t('business.settings'),
          may('operate') ? [settings(found, load), !found.paused && h('div', { class: 'row', key: 'pause' }, pauseButton(found, load), h('span', { class: 'quiet' }, t('business.pause_means')))]
            : facts([[t('business.max_slots'), num(found.max_slots)], [t('business.weight'), num(found.weight)], [t('job.state'), found.paused ? chip('paused', t('paused')) : t('business.works')]]))),
      'forms' in found && may('operate') && card(t('business.keeping'), keeping(found, load)),
      card(t('business.recent'), fetched(recent, ({ jobs }) => jobs.length === 0 ? empty(t('jobs.none')) : [
        table(t('business.recent'), columns(false), jobs, (job) => ({ key: job.id })),
        h('p', null, link(query('#/jobs', { business_id: id }), t('business.all_jobs')))])),
      card(t('business.history'), fetched(actions, (data) => history(data.actions ?? data))),
    ];
  }

  function history(found) {
    if (found.length === 0) return empty(t('actions.none'));
    return table(t('business.history'), [
      { title: t('actions.at'), name: true, cell: (action) => when(action.at) },
      { title: t('actions.who'), cell: (action) => ltr(action.operator) },
      { title: t('actions.what'), cell: (action) => word('action', action.action) },
      { title: t('actions.detail'), className: 'wide', cell: (action) => english(action.detail) },
      { title: t('actions.job'), cell: (action) => (action.job_id ? jobLink({ job_id: action.job_id }) : '') },
    ], found, (action) => ({ key: `${action.at} ${action.action} ${action.job_id ?? ''}` }));
  }
}
