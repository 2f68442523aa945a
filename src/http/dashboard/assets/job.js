// One job: why it stands where it stands, what was tried, and the recording itself.

import { resource, send } from './api.js';
import { h } from './dom.js';
import { act, confirm } from './dialog.js';
import { explanation, liftButton } from './explain.js';
import { MAY_CANCEL, MAY_RETRY } from './jobs.js';
import { businessLink, button, card, english, facts, fetched, lastError, link, ltr, state } from './parts.js';
import { player } from './recording.js';
import { duration, num, t, when, word } from './words.js';

export function job({ id, changed, may }) {
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const [it, why, attempts] = [resource(changed), resource(changed), resource(changed)];
  let recording = null;

  async function load() {
    await Promise.all([it.load(path), why.load(`${path}/explain`), attempts.load(`${path}/attempts`)]);
    const found = it.data;
    // Of one whose words could not be had, too.
    if (!recording && (found?.state === 'done' || found?.last_error?.code === 'transcription_error')) {
      recording = player(found, changed, may);
      await recording.load();
    }
  }
  const retry = async () => {
    await act(() => send('POST', `${path}/retry`), () => t('job.retried'));
    await load();
  };
  const cancel = async () => {
    if (!(await confirm(t('job.cancel'), it.data.state === 'running' ? t('job.cancel_running') : t('job.cancel_text'), t('cancel'), 'danger'))) return;
    await act(() => send('POST', `${path}/cancel`), () => t('job.cancelled'));
    await load();
  };
  const resume = async () => {
    await act(() => send('PATCH', `/v1/businesses/${it.data.business_id}`, { paused: false }), () => t('business.resumed', { id: String(it.data.business_id) }));
    await load();
  };

  return {
    title: t('job', { id: ltr(`#${id}`) }),
    load,
    up: ['#/jobs', t('jobs')],
    view: () => fetched(it, view),
  };

  function view(found) {
    const stopping = why.data?.detail?.cancel_requested;
    return [
      h('div', { class: 'row head' }, state(found.state), ltr(found.call_sid), businessLink(found.business_id),
        may('operate') && h('div', { class: 'row actions' },
          MAY_RETRY.has(found.state) && button(found.state === 'scheduled' ? t('job.run_now') : t('retry'), { picture: 'retry', kind: 'primary', onclick: retry }),
          MAY_CANCEL.has(found.state) && button(stopping ? t('job.stopping') : t('cancel'), { picture: 'cross', kind: 'danger', disabled: Boolean(stopping), onclick: cancel }))),
      why.data && explanation(why.data, press(found)),
      h('div', { class: 'columns' },
        card(t('job.timeline'), timeline(found)),
        h('div', null, recording?.view(), card(t('job.facts'), facts([
          [t('job.call'), ltr(found.call_sid)],
          [t('job.recording'), ltr(found.recording_sid ?? '–')],
          [t('job.type'), ltr(found.job_type)],
          [t('job.attempt'), t('job.attempt_of', { n: found.attempt, max: found.max_attempts })],
          [t('job.priority'), num(found.priority)],
          [t('job.enqueued'), when(found.enqueued_at)],
          found.run_at && [t('why.due'), when(found.run_at)],
          found.started_at && [t('job.started'), when(found.started_at)],
          found.finished_at && [t('job.finished'), when(found.finished_at)],
          found.instance && [t('instance'), ltr(found.instance)],
          found.last_error && [t('job.error'), lastError(found.last_error)],
        ])))),
    ];
  }

  function press(found) {
    const reason = why.data.reason;
    if (why.data.detail?.hold && may('operate')) return liftButton(why.data.detail.hold.key, load);
    if (reason === 'business_paused' && may('operate')) return button(t('resume'), { picture: 'play', kind: 'primary', onclick: resume });
    if (reason === 'slots_full') return link(`#/businesses/${found.business_id}`, t('press.slots'));
    if (reason === 'no_live_workers') return link('#/instances', t('press.instances'));
    if (reason === 'schema_behind') return link('#/schema', t('press.schema'));
    return null;
  }

  function timeline(found) {
    const tried = attempts.data?.attempts ?? attempts.data ?? [];
    const step = (kind, title, at, ...more) => h('li', { class: kind, key: `${kind} ${title} ${at}` }, h('b', null, title), h('span', { class: 'quiet' }, when(at)), ...more);
    return h('ol', { class: 'timeline' },
      step('ready', t('job.enqueued'), found.enqueued_at),
      tried.map((attempt) => step('dead', t('timeline.failed', { n: attempt.attempt }), attempt.ended_at,
        h('p', null, ltr(attempt.error?.code ?? ''), ' ', english(attempt.error?.message ?? '')),
        h('p', { class: 'quiet' }, attempt.started_at && t('timeline.took', { time: duration(Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) }), attempt.instance && [' · ', ltr(attempt.instance)]))),
      found.state === 'running' && step('running', t('timeline.running', { n: found.attempt }), found.started_at),
      found.state === 'scheduled' && step('scheduled', t('timeline.next'), found.run_at),
      found.state === 'ready' && step('ready', t('timeline.waits'), found.run_at ?? found.enqueued_at),
      found.finished_at && step(found.state, word('state', found.state), found.finished_at));
  }
}
