// The homeserver's own pages in a headless Chromium, worked for a parent that speaks JSON lines.
//
//     node pages.mjs
//
// {"do": "log_in", "url", "username", "password"} fills in the login page as an embedding client sees it, and answers
// with the session that the page hands over. {"do": "stage", "url", "fields"} opens a page of user-interactive
// authentication in a window of its own, fills it in and answers with what the page tells its opener.
// End of stdin ends it.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const WAIT_MS = 60_000; // as tests/patience.py

async function fillIn(page, fields) {
  for (const [name, value] of Object.entries(fields)) {
    if (value === true) await page.check(`input[name=${name}]`);
    else await page.fill(`input[name=${name}]`, value);
  }
}

const commands = {
  async log_in(context, { url, username, password }) {
    const page = await context.newPage();
    const handed = new Promise((resolve) => page.exposeFunction("handOver", resolve));
    await page.addInitScript(() => (window.matrixLogin = { onLogin: (session) => window.handOver(session) }));
    await page.goto(url);
    await fillIn(page, { user: username, password });
    await page.click("button");
    const refused = page.waitForFunction(() => document.getElementById("said").textContent.length > 0);
    await refused;
    const said = await page.textContent("#said");
    const session = said.startsWith("You are signed in") ? await handed : null;
    await page.close();
    return { said, session };
  },
  async stage(context, { url, fields }) {
    const page = await context.newPage();
    await page.goto("about:blank");
    await page.evaluate(() => {
      window.told = [];
      window.addEventListener("message", (event) => window.told.push(event.data));
    });
    const [popup] = await Promise.all([context.waitForEvent("page"), page.evaluate((to) => void window.open(to), url)]);
    await popup.waitForLoadState();
    await fillIn(popup, fields);
    await Promise.all([popup.waitForLoadState(), popup.click("button")]);
    await popup.waitForSelector("h1");
    if ((await popup.textContent("h1")) === "Thank you") await page.waitForFunction(() => window.told.length > 0);
    const told = await page.evaluate(() => window.told);
    const says = await popup.innerText("body");
    await popup.close();
    await page.close();
    return { told, says };
  },
};

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
const context = await browser.newContext();
context.setDefaultTimeout(WAIT_MS);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
say({ result: null });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    say({ result: await commands[command.do](context, command) });
  } catch (error) {
    say({ error: String(error) });
  }
}
await browser.close();
