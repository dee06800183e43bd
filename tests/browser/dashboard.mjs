// A headless Chromium at the dashboard, worked as a person would, for a parent that speaks JSON lines.
//
//     node dashboard.mjs URL
//
// Each line on stdin, {"do": "click", ...}, is answered by one line on stdout, {"result": ...} or {"error": "..."}; the
// first line says that it is ready. End of stdin ends it. dashboard_browser.py is the other side.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WAIT_MS = 30_000;
const [site] = process.argv.slice(2);
const problems = [];

function watch(page) {
  page.on("console", (message) => {
    if (message.type() === "error") problems.push({ kind: "console", text: message.text(), at: message.location().url });
  });
  page.on("pageerror", (error) => problems.push({ kind: "exception", text: error.stack ?? String(error) }));
  page.on("request", (request) => {
    if (!request.url().startsWith(site) && !request.url().startsWith("data:")) {
      problems.push({ kind: "elsewhere", text: request.url() });
    }
  });
}

const commandsFor = (page) => ({
  async open({ path }) {
    await page.goto(site + path);
    return page.url().slice(site.length);
  },
  async fill({ label, text }) {
    await page.getByLabel(label, { exact: true }).first().fill(text);
  },
  async fill_in({ within, text }) {
    await page.locator(within).first().fill(text);
  },
  async choose({ label, option }) {
    await page.getByLabel(label, { exact: true }).first().selectOption(option);
  },
  async click({ name, role, within }) {
    const scope = within ? page.locator(within) : page;
    await scope.getByRole(role, { name, exact: true }).first().click();
    await page.waitForLoadState();
  },
  async wait_for({ text, within }) {
    await page.locator(within, { hasText: text }).first().waitFor({ state: "attached" });
  },
  async wait_until({ condition }) {
    // Not waitForFunction: it evaluates within the page, which the page's own policy forbids.
    const deadline = Date.now() + WAIT_MS;
    // A page that is being left for another is not there yet.
    const holds = () => page.evaluate(condition).catch((error) => {
      if (!/context was destroyed|navigat/i.test(error.message)) throw error;
      return false;
    });
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`not so within ${WAIT_MS} ms: ${condition}`);
      await page.waitForTimeout(50);
    }
  },
  text: ({ within }) => page.locator(within).first().innerText(),
  evaluate: ({ code }) => page.evaluate(code),
  async hover({ within, x, y }) {
    const box = await page.locator(within).first().boundingBox();
    await page.mouse.move(box.x + box.width * x, box.y + box.height * y);
  },
  async look({ width, height, scheme }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  },
  async screenshot({ path, whole }) {
    await page.screenshot({ path, fullPage: whole });
  },
  path: () => page.url().slice(site.length),
  problems: () => problems,
});

const answer = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const profile = mkdtempSync(join(tmpdir(), "chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  args: FLAGS,
  viewport: { width: 360, height: 740 },
  locale: "en-GB",
});
try {
  const page = browser.pages()[0];
  page.setDefaultTimeout(WAIT_MS);
  watch(page);
  answer({ result: null });
  const commands = commandsFor(page);
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...parameters } = JSON.parse(line);
    try {
      answer({ result: (await commands[name](parameters)) ?? null });
    } catch (error) {
      answer({ error: String(error.message ?? error), on_screen: await page.locator("body").innerText() });
    }
  }
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
