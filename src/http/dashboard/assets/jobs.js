// Jobs by state, business and call; one, several or all that match are tried again or cancelled.

import { query, resource, send } from './api.js';
import { h } from './dom.js';
import { act, confirm } from './dialog.js';
import { live } from './live.js';
import { businessLink, button, empty, fetched, jobLink, lastError, ltr, state, table } from './parts.js';
import { num, short, t, when } from './words.js';

export const STATES = ['ready', 'running', 'scheduled', 'dead', 'cancelled', 'done'];
export const MAY_RETRY = new Set(['dead', 'cancelled', 'scheduled']);
export const MAY_CANCEL = new Set(['ready', 'scheduled', 'running']);
export const PAGE = 50;

/** Where the pages before this one began, so that there is a way back: the API only goes forward. */
const trail = [];

/** The point in time that a list of this state is about. */
const moment = (job) => job.finished_at ?? (job.state === 'scheduled' ? job.run_at : job.started_at) ?? job.enqueued_at;

export const columns = (withBusiness) => [
  { title: t('job.call'), name: true, cell: jobLink },
  { title: t('job.state'), cell: (job) => [state(job.state), job.job_type !== 'download_only' && [' ', ltr(job.job_type, 'chip')]] },
  withBusiness && { title: t('job.business'), cell: (job) => businessLink(job.business_id) },
  { title: t('job.attempt'), className: 'number', cell: (job) => t('slots.of', { used: job.attempt, limit: job.max_attempts }) },
  { title: t('job.enqueued'), cell: (job) => when(job.enqueued_at) },
  { title: t('job.moment'), cell: (job) => when(moment(job)) },
  { title: t('job.error'), className: 'wide', cell: (job) => lastError(job.last_error) ?? '' },
].filter(Boolean);

export function jobs({ params, changed, may, go }) {
  const filter = { state: params.get('state') ?? '', business_id: params.get('business_id') ?? '', call_sid: params.get('call_sid') ?? '' };
  const after = params.get('after') ?? '';
  if (!after) trail.length = 0;
  const page = resource(changed);
  const selected = new Set();
  let business = null;

  const load = () => page.load(query('/v1/jobs', { ...filter, after, limit: PAGE }));
  const show = (change) => go(query('#/jobs', { ...filter, ...change }));
  const rows = () => page.data?.jobs ?? [];
  const chosen = () => rows().filter((job) => selected.has(job.id));

  /** How many match, where the fleet's counters know it. */
  const matching = () => {
    if (filter.call_sid) return page.data?.next ? null : rows().length;
    if (filter.business_id) return business?.data?.[filter.state] ?? null;
    return live.overview?.backlog?.[filter.state] ?? null;
  };

  async function ask(action, ids) {
    const count = ids ? ids.length : matching();
    const what = t(`bulk.${action}`, { jobs: count === null ? t('jobs.all') : t('jobs.n', { n: count }) });
    if (!(await confirm(`${what}?`, t(`bulk.${action}.text`), what, action === 'cancel' ? 'danger' : 'primary'))) return;
    await act(() => (ids ? send('POST', `/v1/jobs/${action}`, { ids }) : all(action)), ({ changed: n }) => t(`bulk.${action}.done`, { jobs: t('jobs.n', { n }) }));
    selected.clear();
    await load();
  }

  // As many requests as it takes, from the newest job to the oldest.
  async function all(action) {
    const total = { changed: 0 };
    for (let page = {}; ; ) {
      const { changed: some, results, more } = await send('POST', `/v1/jobs/${action}`, { ...wanted(), ...page });
      total.changed += some;
      if (!more || results.length === 0) return total;
      page = { after: results[0].id };
    }
  }
  const wanted = () => Object.fromEntries(Object.entries(filter).filter(([, value]) => value).map(([name, value]) => [name, name === 'business_id' ? Number(value) : value]));

  return {
    title: t('jobs'),
    load: () => {
      if (filter.business_id) (business ??= resource(changed)).load(`/v1/businesses/${encodeURIComponent(filter.business_id)}`);
      return load();
    },
    /** Not under somebody's hands: rows that move away while they are selected. */
    held: () => selected.size > 0,
    view: () => [search(), states(), fetched(page, list)],
  };

  function search() {
    const submit = (event) => {
      event.preventDefault();
      const form = new FormData(event.currentTarget);
      const sought = form.get('call_sid').trim();
      if (/^\d+$/.test(sought)) return go(`#/jobs/${sought}`);
      show({ call_sid: sought, business_id: form.get('business_id').trim() });
    };
    return h('form', { class: 'filter', role: 'search', onsubmit: submit },
      h('label', null, h('span', null, t('jobs.search')), h('input', { id: 'search', type: 'search', name: 'call_sid', value: filter.call_sid, dir: 'ltr', autocomplete: 'off', spellcheck: 'false', placeholder: 'CA…' })),
      h('label', { class: 'small' }, h('span', null, t('job.business')), h('input', { type: 'text', inputmode: 'numeric', pattern: '[0-9]*', name: 'business_id', value: filter.business_id, dir: 'ltr', autocomplete: 'off' })),
      h('button', { class: 'button primary', type: 'submit' }, t('jobs.find')),
      (filter.call_sid || filter.business_id) && h('a', { class: 'button', href: query('#/jobs', { state: filter.state }) }, t('jobs.clear')));
  }

  function states() {
    const counts = filter.business_id ? business?.data : live.overview?.backlog;
    return h('nav', { class: 'tabs', 'aria-label': t('jobs.states') }, ['', ...STATES].map((name) =>
      h('a', { key: name, href: query('#/jobs', { ...filter, state: name }), 'aria-current': name === filter.state ? 'page' : null },
        name ? t(`many.${name}`) : t('jobs.every'), name && counts && !filter.call_sid && h('span', { class: 'count' }, short(counts[name] ?? 0)))));
  }

  function list({ jobs: found, next }) {
    if (found.length === 0) return empty(t('jobs.none'));
    const every = found.every((job) => selected.has(job.id));
    const box = {
      title: h('input', { type: 'checkbox', 'aria-label': t('jobs.select_all'), checked: every, indeterminate: !every && selected.size > 0, onchange: (event) => {
        for (const job of found) selected[event.currentTarget.checked ? 'add' : 'delete'](job.id);
        changed();
      } }),
      className: 'box',
      cell: (job) => h('input', { type: 'checkbox', 'aria-label': t('jobs.select', { sid: job.call_sid }), checked: selected.has(job.id), onchange: (event) => {
        selected[event.currentTarget.checked ? 'add' : 'delete'](job.id);
        changed();
      } }),
    };
    return [
      may('operate') && h('div', { class: 'bulk', key: 'bulk' }, bulk()),
      table(t('jobs'), [may('operate') && box, ...columns(true)].filter(Boolean), found, (job) => ({ key: job.id, class: selected.has(job.id) ? 'selected' : null })),
      h('nav', { class: 'row between pages', 'aria-label': t('nav') },
        after ? button(trail.length ? t('pages.previous') : t('pages.first'), { onclick: () => show({ after: trail.pop() }) }) : h('span', null),
        next ? button(t('pages.next'), { onclick: () => { trail.push(after); show({ after: next }); } }) : h('span', null)),
    ];
  }

  function bulk() {
    const some = chosen();
    if (some.length > 0) {
      const ids = (set) => some.filter((job) => set.has(job.state)).map((job) => job.id);
      const [retry, cancel] = [ids(MAY_RETRY), ids(MAY_CANCEL)];
      return [
        h('span', null, t('jobs.selected', { jobs: t('jobs.n', { n: some.length }) })),
        button(t('retry'), { picture: 'retry', disabled: retry.length === 0, onclick: () => ask('retry', retry) }),
        button(t('cancel'), { picture: 'cross', kind: 'danger', disabled: cancel.length === 0, onclick: () => ask('cancel', cancel) }),
        button(t('jobs.unselect'), { kind: 'plain', onclick: () => { selected.clear(); changed(); } }),
      ];
    }
    const count = matching();
    const all = (text) => (count === null ? text : [text, ' (', num(count), ')']);
    return [
      h('span', { class: 'quiet' }, filter.state ? t('jobs.matching') : t('jobs.hint')),
      MAY_RETRY.has(filter.state) && button(all(t('jobs.retry_all')), { picture: 'retry', onclick: () => ask('retry', null) }),
      MAY_CANCEL.has(filter.state) && button(all(t('jobs.cancel_all')), { picture: 'cross', kind: 'danger', onclick: () => ask('cancel', null) }),
    ];
  }
}
