// How the fleet fares: what is stuck on top, then the queue's numbers, plots, and slots by business.

import { query, resource, send } from './api.js';
import { h } from './dom.js';
import { act } from './dialog.js';
import { hold, stall } from './explain.js';
import { live, now } from './live.js';
import { bar, businessLink, card, chip, empty, icon, link } from './parts.js';
import { plot, steps } from './plot.js';
import { duration, num, short, since, t } from './words.js';

const SPANS = [15, 60, 360];
let minutes = SPANS[0];
/** By then every process has told what ended in a step. */
const SETTLED_MS = 5_000;

export function overview({ changed, may }) {
  // Older than what the stream carries.
  const past = resource(changed);
  // One minute more than is shown: its first step is to be whole.
  const load = () => past.load(query('/v1/overview', { minutes: minutes + 1 }));
  const choose = (span) => {
    minutes = span;
    load();
    changed();
  };
  const resume = (id) => act(() => send('PATCH', `/v1/businesses/${id}`, { paused: false }), () => t('business.resumed', { id: String(id) }));

  return {
    title: t('overview'),
    load,
    /** The stream brings it. */
    streamed: true,
    view() {
      const data = live.overview ?? past.data;
      if (!data) return past.error ? h('p', { class: 'notice warn' }, icon('warn'), t('data.none')) : h('p', { class: 'empty', 'aria-busy': 'true' }, t('loading'));
      const { backlog } = data;
      const points = steps(merged(past.data?.pulse, data.pulse), minutes, now() - SETTLED_MS);
      const tile = (state, value, more) =>
        h('li', { key: state }, h('a', { href: state === 'instances' ? '#/instances' : `#/jobs?state=${state}`, class: `tile ${state}` },
          h('span', { class: 'what' }, state === 'instances' ? t('instances') : t(`many.${state}`)), h('strong', null, short(value)), h('span', { class: 'quiet' }, more ?? '\u00a0')));
      /** The commonest error of those jobs. */
      const why = (which) => data.failing?.filter((it) => it[which]).map((it) => `${num(it[which])} × ${it.code}`)[0];
      const lines = (...names) => names.map((name) => ({ name, label: t(`many.${name === 'done' ? 'stored' : name}`), area: false }));
      return [
        stalls(data.stalls ?? [], data.holds ?? []),
        h('ul', { class: 'tiles', 'aria-label': t('overview.queue') },
          tile('ready', backlog.ready, data.oldest_ready && t('overview.oldest', { age: since(data.oldest_ready) })),
          tile('running', backlog.running, t('overview.slots', { n: data.slots_in_use })),
          tile('scheduled', backlog.scheduled, why('retrying')),
          tile('dead', backlog.dead, why('dead')),
          tile('done', backlog.done),
          tile('instances', data.instances)),
        h('div', { class: 'row between' }, h('h2', null, t('overview.plots')),
          h('div', { class: 'segments', role: 'group', 'aria-label': t('overview.span') }, SPANS.map((span) =>
            h('button', { type: 'button', key: span, 'aria-pressed': String(span === minutes), onclick: () => choose(span) }, duration(span * 60_000))))),
        h('div', { class: 'plots' },
          plot({ id: 'throughput', title: t('plot.throughput'), points, changed, format: num, series: [{ ...lines('done')[0], area: true }, ...lines('failed')] }),
          plot({ id: 'backlog', title: t('plot.backlog'), points, changed, format: short, series: [{ ...lines('ready')[0], area: true }, ...lines('scheduled', 'running')] }),
          plot({ id: 'latency', title: t('plot.latency'), points, changed, format: duration, least: 100, series: lines('p95', 'p50') })),
        slots(data.businesses ?? []),
      ];
    },
  };

  function stalls(found, holds) {
    if (found.length + holds.length === 0) return h('p', { class: 'notice good', key: 'calm' }, icon('ok'), t('stall.none'));
    return h('section', { class: 'stalls', key: 'stalls' }, h('h2', null, t('stall.title')), h('ul', null, holds.map((it) => hold(it, may('operate'))), found.map((it) => stall(it, may('operate'), resume))));
  }
}

function slots(businesses) {
  return card(t('overview.businesses'),
    businesses.length === 0 && empty(t('overview.idle')),
    h('ul', { class: 'slots' }, businesses.map((it) =>
      h('li', { key: it.business_id },
        h('span', { class: 'who' }, businessLink(it.business_id), it.paused && chip('paused', t('paused'))),
        bar(it.running, it.max_slots, t('slots.label', { id: String(it.business_id) }), it.paused ? 'idle' : ''),
        h('span', { class: 'much' }, t('slots.of', { used: it.running, limit: it.max_slots })),
        h('span', { class: 'more quiet' }, it.ready > 0 ? t('slots.wait', { n: it.ready, age: it.waiting_since && since(it.waiting_since) }) : '')))),
    h('p', null, link('#/businesses', t('businesses.all'))));
}

/** Points of both, each once: the newer wins. */
function merged(older = [], newer = []) {
  const points = new Map();
  for (const point of [...older, ...newer]) points.set(point.at, point);
  return [...points.values()];
}
