// Language, and everything that is written by it: texts, numbers, dates, durations.

import en from './en.js';
import he from './he.js';
import { h } from './dom.js';
import { now } from './live.js';

export const root = document.documentElement;
export const language = root.lang === 'he' ? 'he' : 'en';
export const rtl = root.dir === 'rtl';
// Hebrew comes without the keys that English has, in their order; what only it has is behind them.
const texts = language === 'en' ? en : { ...Object.fromEntries(Object.keys(en).map((key, at) => [key, he[at]])), ...he.at(-1) };
// The browser's own region, where it is of the language that is shown: dates differ between en-US and en-GB.
const locale = (navigator.languages || []).find((tag) => tag.slice(0, 2).replace('iw', 'he') === language) || language;

const plural = new Intl.PluralRules(locale);
const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 });
const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
const clockTime = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const hourMinute = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'always', style: 'short' });
const list = new Intl.ListFormat(locale, { type: 'unit', style: 'narrow' });
const units = {};
const inUnit = (value, unit, digits = 0) =>
  (units[unit + digits] ??= new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'narrow', maximumFractionDigits: digits })).format(value);

export const has = (key) => key in texts;

/** The text of `key` with `{name}` replaced; `n` chooses the plural. A value may be an element: then a list of children. */
export function t(key, values = {}) {
  let text = texts[key] ?? key;
  if (typeof text === 'object') text = text[plural.select(values.n)] ?? text.other;
  const parts = text.split(/\{(\w+)\}/).map((part, at) => {
    if (at % 2 === 0) return part;
    const value = values[part];
    return typeof value === 'number' ? number.format(value) : value ?? '';
  });
  return parts.some((part) => typeof part === 'object') ? parts : parts.join('');
}

/** The text of `key`, or `otherwise` where the server knows a word that this page does not. */
export const word = (prefix, name) => (has(`${prefix}.${name}`) ? t(`${prefix}.${name}`) : String(name));

export const num = (value) => (Number.isFinite(value) ? number.format(value) : '–');
export const short = (value) => (Math.abs(value) < 10_000 ? number.format(value) : compact.format(value));
export const percent = (value) => inUnit(value, 'percent', 1);

export function bytes(value) {
  const names = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
  let at = 0;
  for (; value >= 1000 && at < names.length - 1; at += 1) value /= 1000;
  return inUnit(value, names[at], at ? 1 : 0);
}

/** Farther away a date says more than a distance. */
const FAR_MS = 60 * 86_400_000;
const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });
const STEPS = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000], ['second', 1000]];

/** `4 min 12 sec`: the two largest units. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms === 0) return num(0);
  if (ms < 1000) return inUnit(Math.round(Math.max(ms, 0)), 'millisecond');
  if (ms < 10_000) return inUnit(ms / 1000, 'second', 1);
  const first = STEPS.findIndex(([, size]) => ms >= size);
  const [unit, size] = STEPS[first];
  const parts = [inUnit(Math.floor(ms / size), unit)];
  if (STEPS[first + 1]) {
    const rest = Math.floor((ms % size) / STEPS[first + 1][1]);
    if (rest > 0) parts.push(inUnit(rest, STEPS[first + 1][0]));
  }
  return list.format(parts);
}

/** `4 min. ago`, `in 12 sec.` */
export function ago(at) {
  const ms = Date.parse(at) - now();
  if (Math.abs(ms) > FAR_MS) return date.format(Date.parse(at));
  const [unit, size] = STEPS.find(([, step]) => Math.abs(ms) >= step) ?? STEPS[3];
  const value = Math.trunc(ms / size);
  return value === 0 ? t('time.now') : relative.format(value, unit);
}

export const clock = (ms) => clockTime.format(ms);
export const hour = (ms) => hourMinute.format(ms);
export const full = (at) => dateTime.format(Date.parse(at));

/** A point in time, told by its distance; the point itself for whoever asks. */
export const when = (at) => (at ? h('time', { datetime: at, title: full(at) }, ago(at)) : '–');
/** How long it is since. */
export const since = (at) => (at ? h('time', { datetime: at, title: full(at) }, duration(now() - Date.parse(at))) : '–');
