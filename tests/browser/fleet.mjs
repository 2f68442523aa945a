// A fleet for the browser: real processes of the built binary on an embedded PostgreSQL, and a provider that does as it
// is told.

import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtemp, rm, mkdir, writeFile, copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BINARY = process.env.CALLSPOOL_BINARY ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug/callspool');

/** Longest wait for anything that is meant to happen. Nothing is timed by it: it only ends a test that hangs. */
export const PATIENCE = 60_000;

/** Asks again and again until `answer` is something. */
export async function eventually(what, answer) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await answer();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${PATIENCE / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Half a minute of valid MP3 frames of silence, as the demo makes them; `seed` makes it this recording's own. */
function mp3(seed) {
  const frame = Buffer.alloc(104);
  frame.set([0xff, 0xfb, 0x10, 0xc4]);
  return Buffer.concat(Array.from({ length: 1150 }, (_, at) => {
    const next = Buffer.from(frame);
    next.writeUInt32BE((seed * 7919 + at) & 0x7f7f7f7f, 30);
    return next;
  }));
}

/** The telephony provider: media by recording SID, held back or refused where a test says so. */
export async function startProvider() {
  const held = new Map();
  const statuses = new Map();
  const asked = [];
  const server = createServer((request, answer) => {
    const sid = /(RE\w+)\.mp3/.exec(request.url)?.[1] ?? '';
    asked.push(sid);
    const status = statuses.get(sid);
    if (status) return answer.writeHead(status, { 'Content-Type': 'text/html' }).end('<script>window.hacked = 1</script>');
    const media = mp3(Number(sid.slice(2)) || 1);
    const send = () => answer.end(media.subarray(media.length / 2));
    answer.writeHead(200, { 'Content-Type': 'audio/mpeg', 'Content-Length': media.length });
    answer.write(media.subarray(0, media.length / 2));
    if (held.has(sid)) held.get(sid).push(send);
    else send();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    asked,
    /** These recordings stop in their middle, until they are released. */
    hold: (...numbers) => numbers.forEach((number) => held.set(`RE${number}`, [])),
    release: (...numbers) => numbers.forEach((number) => {
      for (const send of held.get(`RE${number}`) ?? []) send();
      held.delete(`RE${number}`);
    }),
    /** These are answered with `status`; 200 makes them good again. */
    refuse: (status, ...numbers) => numbers.forEach((number) => (status === 200 ? statuses.delete(`RE${number}`) : statuses.set(`RE${number}`, status))),
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A folder, a provider, and processes that share an embedded PostgreSQL in it. */
export async function startFleet({ variables = {}, files = {}, config = '', token } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'callspool-browser-'));
  const provider = await startProvider();
  await mkdir(join(folder, 'config'));
  await copyFile(join(ROOT, 'config/default.toml'), join(folder, 'config/default.toml'));
  await writeFile(join(folder, 'config/test.toml'), `[twilio]\nallow_short_sids = true\n[storage]\nfsync = false\n${config}`);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  const environment = {
    PATH: process.env.PATH,
    LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH ?? '',
    CALLSPOOL_ENV: 'test',
    CALLSPOOL_HTTP_BIND: '127.0.0.1:0',
    CALLSPOOL_LOG_FORMAT: 'json',
    CALLSPOOL_STORAGE_URL: `file:${join(folder, 'recordings')}`,
    TWILIO_API_BASE: provider.base,
    TWILIO_ACCOUNT_SID: 'AC1',
    TWILIO_AUTH_TOKEN: 'test-auth-token',
    CALLSPOOL__QUEUE__BEAT_INTERVAL: '200ms',
    CALLSPOOL__QUEUE__BEAT_TTL: '2s',
    CALLSPOOL__QUEUE__WATCH_INTERVAL: '200ms',
    CALLSPOOL__QUEUE__STALLED_AFTER: '1s',
    CALLSPOOL__QUEUE__REAP_INTERVAL: '100ms',
    CALLSPOOL__RETRY__BASE: '50ms',
    CALLSPOOL__RETRY__NOT_READY_BASE: '50ms',
    CALLSPOOL__SHUTDOWN__GRACE_SECONDS: '1',
    ...variables,
  };
  const processes = [];

  /** Starts one more process, and waits until it is ready. */
  async function run(more = {}) {
    const child = spawn(BINARY, ['--config', join(folder, 'config'), 'run'], { cwd: folder, env: { ...environment, ...more }, stdio: ['ignore', 'pipe', 'pipe'] });
    const log = [];
    const wake = new Set();
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      try {
        log.push(JSON.parse(line));
      } catch {
        log.push({ message: line });
      }
      for (const resolve of wake) resolve();
    });
    child.stderr.on('data', (text) => log.push({ message: String(text) }));
    const ended = new Promise((resolve) => child.on('exit', (code, signal) => {
      resolve(code ?? signal);
      for (const wakeUp of wake) wakeUp();
    }));
    /** The first log line that fits. */
    const line = async (what, fits) => {
      let timer;
      const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not within patience: ${what}\n${log.map((entry) => JSON.stringify(entry)).join('\n')}`)), PATIENCE)));
      try {
        for (;;) {
          const found = log.find(fits);
          if (found) return found;
          if (child.exitCode !== null) throw new Error(`the process ended without: ${what}\n${log.map((entry) => JSON.stringify(entry)).join('\n')}`);
          let resolve;
          await Promise.race([new Promise((done) => wake.add((resolve = done))), late]);
          wake.delete(resolve);
        }
      } finally {
        clearTimeout(timer);
      }
    };
    const it = { child, log, line, ended, kill: () => child.kill('SIGKILL'), stop: () => child.kill('SIGTERM') && ended };
    processes.push(it);
    it.url = `http://${(await line('the start', (entry) => entry.address)).address}`;
    await eventually('readiness', async () => (await fetch(`${it.url}/readyz`).catch(() => null))?.ok);
    return it;
  }

  const first = await run(token ? { CALLSPOOL_API_TOKEN: token } : {});
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const api = async (method, path, body) => {
    const answer = await fetch(`${first.url}${path}`, { method, headers: { ...headers, ...(body ? { 'Content-Type': 'application/json' } : {}) }, body: body && JSON.stringify(body) });
    const json = await answer.json().catch(() => null);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(json)}`);
    return json;
  };
  return {
    url: first.url,
    first,
    provider,
    run,
    api,
    /** Recording `number` of a business; its job's id. */
    enqueue: async (business_id, number, more = {}) =>
      (await api('POST', '/v1/jobs', { business_id, call_sid: `CA${number}`, recording_url: `/2010-04-01/Accounts/AC1/Recordings/RE${number}`, ...more })).id,
    state: async (id) => (await api('GET', `/v1/jobs/${id}`)).state,
    /** Waits until the job is in this state. */
    until: (id, state) => eventually(`job ${id} ${state}`, async () => (await api('GET', `/v1/jobs/${id}`)).state === state),
    stop: async () => {
      // The first has the database: last.
      for (const process of processes.reverse()) {
        process.child.kill('SIGTERM');
        await process.ended;
      }
      provider.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
