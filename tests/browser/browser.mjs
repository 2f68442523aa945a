// Chromium, and what is asked of every page: a quiet console, no request elsewhere, nothing that axe finds serious.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const PATHS = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].filter(Boolean);
const AXE = await readFile(new URL('./node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

export async function launch() {
  const executablePath = PATHS.find((path) => existsSync(path));
  assert.ok(executablePath, 'Chromium is needed: .ci/setup.sh heavy installs it');
  // Root has no sandbox; what these tests look at is ours.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--autoplay-policy=no-user-gesture-required'] });
}

/**
 * A page that remembers what went wrong on it. `expected` are console messages that belong to the test, such as the
 * browser's own about a 401.
 */
export async function openPage(browser, url, { language = 'en-GB', theme = 'light', width = 1280, height = 800, expected = [], hash = '' } = {}) {
  const context = await browser.newContext({ locale: language, colorScheme: theme, viewport: { width, height } });
  // By the browser's own tools, which no Content-Security-Policy stops.
  await context.addInitScript(AXE);
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const wrong = [];
  page.on('console', (message) => {
    const text = `${message.type()}: ${message.text()}`;
    if (!expected.some((pattern) => pattern.test(text))) wrong.push(text);
  });
  page.on('pageerror', (error) => wrong.push(String(error.stack)));
  page.on('request', (request) => {
    const asked = new URL(request.url());
    if (asked.origin !== new URL(url).origin && asked.protocol !== 'data:') wrong.push(`a request to ${asked.origin}`);
  });
  page.on('dialog', (dialog) => {
    wrong.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(`${url}/${hash}`);
  return {
    page,
    context,
    /** Nothing in the console, nobody else asked. */
    isClean: () => assert.deepEqual(wrong, []),
    close: async () => {
      await context.close();
      assert.deepEqual(wrong, []);
    },
  };
}

/** The data is there, and the stream runs. */
export async function settled(page) {
  await page.locator('.badge.live').waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-busy]'));
}

/** Nothing serious or critical, by axe's rules. */
export async function axe(page, what) {
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(bad.map(({ id, nodes }) => [id, nodes.map((node) => `${node.html} ${node.failureSummary}`)]), [], what);
}

/** No more than the window's width, so that nothing scrolls sideways. */
export async function fitsTheWidth(page, what) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${what} is ${over} px too wide`);
}
