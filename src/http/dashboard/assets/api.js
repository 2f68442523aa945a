// The API, by the session's cookie. Errors carry what the problem document says.

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || `HTTP ${status}`);
    this.status = status;
    this.code = body?.code || (status === 0 ? 'unreachable' : 'error');
  }
}

const listeners = new Set();
/** `listener` is called when the server says that nobody is signed in. */
export const onSignedOut = (listener) => listeners.add(listener);

async function ask(method, path, body) {
  const init = { method, credentials: 'same-origin', headers: { Accept: 'application/json' } };
  if (body !== undefined) {
    init.headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new Problem(0, null);
  }
  const text = await answer.text();
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    // Something between us and the server answered: its page says nothing to this one.
  }
  if (answer.ok) return json;
  if (answer.status === 401 && !path.startsWith('/session')) for (const listener of listeners) listener();
  throw new Problem(answer.status, json);
}

export const get = (path) => ask('GET', path);
export const send = ask;

/** `path` with those of `values` that are something. */
export function query(path, values) {
  const pairs = Object.entries(values).filter(([, value]) => value || value === 0);
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

/** What one address answered last: `{ data, error }`, and `load` to ask again. An older answer never replaces a newer. */
export function resource(changed) {
  const it = { data: undefined, error: null, asked: 0 };
  it.load = async (path) => {
    const number = (it.asked += 1);
    const next = await get(path).then((data) => ({ data, error: null }), (error) => ({ data: it.data, error }));
    if (number !== it.asked) return;
    Object.assign(it, next);
    changed();
  };
  return it;
}
