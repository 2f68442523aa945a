// The processes of the fleet, and the actors of each: who is up, how often it was made anew, where it panicked.

import { resource } from './api.js';
import { h } from './dom.js';
import { chip, empty, facts, fetched, ltr } from './parts.js';
import { duration, num, since, t, word } from './words.js';

/** A process that has not beaten for this long is probably gone; its jobs come back after `queue.beat_ttl`. */
const QUIET_MS = 15_000;
const GROUP = /^(.+)-(\d+)$/;

export function instances({ changed }) {
  const status = resource(changed);
  return {
    title: t('instances'),
    load: () => status.load('/v1/status'),
    view: () => fetched(status, ({ instances: found }) => found.length === 0 ? h('p', { class: 'notice warn' }, t('instances.none'))
      : h('div', { class: 'fleet' }, found.map(instance))),
  };
}

function instance(it) {
  const quiet = it.beat_age_ms > QUIET_MS;
  return h('section', { class: `card instance ${quiet ? 'trouble' : ''}`, key: it.instance },
    h('h2', null, ltr(it.host, ''), ' ', h('span', { class: 'quiet' }, ltr(`pid ${it.pid}`)),
      quiet ? chip('dead', t('instance.quiet')) : it.draining ? chip('paused', t('instance.draining')) : chip('done', t('instance.alive'))),
    facts([
      [t('instance.beat'), duration(it.beat_age_ms)],
      [t('instance.roles'), ltr((it.roles ?? []).join(', '), '')],
      [t('instance.workers'), num(it.workers)],
      [t('instance.up'), since(it.started_at)],
      [t('version'), ltr(it.version, '')],
      [t('instance.id'), ltr(it.instance, 'mono breaks')],
    ]),
    h('h3', null, t('instance.actors')),
    (it.actors ?? []).length === 0 ? empty(t('instance.no_actors')) : h('ul', { class: 'tree' }, h('li', null, h('span', { class: 'actor' }, ltr('supervisor')), h('ul', null, grouped(it.actors)))));
}

/** `recording_worker-0…7` are one branch, which says how many are up. */
function grouped(actors) {
  const branches = new Map();
  for (const actor of actors) {
    const name = GROUP.exec(actor.actor)?.[1] ?? actor.actor;
    branches.set(name, [...(branches.get(name) ?? []), actor]);
  }
  return [...branches].map(([name, members]) => {
    if (members.length === 1) return leaf(members[0]);
    const up = members.filter((actor) => actor.state === 'up').length;
    return h('li', { key: name }, h('details', { open: up < members.length },
      h('summary', null, h('span', { class: 'actor' }, ltr(`${name}-…`)), chip(up === members.length ? 'done' : 'dead', t('actors.up', { n: up, all: members.length })), restarts(members)),
      h('ul', null, members.map(leaf))));
  });
}

const KIND = { up: 'done', waiting: 'scheduled', restarting: 'dead', stopped: 'cancelled' };

function restarts(actors) {
  const count = actors.reduce((sum, actor) => sum + Math.max(actor.generation - 1, 0), 0);
  return count > 0 && h('span', { class: 'fault' }, t('actor.restarts', { n: count }));
}

function leaf(actor) {
  return h('li', { key: actor.actor },
    h('span', { class: 'actor' }, ltr(actor.actor)),
    chip(KIND[actor.state] ?? 'cancelled', word('actor', actor.state)),
    h('span', { class: 'quiet' }, t('actor.generation', { n: actor.generation })),
    restarts([actor]),
    actor.last_panic && h('p', { class: 'panic' }, t('actor.panic'), ' ', ltr(actor.last_panic)));
}
