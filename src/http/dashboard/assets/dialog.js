// Dialogs, notices and what a screen reader is told.

import { h, patch } from './dom.js';
import { icon, button, problem } from './parts.js';
import { t } from './words.js';

const dialogs = () => document.getElementById('dialogs');

/** A modal dialog; resolves when it is closed. `view(close)` describes what is in it. */
export function open(title, view) {
  return new Promise((resolve) => {
    let result;
    const close = (value) => {
      result = value;
      dialogs().firstElementChild?.close();
    };
    const props = {
      key: Math.random(),
      'aria-labelledby': 'dialog-title',
      ref: (node) => node.showModal(),
      onclose: () => {
        patch(dialogs(), []);
        resolve(result);
      },
      // A click beside it is as good as Esc.
      onclick: (event) => event.target === event.currentTarget && close(),
    };
    patch(dialogs(), [h('dialog', props, h('div', { class: 'dialog' }, h('h2', { id: 'dialog-title' }, title), view(close)))]);
  });
}

/** Whether the reader agrees. What is asked for says how many it is about. */
export const confirm = (title, text, action, kind = 'primary') =>
  open(title, (close) => [
    h('p', null, text),
    h('div', { class: 'row end' },
      // First, so that Enter right away does nothing that cannot be undone.
      button(t('back'), { onclick: () => close(false) }),
      button(action, { kind, onclick: () => close(true), id: 'confirm' })),
  ]);

let notices = [];

function showNotices() {
  patch(document.getElementById('notices'), notices.map((notice) =>
    h('div', { key: notice.id, class: `toast ${notice.kind}` }, icon(notice.kind === 'bad' ? 'warn' : 'ok'), h('span', null, notice.text),
      h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: () => drop(notice) }, icon('cross')))));
}

function drop(notice) {
  notices = notices.filter((other) => other !== notice);
  showNotices();
}

/** Seen and heard once. An error stays until it is closed. */
export function say(text, kind = 'good') {
  const notice = { id: Math.random(), text, kind };
  notices = [...notices.slice(-2), notice];
  showNotices();
  announce(text);
  if (kind === 'good') setTimeout(() => drop(notice), 6_000);
}

/** Heard only. */
export function announce(text) {
  const words = [text].flat(Infinity).map((part) => (typeof part === 'object' ? part.children?.join('') : part)).join('');
  document.getElementById('announcer').textContent = words;
}

/** Does something that changes the fleet; says how it went. Returns whether it worked. */
export async function act(work, done) {
  try {
    const answer = await work();
    if (done) say(done(answer));
    return true;
  } catch (error) {
    say(problem(error), 'bad');
    return false;
  }
}
