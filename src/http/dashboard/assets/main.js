// The shell: which page is shown, the navigation, shortcuts, and when pages ask anew.

import { get, onSignedOut, send } from './api.js';
import { business } from './business.js';
import { businesses } from './businesses.js';
import { act, announce, open } from './dialog.js';
import { h, patch } from './dom.js';
import { reasonTitle } from './explain.js';
import { instances } from './instances.js';
import { job } from './job.js';
import { jobs } from './jobs.js';
import { age, isOld, live, now, refreshEvery, start, stop } from './live.js';
import { login } from './login.js';
import { overview } from './overview.js';
import { recording } from './recording.js';
import { icon } from './parts.js';
import { schema } from './schema.js';
import { transcripts } from './transcripts.js';
import { clock, duration, language, root, t } from './words.js';

const NAV = [['overview', '#/', 'o'], ['jobs', '#/jobs', 'j'], ['transcripts', '#/transcripts', 't'], ['businesses', '#/businesses', 'b'], ['instances', '#/instances', 'i'], ['schema', '#/schema', 's']];
const ROUTES = [
  [/^\/?$/, overview, 'overview'],
  [/^\/jobs$/, jobs, 'jobs'],
  [/^\/jobs\/([^/]+)$/, job, 'jobs'],
  [/^\/transcripts$/, transcripts, 'transcripts'],
  [/^\/recordings\/([^/]+)$/, recording, 'transcripts'],
  [/^\/businesses$/, businesses, 'businesses'],
  [/^\/businesses\/([^/]+)$/, business, 'businesses'],
  [/^\/instances$/, instances, 'instances'],
  [/^\/schema$/, schema, 'schema'],
];

let session = null;
let page = null;
let section = 'overview';
let drawing = false;
let loadedAt = 0;
let loading = false;

const may = (scope) => session?.scopes?.includes(scope) ?? false;
const stored = (name, value) => {
  try {
    if (value === undefined) return localStorage.getItem(`callspool-${name}`);
    if (value === null) localStorage.removeItem(`callspool-${name}`);
    else localStorage.setItem(`callspool-${name}`, value);
  } catch {
    // Where storage is forbidden a choice lasts as long as the page.
  }
  return null;
};

/** Draws once however much has changed. */
function changed() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    draw();
  });
}

function go(hash) {
  if (location.hash === hash) route();
  else location.hash = hash;
}

function route() {
  if (!session) return;
  const [path, search = ''] = location.hash.slice(1).split('?');
  const found = ROUTES.find(([pattern]) => pattern.test(path)) ?? ROUTES[0];
  let id;
  try {
    id = decodeURIComponent(found[0].exec(path)?.[1] ?? '');
  } catch {
    id = '';
  }
  section = found[2];
  page = found[1]({ id, params: new URLSearchParams(search), changed, may, go });
  load();
  draw();
  scrollTo(0, 0);
}

async function load() {
  const mine = page;
  if (!mine?.load) return;
  loading = true;
  loadedAt = Date.now();
  await mine.load();
  loading = false;
}

function show(title) {
  const heading = [title].flat(Infinity).map((part) => (typeof part === 'object' ? part.children.join('') : part)).join('');
  document.title = `${heading} · callspool`;
}

function draw() {
  show(page.title);
  patch(document.getElementById('app'), [session ? shell() : door()]);
}

const door = () =>
  h('div', { class: 'door', key: 'door' }, h('header', { class: 'top' }, brand(), tools()), h('main', { id: 'main', tabindex: '-1' }, h('h1', null, page.title), page.view()));

const shell = () =>
  h('div', { class: 'shell', key: 'shell' },
    h('a', { class: 'skip', href: '#main', onclick: (event) => { event.preventDefault(); focusMain(); } }, t('skip')),
    h('header', { class: 'top' }, brand(), badge(), tools()),
    h('nav', { class: 'side', 'aria-label': t('nav') }, h('ul', null, NAV.map(([name, href]) =>
      h('li', { key: name }, h('a', { href, 'aria-current': name === section ? 'page' : null }, icon(name), h('span', null, t(name))))))),
    h('main', { id: 'main', tabindex: '-1', class: section },
      page.up && h('p', { class: 'up' }, h('a', { href: page.up[0] }, page.up[1])),
      h('h1', { tabindex: '-1' }, page.title),
      stale(),
      h('div', { class: 'page', key: location.hash }, page.view())));

const brand = () => h('a', { class: 'brand', href: '#/' }, h('img', { src: '/assets/icon.svg', alt: '', width: '26', height: '26' }), h('span', { dir: 'ltr' }, 'callspool'));

function badge() {
  const state = live.trouble ? 'trouble' : isOld() ? 'reconnecting' : live.state;
  return h('span', { class: `badge ${state}` }, h('i', null), h('span', null, t(`live.${state}`)));
}

function stale() {
  if (!live.trouble && !isOld()) return null;
  const old = live.receivedAt ? t('live.old', { at: clock(now() - age()), age: duration(age()) }) : t('data.none');
  return h('p', { class: 'notice warn', key: 'old' }, icon('warn'), live.trouble ? [t(`problem.${live.trouble}`), ' '] : '', old);
}

function tools() {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  const theme = () => {
    const next = dark ? 'light' : 'dark';
    root.dataset.theme = next;
    stored('theme', next);
    changed();
  };
  const other = language === 'he' ? 'en' : 'he';
  const speak = () => {
    stored('language', other);
    location.reload();
  };
  return h('div', { class: 'tools' },
    session && h('button', { type: 'button', class: 'plain wide-only', 'aria-label': t('keys'), title: t('keys'), onclick: keys }, icon('keys')),
    h('button', { type: 'button', class: 'plain', 'aria-label': t(dark ? 'theme.light' : 'theme.dark'), title: t(dark ? 'theme.light' : 'theme.dark'), onclick: theme }, icon(dark ? 'sun' : 'moon')),
    h('button', { type: 'button', class: 'plain', lang: other, onclick: speak }, other === 'he' ? 'עברית' : 'English'),
    session && session.name !== 'loopback' && h('button', { type: 'button', class: 'plain', 'aria-label': t('logout'), title: t('logout'), onclick: logout }, icon('out')));
}

function focusMain() {
  const heading = document.querySelector('main h1');
  (heading ?? document.getElementById('main'))?.focus();
}

async function logout() {
  // Who is shown the door has to be out: a cookie that is still there would open the page again to the next one.
  if (await act(() => send('DELETE', '/session'))) signedOut();
}

function signedOut() {
  if (!session && page) return;
  session = null;
  stop();
  page = login({
    changed,
    signedIn: async () => {
      await signedIn();
      focusMain();
    },
  });
  draw();
}

async function signedIn() {
  session = await get('/session');
  start(heard);
  route();
}

// What is new is drawn; what is alarming is also said, once.
let said = { state: 'live', stalls: '' };
function heard() {
  const stuck = [...(live.overview?.holds ?? []), ...(live.overview?.stalls ?? [])];
  const news = { state: live.state, stalls: stuck.map((it) => it.key ?? it.reason).join() };
  if (news.state !== said.state && news.state !== 'connecting') announce(t(`live.${news.state}`));
  else if (news.stalls !== said.stalls && news.stalls) announce([t('stall.title'), ': ', stuck.map((it) => reasonTitle(it.reason)).join(', ')]);
  said = news;
  changed();
}

// Ages grow by themselves, and a page that the stream does not carry asks anew, at a pace that does not grow with the
// number of viewers.
setInterval(() => {
  if (document.hidden || !session) return;
  const due = Date.now() - loadedAt > refreshEvery(live.viewers);
  if (due && !loading && !page.streamed && !page.held?.() && live.state === 'live') load();
  changed();
}, 1000);

const keysOn = () => stored('keys') !== 'off';

function keys() {
  const pairs = [...NAV.map(([name, , key]) => [`g ${key}`, t(name)]), ['/', t('keys.search')], ['r', t('keys.refresh')], ['Esc', t('keys.close')], ['?', t('keys')]];
  open(t('keys'), (close) => [
    h('dl', { class: 'facts keys' }, pairs.map(([key, what]) => h('div', { key }, h('dt', null, h('kbd', { dir: 'ltr' }, key)), h('dd', null, what)))),
    h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: keysOn(), onchange: (event) => stored('keys', event.currentTarget.checked ? null : 'off') }), t('keys.on')),
    h('div', { class: 'row end' }, h('button', { type: 'button', class: 'button', onclick: () => close() }, t('close'))),
  ]);
}

let leader = 0;
addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, textarea, select, dialog');
  if (event.key === 'Escape' && event.target.id === 'search') event.target.blur();
  if (typing || !session || event.ctrlKey || event.metaKey || event.altKey || !keysOn()) return;
  // By the key's place on the board where the layout is another: in a Hebrew layout `g` writes ע.
  const key = /^[a-z?/]$/i.test(event.key) ? event.key.toLowerCase() : event.code.replace('Key', '').toLowerCase();
  const after = Date.now() - leader < 1500;
  leader = 0;
  if (after) {
    const target = NAV.find(([, , letter]) => letter === key);
    if (target) {
      event.preventDefault();
      go(target[1]);
    }
  } else if (key === 'g') leader = Date.now();
  else if (key === '?') keys();
  else if (key === 'r') load();
  else if (key === '/') {
    event.preventDefault();
    if (document.getElementById('search')) document.getElementById('search').focus();
    else {
      go('#/jobs');
      setTimeout(() => document.getElementById('search')?.focus());
    }
  }
});

addEventListener('hashchange', () => {
  route();
  if (session) focusMain();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
onSignedOut(signedOut);

signedIn().catch(signedOut);
