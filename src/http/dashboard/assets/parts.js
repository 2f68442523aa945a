// What several pages are made of.

import { h } from './dom.js';
import { t, word } from './words.js';

const ICONS = {
  overview: 'M4 13h4v7H4zM10 8h4v12h-4zM16 4h4v16h-4z',
  jobs: 'M4 6h16M4 12h16M4 18h10',
  transcripts: 'M4 5h16v11H10l-5 4v-4H4zM8 9h8M8 12h5',
  businesses: 'M4 20V8l8-4 8 4v12M9 20v-5h6v5M9 10h.01M15 10h.01',
  instances: 'M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01',
  schema: 'M4 6c0-3 16-3 16 0v12c0 3-16 3-16 0zM4 6c0 3 16 3 16 0M4 12c0 3 16 3 16 0',
  ok: 'M5 12.5l4.5 4.5L19 7.5',
  warn: 'M12 4l9 16H3zM12 10v4M12 17h.01',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5l11 7-11 7z',
  retry: 'M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5',
  cross: 'M6 6l12 12M18 6L6 18',
  moon: 'M19 14a8 8 0 0 1-9-9 8 8 0 1 0 9 9z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1M12 20v1M3 12h1M20 12h1M5.6 5.6l.7.7M17.7 17.7l.7.7M18.4 5.6l-.7.7M6.3 17.7l-.7.7',
  out: 'M14 5H5v14h9M10 12h10M17 8l4 4-4 4',
  keys: 'M3 7h18v10H3zM7 10h.01M11 10h.01M15 10h.01M8 14h8',
  clock: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4l3 2',
  edit: 'M5 19l1-4L16 5l3 3L9 18z',
};

export const icon = (name) =>
  h('svg', { class: `icon ${name}`, viewBox: '0 0 24 24', 'aria-hidden': 'true' }, h('path', { d: ICONS[name] }));

/** Ids, SIDs, codes, hosts and commands: from left to right in any language. */
export const ltr = (text, className) => h('bdi', { dir: 'ltr', class: className || 'mono' }, text);
/** A sentence of the server's, which is in English. */
export const english = (text) => h('span', { dir: 'auto', lang: 'en' }, text);

export const chip = (kind, text) => h('span', { class: `chip ${kind}` }, text);
export const state = (name) => chip(name, word('state', name));

export const link = (href, ...children) => h('a', { href }, ...children);
export const jobLink = (job) => link(`#/jobs/${job.id ?? job.job_id}`, ltr(job.call_sid ?? `#${job.job_id}`));
export const businessLink = (id) => link(`#/businesses/${id}`, t('business.name', { id: ltr(String(id), 'id') }));

export function button(text, props = {}) {
  const { picture, kind, ...rest } = props;
  return h('button', { type: 'button', class: `button ${kind ?? ''}`, ...rest }, picture && icon(picture), h('span', null, text));
}

/** How much of a limit is in use. */
export function bar(used, limit, label, className = '') {
  const share = limit > 0 ? Math.min(used / limit, 1) : used > 0 ? 1 : 0;
  const fullness = used >= limit && used > 0 ? 'full' : '';
  const props = { class: `bar ${fullness} ${className}`, role: 'meter', 'aria-label': label, 'aria-valuemax': String(Math.max(limit, used, 1)), 'aria-valuenow': String(used), 'aria-valuetext': t('slots.of', { used, limit }) };
  return h('div', props, h('i', { style: { 'inline-size': `${share * 100}%` } }));
}

/** A table. Columns: `{ title, cell(row), name?: true for the row's heading, className? }`. */
export function table(caption, columns, rows, rowProps = () => ({})) {
  const cell = (column, row) =>
    column.name
      ? h('th', { scope: 'row', class: column.className }, column.cell(row))
      : h('td', { class: column.className }, column.cell(row));
  return h('div', { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: '0' },
    h('table', null,
      h('caption', { class: 'unseen' }, caption),
      h('thead', null, h('tr', null, columns.map((column) => h('th', { scope: 'col', class: column.className }, column.title)))),
      h('tbody', null, rows.map((row) => h('tr', rowProps(row), columns.map((column) => cell(column, row)))))));
}

/** Names and values. */
export const facts = (pairs) =>
  h('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, ...value]) => h('div', null, h('dt', null, name), h('dd', null, ...value))));

export const card = (title, ...children) => h('section', { class: 'card' }, title && h('h2', null, title), ...children);
export const empty = (text) => h('p', { class: 'empty' }, text);


/** The last state that a fetch left: `{ data, error, loading }`. */
export function fetched(it, view) {
  if (it.data !== undefined) return [it.error && h('p', { class: 'notice warn', key: 'stale' }, icon('warn'), t('data.stale'), ' ', problem(it.error)), view(it.data)];
  return it.error ? h('p', { class: 'notice warn' }, icon('warn'), problem(it.error)) : h('p', { class: 'empty', 'aria-busy': 'true' }, t('loading'));
}

/** What went wrong, in the reader's language where it is known. */
export const problem = (error) => (error.code && t(`problem.${error.code}`) !== `problem.${error.code}` ? t(`problem.${error.code}`) : english(error.message));

export const lastError = (error) => error && h('span', { class: 'fault' }, ltr(error.code), ' ', english(error.message));
