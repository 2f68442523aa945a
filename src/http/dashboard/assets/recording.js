// A stored recording: its player, what is known of it, what is said in it, and what operators do with it.

import { query, resource, send } from './api.js';
import { act, confirm } from './dialog.js';
import { h } from './dom.js';
import { businessLink, button, card, empty, english, facts, fetched, ltr } from './parts.js';
import { bytes, duration, full, t, when } from './words.js';

const address = (of, more = '') => query(`/v1/recordings/${encodeURIComponent(of.call_sid)}${more}`, { business_id: of.business_id, recording_sid: of.recording_sid });
const position = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

/** The cards of one recording: `of` names its call, business and SID. */
export function player(of, changed, may) {
  const [it, words] = [resource(changed), resource(changed)];
  let unplayable = false;
  let gone = false;

  async function load() {
    if (gone) return;
    await it.load(address(of));
    if (it.data?.transcript && !words.data) await words.load(address(it.data, '/transcript'));
  }
  const keep = async (legal_hold) => {
    await act(() => send('PATCH', address(of), { legal_hold }), () => t(legal_hold ? 'recording.held' : 'recording.free'));
    await load();
  };
  const remove = async () => {
    if (!(await confirm(t('recording.delete_it'), t('recording.delete_text'), t('recording.delete'), 'danger'))) return;
    gone = await act(() => send('DELETE', address(of)), () => t('recording.deleted'));
    changed();
  };
  const copy = () => act(async () => {
    const link = await send('POST', address(of, '/link'), {});
    const { href } = new URL(link.url, location.href);
    // Browsers let pages copy only where nobody can listen in; elsewhere the reader does it.
    await navigator.clipboard?.writeText(href);
    return navigator.clipboard ? t('recording.copied', { at: full(link.expires_at) }) : href;
  }, (said) => said);

  function cards(found) {
    // It is on its way.
    if (!found.sha256) return h('p', { class: 'notice' }, english(found.text));
    const media = address(of, '/media');
    // What is not told is not there to be changed.
    const held = found.legal_hold;
    return [
      card(t('job.audio'),
        h('audio', { controls: true, preload: 'none', src: media, 'aria-label': t('job.audio'), onerror: () => { unplayable = true; changed(); } }),
        unplayable && h('p', { class: 'notice warn' }, t('job.unplayable')),
        facts([
          found.duration_ms && [t('audio.duration'), duration(found.duration_ms)],
          [t('audio.size'), bytes(found.bytes)],
          [t('job.type'), ltr(found.content_type)],
          [t('audio.sha256'), ltr(found.sha256, 'mono breaks')],
        ]),
        held && h('p', { class: 'notice' }, t('recording.held')),
        h('div', { class: 'row' }, h('a', { href: media, download: '' }, t('job.download')),
          held !== undefined && [
            may('operate') && button(t('recording.link'), { onclick: copy }),
            may('operate') && button(t(held ? 'recording.release' : 'recording.hold'), { onclick: () => keep(!held) }),
            may('operate') && !held && button(t('recording.delete'), { picture: 'cross', kind: 'danger', onclick: remove }),
          ])),
      words.data && spoken(words.data),
    ];
  }

  return { it, load, view: () => (gone ? empty(t('recording.deleted')) : it.data ? cards(it.data) : null) };
}

function spoken({ text, segments, language, model }) {
  const seek = (event, at) => {
    const audio = event.currentTarget.closest('main').querySelector('audio');
    audio.currentTime = at;
    audio.play().catch(() => {});
  };
  return card(t('transcript'),
    segments.length === 0 && h('p', { class: 'spoken', dir: 'auto' }, text),
    h('ol', { class: 'spoken' }, segments.map((it, at) => h('li', { key: at },
      button(ltr(position(it.start)), { kind: 'plain', onclick: (event) => seek(event, it.start) }), h('span', { dir: 'auto' }, it.text)))),
    h('p', { class: 'quiet' }, ltr([language, model].filter(Boolean).join(' · '))));
}

export function recording({ id, params, changed, may }) {
  const of = { call_sid: id, business_id: params.get('business_id'), recording_sid: params.get('recording_sid') };
  const cards = player(of, changed, may);
  return {
    title: t('recording', { id: ltr(id) }),
    load: cards.load,
    up: ['#/transcripts', t('transcripts')],
    view: () => fetched(cards.it, (found) => [
      found.stored_at && h('div', { class: 'row head' }, businessLink(found.business_id), h('span', { class: 'quiet' }, when(found.stored_at)), h('a', { href: query('#/jobs', { call_sid: id }) }, t('press.jobs'))),
      h('div', { class: 'columns' }, h('div', null, cards.view()))]),
  };
}
