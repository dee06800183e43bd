// Hydrogen in a headless Chromium, worked through its own buttons and fields, for a parent that speaks JSON lines.
//
//     node driver.mjs FOLDER HOMESERVER_URL
//
// bundles page/ into FOLDER, serves it on a free loopback port (so the page and the homeserver differ in origin) and
// starts the browser. Each line on stdin, {"do": "open_room", ...}, is answered by one line on stdout, {"result": ...}
// or {"error": "..."}; the first line, {"result": {"url": ...}}, says that it is ready. End of stdin ends it.
// The commands are the methods of `commands` below; browser_client.py is the other side.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { build, preview } from "vite";

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WAIT_MS = 60_000; // as tests/patience.py
const VIEWPORT = { width: 1200, height: 750 };

const [folder, homeserver] = process.argv.slice(2);
const requests = [];
const problems = [];
const reading = []; // promises of the bodies that belong to problems

async function serve() {
  const shared = { configFile: join(import.meta.dirname, "vite.config.js"), logLevel: "error" };
  await build({ ...shared, customLogger: quiet(), build: { outDir: folder, emptyOutDir: true } });
  writeFileSync(join(folder, "config.json"), JSON.stringify({ defaultHomeServer: homeserver }));
  return preview({ ...shared, build: { outDir: folder }, preview: { host: "127.0.0.1", port: 0 } });
}

// Vite warns of Node modules that olm.js asks for outside browsers; stdout is ours, and errors still throw.
function quiet() {
  const nothing = () => {};
  return {
    info: nothing,
    warn: nothing,
    warnOnce: nothing,
    error: (text) => console.error(text),
    clearScreen: nothing,
    hasErrorLogged: () => false,
    hasWarned: false,
  };
}

function watch(page) {
  page.on("console", (message) => {
    if (message.type() === "error") problems.push({ kind: "console", text: message.text(), at: message.location().url });
  });
  page.on("pageerror", (error) => problems.push({ kind: "exception", text: error.stack ?? String(error) }));
  page.on("requestfailed", (request) => {
    const text = request.failure()?.errorText;
    if (text !== "net::ERR_ABORTED") problems.push({ kind: "network", method: request.method(), url: request.url(), text });
  });
  page.on("response", (response) => {
    const request = response.request();
    if (!request.url().startsWith(homeserver)) return;
    const entry = { method: request.method(), path: request.url().slice(homeserver.length), status: response.status() };
    requests.push(entry);
    if (entry.status < 400) return;
    const problem = { kind: "status", ...entry, sent: request.postData(), text: "" };
    problems.push(problem);
    reading.push(response.text().then((text) => (problem.text = text), () => {}));
  });
}

// Every message on the screen, oldest first. A message that continues its sender's previous one shows no sender.
function readMessages() {
  let sender = null;
  return [...document.querySelectorAll(".Timeline_message")].map((item) => {
    sender = item.querySelector(".Timeline_messageSender")?.textContent ?? sender;
    const body = item.querySelector(".Timeline_messageBody").cloneNode(true);
    body.querySelectorAll("time").forEach((time) => time.remove());
    return { sender, body: body.textContent, event_id: item.dataset.eventId ?? null };
  });
}

function commandsFor(page) {
  const message = (text) => page.locator(".Timeline_messageBody", { hasText: text }).first();
  const roomList = page.locator(".RoomList");
  return {
    async log_in({ username, password }) {
      await page.locator("#username").fill(username);
      await page.locator("#password").fill(password);
      await page.getByRole("button", { name: "Log In" }).click();
      await roomList.waitFor();
    },
    async log_in_refused({ username, password }) {
      await page.locator("#username").fill(username);
      await page.locator("#password").fill(password);
      await page.getByRole("button", { name: "Log In" }).click();
      return page.locator(".PasswordLoginView .error").innerText();
    },
    async leave_page() {
      await page.goto("about:blank");
    },
    async come_back() {
      await page.goto(site.resolvedUrls.local[0]);
      await roomList.waitFor();
    },
    rooms: () => roomList.locator(".name").allInnerTexts(),
    async wait_for_room({ name }) {
      await roomList.locator(".name").getByText(name, { exact: true }).waitFor();
    },
    async open_room({ name }) {
      await roomList.locator(".name").getByText(name, { exact: true }).click();
      await page.locator(".RoomHeader", { hasText: name }).waitFor();
      await page.locator(".Timeline").waitFor();
    },
    async accept_invite({ name }) {
      await roomList.locator(".name").getByText(name, { exact: true }).click();
      await page.locator(".InviteView").getByRole("button", { name: "Accept" }).click();
      await page.locator(".Timeline").waitFor();
    },
    messages: () => page.evaluate(readMessages),
    announcements: () => page.locator(".AnnouncementView").allInnerTexts(),
    async wait_for_message({ text }) {
      await message(text).waitFor({ state: "attached" });
    },
    async scroll_up_to({ text }) {
      const oldest = message(text);
      const deadline = Date.now() + WAIT_MS;
      while ((await oldest.count()) === 0 || (await page.locator(".GapView").count()) > 0) {
        if (Date.now() > deadline) throw new Error(`not in the timeline, or still with gaps, however far one scrolls: ${text}`);
        await page.evaluate(() => {
          const gap = document.querySelector(".GapView");
          if (gap) gap.scrollIntoView({ block: "center" });
          else document.querySelector(".Timeline_scroller").scrollTop = 0;
        });
        await page.waitForTimeout(50);
      }
    },
    async send({ text }) {
      const composer = page.locator(".MessageComposer_input textarea");
      await composer.fill(text);
      await composer.press("Enter");
      await page.locator(".Timeline_message:not(.unsent)", { hasText: text }).waitFor();
    },
    async screenshot({ path, width, height }) {
      await page.setViewportSize({ width, height });
      await page.mouse.move(0, 0);
      await page.waitForFunction(() => document.querySelector(".GapView.isLoading") === null);
      await page.screenshot({ path });
    },
    requests: () => requests,
    async problems() {
      await Promise.all(reading);
      return problems;
    },
  };
}

const answer = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const profile = mkdtempSync(join(tmpdir(), "chromium-"));
const site = await serve();
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  args: CHROMIUM_FLAGS,
  viewport: VIEWPORT,
  locale: "en-GB",
});
try {
  const page = browser.pages()[0];
  page.setDefaultTimeout(WAIT_MS);
  watch(page);
  const url = site.resolvedUrls.local[0];
  await page.goto(url);
  answer({ result: { url } });
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
  await site.close();
  rmSync(profile, { recursive: true, force: true });
}
