// What was said, found by its words.

import { query, resource } from './api.js';
import { h } from './dom.js';
import { businessLink, empty, fetched, link, ltr, table } from './parts.js';
import { t, when } from './words.js';

export function transcripts({ params, changed, go }) {
  const filter = { q: params.get('q') ?? '', business_id: params.get('business_id') ?? '' };
  const after = params.get('after') ?? '';
  const page = resource(changed);
  const submit = (event) => {
    event.preventDefault();
    go(query('#/transcripts', Object.fromEntries(new FormData(event.currentTarget))));
  };
  const field = (name, label, more) => h('label', more.type ? null : { class: 'small' }, h('span', null, label), h('input', { name, value: filter[name], autocomplete: 'off', ...more }));

  return {
    title: t('transcripts'),
    load: () => filter.q && page.load(query('/v1/transcripts', { ...filter, after })),
    view: () => [
      h('form', { class: 'filter', role: 'search', onsubmit: submit },
        field('q', t('transcripts.words'), { id: 'search', type: 'search', dir: 'auto', required: true, maxlength: '200' }),
        field('business_id', t('job.business'), { inputmode: 'numeric', pattern: '[0-9]*', dir: 'ltr' }),
        h('button', { class: 'button primary', type: 'submit' }, t('jobs.find'))),
      filter.q ? fetched(page, list) : h('p', { class: 'quiet' }, t('transcripts.hint')),
    ],
  };

  function list({ transcripts: found, next }) {
    if (found.length === 0) return empty(t('transcripts.none'));
    return [
      table(t('transcripts'), [
        { title: t('job.call'), name: true, cell: (it) => link(query(`#/recordings/${it.call_sid}`, { business_id: it.business_id, recording_sid: it.recording_sid }), ltr(it.call_sid)) },
        // Odd parts stand between the marks. Never markup.
        { title: t('transcript'), className: 'wide', cell: (it) => h('span', { dir: 'auto' }, it.snippet.split(/[«»]/).map((part, at) => (at % 2 ? h('mark', null, part) : part))) },
        { title: t('job.business'), cell: (it) => businessLink(it.business_id) },
        { title: t('actions.at'), cell: (it) => when(it.made_at) },
      ], found, (it) => ({ key: `${it.job_id} ${it.made_at}` })),
      next && h('p', null, h('a', { class: 'button', href: query('#/transcripts', { ...filter, after: next }) }, t('pages.next'))),
    ];
  }
}
