// Why a job does not run now, and what to press: the same answer as `callspool jobs explain`.

import { send } from './api.js';
import { act } from './dialog.js';
import { h } from './dom.js';
import { businessLink, button, english, facts, icon, jobLink, link, ltr } from './parts.js';
import { duration, has, language, num, since, t, when, word } from './words.js';

/** Those that nobody has to do anything about. */
const CALM = new Set(['runnable', 'running', 'scheduled', 'finished']);
export const isTrouble = (reason) => !CALM.has(reason);

/** In the reader's language: the server's own sentence is in English, and stands for what this page does not know. */
export function sentence(explanation) {
  const key = `why.${explanation.reason}`;
  if (language === 'en' && explanation.text) return explanation.text;
  if (!has(key)) return english(explanation.text);
  const { max_slots, running, due_in_ms, ahead, have, need } = explanation.detail ?? {};
  return t(key, { max_slots, running, ahead, have, need, due: due_in_ms === undefined ? '' : duration(due_in_ms) });
}

export const reasonTitle = (reason) => word('reason', reason);

const place = (it) => t('worker', { host: it.host ? ltr(it.host) : t('gone'), n: it.worker });

const DETAIL = {
  slots_full: (detail) => [
    h('p', null, t('why.holders')),
    h('ul', { class: 'list' }, (detail.holders ?? []).map((holder) =>
      h('li', { key: holder.job_id }, jobLink(holder), ' ', h('span', { class: 'quiet' }, t('why.holder', { since: since(holder.since), host: place(holder) }))))),
  ],
  business_paused: (detail) => facts([[t('paused.at'), when(detail.paused_at)], [t('paused.by'), ltr(detail.paused_by ?? '–')]]),
  scheduled: (detail) => facts([
    [t('why.due'), when(detail.run_at)],
    [t('why.because'), word('because', detail.why)],
    detail.attempt > 0 && [t('job.attempt'), t('job.attempt_of', { n: detail.attempt, max: detail.max_attempts })],
    detail.error && [t('why.after'), ltr(detail.error.code), ' ', english(detail.error.message)],
    detail.retry_after_ms && [t('why.retry_after'), duration(detail.retry_after_ms)],
  ]),
  no_live_workers: (detail) => [
    facts([[t('why.last_seen'), detail.last_seen ? when(detail.last_seen) : t('never')]]),
    (detail.instances ?? []).length > 0 && h('p', null, t('why.without_worker')),
    h('ul', { class: 'list' }, (detail.instances ?? []).map((it) => h('li', { key: it.instance }, ltr(it.host), ' ', h('span', { class: 'quiet' }, ltr((it.roles ?? []).join(', ')))))),
  ],
  schema_behind: (detail) => facts([
    [t('schema.have'), num(detail.have)],
    [t('schema.need'), num(detail.need)],
    detail.lock_holder && [t('schema.lock'), ltr(`pid ${detail.lock_holder.pid} ${detail.lock_holder.app ?? ''}`)],
  ]),
  held: ({ hold }) => facts([
    [t('hold'), ltr(hold.key)],
    [t('job.error'), english(hold.message)],
    hold.until && [t('why.due'), when(hold.until)],
    hold.probe_at && [t('hold.probe'), when(hold.probe_at)],
  ]),
  running: (detail) => facts([
    [t('job.where'), place(detail)],
    [t('job.started'), when(detail.started_at)],
    [t('why.deadline'), when(detail.deadline_at)],
    [t('instance.beat'), duration(detail.beat_age_ms)],
    detail.cancel_requested && [t('job.cancel'), t('why.cancel_requested')],
  ]),
  runnable: (detail) => facts([
    [t('why.ahead'), detail.ahead >= 1000 ? t('why.many', { n: num(detail.ahead) }) : num(detail.ahead)],
    [t('why.workers'), t('slots.of', { used: detail.in_use, limit: detail.capacity })],
    detail.waiting_since && [t('business.waiting'), since(detail.waiting_since)],
  ]),
  finished: (detail) => facts([
    [t('job.finished'), when(detail.finished_at)],
    detail.error && [t('job.error'), ltr(detail.error.code), ' ', english(detail.error.message)],
  ]),
};

/** Reasons of a later server: whatever it says, as it says it. */
const anything = (detail) =>
  facts(Object.entries(detail ?? {}).map(([name, value]) => [ltr(name), ltr(typeof value === 'object' ? JSON.stringify(value) : String(value))]));

export function explanation(it, press) {
  const trouble = isTrouble(it.reason);
  return h('section', { class: `card explain ${trouble ? 'trouble' : ''} ${it.reason} ${it.reason === 'finished' ? it.state : ''}` },
    h('h2', null, icon(trouble ? 'warn' : it.reason !== 'finished' ? 'clock' : it.state === 'done' ? 'ok' : 'cross'), h('b', null, it.reason === 'finished' ? word('state', it.state) : reasonTitle(it.reason)), it.since && h('span', { class: 'since' }, t('since', { ago: since(it.since) }))),
    h('p', { class: 'sentence' }, sentence(it)),
    (DETAIL[it.detail?.hold ? 'held' : it.reason] ?? anything)(it.detail ?? {}),
    (it.also ?? []).length > 0 && h('p', { class: 'quiet' }, t('why.also'), ' ', it.also.map(reasonTitle).join(', ')),
    h('div', { class: 'row' }, press, it.next && h('p', { class: 'next quiet' }, t('why.next'), ' ', english(it.next))));
}

/** A reason that holds for a part of the queue, as the overview shows it on top. */
export function stall(it, mayOperate, resume) {
  const paused = it.reason === 'business_paused';
  const press = {
    slots_full: () => link(`#/businesses/${it.business_id}`, t('press.slots')),
    business_paused: () => it.businesses === 1 && mayOperate ? button(t('resume'), { picture: 'play', kind: 'primary', onclick: () => resume(it.business_id) }) : link(`#/businesses/${it.business_id}`, t('press.business')),
    schema_behind: () => link('#/schema', t('press.schema')),
  }[it.reason] ?? (() => link('#/instances', t('press.instances')));
  // The server's sentence says how many and whose; in another language the numbers say it.
  const text = language === 'en' ? it.text : [t('jobs.n', { n: it.ready }), ' · ', t('businesses.count', { n: it.businesses }), ' · ', t('stall.longest'), ' ', businessLink(it.business_id)];
  return h('li', { key: it.reason, class: `stall ${paused ? 'calm' : ''}` }, icon(paused ? 'pause' : 'warn'),
    h('div', null,
      h('h3', null, it.reason === 'runnable' ? t('stall.runnable') : reasonTitle(it.reason), h('span', { class: 'since' }, t('since', { ago: since(it.since) }))),
      h('p', null, text)),
    h('div', { class: 'press' }, press(), h('a', { href: `#/jobs?state=ready&business_id=${it.business_id}` }, t('press.jobs'))));
}

export const liftButton = (key, after) => button(t('hold.lift'), { onclick: async () => {
  await act(() => send('POST', `/v1/holds/${encodeURIComponent(key)}/lift`), () => t('hold.lifted'));
  await after?.();
} });

/** What many jobs wait for together, beside what is stuck. */
export const hold = (it, mayOperate) =>
  h('li', { key: it.key, class: 'stall calm hold' }, icon('warn'),
    h('div', null,
      h('h3', null, reasonTitle(it.reason), ' ', ltr(it.key), h('span', { class: 'since' }, t('since', { ago: since(it.since) }))),
      h('p', null, english(it.message)),
      h('p', { class: 'quiet' }, t('hold.waiting', { jobs: t('jobs.n', { n: it.waiting }) }), (it.until || it.probe_at) && [' · ', t(it.until ? 'why.due' : 'hold.probe'), ' ', when(it.until || it.probe_at)])),
    h('div', { class: 'press' }, mayOperate && liftButton(it.key)));
