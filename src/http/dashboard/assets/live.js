// What the server sends by itself: the overview, every two seconds while somebody looks.

import { get } from './api.js';

/** Data older than this is said to be old. */
const OLD_MS = 15_000;
/** The watch takes longer between two looks where there are very many businesses. */
const LOOKED_MS = 60_000;

export const live = {
  /** connecting, live or reconnecting; off when nobody is signed in. */
  state: 'connecting',
  overview: null,
  /** By this machine's clock. */
  receivedAt: 0,
  viewers: 1,
  /** Why the server has no data, where it says so: unavailable, schema_behind … */
  trouble: null,
};

let source = null;
let retry = 0;
let lost = 0;
let onNews = () => {};

/** The server's clock, which ages are told by: this machine's may be wrong. */
let offset = 0;
export const now = () => Date.now() + offset;
/** How old the data is: since the last event, or, where nobody looks at the queue any more, since somebody last did. */
export function age() {
  const silent = Date.now() - live.receivedAt;
  const looked = live.overview?.at ? now() - Date.parse(live.overview.at) : 0;
  return looked > LOOKED_MS ? looked : silent;
}
export const isOld = () => live.receivedAt > 0 && age() > OLD_MS;

/** Between two automatic looks of one page at what is not streamed: all viewers of one process together ask for at most
    two pages a second. */
export const refreshEvery = (viewers) => Math.max(4_000, viewers * 500);

export function start(onChange) {
  onNews = onChange;
  document.addEventListener('visibilitychange', follow);
  follow();
}

export function stop() {
  document.removeEventListener('visibilitychange', follow);
  clearTimeout(lost);
  disconnect();
  Object.assign(live, { state: 'off', overview: null, receivedAt: 0 });
}

// A page that nobody sees has no stream: a browser has six connections for all its tabs together.
function follow() {
  if (document.hidden) disconnect();
  else if (!source) connect();
}

function disconnect() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function hear(news) {
  clearTimeout(lost);
  lost = 0;
  Object.assign(live, { state: 'live' }, news);
  onNews();
}

function connect() {
  disconnect();
  source = new EventSource('/v1/events');
  source.addEventListener('overview', (event) => {
    const { viewers, now: sent, ...overview } = JSON.parse(event.data);
    offset = Date.parse(sent) - Date.now() || 0;
    hear({ overview, receivedAt: Date.now(), viewers, trouble: null });
  });
  source.addEventListener('trouble', (event) => hear({ trouble: JSON.parse(event.data).code }));
  source.onerror = () => {
    // The server ends a stream now and then to see the session again: nobody is to notice that.
    lost ||= setTimeout(() => {
      lost = 0;
      if (!document.hidden) hear({ state: 'reconnecting' });
    }, 2_500);
    // The browser tries again by itself, unless it was an answer that is no stream: 401, 503, a proxy's page.
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      clearTimeout(retry);
      retry = setTimeout(again, 2_000 + Math.random() * 2_000);
    }
  };
}

async function again() {
  // A session that is over says so here, and the page becomes the login.
  await get('/v1/status').catch(() => {});
  if (!source && !document.hidden && live.state !== 'off') connect();
}
