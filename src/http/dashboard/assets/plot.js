// Plots over time, as SVG. Each can be read by pointer, by keyboard (it is a slider over time) and as a table.

import { h } from './dom.js';
import { clock, hour, rtl, t } from './words.js';

const HEIGHT = 168;
const EDGE = { start: 52, end: 12, top: 10, bottom: 22 };

/** What the reader has done to each plot: where the cursor stands, whether the table is open, how wide it is. */
const kept = new Map();

/** One, two or five times a power of ten: ticks as people count. */
export function ticks(max, wanted = 4) {
  if (!(max > 0)) return [0, 1];
  const rough = max / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let at = 0; at < max + step; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

/**
 * `points`: `[{ at: ms, <name of a series>: number or null }]`, oldest first, in equal steps.
 * `series`: `[{ name, label, area }]`; the first is drawn first. `format` writes a value. `changed` draws anew.
 */
export function plot({ id, title, points, series, format, changed, least = 1 }) {
  const mine = kept.get(id) ?? kept.set(id, { width: 600, cursor: null, table: false }).get(id);
  const last = points.length - 1;
  const max = Math.max(least, ...points.flatMap((point) => series.map(({ name }) => point[name] ?? 0)));
  const marks = ticks(max);
  const top = marks.at(-1);
  const wide = mine.width - EDGE.start - EDGE.end;
  const x = (index) => {
    const from = EDGE.start + (last > 0 ? (index / last) * wide : wide / 2);
    return rtl ? mine.width - from : from;
  };
  const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);

  const cursor = mine.cursor === null ? null : Math.min(mine.cursor, last);
  const move = (index) => {
    mine.cursor = index === null ? null : Math.max(0, Math.min(last, index));
    changed();
  };
  const text = (value) => (Number.isFinite(value) ? format(value) : '–');
  const shown = points[cursor ?? last];
  // Without a cursor what is known last, which may have been measured a little before.
  const value = (name) => text(cursor === null ? points.findLast((point) => point[name] !== null)?.[name] : shown[name]);
  const readout = shown ? `${clock(shown.at)}: ${series.map(({ name, label }) => `${label} ${value(name)}`).join(', ')}` : t('data.none');

  const frame = {
    class: 'plot',
    role: 'slider',
    tabindex: '0',
    'aria-label': title,
    'aria-valuemax': String(Math.max(last, 0)),
    'aria-valuenow': String(cursor ?? Math.max(last, 0)),
    'aria-valuetext': readout,
    ref: (node) => new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width > 0 && width !== mine.width) {
        mine.width = width;
        changed();
      }
    }).observe(node),
    onpointermove: (event) => {
      const at = event.clientX - event.currentTarget.getBoundingClientRect().left;
      move(Math.round((((rtl ? mine.width - at : at) - EDGE.start) / wide) * last));
    },
    onpointerleave: () => move(null),
    onblur: () => move(null),
    onkeydown: (event) => {
      const forward = rtl ? 'ArrowLeft' : 'ArrowRight';
      const back = rtl ? 'ArrowRight' : 'ArrowLeft';
      const at = cursor ?? last;
      const to = { [forward]: at + 1, [back]: at - 1, ArrowUp: at + 1, ArrowDown: at - 1, PageUp: at + 10, PageDown: at - 10, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      move(to);
    },
  };

  const inner = rtl ? mine.width - EDGE.start : EDGE.start;
  const outer = rtl ? EDGE.end : mine.width - EDGE.end;
  const every = Math.max(1, Math.ceil(points.length / Math.max(2, Math.floor(wide / 90))));
  const picture = h('svg', { viewBox: `0 0 ${mine.width} ${HEIGHT}`, width: '100%', height: HEIGHT, 'aria-hidden': 'true' },
    marks.map((mark) => [
      h('line', { class: 'grid', x1: inner, x2: outer, y1: y(mark), y2: y(mark) }),
      h('text', { class: 'tick', x: inner + (rtl ? 6 : -6), y: y(mark) + 4, 'text-anchor': 'end' }, format(mark)),
    ]),
    points.map((point, index) => (last - index) % every === 0 && index > 0 && h('text', { class: 'tick', x: x(index), y: HEIGHT - 5, 'text-anchor': index === last ? 'end' : 'middle' }, hour(point.at))),
    series.map(({ name, area }) => [
      area && h('path', { class: `area ${name}`, d: shape(points, name, x, y, true) }),
      h('path', { class: `line ${name}`, d: shape(points, name, x, y, false) }),
    ]),
    cursor !== null && shown && [
      h('line', { class: 'cursor', x1: x(cursor), x2: x(cursor), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      series.map(({ name }) => Number.isFinite(shown[name]) && h('circle', { class: `dot ${name}`, cx: x(cursor), cy: y(shown[name]), r: 3.5 })),
    ]);

  return h('figure', { class: 'card', key: id },
    h('figcaption', null,
      h('h2', null, title),
      h('p', { class: 'legend' },
        series.map(({ name, label }) => h('span', { key: name }, h('i', { class: `key ${name}` }), label, ' ', h('b', null, shown ? value(name) : '–'))),
        h('span', { class: 'at' }, cursor !== null && shown ? clock(shown.at) : t('plot.now')))),
    h('div', frame, picture),
    h('details', { open: mine.table, ontoggle: (event) => {
      if (event.currentTarget.open !== mine.table) {
        mine.table = event.currentTarget.open;
        changed();
      }
    } },
      h('summary', null, t('plot.table')),
      mine.table && h('div', { class: 'scroll short', role: 'region', tabindex: '0', 'aria-label': title },
        h('table', null,
          h('thead', null, h('tr', null, h('th', { scope: 'col' }, t('plot.time')), series.map(({ label }) => h('th', { scope: 'col', class: 'number' }, label)))),
          h('tbody', null, [...points].reverse().map((point) => h('tr', { key: point.at }, h('th', { scope: 'row' }, clock(point.at)), series.map(({ name }) => h('td', { class: 'number' }, text(point[name]))))))))));
}

/** A line through the values that are there; one alone is a short dash. */
function shape(points, name, x, y, closed) {
  let path = '';
  let run = [];
  const end = () => {
    if (run.length === 1) run.push([run[0][0] + 2, run[0][1]]);
    if (run.length) path += `M${run.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join('L')}`;
    if (run.length && closed) path += `L${run.at(-1)[0].toFixed(1)} ${y(0)}L${run[0][0].toFixed(1)} ${y(0)}Z`;
    run = [];
  };
  points.forEach((point, index) => {
    const value = point[name];
    if (Number.isFinite(value)) run.push([x(index), y(value)]);
    else end();
  });
  end();
  return path;
}

/**
 * The pulse in at most `most` equal steps that end at `end`. What is counted is a rate a minute; what is measured is the
 * last that is known in its step. Where nothing was written down nothing happened, but nobody measured.
 */
export function steps(pulse, minutes, end, most = 120) {
  const STEP = 10_000;
  const step = STEP * Math.max(1, Math.ceil((minutes * 6) / most));
  const first = Math.floor((end - minutes * 60_000) / step) * step;
  const count = Math.floor((end - first) / step);
  const blank = { ready: null, scheduled: null, running: null, p50: null, p95: null, done: 0, failed: 0, dead: 0 };
  const points = Array.from({ length: count }, (_, at) => ({ at: first + at * step, ...blank }));
  for (const pulsed of pulse) {
    const point = points[Math.floor((Date.parse(pulsed.at) - first) / step)];
    if (!point) continue;
    for (const name of ['done', 'failed', 'dead']) point[name] += ((pulsed[name] ?? 0) * 60_000) / step;
    for (const name of ['ready', 'scheduled', 'running']) point[name] = pulsed[name] ?? point[name];
    if (Number.isFinite(pulsed.p50_ms)) {
      point.p50 = Math.max(point.p50 ?? 0, pulsed.p50_ms);
      point.p95 = Math.max(point.p95 ?? 0, pulsed.p95_ms ?? pulsed.p50_ms);
    }
  }
  // A short silence of whoever measures is no hole in the picture.
  let seen = null;
  for (const point of points) {
    if (point.ready !== null) seen = { at: point.at, ready: point.ready, scheduled: point.scheduled, running: point.running };
    else if (seen && point.at - seen.at <= 3 * step) Object.assign(point, { ready: seen.ready, scheduled: seen.scheduled, running: seen.running });
  }
  return points;
}
