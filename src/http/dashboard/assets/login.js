// Who may look: a token, for which the server gives a cookie that no script can read.

import { send } from './api.js';
import { h } from './dom.js';
import { icon, problem } from './parts.js';
import { t } from './words.js';

export function login({ changed, signedIn }) {
  let fault = null;
  let busy = false;
  const submit = async (event) => {
    event.preventDefault();
    const field = event.currentTarget.elements.token;
    const token = field.value.trim();
    if (!token || busy) return;
    busy = true;
    changed();
    try {
      await send('POST', '/session', { token });
      fault = null;
      await signedIn();
    } catch (error) {
      fault = error.status === 401 || error.status === 403 ? t('login.wrong') : problem(error);
      field.select();
    }
    busy = false;
    changed();
  };
  return {
    title: t('login'),
    view: () => h('form', { class: 'card login', onsubmit: submit },
      h('p', null, t('login.text')),
      // For password managers, which keep a token under a name.
      h('input', { type: 'text', hidden: true, autocomplete: 'username', value: 'callspool' }),
      h('label', null, h('span', null, t('login.token')),
        h('input', { type: 'password', name: 'token', id: 'token', autocomplete: 'current-password', required: true, dir: 'ltr', 'aria-describedby': fault ? 'fault' : null, 'aria-invalid': fault ? 'true' : null, ref: (node) => node.focus() })),
      fault && h('p', { class: 'notice bad', id: 'fault', role: 'alert' }, icon('warn'), fault),
      h('button', { type: 'submit', class: 'button primary', disabled: busy }, t('login.button')),
      h('p', { class: 'quiet' }, t('login.where'))),
  };
}
