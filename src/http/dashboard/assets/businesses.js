// Businesses: slots, weight and pause at a click.

import { query, resource, send } from './api.js';
import { h } from './dom.js';
import { act } from './dialog.js';
import { PAGE } from './jobs.js';
import { live } from './live.js';
import { bar, businessLink, button, chip, empty, fetched, table } from './parts.js';
import { num, since, t } from './words.js';

/** What the database allows. */
export const BOUNDS = { max_slots: [0, 10_000], weight: [1, 100] };

/** One row: the stream's where it is among the busiest, which is newer. */
export const newest = (business) => live.overview?.businesses?.find((it) => it.business_id === business.business_id && live.receivedAt > (business.readAt ?? 0)) ?? business;

export const change = (id, values, done) => act(() => send('PATCH', `/v1/businesses/${encodeURIComponent(id)}`, values), () => done);

export function pauseButton(it, after) {
  const id = String(it.business_id);
  const toggle = async () => {
    await change(it.business_id, { paused: !it.paused }, t(it.paused ? 'business.resumed' : 'business.paused', { id }));
    await after();
  };
  // The name says which: a page has many of them.
  const name = t(it.paused ? 'business.resume' : 'business.pause', { id });
  return button(t(it.paused ? 'resume' : 'pause'), { picture: it.paused ? 'play' : 'pause', kind: it.paused ? 'primary' : '', 'aria-label': name, onclick: toggle });
}

const field = (it, name, more) => {
  const [min, max] = BOUNDS[name];
  return h('input', { type: 'number', name, min, max, required: true, value: String(it[name]), dir: 'ltr', ...more });
};

const submitted = (it, after) => async (event) => {
  event.preventDefault();
  const form = new FormData(event.currentTarget);
  const values = { max_slots: Number(form.get('max_slots')), weight: Number(form.get('weight')) };
  if (await change(it.business_id, values, t('business.changed', { id: String(it.business_id) }))) await after();
};

const save = () => h('button', { type: 'submit', class: 'button primary' }, t('save'));

const labelled = (name, input) => h('label', { class: 'small' }, h('span', null, t(`business.${name}`)), input);

/** Slots and weight of one business, as a form. */
export const settings = (it, after) =>
  h('form', { class: 'settings', onsubmit: submitted(it, after) }, ['max_slots', 'weight'].map((name) => labelled(name, field(it, name))), save());

const CHOICES = ['', 'true', 'false'];

/** What is done with the recordings of one business. What is left empty is as configured for all. */
export function keeping(it, after) {
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name) => form.get(name).trim() || null;
    const values = {
      forms: text('forms')?.split(/[,\s]+/) ?? null,
      retention_days: text('retention_days') && Number(text('retention_days')),
      delete_at_provider: text('delete_at_provider') && text('delete_at_provider') === 'true',
      completion_url: text('completion_url'),
    };
    if (await change(it.business_id, values, t('business.changed', { id: String(it.business_id) }))) await after();
  };
  const input = (name, more) => labelled(name, h('input', { name, value: String(it[name] ?? ''), dir: 'ltr', autocomplete: 'off', ...more }));
  return h('form', { class: 'settings keeping', onsubmit: submit },
    input('forms', { placeholder: 'wav-dual, mp3', value: (it.forms ?? []).join(', ') }),
    input('retention_days', { type: 'number', min: 0, max: 36500 }),
    labelled('delete_at_provider', h('select', { name: 'delete_at_provider', value: String(it.delete_at_provider ?? '') }, CHOICES.map((value) => h('option', { value, key: value }, t(`choice.${value}`))))),
    input('completion_url', { type: 'url' }),
    save(), h('p', { class: 'quiet' }, t('business.default')));
}

export function businesses({ params, changed, may, go }) {
  const after = params.get('after') ?? '';
  const page = resource(changed);
  let edited = null;
  const load = async () => {
    await page.load(query('/v1/businesses', { after, limit: PAGE }));
    for (const business of page.data?.businesses ?? []) business.readAt ??= Date.now();
  };
  const edit = (id) => {
    edited = id;
    changed();
  };

  /** In a row that is edited each field stands in its own column, and belongs to the form at the end. */
  const within = (it, name) => edited === it.business_id ? field(it, name, { form: 'edit', 'aria-label': t(`business.${name}`), onkeydown: (event) => event.key === 'Escape' && edit(null), ref: (node) => name === 'max_slots' && node.focus() }) : null;

  return {
    title: t('businesses'),
    load,
    held: () => edited !== null,
    view: () => [find(), fetched(page, list)],
  };

  function find() {
    const submit = (event) => {
      event.preventDefault();
      const id = new FormData(event.currentTarget).get('id').trim();
      if (id) go(`#/businesses/${encodeURIComponent(id)}`);
    };
    return h('form', { class: 'filter', role: 'search', onsubmit: submit },
      h('label', { class: 'small' }, h('span', null, t('businesses.go')), h('input', { id: 'search', type: 'text', inputmode: 'numeric', pattern: '[0-9]+', name: 'id', dir: 'ltr', autocomplete: 'off' })),
      h('button', { type: 'submit', class: 'button' }, t('jobs.find')));
  }

  function list({ businesses: found, next }) {
    if (found.length === 0) return empty(t('businesses.none'));
    const count = (name) => ({ title: t(`many.${name}`), className: 'number', cell: (it) => (it[name] ? h('a', { href: query('#/jobs', { state: name, business_id: it.business_id }) }, num(it[name])) : num(0)) });
    const columns = [
      { title: t('job.business'), name: true, cell: (it) => [businessLink(it.business_id), it.paused && chip('paused', t('paused'))] },
      { title: t('slots'), className: 'meter', cell: (it) => within(it, 'max_slots') ?? h('div', { class: 'metered' }, bar(it.running, it.max_slots, t('slots.label', { id: String(it.business_id) }), it.paused ? 'idle' : ''), h('span', null, t('slots.of', { used: it.running, limit: it.max_slots }))) },
      { title: t('business.weight'), className: 'number', cell: (it) => within(it, 'weight') ?? num(it.weight) },
      count('ready'), count('scheduled'), count('dead'),
      { title: t('business.waiting'), cell: (it) => (it.ready > 0 && it.waiting_since ? since(it.waiting_since) : '–') },
      may('operate') && { title: h('span', { class: 'unseen' }, t('actions')), className: 'end', cell: (it) => edited === it.business_id ? h('form', { id: 'edit', class: 'row end', onsubmit: submitted(it, async () => { await load(); edit(null); }) }, save(), button(t('back'), { onclick: () => edit(null) })) : h('div', { class: 'row end' }, pauseButton(it, load), button(t('edit'), { picture: 'edit', 'aria-label': t('business.edit', { id: String(it.business_id) }), onclick: () => edit(it.business_id) })) },
    ].filter(Boolean);
    return [
      table(t('businesses'), columns, found.map(newest), (it) => ({ key: it.business_id, class: it.paused ? 'paused' : null })),
      h('nav', { class: 'row between pages', 'aria-label': t('nav') },
        after ? h('a', { class: 'button', href: '#/businesses' }, t('pages.first')) : h('span', null),
        next ? h('a', { class: 'button', href: query('#/businesses', { after: next }) }, t('pages.next')) : h('span', null)),
    ];
  }
}
